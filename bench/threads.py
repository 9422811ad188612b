"""Work with several threads against the same work with one: an epoch by network and batch, a sweep by size.

    python bench/threads.py [--threads T] [--busy] [--only epochs sweeps] [--json FILE]

Both are timed alternately. Ratios are medians of time(T threads) / time(one thread): below 1, threads gain. The third
column is the ratio of processor seconds, which threads that wait for each other spend. --busy runs one busy program
per core at the same time. `mhng.experiment.training.threads` holds the rule that follows from the tables.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import bench_game
from bench.learners import images, learner
from bench.timing import Work, machine, machine_text, write_json
from mhng.experiment.util.cores import available_cores

# Network, objects, batch
EPOCHS = (
    ("mlp", 512, 32), ("mlp", 1024, 128), ("mlp", 2048, 512), ("conv", 256, 32), ("conv", 256, 128),
    ("conv-large", 128, 32), ("conv-large", 256, 128),
)  # fmt: skip
# N, K, L, C
SWEEPS = (
    (300, 6, 4, 1), (1_000, 10, 12, 1), (5_000, 10, 12, 1), (5_000, 10, 12, 4), (5_000, 10, 12, 24),
    (20_000, 10, 12, 1), (100_000, 10, 12, 1), (5_000, 100, 12, 1), (5_000, 10, 64, 1),
)  # fmt: skip
Taken = tuple[float, float]  # seconds, and processor seconds


def measure(work: Work, threads: int) -> Taken:
    """Seconds and processor seconds of one call with this number of threads."""
    torch.set_num_threads(threads)
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def compare(name: str, work: Work, threads: int, pairs: int) -> dict[str, Any]:
    """Time `work` alternately with several threads and with one; print a row of ratios."""
    measure(work, threads), measure(work, 1)
    taken = [(measure(work, threads), measure(work, 1)) for _ in range(pairs)]
    wall, processor = (statistics.median(many[i] / one[i] for many, one in taken) for i in range(2))
    alone = statistics.median(one[0] for _, one in taken)
    print(f"| {name} | {wall:.2f} | {processor:.2f} | {alone * 1e3:.1f} |", flush=True)
    return {"name": name, "wall": wall, "processor": processor, "one_thread_seconds": alone}


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Run `count` programs that only compute."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=available_cores(), help="T (default: all cores)")
    parser.add_argument("--busy", action="store_true", help="with one busy program per core")
    parser.add_argument("--only", nargs="+", choices=("epochs", "sweeps"), default=["epochs", "sweeps"])
    parser.add_argument("--pairs", type=int, default=5, help="timed pairs of each row (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements to FILE")
    options = parser.parse_args()
    T, rows = options.threads, []
    print(f"{machine_text()}; {T} threads against 1; {'one busy program per core' if options.busy else 'idle'}")
    print("| work | time | processor time | one thread, ms |\n| --- | --- | --- | --- |")
    with busy_programs(available_cores() if options.busy else 0):
        if "epochs" in options.only:
            for network, N, batch in EPOCHS:
                net = learner(network, images(N), batch=batch)
                name = f"an epoch of {network}, {N:,} images, batch {batch}"
                rows.append(compare(name, partial(net.learn, 1), T, options.pairs))
        if "sweeps" in options.only:
            for N, K, L, C in SWEEPS:
                game = bench_game(N, K, L, C)
                name = f"a sweep, N = {N:,}, K = {K}, L = {L}, C = {C}"
                rows.append(compare(name, partial(_sweeps, game, 1 if N > 5_000 else 5), T, options.pairs))
    write_json(options.json, machine=machine(), rows=rows)


def _sweeps(game: Any, count: int) -> None:
    for _ in range(count):
        game.sweep()


if __name__ == "__main__":
    main()
