"""`diagnose RUN`: what a run's folder says about its own inference, as numbers, words and pictures.

Nothing is trained and, but for --exact, torch is not imported: posterior.nc, signs.npz, summary.json, manifest.json
and metrics.jsonl are all that is read.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.diagnostics import basins, verdict
from mhng.experiment.diagnostics.summary import summary_of, without_rounding
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.posterior import load_posterior, settings_of
from mhng.experiment.runs.signs import FinalSigns, read_signs
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.parsing import refuse_plugin
from mhng.experiment.util.jsonable import to_plain

_WIDTH = 110  # of the words, in columns


@dataclass(frozen=True)
class Run:
    """What a run folder holds, read and checked."""

    folder: RunFolder
    manifest: dict[str, Any]
    summary: dict[str, Any]
    settings: dict[str, Any]
    data: Any  # both groups of posterior.nc
    final: FinalSigns
    rows: list[dict[str, Any]]

    @property
    def labels(self) -> NDArray[Any] | None:
        """Of each object; None if it has none."""
        return self.final.labels

    @property
    def names(self) -> list[str]:
        """The agents'."""
        return [str(name) for name in self.data["posterior"]["agent"].values]

    def array(self, name: str) -> NDArray[Any] | None:
        """A variable of either group; None where the file has none of that name."""
        for group in ("posterior", "sample_stats"):
            if name in self.data[group].data_vars:
                values: NDArray[Any] = self.data[group][name].values
                return values
        return None


def read(path: Path, *, trust_plugins: bool = False) -> Run:
    """The run in `path`, also one that is going on. A `UsageError` names what is absent or damaged.

    A run of an agent's parts that are not of this program is refused as everywhere, though nothing imports them here.
    """
    with RunFolder.open(path, lock=False) as folder:
        manifest = folder.read_manifest()
        made = manifest.get("settings")
        for table in per_agent.tables_of(made) if not trust_plugins else ():
            for name, value in table.items():
                refuse_plugin(name, value, f"{folder.file(run_folder.MANIFEST)}: {name}")
        file = folder.result(run_folder.POSTERIOR)
        data = load_posterior(file)
        try:
            settings = settings_of(data)
            missing = {"mode", "listener-state", "acceptance", "start", "starts", "sweeps", "burn-in", "thin", "signs"}
            missing -= set(settings)
            missing |= {"log_joint", "log_evidence", "component_share", "weight"} - set(data["posterior"].data_vars)
            if missing:
                raise KeyError(f"it lacks {min(missing)}")
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{file} is not of a run of this version: {str(error)[:100]}") from error
        summary = folder.read_json(run_folder.SUMMARY)
        if not {"agents", "kappa_of", "kappa_matched", "rounds"} <= set(summary):
            raise UsageError(f"{folder.file(run_folder.SUMMARY)} is damaged: it lacks scores")
        names = [str(name) for name in data["posterior"]["agent"].values]
        final = read_signs(folder, names, int(settings["signs"]))
        if len(final.index) != manifest.get("objects"):
            file = folder.file(run_folder.SIGNS)
            raise UsageError(
                f"{file} is damaged: it tells of {len(final.index)} objects, the run of {manifest.get('objects')}"
            )
        return Run(folder, manifest, summary, settings, data, final, folder.read_metrics())


def examine(run: Run, *, exact: bool = False, trust_plugins: bool = False) -> dict[str, Any]:
    """The whole diagnosis, as plain values for JSON (what `--json` prints)."""
    summary = _of_the_mode(summary_of(run.data), run.settings["mode"])
    signs = run.array("signs")
    if exact and signs is None:
        raise UsageError("--exact needs the signs of every draw: train with --keep signs or all")
    kappa = run.array("kappa")
    compared = None if signs is None else basins.compare(signs, _needed(run, "log_evidence"))
    parts = {
        "converged": verdict.converged(run.settings, summary, compared, signs),
        "agreed": (
            verdict.Verdict("unknown", ["There is one agent."], [])
            if kappa is None
            else verdict.agreed(run.settings, kappa.mean(1).tolist(), run.summary)
        ),
        "right": verdict.right(
            run.settings, _aris(run, signs), None if run.labels is None else len(np.unique(run.labels))
        ),
    }
    advice = [line for part in parts.values() for line in part.next]
    report = {
        "run": str(run.folder.path),
        "status": run.folder.status,
        "settings": run.settings,
        "objects": run.summary.get("objects"),
        "round": run.summary["rounds"],
        "target": verdict.target(run.settings)._asdict(),
        "verdict": {name: {"answer": part.answer, "words": part.words} for name, part in parts.items()},
        "next": list(dict.fromkeys(advice)),
        "basins": None if compared is None else compared._asdict(),
        "warnings": run.summary.get("warnings", []),
        "exact": None,
        **summary,
    }
    if exact:
        assert signs is not None
        from mhng.experiment.diagnostics.exact import against_the_truth

        report["exact"] = against_the_truth(
            run.folder, signs, run.settings["signs"], run.names, trust_plugins=trust_plugins
        )
    plain: dict[str, Any] = to_plain(report)
    return plain


