"""Where the time goes, as ratios measured side by side in one process.

    python bench/speed.py [--device cuda] [--only ROWS] [--json FILE]

Each pair is timed in turn, A B A B ..., and the median of the ratios is told, so that a machine that slows down slows
both. Absolute times are printed for orientation only.

A second table holds epochs and sweeps against what the machine can do, measured in turn with them: the speed of one
large product of matrices, and of a copy that no cache holds. An epoch's floating-point operations are those of its
products and convolutions, forward and backward. A sweep must, for each listener, read all features twice (sums and
table), write its table, and read it as speaker and as listener; what a cache holds may move faster than memory.
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

from bench.games import setting
from bench.learners import bare_epoch, images, learner
from bench.timing import HOME, PAIRED, Work, compare, described, in_turn, machine, median_seconds, write_json
from mhng.inference import STARTS
from mhng.inference.initialization import Start, begin, merge, signs_of
from mhng.models.distributions import BartlettWishart
from mhng.models.mixtures.gaussians import Components, gaussian_log_prob, quadratic_features

N, K, L = 5000, 10, 12
NETWORKS = ("mlp", "conv", "conv-large")
Rows = list[dict[str, Any]]


def whitened_table(z: Tensor, components: Components) -> Tensor:
    """The table of log densities with the residuals of every object and sign made explicit, (N, K, L)."""
    mu, scale_tril = components
    whiten = torch.linalg.solve_triangular(scale_tril, torch.eye(L, dtype=mu.dtype, device=mu.device), upper=False)
    residual = torch.einsum("kij,nkj->nki", whiten, z.unsqueeze(1) - mu)
    log_det = scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -(residual.square().sum(-1)) / 2 - log_det


def games(device: str) -> Rows:
    """A sweep's parts, and what is made of sweeps."""
    one, eight = setting(N, K, L, device=device), setting(N, K, L, C=8, device=device)
    rows = [compare("one sweep of 8 chains / one sweep of 1 chain", eight.sweep, one.sweep, device)]
    if device != "cpu":
        by_graph = setting(N, K, L, device=device, graphs=True)
        rows += [compare("one sweep kernel by kernel / by a graph", one.sweep, by_graph.sweep, device)]
    family, own = one.players[0].mixture, one.players[0].z
    made, phi = quadratic_features(own), one.state.beliefs[0].parameters
    mine = Components(*(part[0] for part in phi))

    rows += [
        compare(
            "table by residuals / by features",
            lambda: whitened_table(own, mine),
            lambda: gaussian_log_prob(made, mine),
            device,
        )
    ]
    many = {"df": torch.tensor(float(L + 3), dtype=torch.float64, device=device)}
    scale = family.W.expand(2000, L, L)
    theirs = torch.distributions.Wishart(covariance_matrix=scale, **many)
    ours = BartlettWishart(covariance_matrix=scale, **many)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Singular sample")  # of torch's own, which are drawn again
        rows += [compare("2,000 Wishart draws by torch / by Bartlett", theirs.sample, ours.sample, device)]

    more = signs_of(Start("merge"), K)
    signs = torch.randint(more, (1, 2, N), device=device)
    name = f"the merger of {more} signs to {K} / one sweep"
    rows += [compare(name, lambda: merge(one.players, signs, more, K), one.sweep, device)]
    for kind in STARTS:
        start = Start(kind)
        name = f"a start by {kind}, {start.tries} tries of {start.after} sweeps / one sweep"

        def begun(start: Start = start) -> None:
            begin(start, one.game, one.players, one.generators, 1)

        rows += [compare(name, begun, one.sweep, device, 3)]
    return rows


def epochs(device: str) -> Rows:
    """Learning by Pyro and by hand, and against playing."""
    x, one = images(N, device), setting(N, K, L, device=device)
    mlp, conv, large = (learner(network, x, device) for network in NETWORKS)
    rows = [
        compare("an epoch of mlp / one sweep of 1 chain", lambda: mlp.learn(1), one.sweep, device, 5),
        compare("an epoch of mlp by Pyro / by hand", lambda: mlp.learn(1), lambda: bare_epoch(mlp), device, 7),
        compare("an epoch of conv by Pyro / by hand", lambda: conv.learn(1), lambda: bare_epoch(conv), device, 5),
        compare("an epoch of conv / of mlp", lambda: conv.learn(1), lambda: mlp.learn(1), device, 3),
    ]
    if device != "cpu":
        rows += [compare("an epoch of conv-large / of mlp", lambda: large.learn(1), lambda: mlp.learn(1), device, 3)]
        for network, by_graph in zip(NETWORKS, (mlp, conv, large), strict=True):
            one_by_one = learner(network, x, device, graphs=False)
            name = f"an epoch of {network} kernel by kernel / by graphs"
            rows += [compare(name, partial(one_by_one.learn, 1), partial(by_graph.learn, 1), device, 3)]
    return rows


