"""A neural likelihood: two agents see digits through their own VAE, B turned by 90 degrees, and name them.

    python examples/programs/vae.py
    python cli.py prove examples/programs/vae.py:twin

Each agent first trains a small VAE alone. Its decoder is then part of an ordinary program.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from mhng import NamingGame, ProgramPlayer, turns

PI = torch.tensor([0.5, 0.3, 0.2])


def seer(x, decoder, L, noise):
    """An agent: a latent near the mean of its sign, and an image from the decoder."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(len(PI), L), 1.0).to_event(2))
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", dist.Categorical(PI))
        z = pyro.sample("z", dist.Normal(mu[w], 0.4).to_event(1))
        pyro.sample("x", dist.Normal(decoder(z), noise).to_event(1), obs=x)


def network(inputs, outputs, hidden=32):
    """A small network."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def learn(x, L=2, noise=0.3, steps=600):
    """Train a VAE on images x (N, D); returns the decoder."""
    decoder, encoder = network(L, x.shape[1]), network(x.shape[1], 2 * L)

    def model():
        pyro.module("decoder", decoder)
        with pyro.plate("objects", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(L), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), noise).to_event(1), obs=x)

    def guide():
        pyro.module("encoder", encoder)
        with pyro.plate("objects", len(x)):
            mean, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, log_scale.exp()).to_event(1))

    pyro.clear_param_store()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    for _ in range(steps):
        svi.step()
    return decoder.requires_grad_(False)


def digits(count=90):
    """Images (N, 64) of the digits 0, 1 and 4, upright and turned, and their classes."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    chosen = [n for n, k in enumerate(classes) if k in (0, 1, 4)][:count]
    upright = torch.tensor(images[chosen] / 16, dtype=torch.float32).view(-1, 8, 8)
    return upright.flatten(1), upright.rot90(1, (1, 2)).flatten(1), classes[chosen]


def game() -> NamingGame:
    """The game about 90 digits."""
    pyro.set_rng_seed(0)
    players = {
        name: ProgramPlayer(seer, x, learn(x), 2, 0.3, steps=5) for name, x in zip("AB", digits()[:2], strict=True)
    }
    return NamingGame(players, turn=turns.each("objects"))


def twin() -> NamingGame:
    """Two objects, decoders with random weights from one latent dimension to two pixels."""
    pyro.set_rng_seed(3)
    decoders = [network(1, 2).requires_grad_(False) for _ in "AB"]
    images = torch.tensor([[0.1, 0.5], [-0.4, 0.2]]), torch.tensor([[0.3, -0.2], [0.6, 0.4]])
    players = {
        name: ProgramPlayer(seer, x, decoder, 1, 0.3, steps=2)
        for name, x, decoder in zip("AB", images, decoders, strict=True)
    }
    return NamingGame(players, turn=turns.each("objects"))


def main(chains: int = 4, sweeps: int = 60) -> None:
    """Play and print the agreement of the signs with the classes, which no agent has seen."""
    from sklearn.metrics import adjusted_rand_score

    w = game().play(chains, sweeps, thin=sweeps, warmup=60)["w"][:, 0]
    print("ARI of each chain:", *(f"{adjusted_rand_score(digits()[2], signs):.2f}" for signs in w))


if __name__ == "__main__":
    main()