def _of_the_mode(summary: dict[str, Any], mode: str) -> dict[str, Any]:
    """Without what there is not: acceptance where nothing is proposed, R-hat and ESS where nothing is drawn."""
    rows = summary["quantities"]
    if mode not in ("com", "all"):
        rows = {name: row for name, row in rows.items() if not name.startswith("acceptance[")}
    if mode == "variational":
        rows = {name: row | {"rhat": None, "ess": None, "mcse": None} for name, row in rows.items()}
        summary = summary | {"rhat_max": None, "ess_min": None, "rhat_note": "not available: nothing is drawn"}
    return summary | {"quantities": rows}


def diagnose(
    path: Path, *, as_json: bool = False, plots: bool = True, exact: bool = False, trust_plugins: bool = False
) -> dict[str, Any]:
    """Read, examine, draw and print; returns the report."""
    run = read(path, trust_plugins=trust_plugins)
    report = examine(run, exact=exact, trust_plugins=trust_plugins)
    if plots:
        report["plots"] = _draw(run, report)
    if as_json:
        print(json.dumps(report, allow_nan=False, ensure_ascii=False, indent=2))
    else:
        for line in lines(report):
            print(line)
    return report


# -- words -----------------------------------------------------------------------------------------


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for a reader: a table, the verdict, what to do next."""
    settings = report["settings"]
    unfinished = "" if report["status"] == "done" else f" (status: {report['status']})"
    found = [
        f"Run: {report['run']}{unfinished}",
        f"Mode {settings['mode']}{_rule_of(settings)}; "
        f"{report['objects']} objects, {settings['signs']} signs; round {report['round']}: {report['chains']} "
        f"{'chain' if report['chains'] == 1 else 'chains'} of {report['draws']} draws",
        "",
        *_table(report),
        "",
    ]
    for name, title in (("converged", "Converged?"), ("agreed", "Agreed?"), ("right", "Right?")):
        part = report["verdict"][name]
        text = " ".join([f"{part['answer'].upper()}.", *part["words"]])
        found += textwrap.wrap(text, _WIDTH, initial_indent=f"{title:<12}", subsequent_indent=" " * 12)
    if report["exact"]:
        found += ["", *_exact_lines(report["exact"])]
    if report["warnings"]:
        found += ["", *(f"Warning: {text}" for text in report["warnings"])]
    if report["next"]:
        found += ["", "Next:", *(f"  - {text}" for text in report["next"])]
    if report.get("plots"):
        found += ["", f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['plots'])}"]
    return found


def _rule_of(settings: Mapping[str, Any]) -> str:
    """How names are accepted, where they are proposed."""
    if settings["mode"] not in ("com", "all"):
        return ""
    rules = verdict.rules_of(settings)
    each = ", ".join(f"{name} {rule}" for name, rule in rules.items())
    rule = each if len(set(rules.values())) > 1 else next(iter(rules.values()))
    return f", listener state {settings['listener-state']}, acceptance {rule}"


def table_rows(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One row a quantity (`diagnostics.summary`); the ranks of shares, the signs of weights make one row an agent.

    Such a row has the worst R-hat and ESS, the mean share of constant chains, and no mean of its own.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, row in report["quantities"].items():
        kind, _, place = name.partition("[")
        if kind not in ("component_share", "weight"):
            rows[name] = row
            continue
        label = f"{kind}[{place.split(',')[0]}, worst]"
        other = rows.get(label)
        if other is None:
            rows[label] = {**row, "mean": None, "sd": None, "mcse": None, "count": 1}
            continue
        rhats = [value for value in (other["rhat"], row["rhat"]) if value is not None]
        sizes = [value for value in (other["ess"], row["ess"]) if value is not None]
        count = other["count"]
        rows[label] |= {
            "rhat": max(rhats, default=None),
            "ess": min(sizes, default=None),
            "constant_chains": (other["constant_chains"] * count + row["constant_chains"]) / (count + 1),
            "count": count + 1,
        }
    return rows


def _table(report: Mapping[str, Any]) -> list[str]:
    rows = table_rows(report)
    widest = max(map(len, rows))
    head = (
        f"{'quantity':<{widest}}{'mean':>12}{'sd':>10}{'MCSE':>10}{'R-hat':>8}{'ESS bulk':>10}{'constant chains':>17}"
    )
    table = [head]
    for name, row in rows.items():
        cells = [
            f"{name:<{widest}}",
            f"{_number(row['mean'], 4):>12}{_number(row['sd'], 4):>10}{_number(row['mcse'], 4):>10}",
            f"{_number(row['rhat'], 3):>8}{_number(row['ess'], 0):>10}{row['constant_chains']:>17.0%}",
        ]
        table.append("".join(cells))
    if report["rhat_note"]:
        table.append(f"R-hat is {report['rhat_note']}.")
    return table


def _exact_lines(exact: Mapping[str, Any]) -> list[str]:
    found = [
        f"Exact: against {exact['target']}, {exact['assignments']:,} assignments enumerated. Compared are partitions, "
        "because the posterior is the same under every numbering and a chain visits few of them.",
    ]
    for name, own in exact["agents"].items():
        found.append(
            f"  {name}: total variation {own['total_variation']:.4f} over {own['partitions']:,} partitions; "
            f"independent draws would give {own['noise_of_all_draws']:.4f} ({exact['draws']:,} of them) to "
            f"{own['noise_of_one_draw_a_chain']:.4f} ({exact['chains']:,}, one a chain)"
        )
        found.append(
            f"     co-assignment of pairs: mean difference {own['co_assignment_mean_gap']:.4f}, largest "
            f"{own['co_assignment_largest_gap']:.4f}"
        )
    found.append("  Draws of one chain depend on each other: the noise to expect lies between the two.")
    return found


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


# -- from the folder -------------------------------------------------------------------------------


def _needed(run: Run, name: str) -> NDArray[Any]:
    values = run.array(name)
    assert values is not None, name
    return values


def _aris(run: Run, signs: NDArray[Any] | None) -> dict[str, list[float]] | None:
    """For each agent the ARI of each chain's last draw; of chain 0 alone, where signs were not kept."""
    if run.labels is None:
        return None
    if signs is None or signs.shape[-1] != len(run.labels):
        return {name: [own["ari"]] for name, own in run.summary["agents"].items()}
    return {
        name: [float(partitions.ari(chain[-1, m], run.labels) or 0.0) for chain in signs]
        for m, name in enumerate(run.names)
    }


