"""Moves that merge and split words raise the evidence, and find the words of a language; slots as single signs."""

from dataclasses import replace

import torch

from mhng.inference import initialization
from mhng.inference.game import Game, init
from mhng.inference.initialization import Start, initial_signs
from mhng.inference.word_starts import refine_words, slot_players
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


SLOTS = Sentences(2, 3)
SLOT_GAME = Game(torch.full((9,), 1 / 9, dtype=torch.float64).log(), sentences=SLOTS)


def agents_with_subspaces(N=600):
    """Two agents whose latents are rotated pairs of subspaces, one for each slot; words have different spreads."""
    truth = torch.randint(9, (N,), generator=stream(0, "truth"))
    words, agents = SLOTS.split(truth), []
    for m in range(2):
        parts = []
        for slot in range(2):
            means = 4 * torch.eye(3, dtype=torch.float64)[torch.randperm(3, generator=stream(m, f"{slot}/order"))]
            spread = torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64)[words[:, slot]].unsqueeze(1)
            noise = torch.randn(N, 3, generator=stream(m, f"{slot}/noise"), dtype=torch.float64)
            parts.append(means[words[:, slot]] + spread * noise)
        z = torch.cat(parts if m == 0 else parts[::-1], dim=1)
        turn = torch.linalg.qr(torch.randn(6, 6, generator=stream(m, "turn"), dtype=torch.float64)).Q
        agents.append(Percepts(z @ turn, additive(SLOTS, "positions")(6)))
    return agents, truth


def right(signs, truth):
    """The share of objects whose words (N,) follow from the true ones, if slots and words are renamed."""
    shares = []
    for order in ((0, 1), (1, 0)):
        same = torch.ones(len(truth), dtype=torch.bool)
        for slot, other in enumerate(order):
            word, true = SLOTS.word(signs, slot), SLOTS.word(truth, other)
            meaning = torch.stack([true[word == v].mode().values if (word == v).any() else true[0] for v in range(3)])
            same &= meaning[word] == true
        shares.append(float(same.double().mean()))
    return max(shares)


def test_slots_are_found_as_single_signs_are():
    """The subspaces of the two agents come in different orders, and the words have covariances of their own."""
    agents, truth = agents_with_subspaces()
    generators = [stream(2, f"{m}/play") for m in range(2)]
    players = slot_players(agents, generators, 9)
    assert players is not None
    for slot in range(2):
        clusters = [player.clusters(generators[0], 1, 3)[0] for player in players[slot]]
        shares = [[player.explained(words) for player in players[slot]] for words in clusters]
        assert min(shares[0] + shares[1]) > 0.6
        assert all(player.explained(words) < 0.1 for player in players[1 - slot] for words in clusters)
    start = Start("slots", tries=2, before=5, after=5, tail=2)
    signs, evidence = initial_signs(start, SLOT_GAME, agents, generators, chains=2)
    assert signs.shape == (2, 2, 600) and evidence.shape == (2, 1, 2) and evidence[0].max() >= evidence[1].max()
    assert min(right(signs[0, m], truth) for m in range(2)) > 0.95
    # Present sentences are one more start.
    names = torch.tensor([2, 0, 1])
    present = SLOTS.join(names[SLOTS.split(truth)]).expand(1, 2, -1)
    kept, evidence = initial_signs(replace(start, tries=1), SLOT_GAME, agents, generators, 1, present)
    assert evidence.shape == (1, 1, 2) and right(kept[0, 0], truth) > 0.95


def test_chain_0_has_the_best_start_of_every_slot(monkeypatch):
    """The slots of a chain may choose different tries; its first score is that of its best starts."""
    agents, _ = agents_with_subspaces()
    made = iter([[[10.0, 0], [9, 0]], [[0, 10], [9, 0]]])  # chains x tries, for each slot
    said = torch.arange(2).view(2, 1, 1).expand(2, 2, 600)  # chain c says word c

    def group_signs(*_):
        return said, torch.tensor(next(made)).unsqueeze(1)

    monkeypatch.setattr(initialization, "_group_signs", group_signs)
    signs, scores = initialization._slot_signs(Start("slots"), SLOT_GAME, [agents, agents], [], 2, None, 1)
    assert SLOTS.split(signs)[0, 0, 0].tolist() == [0, 0]
    assert scores.tolist() == [[[20, 0]], [[18, 0]]]


def test_latents_without_subspaces_start_as_in_merge():
    truth = torch.randint(9, (60,), generator=stream(0, "truth"))
    z = torch.randn(60, 2, generator=stream(0, "z"), dtype=torch.float64)
    agents = [Percepts(z, additive(SLOTS, "positions")(2)) for _ in range(2)]
    generators = [stream(2, f"{m}/play") for m in range(2)]
    assert slot_players(agents, generators, 9) is None
    signs, _ = initial_signs(
        Start("slots", tries=2, before=2, after=2, tail=1), SLOT_GAME, agents, generators, chains=3
    )
    assert signs.shape == (3, 2, len(truth)) and signs.max() < 9


def test_slots_average_the_draws_of_expected_latents():
    (agent, _), truth = agents_with_subspaces()
    noise = 1.0 * torch.randn(20, *agent.z.shape, generator=stream(5, "noise"), dtype=torch.float64)
    expected = Percepts.expected(agent.z + noise, agent.mixture)
    assert torch.equal(expected.z, agent.z + noise[0])  # the game has no use for the other draws
    shares = []
    for percepts in (expected, Percepts(expected.z, agent.mixture)):
        slots = percepts.slots(stream(1, "slots"))
        shares.append([max(slot.explained(words) for slot in slots) for words in SLOTS.split(truth).unbind(-1)])
    assert all(mean > draw + 0.05 for mean, draw in zip(*shares, strict=True)), shares
