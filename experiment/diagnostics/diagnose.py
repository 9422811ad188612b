"""The command `diagnose RUN`: convergence, agreement and correctness of a run, as a table, verdicts and pictures.

Reads posterior.nc, signs.npz, summary.json, manifest.json and metrics.jsonl. Nothing is trained. Agents
are loaded only for --exact.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.diagnostics import basins, verdict
from mhng.experiment.diagnostics.summary import remove_rounding, summarise_posterior
from mhng.experiment.diagnostics.target import acceptance_rules, target
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.latents import collapse, latent_nats
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import settings_of, variables_of
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import print_note, print_report
from mhng.experiment.util.text import decimal, percent

_WIDTH = 110  # columns of printed text

# Contents of posterior.nc in this version
_SETTINGS = {"mode", "listener-state", "acceptance", "start", "starts", "sweeps", "burn-in", "thin", "signs"}
_VARIABLES = {"lp", "log_evidence", "component_share"}


def diagnose(
    path: Path, *, as_json: bool = False, plots: bool = True, exact: bool = False, trust_plugins: bool = False
) -> dict[str, Any]:
    """Diagnose the run in `path`, draw and print; returns the report. Raises UsageError."""
    run = SavedRun(path, trust_plugins=trust_plugins)
    report = build_report(run, exact=exact)
    if plots:
        report["plots"] = _draw(run, report)
    print_report(report, report_lines, as_json=as_json)
    return report


def build_report(run: SavedRun, *, exact: bool = False) -> dict[str, Any]:
    """The diagnosis as plain values, as --json prints it. Raises UsageError if a file of the run is unsuitable.

    exact: also compare the draws with the enumerated posterior.
    """
    settings = _check(run)
    summary = _drop_inapplicable(summarise_posterior(run.posterior), settings["mode"])
    signs, kappa = run.draws("signs"), run.draws("kappa")
    if exact and run.config.sentences is not None:
        raise UsageError("--exact does not support sentences of several words: they are not exchangeable")
    if exact and signs is None:
        raise UsageError("--exact requires the signs of every draw; train with --keep signs or all")
    play = _play_command(run)
    compared = None if signs is None else basins.compare_chains(signs, _required(run, "log_evidence"))
    verdicts = {
        "converged": verdict.converged(settings, summary, compared, signs, play),
        "agreed": (
            verdict.Verdict("unknown", ["The run has one agent."], [])
            if kappa is None
            else verdict.agreed(settings, kappa.mean(1).tolist(), run.summary, _largest_shares(run), play)
        ),
        "right": verdict.right(
            settings,
            _aris(run, signs),
            None if run.labels is None else len(np.unique(run.labels)),
            max(row["signs_used"] for row in run.summary["agents"].values()),
            play,
            collapse(latent_nats(run.metrics), settings["signs"]),
            len(run.index),
        ),
    }
    report = {
        "run": str(run.path),
        "status": run.status,
        "played_from": run.manifest.get("played_from"),
        "settings": settings,
        "objects": run.summary.get("objects"),
        "round": run.summary["rounds"],
        "kappa_slots": run.summary.get("kappa_slots"),
        "target": target(settings)._asdict(),
        "verdict": {name: {"answer": part.answer, "words": part.words} for name, part in verdicts.items()},
        "next": list(dict.fromkeys(step for part in verdicts.values() for step in part.next)),
        "basins": None if compared is None else compared._asdict(),
        "warnings": [*_notes(run), *run.summary.get("warnings", [])],
        "exact": None,
        **summary,
    }
    if exact:
        assert signs is not None
        from mhng.experiment.diagnostics.exact import compare_with_exact

        report["exact"] = compare_with_exact(run, signs)
    plain: dict[str, Any] = to_plain(report)
    return plain


def _notes(run: SavedRun) -> list[str]:
    """The notes on the data in the manifest; none in a run of an older version."""
    notes = run.manifest.get("notes")
    return list(map(str, notes)) if isinstance(notes, list) else []


def _check(run: SavedRun) -> dict[str, Any]:
    """Read the files that a diagnosis needs; returns the settings in posterior.nc. Raises UsageError naming a file."""
    try:
        settings = settings_of(run.posterior)
        missing = (_SETTINGS - set(settings)) | (_VARIABLES - set(variables_of(run.posterior)))
        if missing:
            raise KeyError(f"it lacks {min(missing)}")
    except (KeyError, ValueError, TypeError) as error:
        file = run.folder.file(run_folder.POSTERIOR)
        raise UsageError(f"{file} was not written by this version: {str(error)[:100]}") from error
    run.require_scores("agents", "kappa_of", "kappa_matched", "rounds", of_agents=("ari", "signs_used"))
    count, expected = len(run.index), run.manifest.get("objects")
    if count != expected:
        file = run.folder.file(run_folder.SIGNS)
        raise UsageError(f"{file} is damaged: it holds signs for {count} objects; the run has {expected}")
    _ = run.metrics
    return settings


def _largest_shares(run: SavedRun) -> dict[str, float]:
    """By agent, the mean share of the objects that have the most frequent sign."""
    shares = _required(run, "component_share")[..., 0].mean((0, 1))
    return dict(zip(run.agents, shares.tolist(), strict=True))


def _play_command(run: SavedRun) -> str:
    """The command that plays with the agents of the run; empty if they are not finished."""
    if run.config.program:
        return f"play {shlex.quote(run.config.program)}"
    finished = run.status == "done" and run.folder.file(run_folder.CHECKPOINT).is_file()
    return f"play {shlex.quote(str(run.path))}" if finished else ""


def _drop_inapplicable(summary: dict[str, Any], mode: str) -> dict[str, Any]:
    """Remove acceptance where there are no proposals, and R-hat and ESS where there are no draws."""
    rows = summary["quantities"]
    if mode not in ("com", "all"):
        rows = {name: row for name, row in rows.items() if not name.startswith("acceptance_rate[")}
    if mode == "variational":
        rows = {name: row | {"rhat": None, "ess": None, "mcse": None} for name, row in rows.items()}
        note = "not available: mode variational draws no samples"
        summary = summary | {"rhat_max": None, "ess_min": None, "rhat_note": note}
    return summary | {"quantities": rows}


def _required(run: SavedRun, variable: str) -> NDArray[Any]:
    values = run.draws(variable)
    assert values is not None, variable
    return values


def _aris(run: SavedRun, signs: NDArray[Any] | None) -> dict[str, list[float]] | None:
    """By agent, the ARI of each chain's last draw; of chain 0 only, if signs were not kept. None without labels."""
    if run.labels is None:
        return None
    if signs is None or signs.shape[-1] != len(run.labels):
        return {name: [row["ari"]] for name, row in run.summary["agents"].items()}
    return {
        name: [float(partitions.ari(chain[-1, m], run.labels) or 0.0) for chain in signs]
        for m, name in enumerate(run.agents)
    }


