"""Whole games of every family against the enumerated posterior: agents of different families play together."""

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import all_signs, joint_posterior
from mhng.inference.game import Game, init, play
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES, load_variant
from tests.checks import ALPHA, chi_square
from tests.proofs.models.test_mixture_contract import PRIORS
from tests.proofs.problems import LOG_PRIOR, K, generators, mixtures, random_signs

EXACT = [name for name in sorted(MIXTURES) if load_variant(MIXTURES[name]).exact_evidence]
PLACES = torch.tensor([[0.5, 1.1], [-0.7, -0.9], [0.6, 0.8], [-0.9, -1.2]], dtype=torch.float64)
COUNTS = torch.tensor([[4.0, 1.0], [0.0, 3.0], [5.0, 2.0], [1.0, 2.0]], dtype=torch.float64)
DATA = {"real": PLACES, "counts": COUNTS, "angles": PLACES, "simplex": PLACES.softmax(1)}


def players(name):
    """One agent of the family, and one with a full covariance that sees something else."""
    family = load_variant(MIXTURES[name])(2, **PRIORS[name])
    return [Percepts(DATA[family.input_support], family), mixtures()[0]]


def found(name, game, sweeps=25, chains=2500):
    agents = players(name)
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
