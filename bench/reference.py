"""Time of the public reference code relative to ours: seconds, and ratios reference / ours.

    python bench/reference.py [--run] [--json FILE] [-- FLAGS]

Measured: one iteration of the game as the reference plays it (`bench.reference_game`) against one sweep of
`mhng.inference.game`, at several N in the same process. Both implementations are checked against each other first.

Extrapolated: the whole run of the reference, 50 epochs of two agents and 50 iterations, from a few steps of a plain
PyTorch loop and from the iteration at the largest N. The network of the loop is our `conv-large` with 9.2 M
parameters; the network of the reference has 14.8 M and is slower, so the result is a lower bound. A second result uses
RECORDED seconds per epoch, measured once with the public code on another two-core machine.

With --run, our run of the same task is started as a process. Its time counts from the command to the end of the first
round from which on both agents have ARI 0.80 or more in the last sweep of all rounds. The training steps are timed
before and after the run. FLAGS are flags of `train` for this run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.learners import images, learner, plain_epoch
from bench.reference_game import K, L, check, iteration, matching_games
from bench.timing import HOME, machine, machine_text, seconds, write_json

TASK, EPOCHS, ITERATIONS, GOAL = 10_000, 50, 50, 0.80
RECORDED = 48.0


def games(sizes: list[int], repeats: int) -> list[dict[str, Any]]:
    """Time iterations of the reference between sweeps of ours; one row per N."""
    print(
        "| objects | reference, s per iteration | ours, ms per sweep | reference / ours |\n| --- | --- | --- | --- |"
    )
    rows = []
    for N in sizes:
        ours, agents = matching_games(N)
        rng, log_pi = np.random.RandomState(0), ours.game.log_prior.numpy()
        ours.sweep()
        reference_times, our_times = [], []
        for _ in range(repeats):
            our_times += [seconds(ours.sweep) for _ in range(10)]
            reference_times.append(seconds(lambda: iteration(rng, agents, log_pi)))  # noqa: B023 - called at once
            our_times += [seconds(ours.sweep) for _ in range(10)]
        slow, fast = statistics.median(reference_times), statistics.median(our_times)
        rows.append({"objects": N, "reference_seconds": slow, "our_seconds": fast, "ratio": slow / fast})
        print(f"| {N:,} | {slow:.2f} | {fast * 1e3:.2f} | {slow / fast:,.0f} |", flush=True)
    return rows


def extrapolate(network: str, batch: int, batches: int, iteration_seconds: float, objects: int) -> dict[str, Any]:
    """Extrapolate the time of the reference's run from a few training steps and one iteration."""
    agent_learner = learner(network, images(batch * batches), batch=batch)
    plain_epoch(agent_learner)
    step = min(seconds(lambda: plain_epoch(agent_learner)) for _ in range(2)) / batches
    epoch = step * TASK / batch
    # Linear in N: a lower bound if the largest measured N is smaller than the task, as N x N products grow faster.
    play = ITERATIONS * iteration_seconds * TASK / objects
    learn = 2 * EPOCHS * epoch
    size = sum(p.numel() for p in agent_learner.agent.parameters())
    print(
        f"\nRun of the reference, extrapolated from {batches} steps of {batch} images ({size / 1e6:.1f} M parameters):"
    )
    print(
        f"training: {step * 1e3:.0f} ms per step, {epoch:.1f} s per epoch; two agents, {EPOCHS} epochs: {learn:,.0f} s"
    )
    print(f"game: {ITERATIONS} iterations, from a measurement with {objects:,} objects: {play:,.0f} s")
    recorded = 2 * EPOCHS * RECORDED + play
    print(f"total: at least {learn + play:,.0f} s; {recorded:,.0f} s with the recorded {RECORDED:.0f} s per epoch")
    return {
        "network": network, "batch": batch, "parameters": size, "step_seconds": step, "epoch_seconds": epoch,
        "learn_seconds": learn, "play_seconds": play,
        "total_seconds": learn + play, "total_seconds_recorded": recorded,
    }  # fmt: skip


def our_run(data_root: str, words: list[str]) -> dict[str, Any]:
    """Run our program as a process; returns the seconds at the end of the rounds, and when the ARI goal is reached."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        task = ["--dataset", "mnist", "--data-root", data_root, "--limit", str(TASK), "--run-dir", str(run), *words]
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(HOME / "cli.py"), "train", *task], stdout=subprocess.DEVNULL)
        rounds: dict[int, dict[str, Any]] = {}
        metrics, running, place = run / "metrics.jsonl", True, 0
        while running:
            running = process.poll() is None
            time.sleep(0.1)
            if not metrics.exists():
                continue
            now = time.perf_counter() - start
            whole_lines = metrics.read_bytes()[place:].rpartition(b"\n")[0]
            place += len(whole_lines) + 1 if whole_lines else 0
            for row in map(json.loads, whole_lines.splitlines()):
                if row["kind"] == "sweep":
                    ari = min(scores["ari"] for scores in row["agents"].values())
                    rounds[row["round"]] = {"round": row["round"], "seconds": now, "worse_ari": ari}
        total = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"the run failed with status {process.returncode}")
    reached = None
    for row in rounds.values():
        if row["worse_ari"] < GOAL:
            reached = None
        elif reached is None:
            reached = row
    return {"flags": words, "reached": reached, "total_seconds": total, "rounds": list(rounds.values())}


def main() -> None:
    """Check both implementations, measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000, 10_000], help="numbers of objects")
    parser.add_argument("--repeats", type=int, default=2, help="reference iterations per size (default: 2)")
    parser.add_argument(
        "--network", default="conv-large", help="our network in place of the reference's (default: conv-large)"
    )
    parser.add_argument("--batch", type=int, default=128, help="batch size of the reference's training (default: 128)")
    parser.add_argument("--batches", type=int, default=6, help="number of timed steps (default: 6)")
    parser.add_argument("--run", action="store_true", help="also time our run of the task (minutes)")
    parser.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    parser.add_argument("words", nargs="*", metavar="FLAGS", help="flags of train for our run, after --")
    options = parser.parse_args()
    print(f"{machine_text()}; K = {K}, L = {L}\n")
    check()
    results: dict[str, Any] = {"machine": machine(), "games": games(options.sizes, options.repeats)}
    last = results["games"][-1]

    def reference() -> dict[str, Any]:
        taken, objects = last["reference_seconds"], last["objects"]
        return extrapolate(options.network, options.batch, options.batches, taken, objects)

    extrapolated = [reference()]
    results["reference"] = extrapolated
    if options.run:
        ours = results["ours"] = our_run(options.data_root, options.words)
        # A second measurement, because the load of the machine may have changed.
        extrapolated += [reference()]
        print(f"\nOur run, timed from the command ({' '.join(ours['flags']) or 'defaults'}):")
        print(f"end: {ours['total_seconds']:.0f} s, ARI {ours['rounds'][-1]['worse_ari']:.3f} (worse agent)")
        if (row := ours["reached"]) is None:
            print(f"ARI {GOAL} or more: not reached and kept by both agents")
        else:
            least = statistics.mean(result["total_seconds"] for result in extrapolated)
            results["ratio"] = least / row["seconds"]
            results["ratio_recorded"] = extrapolated[0]["total_seconds_recorded"] / row["seconds"]
            print(f"ARI {GOAL} or more for both agents: from {row['seconds']:.0f} s on (round {row['round']})")
            print(f"reference (extrapolated, mean of two) / ours: at least {results['ratio']:.1f};", end=" ")
            print(f"{results['ratio_recorded']:.1f} with the recorded epochs")
    write_json(options.json, **results)


if __name__ == "__main__":
    main()