# -- printed lines ---------------------------------------------------------------------------------


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as printed lines: a table, the verdicts, the next steps."""
    settings = report["settings"]
    unfinished = "" if report["status"] == "done" else f" (status: {report['status']})"
    lines = [
        f"Run: {report['run']}{unfinished}",
        f"Mode {settings['mode']}{_acceptance_text(settings)}; "
        f"{report['objects']} objects, {settings['signs']} signs; round {report['round']}: {report['chains']} "
        f"{'chain' if report['chains'] == 1 else 'chains'} of {report['draws']} draws",
        *_sentence_lines(report),
        *([f"Played, without learning, by the agents of {report['played_from']}"] if report["played_from"] else []),
        "",
        *_table(report),
        "",
    ]
    for name, title in (("converged", "Converged?"), ("agreed", "Agreed?"), ("right", "Right?")):
        part = report["verdict"][name]
        text = " ".join([f"{part['answer'].upper()}.", *part["words"]])
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"{title:<12}", subsequent_indent=" " * 12)
    if report["exact"]:
        lines += ["", *_exact_lines(report["exact"])]
    if report["warnings"]:
        lines += ["", *(f"Warning: {text}" for text in report["warnings"])]
    if report["next"]:
        lines += ["", "Next:", *(f"  - {text}" for text in report["next"])]
    if report.get("plots"):
        lines += ["", f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['plots'])}"]
    return lines


def _sentence_lines(report: Mapping[str, Any]) -> list[str]:
    """The language and the agreement on each word; empty for single signs."""
    if (kappas := report.get("kappa_slots")) is None:
        return []
    settings = report["settings"]
    words = ", ".join(f"word {slot} {decimal(kappa, 3)}" for slot, kappa in enumerate(kappas, 1))
    return [
        f"Sentences of {settings['words']} words from {settings['vocabulary']}, meaning {settings['meaning']}, turns "
        f"{settings['turns']}; kappa: {words}"
    ]


def _acceptance_text(settings: Mapping[str, Any]) -> str:
    """Listener state and acceptance rules; empty for a mode without proposals."""
    if settings["mode"] not in ("com", "all"):
        return ""
    rules = acceptance_rules(settings)
    by_agent = ", ".join(f"{name} {rule}" for name, rule in rules.items())
    rule = by_agent if len(set(rules.values())) > 1 else next(iter(rules.values()))
    return f", listener state {settings['listener-state']}, acceptance {rule}"


def table_rows(report: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Table rows by quantity (see `diagnostics.summary`), with one row per agent for all its shares or weights.

    Such a row has the worst R-hat and ESS, the mean share of constant chains, and no mean.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, row in report["quantities"].items():
        kind, _, place = name.partition("[")
        if kind not in ("component_share", "weight"):
            rows[name] = row
            continue
        label = f"{kind}[{place.split(',')[0]}, worst]"
        total = rows.get(label)
        if total is None:
            rows[label] = {**row, "mean": None, "sd": None, "mcse": None, "count": 1}
            continue
        rhats = [value for value in (total["rhat"], row["rhat"]) if value is not None]
        sizes = [value for value in (total["ess"], row["ess"]) if value is not None]
        count = total["count"]
        rows[label] |= {
            "rhat": max(rhats, default=None),
            "ess": min(sizes, default=None),
            "constant_chains": (
                None
                if row["constant_chains"] is None
                else (total["constant_chains"] * count + row["constant_chains"]) / (count + 1)
            ),
            "count": count + 1,
        }
    return rows


def _table(report: Mapping[str, Any]) -> list[str]:
    rows = table_rows(report)
    width = max(map(len, rows))
    table = [
        f"{'quantity':<{width}}{'mean':>12}{'sd':>10}{'MCSE':>10}{'R-hat':>8}{'ESS bulk':>10}{'constant chains':>17}"
    ]
    for name, row in rows.items():
        table.append(
            f"{name:<{width}}{decimal(row['mean'], 4):>12}{decimal(row['sd'], 4):>10}{decimal(row['mcse'], 4):>10}"
            f"{decimal(row['rhat'], 3):>8}{decimal(row['ess'], 0):>10}{percent(row['constant_chains']):>17}"
        )
    if report["rhat_note"]:
        table.append(f"R-hat is {report['rhat_note']}.")
    return table


def _exact_lines(exact: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Exact: draws compared with {exact['target']}, enumerated over {exact['assignments']:,} assignments. "
        "Partitions are compared, because signs are exchangeable."
    ]
    for name, row in exact["agents"].items():
        lines.append(
            f"  {name}: total variation {row['total_variation']:.4f} over {row['partitions']:,} partitions; expected "
            f"for independent draws: {row['noise_of_all_draws']:.4f} ({exact['draws']:,} draws) to "
            f"{row['noise_of_one_draw_a_chain']:.4f} ({exact['chains']:,} draws, one per chain)"
        )
        lines.append(
            f"     co-assignment of pairs: mean difference {row['co_assignment_mean_gap']:.4f}, largest "
            f"{row['co_assignment_largest_gap']:.4f}"
        )
    lines.append("  Draws of one chain are correlated, so the sampling noise lies between the two expected values.")
    return lines


# -- pictures --------------------------------------------------------------------------------------


def monitored_scalars(run: SavedRun) -> dict[str, NDArray[Any]]:
    """The scalars whose chains are drawn, by title: (C, D), with rounding differences removed."""
    scalars = {"log joint (nats)": _required(run, "lp"), "log evidence (nats)": _required(run, "log_evidence")}
    kappa, share = run.draws("kappa"), _required(run, "component_share")
    if kappa is not None:
        scalars["kappa"] = kappa
    for m, name in enumerate(run.agents):
        scalars[f"largest share, {name}"] = share[:, :, m, 0]
    return {name: remove_rounding(chains) for name, chains in scalars.items()}


def pictures_of(run: SavedRun, compared: Mapping[str, Any] | None) -> dict[str, Callable[[Path], object]]:
    """Functions that draw the pictures into a file, by file name. A picture without content is left out.

    compared: the entry "basins" of the report.
    """
    from mhng.experiment.plots import diagnostics as pictures

    weight = run.draws("weight")
    signs, acceptance = run.draws("signs"), run.draws("acceptance_rate")
    draws = run.posterior["posterior"]["draw"].values
    jobs: dict[str, Any] = {
        "monitors.png": lambda path: pictures.plot_monitors(path, monitored_scalars(run), draws),
    }
    if weight is not None:
        jobs["components.png"] = lambda path: pictures.plot_components(path, weight, run.agents)
    if acceptance is not None and run.config.mode in ("com", "all"):
        directions = [str(name) for name in run.posterior["sample_stats"]["direction"].values]
        jobs["acceptance.png"] = lambda path: pictures.plot_acceptance(path, acceptance, directions, draws)
    if signs is not None and compared is not None:
        permutation = run.draws("relabel")
        if permutation is not None:
            jobs["co_assignment.png"] = lambda path: pictures.plot_co_assignment(path, signs, permutation, run.agents)
        agreement = np.array(compared["agreement"])
        jobs["chains.png"] = lambda path: pictures.plot_agreement(path, agreement, compared["chains"], run.agents)
    return jobs


def _draw(run: SavedRun, report: Mapping[str, Any]) -> list[str]:
    """Draw the pictures; returns the names of those that succeeded. A failure prints a warning."""
    from mhng.experiment.plots import training as plots

    folder = run.folder.file(run_folder.PLOTS)
    jobs = pictures_of(run, report["basins"])
    drawn = ["game.png"] if (folder / "game.png").exists() else []
    if not drawn:
        jobs["game.png"] = lambda path: plots.plot_game(path, run.metrics)
    for name, draw in jobs.items():
        try:
            draw(folder / name)
            drawn.append(name)
        except Exception as error:
            print_note(f"warning: {run_folder.PLOTS}/{name} could not be drawn: {error}")
    return drawn