def commands(device: str) -> Rows:
    """What a person waits for at a terminal: whole processes."""
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
    """The second table."""
    side, size = (2048, 2**28) if device == "cpu" else (8192, 2**30)
    products = {dtype: Yardstick(*product(side, dtype, device)) for dtype in (torch.float32, torch.float64)}
    source = torch.zeros(size // 8, dtype=torch.float64, device=device)
    copied = torch.empty_like(source)
    copying = Yardstick(lambda: copied.copy_(source), 2 * size)
    best = {str(dtype).removeprefix("torch."): one.speed(device) for dtype, one in products.items()}
    if device != "cpu":  # convolutions may use it unasked
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        best["tf32"] = products[torch.float32].speed(device)
        torch.set_float32_matmul_precision(before)
    best["copy"] = copying.speed(device)
    told = ", ".join(f"{name} {speed / 1e9:,.0f}" for name, speed in best.items() if name != "copy")
    print(f"\nGFLOP/s of products {side} x {side}: {told}; a copy reads and writes {best['copy'] / 1e9:,.1f} GB/s\n")
    print("| work | ms | GFLOP | share of peak | MB to move | share of bandwidth |\n| --- " + "| --- " * 5 + "|")
    rows: Rows = []
    x = images(N, device)
    for network in NETWORKS:
        one = learner(network, x if network != "conv-large" or device != "cpu" else x[:512], device)
        with FlopCounterMode(display=False) as counter:
            bare_epoch(one)
        row = {"name": f"an epoch of {network}, {len(one.x):,} images, float32", "flop": counter.get_total_flops()}
        row |= products[torch.float32].share(lambda: one.learn(1), row["flop"], device, 3)  # noqa: B023
        rows.append(row)
        print(f"{limit(row)} - | - |", flush=True)
    F = 1 + L + L * (L + 1) // 2
    for count in (N, 20 * N):
        game = setting(count, K, L, device=device)
        row = {"name": f"a sweep of {count:,} objects, float64", "flop": 2 * 4 * count * K * F}
        row |= products[torch.float64].share(game.sweep, row["flop"], device)
        row["bytes"] = 2 * 8 * (2 * count * F + 3 * count * K)
        row["share_of_bandwidth"] = copying.share(game.sweep, row["bytes"], device)["share"]
        rows.append(row)
        print(f"{limit(row)} {row['bytes'] / 1e6:.0f} | {row['share_of_bandwidth']:.1%} |", flush=True)
    return {"speeds": best, "rows": rows}


def limit(row: dict[str, Any]) -> str:
    """The cells that every row of the second table has."""
    return f"| {row['name']} | {row['seconds'] * 1e3:.1f} | {row['flop'] / 1e9:.3g} | {row['share']:.1%} |"


class Yardstick(NamedTuple):
    """Work that does nothing but what a machine is measured by, and how much of it: operations or bytes."""

    work: Work
    amount: int

    def speed(self, device: str) -> float:
        """Amount a second."""
        return self.amount / median_seconds(self.work, device)

    def share(self, work: Work, amount: int, device: str, pairs: int = 9) -> dict[str, float]:
        """The share of our speed that `work`, which needs `amount`, reaches; and its time."""
        taken = in_turn(work, self.work, device, pairs)
        share = statistics.median(amount / ours / (self.amount / best) for ours, best in taken)
        return {"share": share, "seconds": statistics.median(ours for ours, _ in taken)}


def product(side: int, dtype: torch.dtype, device: str) -> tuple[Work, int]:
    """One product of square matrices, and its floating-point operations."""
    a, b = (torch.rand(side, side, dtype=dtype, device=device) for _ in range(2))
    return lambda: a @ b, 2 * side**3


ROWS: dict[str, Callable[[str], Any]] = {"games": games, "epochs": epochs, "commands": commands, "limits": limits}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), help="which rows (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    print(f"{described(options.device)}; N = {N}, K = {K}, L = {L}")
    found = {"machine": machine(options.device)}
    if set(options.only) - {"limits"}:
        print(PAIRED)
    for name in (name for name in ROWS if name in options.only):
        found[name] = ROWS[name](options.device)
    write_json(options.json, **found)


if __name__ == "__main__":
    main()
