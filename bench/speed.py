"""Where the time goes, as ratios measured side by side in one process: python bench/speed.py [--device cuda].

Each pair is timed in turn, A B A B ..., and the median of the ratios is told, so that a machine that slows down slows
both. Absolute times are printed for orientation only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inference.game import Game, init, sweep
from inference.svi import Learner
from models.agent import Agent
from models.mixtures import BartlettWishart, Components, NormalWishart, features, log_table
from models.percepts import Percepts
from models.randomness import stream

N, K, L = 5000, 10, 12


def compare(name: str, a: Callable[[], object], b: Callable[[], object], device: str, pairs: int = 9) -> None:
    """Print the median of time(a) / time(b)."""

    def seconds(work: Callable[[], object]) -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds(a), seconds(b)
    taken = [(seconds(a), seconds(b)) for _ in range(pairs)]
    ratio = statistics.median(x / y for x, y in taken)
    low = statistics.median(y for _, y in taken)
    print(f"| {name} | {ratio:.2f} | {low * ratio * 1e3:.1f} | {low * 1e3:.1f} |", flush=True)


def learner(network: str, x: Tensor, device: str) -> Learner:
    """An agent ready to learn from x."""
    agent = Agent(
        tuple(x.shape[1:]), signs=K, latent=L, network=network, generator=stream(0, "init", device), device=device
    )
    return Learner(agent, x, stream(0, "learn", device), batch_size=128, lr=1e-3)


def bare_epoch(one: Learner) -> None:
    """An epoch of the same bound by hand: N(0, I) prior, no Pyro."""
    agent, optimiser = one.agent, one.optimiser
    assert optimiser is not None
    for index in torch.randperm(len(one.x), device=one.x.device).split(one.batch_size):
        x = one.x[index]
        loc, scale = agent.encoder(x)
        output = agent.decoder(loc + scale * torch.randn_like(scale))
        reconstruction = nn.functional.binary_cross_entropy_with_logits(output, x, reduction="sum")
        kl = 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log()).sum()
        optimiser.zero_grad()
        ((reconstruction + kl) / len(x)).backward()
        optimiser.step()


def whitened_table(z: Tensor, components: Components) -> Tensor:
    """The table of log densities with the residuals of every object and sign made explicit, (N, K, L)."""
    mu, scale_tril = components
    whiten = torch.linalg.solve_triangular(scale_tril, torch.eye(L, dtype=mu.dtype, device=mu.device), upper=False)
    residual = torch.einsum("kij,nkj->nki", whiten, z.unsqueeze(1) - mu)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -(residual.square().sum(-1)) / 2 - log_det


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {device}; N = {N}, K = {K}, L = {L}")
    print("| a / b | ratio | a, ms | b, ms |\n| --- | --- | --- | --- |")

    z = torch.randn(2, N, L, dtype=torch.float64, generator=stream(0, "z", device), device=device)
    players = [Percepts(own, NormalWishart(L, device=device)) for own in z]
    generators = [stream(0, name, device) for name in "AB"]
    game = Game(torch.zeros(K, dtype=torch.float64, device=device).log_softmax(0))

    def state(chains: int):  # type: ignore[no-untyped-def]
        signs = torch.randint(K, (chains, 2, N), generator=stream(0, "signs", device), device=device)
        return init(players, generators, signs, K)

    one, eight = state(1), state(8)
    x = torch.rand(N, 1, 28, 28, generator=stream(0, "x", device), device=device)
    mlp, conv, large = (learner(network, x, device) for network in ("mlp", "conv", "conv-large"))

    def sweeps(start) -> None:  # type: ignore[no-untyped-def]
        sweep(game, players, generators, start)

    compare("one sweep of 8 chains / one sweep of 1 chain", lambda: sweeps(eight), lambda: sweeps(one), device)
    compare("an epoch of mlp / one sweep of 1 chain", lambda: mlp.learn(1), lambda: sweeps(one), device, 5)
    compare("an epoch of mlp by Pyro / by hand", lambda: mlp.learn(1), lambda: bare_epoch(mlp), device, 5)
    compare("an epoch of conv / of mlp", lambda: conv.learn(1), lambda: mlp.learn(1), device, 3)
    if device != "cpu":
        compare("an epoch of conv-large / of mlp", lambda: large.learn(1), lambda: mlp.learn(1), device, 3)

    family, own = players[0].mixture, features(z[0])
    phi = family.draw(generators[0], family.posterior(family.nothing(K)))
    compare("table by residuals / by features", lambda: whitened_table(z[0], phi), lambda: log_table(own, phi), device)
    many = {"df": torch.tensor(float(L + 3), dtype=torch.float64, device=device)}
    scale = family.W.expand(2000, L, L)
    theirs = torch.distributions.Wishart(covariance_matrix=scale, **many)
    ours = BartlettWishart(covariance_matrix=scale, **many)
    compare("2,000 Wishart draws by torch / by Bartlett", theirs.sample, ours.sample, device)


if __name__ == "__main__":
    main()
