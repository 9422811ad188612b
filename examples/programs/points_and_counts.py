"""Two agents name things: A sees points in a plane, B counts events. Each learns what a name means.

    python examples/programs/points_and_counts.py
    python cli.py prove examples/programs/points_and_counts.py:twin

Means and rates are beliefs, which each agent redraws by a random walk.
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

PI = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64)
K = len(PI)


def points(x):
    """Agent A: a point near the mean of the sign."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(K, 2, dtype=torch.float64), 1.5).to_event(2))
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(mu[w], 0.6).to_event(1), obs=x)


def counts(y):
    """Agent B: a count with the rate of the sign."""
    rate = pyro.sample("rate", dist.Gamma(torch.full((K,), 2.0, dtype=torch.float64), 1.0).to_event(1))
    with pyro.plate("objects", len(y)):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("y", dist.Poisson(rate[w]), obs=y)


def game(x=None, y=None) -> NamingGame:
    """The game about 30 things of three kinds, or about given observations."""
    if x is None:
        pyro.set_rng_seed(0)
        kinds = torch.arange(30) % K
        x = dist.Normal(2.0 * torch.eye(K, 2, dtype=torch.float64)[kinds], 0.6).sample()
        y = dist.Poisson(torch.tensor([1.0, 1.0, 6.0], dtype=torch.float64)[kinds]).sample()
    players = {"A": ProgramPlayer(points, x, steps=4), "B": ProgramPlayer(counts, y, steps=4)}
    return NamingGame(players, turn=turns.each("objects"))


def twin() -> NamingGame:
    """Four things: 81 assignments to enumerate."""
    x = torch.tensor([[-1.0, 0.6], [-0.8, 0.1], [1.2, -0.3], [0.9, 0.4]], dtype=torch.float64)
    return game(x, torch.tensor([1.0, 0.0, 4.0, 3.0], dtype=torch.float64))


def main(chains: int = 200, sweeps: int = 40) -> None:
    """Play and print the share of chains in which the signs tell each pair of kinds apart."""
    w = game().play(chains, sweeps, thin=sweeps, warmup=60)["w"][:, 0]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = (w[:, a::3].mode(1).values != w[:, b::3].mode(1).values).double().mean()
        print(f"kinds {a} and {b} have different signs: {float(apart):.2f}")


if __name__ == "__main__":
    main()
