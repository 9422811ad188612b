"""Ratios of times, measured side by side in one process.

    python bench/speed.py [--device cuda] [--only ROWS] [--json FILE]

A pair a / b is timed alternately (a b a b ...), and the median of the ratios is printed: a slower machine slows both.
Absolute times are printed for orientation.

A second table compares epochs and sweeps with the limits of the machine, timed alternately with them: the speed of a
large matrix product, and of a copy that exceeds all caches. The floating-point operations of an epoch are those of
its matrix products and convolutions, forward and backward. For every listener, a sweep reads all features twice
(sufficient statistics and likelihood table), writes the table, and reads it as speaker and as listener. Cached data
may move faster than memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import bench_game
from bench.learners import images, learner, plain_epoch
from bench.timing import (
    HOME,
    PAIRED,
    Work,
    compare,
    machine,
    machine_text,
    median_seconds,
    time_alternately,
    write_json,
)
from mhng.inference import STARTS
from mhng.inference.initialization import Start, initial_signs, most_signs
from mhng.inference.mergers import merge
from mhng.models.distributions import BartlettWishart
from mhng.models.mixtures.gaussians import Components, gaussian_log_prob, quadratic_features

N, K, L = 5000, 10, 12
NETWORKS = ("mlp", "conv", "conv-large")
Rows = list[dict[str, Any]]


def whitened_table(z: Tensor, components: Components) -> Tensor:
    """Table of log densities from explicit residuals (N, K, L) of all objects and signs."""
    mu, scale_tril = components
    whiten = torch.linalg.solve_triangular(scale_tril, torch.eye(L, dtype=mu.dtype, device=mu.device), upper=False)
    residual = torch.einsum("kij,nkj->nki", whiten, z.unsqueeze(1) - mu)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -(residual.square().sum(-1)) / 2 - log_det


def games(device: str) -> Rows:
    """Rows for a sweep, its parts, and initialisations."""
    one_chain, eight_chains = bench_game(N, K, L, device=device), bench_game(N, K, L, C=8, device=device)
    rows = [compare("one sweep of 8 chains / one sweep of 1 chain", eight_chains.sweep, one_chain.sweep, device)]
    if device != "cpu":
        by_graph = bench_game(N, K, L, device=device, graphs=True)
        rows += [compare("one sweep kernel by kernel / by a graph", one_chain.sweep, by_graph.sweep, device)]
    mixture, z = one_chain.players[0].mixture, one_chain.players[0].z
    z_features, phi = quadratic_features(z), one_chain.state.beliefs[0].parameters
    components = Components(*(part[0] for part in phi))

    rows += [
        compare(
            "likelihood table by residuals / by features",
            lambda: whitened_table(z, components),
            lambda: gaussian_log_prob(z_features, components),
            device,
        )
    ]
    options = {"df": torch.tensor(float(L + 3), dtype=torch.float64, device=device)}
    scale = mixture.W.expand(2000, L, L)
    theirs = torch.distributions.Wishart(covariance_matrix=scale, **options)
    ours = BartlettWishart(covariance_matrix=scale, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Singular sample")  # torch redraws singular samples
        rows += [compare("2,000 Wishart draws by torch / by Bartlett", theirs.sample, ours.sample, device)]

    candidates = most_signs(Start("merge"), K)
    signs = torch.randint(candidates, (1, 2, N), device=device)
    name = f"merging {candidates} signs to {K} / one sweep"
    rows += [
        compare(name, lambda: merge(one_chain.players, signs, candidates, K, one_chain.game), one_chain.sweep, device)
    ]
    for kind in (kind for kind in STARTS if kind != "slots"):  # of sentences
        start = Start(kind)
        name = f"initialisation {kind}, {start.tries} tries of {start.after} sweeps / one sweep"

        def initialise(start: Start = start) -> None:
            initial_signs(start, one_chain.game, one_chain.players, one_chain.generators, 1)

        rows += [compare(name, initialise, one_chain.sweep, device, 3)]
    return rows


def epochs(device: str) -> Rows:
    """Rows for training: Pyro against plain PyTorch, networks against each other and against a sweep."""
    x, game = images(N, device), bench_game(N, K, L, device=device)
    mlp, conv, large = (learner(network, x, device) for network in NETWORKS)
    rows = [
        compare("an epoch of mlp / one sweep of 1 chain", lambda: mlp.learn(1), game.sweep, device, 5),
        compare(
            "an epoch of mlp in Pyro / in plain PyTorch", lambda: mlp.learn(1), lambda: plain_epoch(mlp), device, 7
        ),
        compare(
            "an epoch of conv in Pyro / in plain PyTorch", lambda: conv.learn(1), lambda: plain_epoch(conv), device, 5
        ),
        compare("an epoch of conv / of mlp", lambda: conv.learn(1), lambda: mlp.learn(1), device, 3),
    ]
    if device != "cpu":
        rows += [compare("an epoch of conv-large / of mlp", lambda: large.learn(1), lambda: mlp.learn(1), device, 3)]
        for network, by_graph in zip(NETWORKS, (mlp, conv, large), strict=True):
            by_kernel = learner(network, x, device, graphs=False)
            name = f"an epoch of {network} kernel by kernel / by graphs"
            rows += [compare(name, partial(by_kernel.learn, 1), partial(by_graph.learn, 1), device, 3)]
    return rows


def commands(device: str) -> Rows:
    """Rows for commands, as whole processes."""
    cli = [sys.executable, str(HOME / "cli.py")]

    def process(*words: str) -> Callable[[], object]:
        return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    rows = [
        compare("`cli.py --help` / `python -c pass`", process(*cli, "--help"), process(sys.executable, "-c", "pass"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        vectors = "train --dataset synthetic --likelihood identity --dimension 2 --signs 6 --rounds 0 --chains 4"
        process(*cli, *vectors.split(), "--start", "kmeans", "--device", device, "--run-dir", run)()
        imports = process(sys.executable, "-c", "import arviz")
        for word in ("no-plots", "plots"):
            name = f"`cli.py diagnose RUN --{word}` / `python -c 'import arviz'`"
            rows += [compare(name, process(*cli, "diagnose", run, f"--{word}"), imports, pairs=3)]
    return rows


def limits(device: str) -> dict[str, Any]:
    """Print the second table: shares of the limits of the machine."""
    side, size = (2048, 2**28) if device == "cpu" else (8192, 2**30)
    products = {dtype: Yardstick(*product(side, dtype, device)) for dtype in (torch.float32, torch.float64)}
    source = torch.zeros(size // 8, dtype=torch.float64, device=device)
    copied = torch.empty_like(source)
    copying = Yardstick(lambda: copied.copy_(source), 2 * size)
    best = {str(dtype).removeprefix("torch."): limit.speed(device) for dtype, limit in products.items()}
    if device != "cpu":  # convolutions may use it by default
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        best["tf32"] = products[torch.float32].speed(device)
        torch.set_float32_matmul_precision(before)
    best["copy"] = copying.speed(device)
    speeds = ", ".join(f"{name} {speed / 1e9:,.0f}" for name, speed in best.items() if name != "copy")
    print(f"\nGFLOP/s of {side} x {side} matrix products: {speeds}; GB/s of a copy: {best['copy'] / 1e9:,.1f}\n")
    print("| work | ms | GFLOP | share of peak | MB moved | share of bandwidth |\n| --- " + "| --- " * 5 + "|")
    rows: Rows = []
    x = images(N, device)
    for network in NETWORKS:
        net = learner(network, x if network != "conv-large" or device != "cpu" else x[:512], device)
        with FlopCounterMode(display=False) as counter:
            plain_epoch(net)
        row = {"name": f"an epoch of {network}, {len(net.x):,} images, float32", "flop": counter.get_total_flops()}
        row |= products[torch.float32].share(lambda: net.learn(1), row["flop"], device, 3)  # noqa: B023
        rows.append(row)
        print(f"{limit_cells(row)} - | - |", flush=True)
    F = 1 + L + L * (L + 1) // 2
    for count in (N, 20 * N):
        game = bench_game(count, K, L, device=device)
        row = {"name": f"a sweep of {count:,} objects, float64", "flop": 2 * 4 * count * K * F}
        row |= products[torch.float64].share(game.sweep, row["flop"], device)
        row["bytes"] = 2 * 8 * (2 * count * F + 3 * count * K)
        row["share_of_bandwidth"] = copying.share(game.sweep, row["bytes"], device)["share"]
        rows.append(row)
        print(f"{limit_cells(row)} {row['bytes'] / 1e6:.0f} | {row['share_of_bandwidth']:.1%} |", flush=True)
    return {"speeds": best, "rows": rows}


def limit_cells(row: dict[str, Any]) -> str:
    """Common cells of the rows of the second table."""
    return f"| {row['name']} | {row['seconds'] * 1e3:.1f} | {row['flop'] / 1e9:.3g} | {row['share']:.1%} |"


class Yardstick(NamedTuple):
    """Reference work for a limit of the machine, and its amount in operations or bytes."""

    work: Work
    amount: int

    def speed(self, device: str) -> float:
        """Amount per second."""
        return self.amount / median_seconds(self.work, device)

    def share(self, work: Work, amount: int, device: str, pairs: int = 9) -> dict[str, float]:
        """Speed of `work`, which needs `amount`, as a share of this limit; and its seconds."""
        taken = time_alternately(work, self.work, device, pairs)
        share = statistics.median(amount / ours / (self.amount / best) for ours, best in taken)
        return {"share": share, "seconds": statistics.median(ours for ours, _ in taken)}


def product(side: int, dtype: torch.dtype, device: str) -> tuple[Work, int]:
    """A product of square matrices, and its number of floating-point operations."""
    a, b = (torch.rand(side, side, dtype=dtype, device=device) for _ in range(2))
    return lambda: a @ b, 2 * side**3


ROWS: dict[str, Callable[[str], Any]] = {"games": games, "epochs": epochs, "commands": commands, "limits": limits}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--only", nargs="+", choices=list(ROWS), default=list(ROWS), help="rows to measure (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    options = parser.parse_args()
    print(f"{machine_text(options.device)}; N = {N}, K = {K}, L = {L}")
    results = {"machine": machine(options.device)}
    if set(options.only) - {"limits"}:
        print(PAIRED)
    for name in (name for name in ROWS if name in options.only):
        results[name] = ROWS[name](options.device)
    write_json(options.json, **results)


if __name__ == "__main__":
    main()
