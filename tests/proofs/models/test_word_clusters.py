"""Initial words: independent subspaces of latents, and the sentences that their clusters give."""

import torch

from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.word_clusters import independent_subspaces, reseed

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
