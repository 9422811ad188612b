"""Processor time of a sweep of sentences, as a multiple of a sweep of single signs.

    python bench/sentences.py

Two agents with N = 10,000 objects and L = 12 latent dimensions, one thread. Sentences have S = 3 words from V = 10 and
turns of both kinds; single signs are 30, with the default mixture. The sweeps of both games alternate, and each is the
fastest of its sweeps.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mhng.inference.game import Game, init, sweep
from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.torch_defaults import torch_defaults

N, L, SIGNS, LANGUAGE = 10_000, 12, 30, Sentences(3, 10)


def prepared(language: Sentences | None) -> list:
    """Game, players, generators and state of a game of sentences, or of single signs."""
    K = SIGNS if language is None else language.count
    family = NormalWishart if language is None else additive(language, "positions")
    signs = torch.randint(K, (1, 1, N), generator=stream(0, "signs")).expand(1, 2, N).contiguous()
    vectors = torch.randn(K, L, generator=stream(0, "vectors"), dtype=torch.float64)
    players = []
    for m in range(2):
        noise = 0.5 * torch.randn(N, L, generator=stream(m, "noise"), dtype=torch.float64)
        players.append(Percepts(vectors[signs[0, 0]] + noise, family(L)))
    generators = [stream(m, "play") for m in range(2)]
    log_prior = torch.full((K,), -math.log(K), dtype=torch.float64)
    game = Game(log_prior, sentences=language)
    return [game, players, generators, init(players, generators, signs, K)]


@torch_defaults()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=10)
    sweeps = parser.parse_args().sweeps
    torch.set_num_threads(1)
    games = {"single signs": prepared(None), "sentences": prepared(LANGUAGE)}
    seconds = dict.fromkeys(games, math.inf)
    for number in range(sweeps):
        for name, game in games.items():
            start = time.process_time()
            game[3], _ = sweep(*game, number)
            seconds[name] = min(seconds[name], time.process_time() - start)
    for name, value in seconds.items():
        print(f"{name}: {1000 * value:.1f} ms a sweep")
    print(f"ratio: {seconds['sentences'] / seconds['single signs']:.2f}")


if __name__ == "__main__":
    main()
