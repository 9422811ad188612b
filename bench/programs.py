"""A sweep of a game of Pyro programs against a sweep of the native game: 10,000 objects, 10 signs, 4 dimensions.

Then 30,000 chains of a small game of programs.

    python bench/programs.py

Both games are about the same latents, with one chain and one thread. The native game redraws means and covariances of
its components, the program redraws its means; each is timed by its best of 15 sweeps, in processor time.
"""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bench.games import bench_game, sample_latents
from mhng import NamingGame, ProgramPlayer, turns
from mhng.models.rng import stream

L = 4
GALLERY = Path(__file__).resolve().parents[1] / "examples" / "programs"


def program(z: Tensor, K: int) -> None:
    """An agent: means with a normal prior, and latents with unit noise."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros(K, L, dtype=torch.float64), 3.0).to_event(2))
    with pyro.plate("objects", len(z)):
        w = pyro.sample("w", dist.Categorical(torch.ones(K, dtype=torch.float64)))
        pyro.sample("z", dist.Normal(mu[w], 1.0).to_event(1), obs=z)


def redraw(signs: dict[str, Tensor], values: dict[str, Tensor], data: dict[str, Tensor]) -> dict[str, Tensor]:
    """A conjugate draw of the means."""
    chains, K = values["mu"].shape[:2]
    count = torch.zeros(chains, K, dtype=torch.float64).scatter_add(1, signs["w"], torch.ones_like(data["z"][..., 0]))
    total = torch.zeros_like(values["mu"]).scatter_add(1, signs["w"].unsqueeze(-1).expand_as(data["z"]), data["z"])
    precision = (count + 1 / 9).unsqueeze(-1)
    return {"mu": total / precision + torch.randn_like(total) / precision.sqrt()}


def sweeps(N: int, K: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A function that plays a sweep, of the native game and of the game of programs."""
    classes = torch.randint(K, (N,), generator=stream(0, "objects"))
    players = {
        name: ProgramPlayer(program, sample_latents(classes, K, L, m), K, beliefs=redraw)
        for m, name in enumerate("AB")
    }
    game = NamingGame(players, turn=turns.each("objects"))
    game.setup(0)
    state = game.start(1, {"w": classes.unsqueeze(0)})
    return bench_game(N, K, L).sweep, lambda: game.sweep(state)


def best(functions: Sequence[Callable[[], object]], repeats: int = 15) -> list[float]:
    """The shortest processor time of each function, in seconds. They run in turn, so both meet the same load."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(1 + repeats):
        for function, kept in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            kept.append(time.process_time() - start)
    return [min(kept[1:]) for kept in times]


def main(N: int = 10_000, K: int = 10) -> float:
    """Print both times and return their ratio."""
    torch.set_num_threads(1)
    native, programs = best(sweeps(N, K))
    print(f"N = {N:,}, K = {K}: native {1e3 * native:.1f} ms, programs {1e3 * programs:.1f} ms a sweep")
    print(f"ratio: {programs / native:.2f}")
    return programs / native


def many_chains(chains: int = 30_000, count: int = 3) -> None:
    """Print the time of many chains of four points and counts."""
    game = runpy.run_path(str(GALLERY / "points_and_counts.py"))["twin"]()
    game.play(100, 1)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        start, processor = time.perf_counter(), time.process_time()
        game.play(chains, count)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        text = f"{chains:,} chains x {count} sweeps, threads {threads}"
        print(f"{text}: {seconds:.1f} s ({processor:.1f} s of processor time)")


if __name__ == "__main__":
    main()
    many_chains()
