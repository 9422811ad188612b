"""The game as the public reference plays it, object by object, written anew from a description of it.

Not a line of the public code (Symbol-Emergence-VAE-GMM) is in it, but the work is the same, done in the same way: for
each sign the diagonal of an N x N product, for each object a multinomial draw and two densities by scipy, for each
sign a Wishart draw by scipy. `check` holds its proposals, ratios and posteriors against ours.

Priors are those of `mhng.models.mixtures.NormalWishart` by default: m0 = 0, W = WIDTH I, nu = L. Everything is
float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, wishart

from bench.games import Setting, setting
from mhng.inference.proposals import offer, proposal_logits
from mhng.models.mixtures.base import Conjugate

K, L = 10, 12
BETA, WIDTH = 1.0, 0.1

Array = NDArray[Any]


@dataclass
class Agent:
    """What one agent holds: percepts z (N, L), signs (N,), and mu (K, L), Lambda (K, L, L)."""

    z: Array
    signs: Array
    mu: Array
    Lambda: Array


class Posterior(NamedTuple):
    """Normal-Wishart hyperparameters of one sign."""

    mean: Array  # (L,)
    beta: float
    nu: float
    W: Array  # (L, L)


def shares(speaker: Agent, log_pi: Array) -> Array:
    """The probability of each sign to be proposed, (N, K): N numbers of an N x N product for each sign."""
    terms = np.empty((len(speaker.z), len(log_pi)))
    for k in range(len(log_pi)):
        d = speaker.z - speaker.mu[k]
        distance = np.diag(d @ speaker.Lambda[k] @ d.T)
        terms[:, k] = log_pi[k] + (np.linalg.slogdet(speaker.Lambda[k])[1] - distance) / 2
    terms = np.exp(terms - terms.max(axis=1, keepdims=True))
    return terms / terms.sum(axis=1, keepdims=True)


def propose(rng: np.random.RandomState, share: Array) -> Array:
    """One sign for each object, (N,)."""
    return np.array([rng.multinomial(1, own).argmax() for own in share])


def ratios(listener: Agent, proposed: Array) -> Array:
    """N(z_n; proposed) / N(z_n; current) of each object, (N,), by two calls of scipy."""
    covariance = np.linalg.inv(listener.Lambda)
    found = np.empty(len(proposed))
    for n, (new, old) in enumerate(zip(proposed, listener.signs, strict=True)):
        of_new = multivariate_normal.pdf(listener.z[n], mean=listener.mu[new], cov=covariance[new])
        of_old = multivariate_normal.pdf(listener.z[n], mean=listener.mu[old], cov=covariance[old])
        found[n] = of_new / of_old
    return found


def hear(rng: np.random.RandomState, listener: Agent, proposed: Array) -> Array:
    """The listener's signs afterwards: each proposal accepted with probability min(1, r)."""
    signs = listener.signs.copy()
    for n, ratio in enumerate(ratios(listener, proposed)):
        if rng.rand() < min(1, ratio):
            signs[n] = proposed[n]
    return signs


def posterior(z: Array) -> Posterior:
    """Of one sign, given its objects' percepts (n, L)."""
    n, dimension = z.shape
    total = z.sum(axis=0)
    mean, beta = total / (BETA + n), BETA + n
    inverse = np.eye(dimension) / WIDTH + z.T @ z - beta * np.outer(mean, mean)
    return Posterior(mean, beta, dimension + n, np.linalg.inv(inverse))


def redraw(rng: np.random.RandomState, agent: Agent) -> None:
    """The agent's components given its signs, one by one."""
    for k in range(len(agent.mu)):
        of = posterior(agent.z[agent.signs == k])
        agent.Lambda[k] = wishart.rvs(df=of.nu, scale=of.W, random_state=rng)
        agent.mu[k] = rng.multivariate_normal(of.mean, np.linalg.inv(of.beta * agent.Lambda[k]))


def iteration(rng: np.random.RandomState, agents: list[Agent], log_pi: Array) -> None:
    """A speaks and B listens, B speaks and A listens; each listener redraws its components."""
    for speaker, listener in (agents, agents[::-1]):
        listener.signs = hear(rng, listener, propose(rng, shares(speaker, log_pi)))
        redraw(rng, listener)


def both(N: int) -> tuple[Setting, list[Agent]]:
    """The same agents with the same components, as ours and as the reference has them."""
    ours = setting(N, K, L)
    agents = []
    for player, belief, signs in zip(ours.players, ours.state.beliefs, ours.state.signs[0], strict=True):
        mu, scale_tril = (part[0] for part in belief.parameters)
        agents.append(Agent(player.z.numpy(), signs.numpy(), mu.numpy(), torch.cholesky_inverse(scale_tril).numpy()))
    return ours, agents


def check(N: int = 300) -> None:
    """Both ways judge every object alike: proposals, acceptance, and what a redraw is drawn from. AssertionError."""
    ours, agents = both(N)
    log_pi = ours.game.log_prior
    for m, agent in enumerate(agents):
        table = ours.state.beliefs[m].table[0]
        expected = proposal_logits(log_pi, table).softmax(-1).numpy()
        np.testing.assert_allclose(shares(agent, log_pi.numpy()), expected, rtol=1e-6, atol=1e-12)
        near = torch.tensor(agent.signs)
        for step in range(K):  # every other sign as the one proposed
            proposed = (near + step) % K
            expected = offer(table, proposed, near).log_ratio.exp().numpy()
            np.testing.assert_allclose(ratios(agent, proposed.numpy()), expected, rtol=1e-6, atol=1e-300)
        player = ours.players[m]
        assert isinstance(player.mixture, Conjugate)
        sums = player.mixture.sufficient_statistics(player.mixture.features(player.z), near, K)
        of_all = player.mixture.posterior(sums)
        for k in range(K):
            of = posterior(agent.z[agent.signs == k])
            np.testing.assert_allclose(of.mean, of_all.mean[k].numpy(), rtol=1e-8, atol=1e-10)
            assert (of.beta, of.nu) == (float(of_all.beta[k]), float(of_all.nu[k]))
            scale = torch.cholesky_inverse(of_all.inverse_scale[k]).numpy()
            np.testing.assert_allclose(of.W, scale, rtol=1e-6, atol=1e-12)
