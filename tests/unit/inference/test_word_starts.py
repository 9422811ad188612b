"""Moves that merge and split words raise the evidence, and find the words of a language."""

import torch

from mhng.inference.game import Game, init
from mhng.inference.word_starts import refine_words
from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.percepts import Percepts
from mhng.models.rng import stream

LANGUAGE = Sentences(2, 4)
GAME = Game(torch.full((16,), 1 / 16, dtype=torch.float64).log(), sentences=LANGUAGE)


def players(N=96):
    """Two agents that see the sum of two word vectors each, and the sentences behind."""
    truth = torch.randint(16, (N,), generator=stream(0, "truth"))
    words, agents = LANGUAGE.split(truth), []
    for m in range(2):
        vectors = 2 * torch.randn(2, 4, 5, generator=stream(m, "vectors"), dtype=torch.float64)
        noise = 0.3 * torch.randn(N, 5, generator=stream(m, "noise"), dtype=torch.float64)
        z = vectors[0, words[:, 0]] + vectors[1, words[:, 1]] + noise
        agents.append(Percepts(z, additive(LANGUAGE, "positions")(5, beta=0.1, W=2.0)))
    return agents, truth


def evidence(agents, signs):
    return sum(agent.evidence(signs[:, m], 16) for m, agent in enumerate(agents))


def test_moves_find_the_words():
    agents, truth = players()
    generators = [stream(1, f"{m}/play") for m in range(2)]
    clusters = agents[0].clusters(generators[0], 6, 16)
    signs = clusters.unsqueeze(1).expand(-1, 2, -1).contiguous()
    refined = refine_words(GAME, agents, generators, signs, 30)
    best = evidence(agents, truth.expand(1, 2, -1))
    before, after = (evidence(agents, each) >= best - 20 for each in (signs, refined))
    assert after.sum() > before.sum() and after.sum() >= 3
    assert init(agents, generators, refined, 16).signs.shape == (6, 2, 96)


def test_sides_part_the_group_only():
    agents, truth = players()
    merged = torch.where(LANGUAGE.word(truth, 0) == 1, LANGUAGE.replace(truth, 0, 0), truth).unsqueeze(0)
    group = LANGUAGE.word(merged, 0) == 0
    sides = agents[0].word_sides(merged, group)
    assert not sides[~group].any()
    first, second = (sides[0, LANGUAGE.word(truth, 0) == word].double().mean() for word in (0, 1))
    assert abs(float(first - second)) > 0.9
