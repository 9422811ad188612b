"""How often each kind of start finds the best vocabulary, and in what time: the table in docs/results.md.

    python bench/starts.py [--signs 6 --objects 600 --dimension 2 --seeds 0 1 2 --starts 50]

Two agents perceive the ambiguous synthetic objects (no VAE; `shared` game). Every kind makes the same number of
starts, all played to the same number of sweeps afterwards. The best is the highest log evidence that any of them
reached; a start found it if it is within TOLERANCE nats. The time is told as a ratio to that of `prior`, measured in
the same process, and the last column is what counts: finds in the time that the starts by `merge` take.
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
from mhng.inference.initialization import Start, begin

TOLERANCE = 5.0
AFTER = 30


def main() -> None:
    """Print a table for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("signs", 6), ("objects", 600), ("dimension", 2), ("starts", 50)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print(
        "| seed | start | found the best | ARI of its best | median nats short | time / prior | finds at equal time |"
    )
    print("| --- " * 7 + "|")
    for seed in options.seeds:
        config = resolve(
            {
                "dataset": "synthetic", "likelihood": "identity", "listener_state": "shared", "seed": str(seed),
                "signs": str(options.signs), "limit": str(options.objects), "dimension": str(options.dimension),
            }
        )  # fmt: skip
        objects, config = load_objects(config)
        members = build_members(config, objects, torch.device("cpu"))
        players = [one.agent.perceive(one.x, None) for one in members]
        game = game_of(config, torch.device("cpu"))
        results = {}
        for kind in STARTS:
            generators = [one.streams["play"] for one in members]
            began = time.perf_counter()
            # As chains of one try each: all of them are looked at, not only the best.
            signs, _ = begin(Start(kind, tries=1), game, players, generators, options.starts)
            signs = signs[:, :1].expand(-1, len(players), -1)  # `prior` gives each agent its own
            state = init(players, generators, signs, game.K)
            state, trace = play(game, players, generators, state, AFTER, keep_means=False)
            seconds = time.perf_counter() - began
            results[kind] = (trace.evidence[:, -1], state.signs[:, 0], seconds)
        best = max(float(evidence.max()) for evidence, _, _ in results.values())
        for kind, (evidence, signs, seconds) in results.items():
            found = int((evidence > best - TOLERANCE).sum())
            ari = partitions.ari(signs[int(evidence.argmax())].numpy(), objects.labels)
            equal = found * results["merge"][2] / seconds
            print(
                f"| {seed} | {kind} | {found} of {options.starts} | {ari:.2f} | {best - float(evidence.median()):.0f} "
                f"| {seconds / results['prior'][2]:.1f} | {equal:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
