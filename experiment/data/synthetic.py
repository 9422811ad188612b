"""Synthetic data: a known Gaussian mixture, observed by M agents that confuse different pairs of classes.

    c_n ~ Uniform(1..K)                        class of object n
    x_mn | c_n = k ~ N(mu_mk, Sigma_mk)        observation of agent m, D features

Agent m confuses the disjoint pairs in round m of a round-robin tournament of the classes. At ambiguity 0, all classes
are well separated for every agent. At ambiguity 1, the means and covariances of a confused pair are equal, so the
agent alone cannot tell the two classes apart. No pair meets twice in a tournament, so two agents together can tell all
classes apart. The naming game should find these classes.

For every seed, two classes that an agent does not confuse are at least SEPARATION apart, and no standard deviation
exceeds SCALES[1]. The pairs are centred at sites that are at least SITE_DISTANCE apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from mhng.models.rng import stream

SEPARATION = 8.0
SITE_DISTANCE = 2 * SEPARATION
SCALES = (0.6, 1.2)  # standard deviations along the principal axes of a class

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Draw:
    """N objects and the mixture from which they are drawn.

    features: float32 (N, D), one per agent; labels: int64 (N,); means: float64 (M, K, D); covariances: float64
    (M, K, D, D); pairs: the pairs of classes that each agent confuses.
    """

    features: tuple[torch.Tensor, ...]
    labels: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor
    pairs: tuple[Pairs, ...]


def draw(
    count: int, agents: int, *, classes: int = 6, ambiguity: float = 1.0, dimension: int = 4, seed: int = 0
) -> Draw:
    """Draw `count` objects as observed by `agents` agents.

    Labels do not depend on the number of agents, and an agent's features do not depend on the other agents.
    `ambiguity`, in [0, 1], changes means and covariances only; labels, sites and noise stay. With fewer than three
    classes, all agents would confuse the same pair.
    """
    rounds = round_robin(classes)
    pairs = tuple(rounds[agent % len(rounds)] for agent in range(agents))
    labels = torch.randint(classes, (count,), generator=stream(seed, "synthetic/labels"))
    features, means, covariances = [], [], []
    for agent in range(agents):
        generator = stream(seed, f"synthetic/agent/{agent}")
        mu, sigma = _mixture(generator, pairs[agent], classes, ambiguity, dimension)
        noise = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
        x = mu[labels] + (torch.linalg.cholesky(sigma)[labels] @ noise[..., None])[..., 0]
        features.append(x.float())
        means.append(mu)
        covariances.append(sigma)
    return Draw(tuple(features), labels, torch.stack(means), torch.stack(covariances), pairs)


def round_robin(classes: int) -> list[Pairs]:
    """Rounds of a round-robin tournament (circle method), in which every pair of classes meets once.

    A round is a tuple of disjoint pairs. With an odd number of classes, one class sits out.
    """
    even = classes + classes % 2
    circle = list(range(even))
    rounds = []
    for _ in range(even - 1):
        drawn = [(circle[i], circle[-1 - i]) for i in range(even // 2)]
        # With an odd number of classes, the last place is empty, and its opponent sits out.
        rounds.append(tuple((min(pair), max(pair)) for pair in drawn if max(pair) < classes))
        circle = [circle[0], circle[-1], *circle[1:-1]]  # the first stays, the rest rotate
    return rounds


def _mixture(
    generator: torch.Generator, pairs: Pairs, classes: int, ambiguity: float, dimension: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one agent's means (K, D) and covariances (K, D, D)."""
    unpaired = sorted(set(range(classes)) - set(itertools.chain(*pairs)))
    sites = _sites(generator, len(pairs) + len(unpaired), dimension)
    low, high = SCALES
    scales = low + (high - low) * torch.rand(classes, dimension, generator=generator, dtype=torch.float64)
    roots = _rotations(generator, classes, dimension) * scales[:, None, :]
    covariances = roots @ roots.mT
    means = torch.empty(classes, dimension, dtype=torch.float64)
    means[unpaired] = sites[len(pairs) :]
    for (a, b), site in zip(pairs, sites[: len(pairs)], strict=True):
        direction = torch.randn(dimension, generator=generator, dtype=torch.float64)
        offset = (1 - ambiguity) * SEPARATION / 2 * direction / direction.norm()
        means[a], means[b] = site - offset, site + offset
        # With different covariances, the classes could still be told apart at ambiguity 1.
        average = (covariances[a] + covariances[b]) / 2
        covariances[[a, b]] = torch.lerp(covariances[[a, b]], average, ambiguity)
    return means, covariances


def _sites(generator: torch.Generator, count: int, dimension: int) -> torch.Tensor:
    """`count` points (count, D) of a centred lattice with spacing SITE_DISTANCE, in random order, rotated."""
    side = next(side for side in itertools.count(1) if side**dimension >= count)
    powers = [side**axis for axis in range(dimension)]
    lattice = [[index // power % side for power in powers] for index in range(count)]
    points = torch.tensor(lattice, dtype=torch.float64)[torch.randperm(count, generator=generator)]
    return SITE_DISTANCE * (points - points.mean(0)) @ _rotations(generator, 1, dimension)[0]


def _rotations(generator: torch.Generator, count: int, dimension: int) -> torch.Tensor:
    """`count` random orthogonal matrices (count, D, D)."""
    gaussian = torch.randn(count, dimension, dimension, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q
