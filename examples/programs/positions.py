"""A continuous sign: two agents agree on the positions of objects on a line. A's ruler has an unknown offset.

    python examples/programs/positions.py
    python cli.py prove examples/programs/positions.py:twin

A's log density is quadratic in the positions, so A proposes from its Gaussian conditional. B proposes by a guide. With
the proposal a speaker says one number, log p(w) L(w) - log q(w), so any guide that covers
the prior is right.
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns


def normal(mean, scale):
    """A normal distribution in double precision."""
    return dist.Normal(torch.as_tensor(mean, dtype=torch.float64), scale)


def ruler(x):
    """Agent A: the position, with an offset and a little noise."""
    offset = pyro.sample("offset", normal(0.0, 1.0))
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", normal(1.0, 1.0))
        pyro.sample("x", normal(w + offset, 0.5), obs=x)


def glimpse(y):
    """Agent B: twice the position, with more noise and no offset."""
    with pyro.plate("objects", len(y)):
        w = pyro.sample("w", normal(1.0, 1.0))
        pyro.sample("y", normal(2 * w, 1.5), obs=y)


def rough(y):
    """B's guide: a guess."""
    with pyro.plate("objects", len(y)):
        pyro.sample("w", normal(y / 2, 1.0))


def game(x=(0.1, 2.3, 3.9, -1.2, 5.0, 0.7), y=(-0.6, 3.1, 7.5, -4.0, 8.2, 0.3)) -> NamingGame:
    """The game about positions seen as x by A and as y by B."""
    x, y = (torch.tensor(seen, dtype=torch.float64) for seen in (x, y))
    players = {"A": ProgramPlayer(ruler, x, guide="gaussian", steps=3), "B": ProgramPlayer(glimpse, y, guide=rough)}
    return NamingGame(players, turn=turns.each("objects"))


def twin() -> NamingGame:
    """Two objects: the law is normal, in closed form."""
    return game((0.1, 2.3), (-0.6, 3.1))


def main(chains: int = 2000, sweeps: int = 60) -> None:
    """Play and print mean and standard deviation of each position, and the offset of A's ruler."""
    samples = game().play(chains, sweeps, thin=sweeps)
    for n, w in enumerate(samples["w"][:, 0].T):
        print(f"object {n}: {float(w.mean()):5.2f} +- {float(w.std()):.2f}")
    print(f"offset:   {float(samples['A.offset'].mean()):5.2f} +- {float(samples['A.offset'].std()):.2f}")


if __name__ == "__main__":
    main()
