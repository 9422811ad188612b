"""A video of digits that change by a Markov rule: A sees the frames, B sees only their motion.

    python examples/programs/video.py
    python cli.py prove examples/programs/video.py:twin

Signs are the states of the frames. Turns of several frames segment the video better than turns of one frame.
"""

import pyro
import pyro.distributions as dist
import torch

from mhng import NamingGame, ProgramPlayer, turns

K = 3
MOVE = 0.02 + 0.94 * torch.eye(K, dtype=torch.float64)
START = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def states(T):
    """The digit that is shown in each frame."""
    w = None
    for t in range(T):
        w = pyro.sample(f"w_{t}", dist.Categorical(START if w is None else MOVE[w]))
        yield t, w


def frames(x, pictures):
    """Agent A: a picture of the digit, with noise; some frames are blurred."""
    for t, w in states(len(x)):
        blurred = pyro.sample(f"blurred_{t}", dist.Bernoulli(torch.tensor(0.2, dtype=torch.float64)))
        noise = (1.0 + blurred).unsqueeze(-1)
        pyro.sample(f"x_{t}", dist.Normal(pictures[w], noise).to_event(1), obs=x[t])


def motions(y):
    """Agent B: each digit drifts in its own direction, which B learns."""
    drift = pyro.sample("drift", dist.Normal(torch.zeros(K, 2, dtype=torch.float64), 2.0).to_event(2))
    for t, w in states(len(y)):
        pyro.sample(f"y_{t}", dist.Normal(drift[w], 1.0).to_event(1), obs=y[t])


def redraw(signs, values, data):
    """A conjugate draw of the directions."""
    T = len(signs)
    w = torch.stack([signs[f"w_{t}"] for t in range(T)], dim=1)
    y = torch.stack([data[f"y_{t}"] for t in range(T)], dim=1)
    members = torch.nn.functional.one_hot(w, K).double()
    precision = (members.sum(1) + 0.25).unsqueeze(-1)
    mean = members.mT @ y / precision
    return {"drift": mean + torch.randn_like(mean) / precision.sqrt()}


def digits():
    """Pictures (K, 4): two by two pixels of the mean images of the digits 0, 1 and 7."""
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    means = torch.stack([torch.tensor(images[classes == k].mean(0)) for k in (0, 1, 7)]).view(K, 2, 4, 2, 4)
    return (means.mean((2, 4)).flatten(1) - 5) / 1.5


def video(T, seed):
    """The true states of T frames, and what A and B see."""
    pyro.set_rng_seed(seed)
    path = torch.stack([w for _, w in states(T)])
    blurred = 1.0 + (torch.rand(T, 1) < 0.2).double()
    x = dist.Normal(digits()[path], blurred).sample()
    drift = torch.tensor([[1.5, 0.0], [-0.8, 1.3], [-0.8, -1.3]], dtype=torch.float64)
    return path, x, dist.Normal(drift[path], 1.0).sample()


def game(T: int = 20, seed: int = 0, size: int = 4) -> NamingGame:
    """The game about T frames, with turns of `size` frames."""
    _, x, y = video(T, seed)
    players = {"A": ProgramPlayer(frames, x, digits()), "B": ProgramPlayer(motions, y, beliefs=redraw)}
    return NamingGame(players, sign="w_*", turn=turns.stretch(size))


def twin() -> NamingGame:
    """Four frames: 81 paths to enumerate."""
    return game(4, 1, 2)


def main(T: int = 20, seeds: int = 1, chains: int = 20, sweeps: int = 6) -> None:
    """Print the ARI of the states with the true ones, after the same number of sweeps."""
    from sklearn.metrics import adjusted_rand_score

    for size in (1, 4):
        scores = []
        for seed in range(seeds):
            w = game(T, seed, size).play(chains, sweeps, thin=sweeps, seed=seed)["w"][:, 0]
            scores += [adjusted_rand_score(video(T, seed)[0], path) for path in w]
        print(f"turns of {size} frames: ARI {sum(scores) / len(scores):.3f}")


if __name__ == "__main__":
    main()
