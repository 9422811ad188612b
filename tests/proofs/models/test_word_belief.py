"""Beliefs about sentences word by word: the same densities as the table of all sentences, and the best sentences."""

import pytest
import torch

from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import Parts, additive
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.word_belief import WordBelief, climb, draw_sentences, most_probable
from tests.checks import ALPHA, chi_square
from tests.proofs.models.test_additive import prior_of

real = {"dtype": torch.float64}
LANGUAGE = Sentences(3, 4)
N, C = 15, 2


def percepts(meaning="positions", language=LANGUAGE):
    family = additive(language, meaning)
    z = 3 + torch.randn(N, 2, generator=stream(0, "z"), **real)
    return Percepts(z, family(2, **prior_of(family)))


def signs(name="w"):
    return torch.randint(LANGUAGE.count, (C, N), generator=stream(0, name))


@pytest.mark.parametrize("meaning", ["positions", "bag"])
def test_words_have_the_densities_of_the_table(meaning):
    one, w = percepts(meaning), signs()
    belief = one.redraw(stream(1, "play"), w, LANGUAGE.count)
    assert isinstance(belief, WordBelief)
    table = one.log_prob_table(belief.parameters)
    close = {"atol": 1e-9, "rtol": 1e-9}
    torch.testing.assert_close(belief.table, table, **close)
    torch.testing.assert_close(belief.pointwise(w), table.gather(-1, w.unsqueeze(-1)).squeeze(-1), **close)
    for slot in range(LANGUAGE.words):
        variants = table.gather(-1, LANGUAGE.variants(w, slot))
        told = belief.word_table(w, slot)
        torch.testing.assert_close(told - told[..., :1], variants - variants[..., :1], **close)
    other = signs("other")
    ratio = belief.pointwise(other) - belief.pointwise(w)
    torch.testing.assert_close(belief.scores(other) - belief.scores(w), ratio, **close)


def test_some_sentences_have_the_columns_of_the_table():
    one = percepts()
    phi = one.mixture.from_prior(stream(2, "phi"), 1, LANGUAGE.count)
    some = torch.tensor([5, 63, 0])
    features = one.mixture.features(one.z)
    torch.testing.assert_close(
        one.mixture.log_prob_table(features, phi, some), one.log_prob_table(phi)[..., some], rtol=0, atol=1e-12
    )


def test_climbing_ends_where_no_word_is_better():
    beliefs = [percepts().redraw(stream(m, "play"), signs(), LANGUAGE.count) for m in range(2)]
    best = climb(LANGUAGE, beliefs)
    together = sum(belief.table for belief in beliefs)
    reached = together.gather(-1, best.unsqueeze(-1))
    for slot in range(LANGUAGE.words):
        assert (together.gather(-1, LANGUAGE.variants(best, slot)) <= reached + 1e-9).all()
    assert torch.equal(most_probable(LANGUAGE, beliefs, torch.zeros(64)), together[0].argmax(-1))


def test_words_of_separate_directions_need_no_table():
    """A language with a million sentences: each word has a direction, and climbing finds all of them."""
    language = Sentences(3, 100)
    family = additive(language, "positions")
    one = Percepts(torch.zeros(1, 300, **real), family(300, beta=1.0, W=10.0))
    phi = family.Parameters(4 * torch.eye(300, **real).unsqueeze(0), torch.eye(300, **real).unsqueeze(0))
    said = torch.randint(language.count, (50,), generator=stream(3, "said"))
    heard = Percepts(one.mixture.sentence_means(phi, said)[0], one.mixture)
    belief = heard.belief(phi)
    assert torch.equal(climb(language, [belief])[0], said) and torch.equal(belief.best(torch.empty(0))[0], said)
    with pytest.raises(ValueError, match="too many for a table"):
        _ = belief.table


@pytest.mark.parametrize("words", [2, 3])
@pytest.mark.parametrize("spread", [1.0, 60.0])
def test_draws_of_sentences_have_the_law_of_the_table(words, spread):
    """spread: with 60, some factors underflow, and the exact logits decide."""
    language = Sentences(words, 3)
    family = additive(language, "positions")
    log_prior = torch.randn(language.count, generator=stream(5, "prior"), **real).log_softmax(0)
    beliefs, z = [], torch.tensor([[0.4, -0.2], [spread, spread / 2]], **real)
    for m in range(2):
        mixture = family(2, **prior_of(family, m))
        M = torch.randn(3 * words, 2, generator=stream(m, "M"), **real)
        M[:3] = M[:3] + spread * torch.tensor([[0.0], [0.4], [-0.4]], **real)
        phi = Parts(M.unsqueeze(0), torch.linalg.cholesky(torch.tensor([[[1.1, 0.3], [0.3, 0.7]]], **real)))
        beliefs.append(Percepts(z.repeat_interleave(4000, 0), mixture).belief(phi))
    logits = log_prior + sum(belief.table[0, ::4000] for belief in beliefs)
    drawn = draw_sentences(stream(6, "draw"), beliefs, log_prior).view(2, 4000)
    for n in range(2):
        counts = torch.bincount(drawn[n], minlength=language.count)
        assert chi_square(counts.numpy(), logits[n].softmax(-1).numpy()) > ALPHA


def test_chains_with_priors_of_their_own_are_drawn_apart():
    w = signs().expand(C, N)
    belief = percepts().redraw(stream(1, "play"), w, LANGUAGE.count)
    log_prior = torch.full((C, 1, LANGUAGE.count), -800.0, **real)
    log_prior[0, 0, 7], log_prior[1, 0, 50] = 0, 0
    drawn = belief.propose(stream(2, "play"), log_prior)
    assert (drawn[0] == 7).all() and (drawn[1] == 50).all()
