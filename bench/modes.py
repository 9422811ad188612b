"""The table of modes in docs/results.md: every mode over seeds, as a Markdown table.

    python bench/modes.py --out runs/modes -- --dataset mnist5k
    python bench/modes.py --modes com gibbs --seeds 0 1 2 --jobs 2 --out DIR -- ANY FLAGS OF TRAIN

What follows `--` goes to `cli.py train`. A run that is finished is not run again, so a table that was cut off goes
on. Reported are the final draw and the mean over the sweeps after burn-in of the last round, averaged over the two
agents: never a maximum over sweeps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CLI = Path(__file__).resolve().parents[1] / "cli.py"


def run(folder: Path, mode: str, seed: int, flags: list[str], threads: int) -> dict:
    """One run, or what it left if it is done."""
    manifest = folder / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text())["status"] != "done":
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            str(CLI),
            "train",
            "--mode",
            mode,
            "--seed",
            str(seed),
            "--run-dir",
            str(folder),
        ]
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            subprocess.run(
                [*command, "--overwrite", *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                check=True,
            )
    return json.loads((folder / "summary.json").read_text())


def row(mode: str, found: list[dict]) -> str:
    """One line of the table."""
    final = [np.mean([own["ari"] for own in one["agents"].values()]) for one in found]
    means = [np.mean([own["ari_mean"] for own in one["agents"].values()]) for one in found]
    accuracy = [np.mean([own["accuracy"] for own in one["agents"].values()]) for one in found]
    kappa = [one["kappa"] for one in found]
    seconds = [one["seconds"] for one in found]
    rates = [np.mean(list(one["acceptance"].values())) for one in found if one["acceptance"]]
    cells = [
        mode,
        " ".join(f"{value:.2f}" for value in final),
        f"{np.mean(final):.3f} ± {np.std(final, ddof=1) if len(final) > 1 else 0:.3f}",
        f"{np.mean(means):.3f}",
        f"{np.mean(accuracy):.3f}",
        f"{np.mean(kappa):.3f} (worst {np.min(kappa):.3f})",
        f"{np.mean([one['kappa_matched'] for one in found]):.3f}",
        f"{np.mean(rates):.3f}" if rates else "-",
        f"{np.mean(seconds):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", default=["com", "no-com", "all", "gibbs"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="after --: flags of train")
    arguments = parser.parse_args()
    flags = [flag for flag in arguments.flags if flag != "--"]
    jobs = [(mode, seed) for mode in arguments.modes for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        found = list(
            pool.map(
                lambda job: run(arguments.out / f"{job[0]}-seed{job[1]}", *job, flags, arguments.threads),
                jobs,
            )
        )
    print(
        "| mode | ARI, final draw, each seed | mean ± sd | mean after burn-in | accuracy | kappa | kappa, matched "
        "| acceptance | seconds |"
    )
    print("| --- " * 9 + "|")
    for mode in arguments.modes:
        print(row(mode, [one for one, job in zip(found, jobs, strict=True) if job[0] == mode]))


if __name__ == "__main__":
    main()
