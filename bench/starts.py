"""Success rate and time of the initialisations (--start): the tables in docs/notes.md and docs/sentences.md.

    python bench/starts.py [--signs 6 --objects 600 --dimension 2 --seeds 0 1 2 --starts 50]
    python bench/starts.py --starts 20 --dataset attributes:2x6 --words 2 --vocabulary 6

Two agents play the `shared` game on the ambiguous synthetic objects, without a VAE. With --dataset, they play on the
objects of a data set with observed features; other settings of `train` may follow. All initialisations make the same
number of starts, followed by the same number of sweeps. A start is successful if its log evidence is within TOLERANCE
nats (20 for sentences) of the highest log evidence of all starts. The table has the time as a ratio to `prior`,
measured in the same process, and the number of successful starts in the time that `merge` takes for all of its starts.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mhng.experiment.metrics import partitions
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.build import build_members, game_of
from mhng.experiment.training.prepare import load_objects
from mhng.inference import STARTS
from mhng.inference.game import init, play
from mhng.inference.initialization import Start, initial_signs

TOLERANCE, TOLERANCE_SENTENCES = 5.0, 20.0
AFTER = 30


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("signs", 6), ("objects", 600), ("dimension", 2), ("starts", 50)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"(default: {value})")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dataset", help="objects with features (default: synthetic objects)")
    options, others = parser.parse_known_args(arguments)
    settings = {
        "dataset": "synthetic", "signs": str(options.signs), "limit": str(options.objects),
        "dimension": str(options.dimension),
    }  # fmt: skip
    if options.dataset is not None:
        flags = dict(zip(others[::2], others[1::2], strict=True))
        settings = {"dataset": options.dataset} | {
            name.removeprefix("--").replace("-", "_"): value for name, value in flags.items()
        }
    print(
        "| seed | start | successful | ARI of its best | median nats below | time / prior | successful, equal time |"
    )
    print("| --- " * 7 + "|")
    for seed in options.seeds:
        config = resolve(settings | {"likelihood": "identity", "listener_state": "shared", "seed": str(seed)})
        tolerance = TOLERANCE if config.sentences is None else TOLERANCE_SENTENCES
        unused = "slots" if config.sentences is None else "split"
        kinds = tuple(kind for kind in STARTS if kind != unused)
        objects, agents, config, _ = load_objects(config)
        members = build_members(agents, objects, torch.device("cpu"))
        players = [member.agent.perceive(member.x, None) for member in members]
        game = game_of(config, torch.device("cpu"))
        results = {}
        for kind in kinds:
            generators = [member.streams["play"] for member in members]
            start_time = time.perf_counter()
            # Starts are chains with one try, because all of them are evaluated, not only the best.
            signs, _ = initial_signs(Start(kind, tries=1), game, players, generators, options.starts)
            signs = signs[:, :1].expand(-1, len(players), -1)  # `prior` draws separate signs for the agents
            state = init(players, generators, signs, game.K)
            state, trace = play(game, players, generators, state, AFTER, keep_means=False)
            seconds = time.perf_counter() - start_time
            results[kind] = (trace.evidence[:, -1], state.signs[:, 0], seconds)
        best = max(float(evidence.max()) for evidence, _, _ in results.values())
        for kind, (evidence, signs, seconds) in results.items():
            successes = int((evidence > best - tolerance).sum())
            ari = partitions.ari(signs[int(evidence.argmax())].numpy(), objects.labels)
            equal = successes * results["merge"][2] / seconds
            print(
                f"| {seed} | {kind} | {successes} of {options.starts} | {ari:.2f} "
                f"| {best - float(evidence.median()):.0f} | {seconds / results['prior'][2]:.1f} | {equal:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
