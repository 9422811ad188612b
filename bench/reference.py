"""What the reference's way costs beside ours: python bench/reference.py [--run] [--json FILE] [-- FLAGS].

Measured: an iteration of the game as the reference plays it (`bench.reference_game`, which is first held against
ours) at several N, against one sweep of `mhng.inference.game` in the same process.
Extrapolated: the whole of the reference's run, 50 epochs of two agents and 50 iterations, from a few steps of a bare
torch loop and from the iteration at the largest N. The net of that loop is our `conv-large`, 9.2 M parameters; the
reference's own has 14.8 M and takes longer, so this is a lower bound. Beside it stands the same with RECORDED
seconds an epoch, which the public code itself once took on another machine of two cores.
With --run, our own run of the reference's task is begun as a process, and its metrics are read until it ends: the
time from the command to the end of the first round since when every round's last sweep has both agents at ARI 0.80
or more. The steps of the net are timed before it and after it. FLAGS are of `train`, for that run.
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

from bench.learners import bare_epoch, images, learner
from bench.reference_game import K, L, both, check, iteration
from bench.timing import HOME, described, machine, seconds, write_json

TASK, EPOCHS, ITERATIONS, GOAL = 10_000, 50, 50, 0.80
RECORDED = 48.0


def games(sizes: list[int], repeats: int) -> list[dict[str, Any]]:
    """A row for each N: the reference's iterations, each between sweeps of ours."""
    print("| objects | reference, s an iteration | ours, ms a sweep | ratio |\n| --- | --- | --- | --- |")
    rows = []
    for N in sizes:
        ours, agents = both(N)
        rng, log_pi = np.random.RandomState(0), ours.game.log_prior.numpy()
        ours.sweep()
        theirs, own = [], []
        for _ in range(repeats):
            own += [seconds(ours.sweep) for _ in range(10)]
            theirs.append(seconds(lambda: iteration(rng, agents, log_pi)))  # noqa: B023 - called at once
            own += [seconds(ours.sweep) for _ in range(10)]
        slow, fast = statistics.median(theirs), statistics.median(own)
        rows.append({"objects": N, "reference_seconds": slow, "our_seconds": fast, "ratio": slow / fast})
        print(f"| {N:,} | {slow:.2f} | {fast * 1e3:.2f} | {slow / fast:,.0f} |", flush=True)
    return rows


def whole(network: str, batch: int, batches: int, iteration_seconds: float, objects: int) -> dict[str, Any]:
    """The reference's run, extrapolated."""
    one = learner(network, images(batch * batches), batch=batch)
    bare_epoch(one)
    step = min(seconds(lambda: bare_epoch(one)) for _ in range(2)) / batches
    epoch = step * TASK / batch
    # Linear in N, where the largest that was measured is not the task's: the N x N products cost more than that.
    play = ITERATIONS * iteration_seconds * TASK / objects
    learn = 2 * EPOCHS * epoch
    size = sum(p.numel() for p in one.agent.parameters())
    print(
        f"\nThe reference's run, extrapolated from {batches} steps of {batch} images ({size / 1e6:.1f} M parameters):"
    )
    print(f"{step * 1e3:.0f} ms a step, {epoch:.1f} s an epoch; two agents, {EPOCHS} epochs: {learn:,.0f} s")
    print(f"{ITERATIONS} iterations, from the measured one of {objects:,} objects: {play:,.0f} s")
    recorded = 2 * EPOCHS * RECORDED + play
    print(f"in all {learn + play:,.0f} s or more; {recorded:,.0f} s with the {RECORDED:.0f} s an epoch once recorded")
    return {
        "network": network, "batch": batch, "parameters": size, "step_seconds": step, "epoch_seconds": epoch,
        "learn_seconds": learn, "play_seconds": play,
        "total_seconds": learn + play, "total_seconds_recorded": recorded,
    }  # fmt: skip


def our_run(data_root: str, words: list[str]) -> dict[str, Any]:
    """Our run, watched from outside: seconds since the command at the end of each round, and when ARI stays good."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        task = ["--dataset", "mnist", "--data-root", data_root, "--limit", str(TASK), "--run-dir", str(run), *words]
        begun = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(HOME / "cli.py"), "train", *task], stdout=subprocess.DEVNULL)
        rounds: dict[int, dict[str, Any]] = {}
        metrics, going, place = run / "metrics.jsonl", True, 0
        while going:
            going = process.poll() is None
            time.sleep(0.1)
            if not metrics.exists():
                continue
            now = time.perf_counter() - begun
            whole_lines = metrics.read_bytes()[place:].rpartition(b"\n")[0]
            place += len(whole_lines) + 1 if whole_lines else 0
            for row in map(json.loads, whole_lines.splitlines()):
                if row["kind"] == "sweep":
                    ari = min(own["ari"] for own in row["agents"].values())
                    rounds[row["round"]] = {"round": row["round"], "seconds": now, "worse_ari": ari}
        total = time.perf_counter() - begun
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
    """Check, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 5000, 10_000], help="numbers of objects")
    parser.add_argument("--repeats", type=int, default=2, help="iterations of the reference at each size")
    parser.add_argument("--network", default="conv-large", help="what stands for the reference's net")
    parser.add_argument("--batch", type=int, default=128, help="images a step of the reference's net")
    parser.add_argument("--batches", type=int, default=6, help="steps that are timed")
    parser.add_argument("--run", action="store_true", help="also our run of the task, to its end (minutes)")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("words", nargs="*", metavar="FLAGS", help="of our run, after --")
    options = parser.parse_args()
    print(f"{described()}; K = {K}, L = {L}\n")
    check()
    found: dict[str, Any] = {"machine": machine(), "games": games(options.sizes, options.repeats)}
    last = found["games"][-1]

    def reference() -> dict[str, Any]:
        taken, objects = last["reference_seconds"], last["objects"]
        return whole(options.network, options.batch, options.batches, taken, objects)

    extrapolated = [reference()]
    found["reference"] = extrapolated
    if options.run:
        ours = found["ours"] = our_run(options.data_root, options.words)
        # Once more: other work on the machine may have come or gone meanwhile.
        extrapolated += [reference()]
        print(f"\nOur run, measured from the command on ({' '.join(ours['flags']) or 'defaults'}):")
        print(f"its end after {ours['total_seconds']:.0f} s, ARI {ours['rounds'][-1]['worse_ari']:.3f} (worse agent)")
        if (row := ours["reached"]) is None:
            print(f"ARI {GOAL} was not reached by both agents for good")
        else:
            least = statistics.mean(one["total_seconds"] for one in extrapolated)
            found["ratio"] = least / row["seconds"]
            found["ratio_recorded"] = extrapolated[0]["total_seconds_recorded"] / row["seconds"]
            print(f"both agents at ARI {GOAL} or more, from then on: {row['seconds']:.0f} s, in round {row['round']}")
            print(f"the reference's extrapolated run (mean of both) / that: {found['ratio']:.1f} or more;", end=" ")
            print(f"{found['ratio_recorded']:.1f} with the epochs once recorded")
    write_json(options.json, **found)


if __name__ == "__main__":
    main()
