"""Two agents watch one sequence: A sees a position, B counts events. They agree on the hidden states.

    python examples/programs/hidden_markov.py
    python cli.py play examples/programs/hidden_markov.py:game --sweeps 100 --out runs/states
    python cli.py prove examples/programs/hidden_markov.py:twin

The signs are the states w_0 ... w_11 of a Markov chain. A turn proposes T consecutive states given the listener's
other states. Short stretches move slowly through a chain that rarely changes; the whole path is rarely accepted.
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

MOVE = torch.tensor([[0.90, 0.05, 0.05], [0.05, 0.90, 0.05], [0.05, 0.05, 0.90]], dtype=torch.float64)
START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
POSITION = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
RATE = torch.tensor([1.0, 4.0, 1.5], dtype=torch.float64)


def states(T):
    """The states, one site for each step."""
    w = torch.tensor(0)
    for t in range(T):
        w = pyro.sample(f"w_{t}", dist.Categorical(MOVE[w] if t else START))
        yield t, w


def positions(x):
    """Agent A: a position with noise at every step."""
    for t, w in states(len(x)):
        pyro.sample(f"x_{t}", dist.Normal(POSITION[w], 0.8), obs=x[t])


def events(y):
    """Agent B: a number of events at every step; B knows their rates roughly."""
    rate = pyro.sample("rate", dist.Gamma(4 * RATE, 4.0).to_event(1))
    for t, w in states(len(y)):
        pyro.sample(f"y_{t}", dist.Poisson(rate[w]), obs=y[t])


PATH = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0, 0])


def game(path=PATH) -> NamingGame:
    """The game about observations of a path, with stretches of 3 states."""
    pyro.set_rng_seed(0)
    x, y = dist.Normal(POSITION[path], 0.8).sample(), dist.Poisson(RATE[path]).sample()
    players = {"A": ProgramPlayer(positions, x), "B": ProgramPlayer(events, y)}
    return NamingGame(players, sign="w_*", turn=turns.stretch(3))


def twin() -> NamingGame:
    """Five states: 243 paths to enumerate."""
    return game(PATH[2:7])


def main(chains: int = 500, sweeps: int = 30) -> None:
    """Play and print the recovered path."""
    w = game().play(chains, sweeps, thin=sweeps)["w"][:, 0]
    best = torch.stack([(w == k).double().mean(0) for k in range(3)]).argmax(0)
    print("true path:     ", *PATH.tolist())
    print("agreed path:   ", *best.tolist())
    print(f"states right: {float((best == PATH).double().mean()):.2f}")


if __name__ == "__main__":
    main()
