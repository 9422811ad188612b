"""Peak memory of large runs beside the estimate of `mhng.experiment.training.memory_estimate`: the table in
docs/reliability.md.

    python bench/memory.py [NAME ...] [--data-root DIR]

Runs are separate processes. The table has the peak resident memory (ru_maxrss) minus the memory after the imports, the
estimate, the processor time, and the size of posterior.nc. Without names, all of RUNS are measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

GIB = 2**30
VECTORS = "--dataset synthetic --likelihood identity --classes 20 --signs 20 --rounds 0 --device cpu"
IMAGES = "--dataset mnist --rounds 0 --epochs 1 --device cpu"
FEW = "--chains 1 --sweeps 5 --burn-in 1"
RUNS = {
    "vectors-2": f"{VECTORS} --limit 1000000 --dimension 2 --start kmeans --starts 1 {FEW}",
    "vectors-4": f"{VECTORS} --limit 1000000 --dimension 4 --start kmeans --starts 1 {FEW}",
    "vectors-8": f"{VECTORS} --limit 1000000 --dimension 8 --start kmeans --starts 1 {FEW}",
    "vectors-merge": f"{VECTORS} --limit 20000 --dimension 4 --start merge --starts 6 {FEW}",
    "vectors-chains": f"{VECTORS} --limit 100000 --dimension 4 --start kmeans --starts 1 --chains 4 --sweeps 100",
    "mnist": f"{IMAGES} --start kmeans --starts 1 {FEW}",
    "mnist-merge": f"{IMAGES} --limit 10000 {FEW}",
}


def child(words: list[str]) -> None:
    """Run one experiment and print the measurements as a line of JSON."""
    from mhng.experiment.runs import folder as run_folder
    from mhng.experiment.runs import posterior  # noqa: F401 - to count it as imported
    from mhng.experiment.settings.config import resolve
    from mhng.experiment.settings.parsing import read_settings
    from mhng.experiment.training import memory_estimate
    from mhng.experiment.training.console import Printer
    from mhng.experiment.training.prepare import load_objects, pick_device
    from mhng.experiment.training.train import train

    class Quiet(Printer):
        def write(self, text: str) -> None:
            pass

        note = write

    config = resolve(read_settings(words))
    start, imported = time.process_time(), _peak()
    train(config, printer=Quiet())
    peak, seconds = _peak(), time.process_time() - start
    assert config.run_dir is not None
    size = (config.run_dir / run_folder.POSTERIOR).stat().st_size
    objects, agents, config, _ = load_objects(config)
    estimate = memory_estimate.host_bytes(config, agents, objects, pick_device(config.device))
    print(
        json.dumps({"imported": imported, "peak": peak, "estimate": estimate, "seconds": seconds, "posterior": size})
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Print a table with one row per run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], default=[], help="runs to measure (default: all)")
    parser.add_argument("--data-root", default="data", help="folder of the data sets (default: data)")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    print("| run | measured GiB | estimated GiB | processor s | posterior.nc MB |\n| --- | --- | --- | --- | --- |")
    for name in options.names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            words = [*RUNS[name].split(), "--data-root", options.data_root, "--run-dir", f"{folder}/run"]
            process = subprocess.run(
                [sys.executable, __file__, "--child", *words], stdout=subprocess.PIPE, text=True, check=True
            )
        result = json.loads(process.stdout)
        print(
            f"| {name} | {(result['peak'] - result['imported']) / GIB:.2f} | {result['estimate'] / GIB:.2f} "
            f"| {result['seconds']:.0f} | {result['posterior'] / 1e6:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
