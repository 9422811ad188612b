"""Quality over modes, seeds and variants: the tables in docs/results.md.

    python bench/quality.py --out runs/modes -- --dataset mnist5k
    python bench/quality.py --modes com --seeds 0-9 --out DIR --variant "" "rounds 0: --rounds 0" -- FLAGS OF TRAIN

Every mode is run with every seed and every variant. A variant is a name and the flags that make it; the empty one is
the program as it is. What follows `--` goes to every run. A run that is finished is not run again, so a table that was
cut off goes on; one that failed is listed, and makes the exit code 1.

Into DIR go table.md, table.csv (one line a run) and quality.png. Reported are the final draw and the mean over
the sweeps after burn-in of the last round, averaged over the agents: never a maximum over sweeps. The interval is
Student's t, 95%.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

CLI = Path(__file__).resolve().parents[1] / "cli.py"
HEAD = (
    "| run | ARI, final draw, each seed | mean ± sd [95%] | worst | mean after burn-in | accuracy | kappa (worst) "
    "| kappa, matched | acceptance | seconds |"
)


class Job(NamedTuple):
    """One run of the grid."""

    variant: str
    mode: str
    seed: int
    flags: tuple[str, ...]

    @property
    def row(self) -> str:
        """The line of the table that it belongs to."""
        return f"{self.mode}, {self.variant}" if self.variant else self.mode

    def folder(self, out: Path) -> Path:
        """Where the run lies."""
        before = "".join(letter if letter.isalnum() else "-" for letter in self.variant)
        return out / f"{before}{'-' if before else ''}{self.mode}-seed{self.seed}"


def run(job: Job, out: Path, threads: int) -> dict[str, Any] | None:
    """The summary of a run, which is made if it is not there; None if it failed."""
    folder = job.folder(out)
    manifest = folder / "manifest.json"
    if not manifest.exists() or json.loads(manifest.read_text())["status"] != "done":
        command = [sys.executable, str(CLI), "train", "--mode", job.mode, "--seed", str(job.seed)]
        command += ["--run-dir", str(folder), "--overwrite", *job.flags]
        out.mkdir(parents=True, exist_ok=True)
        with (out / f"{folder.name}.log").open("w") as log:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        if done.returncode:
            return None
    return json.loads((folder / "summary.json").read_text())  # type: ignore[no-any-return]


def numbers(summary: dict[str, Any]) -> dict[str, float]:
    """What is told of one run, averaged over its agents."""

    def over_agents(name: str) -> float:
        return float(np.mean([own[name] for own in summary["agents"].values()]))

    return {
        "ari": over_agents("ari"),
        "ari_mean": over_agents("ari_mean"),
        "nmi": over_agents("nmi"),
        "accuracy": over_agents("accuracy"),
        "kappa": summary["kappa"],
        "kappa_mean": summary["kappa_mean"],
        "kappa_matched": summary["kappa_matched"],
        "acceptance": float(np.mean(list(summary["acceptance"].values()))) if summary["acceptance"] else np.nan,
        "log_evidence": summary["log_evidence_mean"],
        "seconds": summary["seconds"],
    }


def line(name: str, found: list[dict[str, float]]) -> str:
    """One line of the table."""
    mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    ari = [one["ari"] for one in found]
    if len(ari) > 1:
        sd = float(np.std(ari, ddof=1))
        half = float(stats.t.ppf(0.975, len(ari) - 1)) * sd / len(ari) ** 0.5
        spread = f" ± {sd:.3f} [{mean['ari'] - half:.3f}, {mean['ari'] + half:.3f}]"
    else:
        spread = ""
    cells = [
        name,
        " ".join(f"{value:.3f}" for value in ari),
        f"{mean['ari']:.3f}{spread}",
        f"{min(ari):.3f}",
        f"{mean['ari_mean']:.3f}",
        f"{mean['accuracy']:.3f}",
        f"{mean['kappa']:.3f} ({min(one['kappa'] for one in found):.3f})",
        f"{mean['kappa_matched']:.3f}",
        "-" if np.isnan(mean["acceptance"]) else f"{mean['acceptance']:.3f}",
        f"{mean['seconds']:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def draw(file: Path, rows: dict[str, list[dict[str, float]]]) -> None:
    """A dot for each seed and a line at the mean: ARI on the left, kappa on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 1.2 + 0.45 * len(rows)), sharey=True, layout="constrained")
    for panel, key, label in zip(axes, ("ari", "kappa"), ("ARI, final draw", "kappa, final draw"), strict=True):
        for place, found in enumerate(rows.values()):
            values = [one[key] for one in found]
            panel.plot(values, [place] * len(values), "o", color="C0", alpha=0.5, markeredgewidth=0)
            panel.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color="black")
        panel.set_xlabel(label)
        panel.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[0].invert_yaxis()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def seeds_of(text: str) -> list[int]:
    """ "0-4" or "7"."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> int:
    """Run what is missing, print the table, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modes", nargs="+", default=["com", "no-com", "all", "gibbs"])
    parser.add_argument("--seeds", nargs="+", type=seeds_of, default=[seeds_of("0-4")], help="numbers or FIRST-LAST")
    parser.add_argument("--variant", nargs="+", default=[""], metavar="'NAME: FLAGS'")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("flags", nargs=argparse.REMAINDER, help="after --: flags of train")
    options = parser.parse_args()
    common = [flag for flag in options.flags if flag != "--"]
    jobs = []
    for variant in options.variant:
        name, _, own = variant.partition(":")
        flags = (*common, *shlex.split(own))
        jobs += [
            Job(name.strip(), mode, seed, flags) for mode in options.modes for part in options.seeds for seed in part
        ]
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda job: run(job, options.out, options.threads), jobs))
    told = [(job, numbers(summary)) for job, summary in zip(jobs, found, strict=True) if summary is not None]
    rows: dict[str, list[dict[str, float]]] = {}
    for job, values in told:
        rows.setdefault(job.row, []).append(values)
    table = [HEAD, "| --- " * (HEAD.count("|") - 1) + "|", *(line(name, own) for name, own in rows.items())]
    failed = [str(job.folder(options.out)) for job, summary in zip(jobs, found, strict=True) if summary is None]
    table += [f"\nFailed: {', '.join(failed)}"] if failed else []
    print("\n".join(table))
    (options.out / "table.md").write_text("\n".join(table) + "\n")
    if told:
        with (options.out / "table.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["run", "seed", *told[0][1]])
            writer.writerows([job.row, job.seed, *values.values()] for job, values in told)
        draw(options.out / "quality.png", rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