def monitors(run: Run) -> dict[str, NDArray[Any]]:
    """The scalars whose chains are drawn: (C, D) by name, draws that differ by rounding made equal."""
    found = {"log joint (nats)": _needed(run, "log_joint"), "log evidence (nats)": _needed(run, "log_evidence")}
    kappa, share = run.array("kappa"), _needed(run, "component_share")
    if kappa is not None:
        found["kappa"] = kappa
    for m, name in enumerate(run.names):
        found[f"largest share, {name}"] = share[:, :, m, 0]
    return {name: without_rounding(chains) for name, chains in found.items()}


def _draw(run: Run, report: Mapping[str, Any]) -> list[str]:
    """The pictures that could be drawn. One that fails costs a line on stderr, never the diagnosis."""
    from mhng.experiment.plots import diagnostics as pictures
    from mhng.experiment.plots import training as plots

    weight = _needed(run, "weight")
    signs, acceptance = run.array("signs"), run.array("acceptance")
    draws = run.data["posterior"]["draw"].values
    jobs: dict[str, Any] = {
        "monitors.png": lambda path: pictures.plot_monitors(path, monitors(run), draws),
        "components.png": lambda path: pictures.plot_components(path, weight, run.names),
    }
    if acceptance is not None and run.settings["mode"] in ("com", "all"):
        directions = [str(name) for name in run.data["sample_stats"]["direction"].values]
        jobs["acceptance.png"] = lambda path: pictures.plot_acceptance(path, acceptance, directions, draws)
    if not run.folder.file(run_folder.PLOTS).joinpath("game.png").exists():
        jobs["game.png"] = lambda path: plots.plot_game(path, run.rows)
    if signs is not None:
        permutation = _needed(run, "relabel")
        jobs["co_assignment.png"] = lambda path: pictures.plot_co_assignment(path, signs, permutation, run.names)
        found = report["basins"]
        agreement = np.array(found["agreement"])
        jobs["chains.png"] = lambda path: pictures.plot_agreement(path, agreement, found["chains"], run.names)
    drawn = ["game.png"] if "game.png" not in jobs else []
    for name, draw in jobs.items():
        try:
            draw(run.folder.file(run_folder.PLOTS) / name)
            drawn.append(name)
        except Exception as error:
            if sys.stderr is not None:
                print(f"warning: {run_folder.PLOTS}/{name} could not be drawn: {error}", file=sys.stderr)
    return drawn
