"""The naming game as the public reference code plays it, object by object, for comparison with `mhng.inference.game`.

This is a new implementation, written from a description; it contains no line of the public code
(Symbol-Emergence-VAE-GMM). It does the same work in the same way: the diagonal of an N x N product for every sign, a
multinomial draw and two scipy densities for every object, a scipy Wishart draw for every sign. `check` compares its
proposals, ratios and posteriors with ours.

The priors are the defaults of `mhng.models.mixtures.NormalWishart`: m0 = 0, W = WIDTH I, nu = L. All arrays are
float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, wishart

from bench.games import BenchGame, bench_game
from mhng.models.belief import offer, proposal_logits
from mhng.models.mixtures.base import Conjugate

K, L = 10, 12
BETA, WIDTH = 1.0, 0.1

Array = NDArray[Any]


@dataclass
class Agent:
    """State of an agent: latents z (N, L), signs (N,), and components mu (K, L), Lambda (K, L, L)."""

    z: Array
    signs: Array
    mu: Array
    Lambda: Array


class Posterior(NamedTuple):
    """Normal-Wishart posterior hyperparameters of one sign."""

    mean: Array  # (L,)
    beta: float
    nu: float
    W: Array  # (L, L)


def proposal_probabilities(speaker: Agent, log_pi: Array) -> Array:
    """Proposal probabilities (N, K), from the diagonal of an N x N product for every sign."""
    terms = np.empty((len(speaker.z), len(log_pi)))
    for k in range(len(log_pi)):
        d = speaker.z - speaker.mu[k]
        distance = np.diag(d @ speaker.Lambda[k] @ d.T)
        terms[:, k] = log_pi[k] + (np.linalg.slogdet(speaker.Lambda[k])[1] - distance) / 2
    terms = np.exp(terms - terms.max(axis=1, keepdims=True))
    return terms / terms.sum(axis=1, keepdims=True)


def propose(rng: np.random.RandomState, probabilities: Array) -> Array:
    """Draw a sign for every object, (N,)."""
    return np.array([rng.multinomial(1, row).argmax() for row in probabilities])


def acceptance_ratios(listener: Agent, proposed: Array) -> Array:
    """N(z_n; proposed) / N(z_n; current) of every object, (N,), by two scipy calls."""
    covariance = np.linalg.inv(listener.Lambda)
    ratios = np.empty(len(proposed))
    for n, (new, old) in enumerate(zip(proposed, listener.signs, strict=True)):
        new_density = multivariate_normal.pdf(listener.z[n], mean=listener.mu[new], cov=covariance[new])
        old_density = multivariate_normal.pdf(listener.z[n], mean=listener.mu[old], cov=covariance[old])
        ratios[n] = new_density / old_density
    return ratios


def accept_or_reject(rng: np.random.RandomState, listener: Agent, proposed: Array) -> Array:
    """The listener's new signs; a proposal is accepted with probability min(1, ratio)."""
    signs = listener.signs.copy()
    for n, ratio in enumerate(acceptance_ratios(listener, proposed)):
        if rng.rand() < min(1, ratio):
            signs[n] = proposed[n]
    return signs


def posterior(z: Array) -> Posterior:
    """Posterior of one sign, given the latents (n, L) of its objects."""
    n, dimension = z.shape
    total = z.sum(axis=0)
    mean, beta = total / (BETA + n), BETA + n
    inverse = np.eye(dimension) / WIDTH + z.T @ z - beta * np.outer(mean, mean)
    return Posterior(mean, beta, dimension + n, np.linalg.inv(inverse))


def redraw(rng: np.random.RandomState, agent: Agent) -> None:
    """Redraw the agent's components given its signs, one sign after the other."""
    for k in range(len(agent.mu)):
        hyper = posterior(agent.z[agent.signs == k])
        agent.Lambda[k] = wishart.rvs(df=hyper.nu, scale=hyper.W, random_state=rng)
        agent.mu[k] = rng.multivariate_normal(hyper.mean, np.linalg.inv(hyper.beta * agent.Lambda[k]))


def iteration(rng: np.random.RandomState, agents: list[Agent], log_pi: Array) -> None:
    """One iteration: A speaks to B, then B to A. The listener redraws its components."""
    for speaker, listener in (agents, agents[::-1]):
        listener.signs = accept_or_reject(rng, listener, propose(rng, proposal_probabilities(speaker, log_pi)))
        redraw(rng, listener)


def matching_games(N: int) -> tuple[BenchGame, list[Agent]]:
    """The same agents with the same components, in our form and in the form of the reference."""
    ours = bench_game(N, K, L)
    agents = []
    for player, belief, signs in zip(ours.players, ours.state.beliefs, ours.state.signs[0], strict=True):
        mu, scale_tril = (part[0] for part in belief.parameters)
        agents.append(Agent(player.z.numpy(), signs.numpy(), mu.numpy(), torch.cholesky_inverse(scale_tril).numpy()))
    return ours, agents


def check(N: int = 300) -> None:
    """Compare both implementations: proposals, acceptance ratios, posteriors. Raises AssertionError."""
    ours, agents = matching_games(N)
    log_pi = ours.game.log_prior
    for m, agent in enumerate(agents):
        table = ours.state.beliefs[m].table[0]
        expected = proposal_logits(log_pi, table).softmax(-1).numpy()
        np.testing.assert_allclose(proposal_probabilities(agent, log_pi.numpy()), expected, rtol=1e-6, atol=1e-12)
        near = torch.tensor(agent.signs)
        for step in range(K):  # all proposals relative to the current sign
            proposed = (near + step) % K
            expected = offer(table, proposed, near).log_ratio.exp().numpy()
            np.testing.assert_allclose(acceptance_ratios(agent, proposed.numpy()), expected, rtol=1e-6, atol=1e-300)
        player = ours.players[m]
        assert isinstance(player.mixture, Conjugate)
        sums = player.mixture.sufficient_statistics(player.mixture.features(player.z), near, K)
        ours_posterior = player.mixture.posterior(sums)
        for k in range(K):
            theirs = posterior(agent.z[agent.signs == k])
            np.testing.assert_allclose(theirs.mean, ours_posterior.mean[k].numpy(), rtol=1e-8, atol=1e-10)
            assert (theirs.beta, theirs.nu) == (float(ours_posterior.beta[k]), float(ours_posterior.nu[k]))
            scale = torch.cholesky_inverse(ours_posterior.inverse_scale[k]).numpy()
            np.testing.assert_allclose(theirs.W, scale, rtol=1e-6, atol=1e-12)
