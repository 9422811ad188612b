"""The Markov grammar: density, evidence and redraw of the probabilities of words, and whole games with it."""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

from mhng.inference.enumeration import all_signs
from mhng.inference.game import Game, init, play
from mhng.models.grammar import Markov
from mhng.models.languages import Sentences
from mhng.models.rng import seeded_global_rng, stream
from tests.checks import ALPHA, chi_square
from tests.proofs.inference.test_sentences import SMALL, players, real
from tests.proofs.problems import generators

LANGUAGE = Sentences(3, 3)
GRAMMAR = Markov(LANGUAGE, 0.7)


def counts():
    return torch.randint(0, 4, (2, LANGUAGE.count), generator=stream(0, "counts"))


def test_probabilities_are_those_of_a_chain_of_words():
    log_p = GRAMMAR.redraw(stream(1, "draw"), counts())
    p = log_p.exp().view(2, 3, 3, 3)
    assert torch.allclose(p.sum((1, 2, 3)), torch.ones(2, **real))
    given = p / p.sum(-1, keepdim=True)  # p(third | first, second) does not depend on the first
    assert torch.allclose(given[:, 0], given[:, 1]) and torch.allclose(given[:, 0], given[:, 2])
    pairs = p.sum(-1)
    assert torch.allclose(pairs / pairs.sum(-1, keepdim=True), given[:, 0])  # the same transitions everywhere


def test_bayes_theorem_holds():
    """log p(w) = log p(w | pi, A) + log p(pi, A) - log p(pi, A | w)."""
    n = counts()
    log_p = GRAMMAR.redraw(stream(1, "draw"), n)
    rows = GRAMMAR._word_counts(n)
    first = log_p.unflatten(-1, (3, 3, 3)).logsumexp(-1)
    start = first.logsumexp(-1, keepdim=True)
    known = torch.cat([start.mT, first - start], dim=-2).exp()
    after = torch.distributions.Dirichlet(GRAMMAR.alpha + rows).log_prob(known).sum(-1)
    bayes = (n * log_p).sum(-1) + GRAMMAR.log_density(log_p) - after
    assert torch.allclose(GRAMMAR.log_evidence(n), bayes, atol=1e-9, rtol=0)


def test_the_pyro_site_has_the_density_of_the_prior():
    with seeded_global_rng(stream(2, "site")):
        trace = poutine.trace(GRAMMAR.site).get_trace(LANGUAGE.count, torch.zeros(1, **real))
    density = GRAMMAR.log_density(trace.nodes["_RETURN"]["value"])
    assert float(trace.log_prob_sum()) == pytest.approx(float(density), abs=1e-9)
    pyro.clear_param_store()


@pytest.mark.parametrize("mode", ["com", "gibbs"])
def test_whole_games_with_a_grammar_have_the_enumerated_posterior(mode):
    """256 assignments: the evidence of the percepts, times that of the sentences."""
    grammar, agents = Markov(SMALL, 0.7), players()
    assignments = all_signs(4, 4)
    number = torch.nn.functional.one_hot(assignments, 4).sum(1)
    logits = grammar.log_evidence(number) + sum(player.evidence(assignments, 4) for player in agents)
    flat = torch.zeros(4, **real).log_softmax(0)
    game = Game(flat, mode, "chain" if mode == "gibbs" else "shared", weights=grammar, sentences=SMALL)
    signs = torch.randint(4, (2000, 1, 4), generator=stream(3, "signs")).expand(-1, 2, -1)
    state = init(agents, generators(9), signs, 4)
    final = play(game, agents, generators(9), state, 30, keep_means=False)[0].signs[:, 0]
    found = np.bincount((final * torch.tensor([64, 16, 4, 1])).sum(1).numpy(), minlength=256)
    assert chi_square(found, logits.softmax(0).numpy()) > ALPHA
    without = sum(player.evidence(assignments, 4) for player in agents).softmax(0)
    assert chi_square(found, without.numpy()) < ALPHA
