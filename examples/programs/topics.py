"""Two agents read the same documents in two languages. They agree on a topic for each document.

    python examples/programs/topics.py
    python cli.py prove examples/programs/topics.py:twin

The beliefs have a conjugate draw. It takes the observations, so that `prove` can simulate them.
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

PI = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
K, WORDS = len(PI), 8


def reader(words):
    """An agent: each document has WORDS words of one topic, counted in an array (documents, vocabulary)."""
    phi = pyro.sample("phi", dist.Dirichlet(torch.full((K, words.shape[1]), 0.5, dtype=torch.float64)).to_event(1))
    with pyro.plate("documents", len(words)):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("words", dist.Multinomial(WORDS, phi[w]), obs=words)


def redraw(signs, values, data):
    """A conjugate draw of phi; the first dimension of all tensors is the chain."""
    members = torch.nn.functional.one_hot(signs["w"], K).double()
    return {"phi": dist.Dirichlet(0.5 + members.mT @ data["words"]).sample()}


def game(english=None, french=None) -> NamingGame:
    """The game about 24 documents on three topics, or about given counts."""
    if english is None:
        pyro.set_rng_seed(1)
        topics = torch.arange(24) % K
        common = torch.full((6,), 0.4, dtype=torch.float64)
        english, french = (
            dist.Multinomial(WORDS, dist.Dirichlet(common.expand(K, 6)).sample()[topics]).sample() for _ in range(2)
        )
    players = {name: ProgramPlayer(reader, x, beliefs=redraw) for name, x in (("A", english), ("B", french))}
    return NamingGame(players, turn=turns.each("documents"))


def twin() -> NamingGame:
    """Four documents: 81 assignments to enumerate."""
    english = torch.tensor([[5, 2, 1], [6, 2, 0], [1, 3, 4], [0, 2, 6]], dtype=torch.float64)
    return game(english, torch.tensor([[4, 4], [7, 1], [5, 3], [1, 7]], dtype=torch.float64))


def main(chains: int = 200, sweeps: int = 60) -> None:
    """Play and print how often two documents on one topic, and on two topics, have the same sign."""
    w = game().play(chains, sweeps, thin=sweeps)["w"][:, 0]
    topics = torch.arange(w.shape[1]) % K
    same = (w.unsqueeze(1) == w.unsqueeze(2)).double().mean(0)
    on_one = topics.unsqueeze(0) == topics.unsqueeze(1)
    print(f"documents on one topic have one sign:  {float(same[on_one].mean()):.2f}")
    print(f"documents on two topics have one sign: {float(same[~on_one].mean()):.2f}")


if __name__ == "__main__":
    main()
