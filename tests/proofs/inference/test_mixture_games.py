"""Whole games of every family against the enumerated posterior: agents of different families play together."""

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import all_signs, joint_posterior
from mhng.inference.game import Game, init, play
from mhng.models.mixtures import dirichlet
from mhng.models.mixtures.base import one_hot
from mhng.models.mixtures.dirichlet import DirichletMultinomial
from mhng.models.mixtures.head_to_head import HeadToHead
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES, load_variant
from mhng.models.rng import gamma
from tests.checks import ALPHA, chi_square
from tests.proofs.models.test_mixture_contract import PRIORS
from tests.proofs.problems import LOG_PRIOR, K, generators, mixtures, random_signs

EXACT = [name for name in sorted(MIXTURES) if load_variant(MIXTURES[name]).exact_evidence]
PLACES = torch.tensor([[0.5, 1.1], [-0.7, -0.9], [0.6, 0.8], [-0.9, -1.2]], dtype=torch.float64)
COUNTS = torch.tensor([[4.0, 1.0], [0.0, 3.0], [5.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
DATA = {"real": PLACES, "counts": COUNTS, "angles": PLACES, "simplex": PLACES.softmax(1)}


# With a concentration near 0, a sign admits one category only.
PURE = torch.tensor([[4.0, 0.0], [0.0, 3.0], [5.0, 0.0], [0.0, 2.0]], dtype=torch.float64)


def players(name):
    """One agent of the family, and one with a full covariance that sees something else."""
    family = load_variant(MIXTURES[name])(2, **PRIORS[name])
    return [Percepts(DATA[family.input_support], family), mixtures()[0]]


def found(name, game, sweeps=25, chains=2500):
    """Final signs of chains, counted by assignment. name: a mixture, or the agents."""
    agents = players(name) if isinstance(name, str) else name
    start = init(agents, generators(5), random_signs(chains, seed=5), K)
    signs = play(game, agents, generators(5), start, sweeps)[0].signs[:, 0]
    return np.bincount((signs * torch.tensor([27, 9, 3, 1])).sum(1).numpy(), minlength=K ** PLACES.shape[0])


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("game", [Game(LOG_PRIOR, "com", "shared"), Game(LOG_PRIOR, "gibbs")], ids=["shared", "gibbs"])
def test_the_whole_game_has_the_enumerated_joint_posterior(name, game):
    law = joint_posterior(players(name), LOG_PRIOR, 4).numpy()
    assert chi_square(found(name, game), law) > ALPHA


@pytest.mark.parametrize("name", EXACT)
def test_accepting_everything_is_rejected(name):
    law = joint_posterior(players(name), LOG_PRIOR, 4).numpy()
    assert chi_square(found(name, Game(LOG_PRIOR, "all", "shared")), law) < ALPHA


@pytest.mark.parametrize("game", [Game(LOG_PRIOR, "com", "shared"), Game(LOG_PRIOR, "gibbs")], ids=["shared", "gibbs"])
def test_multinomial_components_with_a_concentration_near_0(game, monkeypatch):
    agents = [Percepts(PURE, DirichletMultinomial(2, alpha=1e-3)), mixtures()[0]]
    law = joint_posterior(agents, LOG_PRIOR, 4).numpy()
    assert chi_square(found(agents, game, 60), law) > ALPHA
    if game.mode == "gibbs":  # Gamma draws that underflow make frequencies uniform
        monkeypatch.setattr(
            dirichlet, "log_dirichlet", lambda g, a, least: gamma(g, a).clamp_min(1e-300).log().log_softmax(-1)
        )
        assert chi_square(found(agents, game, 60), law) < ALPHA


def head_to_head_law(agents, alpha, categories):
    """P(w | z^A, z^B) of a head-to-head agent A and another one B: a sum over all categories c of A's objects."""
    first, second = agents
    every, own = all_signs(4, K), all_signs(4, categories)
    latents = first.mixture.base.log_evidence(first.mixture.base.features(first.z), own, categories)
    counts = torch.einsum("anj,bnk->abjk", one_hot(own, categories, torch.float64), one_hot(every, K, torch.float64))
    names = torch.lgamma(alpha + counts).sum(-1) - torch.lgamma(K * alpha + counts.sum(-1))
    return ((latents[:, None] + names.sum(-1)).logsumexp(0) + joint_posterior([second], LOG_PRIOR, 4).log()).softmax(0)


@pytest.mark.parametrize("alpha", [0.7, 1e-3])
@pytest.mark.parametrize("mode", ["gibbs", pytest.param("com", marks=pytest.mark.slow)])
def test_head_to_head_categories_have_the_enumerated_joint_posterior(mode, alpha):
    game, long = Game(LOG_PRIOR, mode, "shared"), mode == "com"
    agents = [Percepts(PLACES, HeadToHead(2, categories=4, alpha=alpha, beta=0.6, nu=5.5, W=0.7)), mixtures()[0]]
    counts = found(agents, game, 120 if long else 40, 2500 if long else 1000)
    assert chi_square(counts, head_to_head_law(agents, alpha, 4).numpy()) > ALPHA
    assert chi_square(counts, head_to_head_law(agents, 0.7 if alpha < 0.1 else 1e-3, 4).numpy()) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MIXTURES) - set(EXACT)))
def test_approximate_evidence_agrees_with_importance_sampling(name):
    """p(z | w) of the 81 assignments by a million draws from the prior, which few percepts allow."""
    agents = players(name)
    own = agents[0]
    every = all_signs(4, K)
    total = torch.zeros(len(every), dtype=torch.float64)
    for seed in range(10):
        table = own.from_prior(torch.Generator().manual_seed(seed), 100_000, K).table
        likelihood = sum(table[:, n, every[:, n]] for n in range(4))
        total += likelihood.exp().sum(0)
    law = (total.log() + joint_posterior(agents[1:], LOG_PRIOR, 4).log()).softmax(0).numpy()
    counts = found(name, Game(LOG_PRIOR, "gibbs"), sweeps=60, chains=6000)
    distance = np.abs(counts / counts.sum() - law).sum() / 2
    wrong = np.abs(found(name, Game(LOG_PRIOR, "all", "shared")) / counts.sum() - law).sum() / 2
    assert distance < 0.05 < 0.1 < wrong
