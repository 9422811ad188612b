"""Initial words: independent subspaces of latents, and the sentences that their clusters give."""

import torch

from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.word_clusters import correlated_groups, independent_subspaces, repair, reseed

real = {"dtype": torch.float64}


def latents(V=6, N=600, L=10, noise=0.05):
    """Objects with two words, in a random rotation of percept space."""
    words = torch.randint(V, (N, 2), generator=stream(0, "words"))
    vectors = torch.randn(2, V, L, generator=stream(0, "vectors"), **real)
    vectors[0, :, L // 2 :], vectors[1, :, : L // 2] = 0, 0
    z = vectors[0, words[:, 0]] + vectors[1, words[:, 1]] + noise * torch.randn(N, L, generator=stream(0, "n"), **real)
    rotation = torch.linalg.qr(torch.randn(L, L, generator=stream(0, "turn"), **real)).Q
    return z @ rotation, words


def explained(part, words, V=6):
    """Share of the variance of a part that one of the two words explains."""
    shares = []
    for slot in range(2):
        onehot = torch.nn.functional.one_hot(words[:, slot], V).double()
        fitted = onehot @ torch.linalg.lstsq(onehot, part).solution
        shares.append(float((fitted - part.mean(0)).square().sum() / (part - part.mean(0)).square().sum()))
    return shares


def test_subspaces_belong_to_one_word_each():
    z, words = latents()
    parts = independent_subspaces(z, 2, 0)
    assert sum(part.shape[1] for part in parts) == z.shape[1]
    best = [explained(part, words) for part in parts]
    assert {row.index(max(row)) for row in best} == {0, 1}
    assert all(max(row) > 0.8 and min(row) < 0.1 for row in best)


def test_latents_of_one_dimension_have_no_subspaces():
    assert independent_subspaces(torch.randn(20, 1, generator=stream(1, "z"), **real), 2, 0) is None


def test_the_first_start_finds_all_words():
    z, words = latents()
    language = Sentences(2, 6)
    one = Percepts(z, additive(language, "positions")(z.shape[1], beta=0.1, W=5.0))
    found = language.split(one.clusters(stream(2, "play"), 1, language.count)[0])
    slots = [[len(torch.unique(found[words[:, b] == v, a])) for v in range(6)] for a, b in ((0, 0), (0, 1))]
    assert min(max(slots[0]), max(slots[1])) == 1  # slot 0 has one word for each value of one attribute


def test_far_objects_do_not_shape_the_subspaces():
    z, words = latents()
    z = torch.cat([z, torch.full((1, z.shape[1]), 1e6, **real)])
    far = torch.zeros(len(z), dtype=torch.bool)
    far[-1] = True
    parts = independent_subspaces(z, 2, 0, far)
    assert all(max(explained(part[:-1], words)) > 0.8 for part in parts)


def test_reseeding_gives_an_unused_word_to_a_value_that_shares_one():
    z, words = latents()
    language = Sentences(2, 6)
    mixture = additive(language, "positions")(z.shape[1], beta=0.1, W=5.0)
    merged = torch.where(words[:, 0] == 5, torch.tensor(4), words[:, 0])
    signs = language.join(torch.stack([merged, words[:, 1]], dim=-1)).unsqueeze(0)
    repaired = language.word(reseed(mixture, mixture.features(z), signs, 0), 0)[0]
    most = [int(repaired[words[:, 0] == value].mode().values) for value in range(6)]
    assert len(set(most)) == 6


def test_directions_of_rare_objects_are_no_group():
    """Two slots of 60 words, and three directions of three objects, such as those that EGG's hold-out leaves."""
    words = torch.cartesian_prod(torch.arange(60), torch.arange(60))
    seen = torch.rand(3600, generator=stream(0, "seen")) < 0.9
    ordinary = torch.nn.functional.one_hot(words[seen], 60).double().flatten(1)
    rare = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1]], **real)
    z = torch.block_diag(ordinary, rare)
    z = (z - z.mean(0)) / z.std(0)
    groups = correlated_groups(z.numpy(), 2, 0)
    assert len(set(groups[:60])) == len(set(groups[60:120])) == 1 and groups[0] != groups[60]


def test_repairs_find_more_words_than_ten():
    words = torch.cartesian_prod(torch.arange(16), torch.arange(16))
    language = Sentences(2, 16)
    z = torch.nn.functional.one_hot(words, 16).double().flatten(1)
    mixture = additive(language, "positions")(z.shape[1], beta=0.1)
    truth = language.join(words).unsqueeze(0)
    merged = language.replace(truth, 0, torch.zeros_like(truth))  # slot 0 has one word for 16 values
    best = mixture.log_evidence(mixture.features(z), truth, language.count)
    found = repair(mixture, mixture.features(z), torch.cat([merged, truth]))
    assert (mixture.log_evidence(mixture.features(z), found, language.count) >= best - 1e-6).all()
