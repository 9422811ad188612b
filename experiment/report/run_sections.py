"""Page sections that need no trained agents: answers, scores, curves, diagnostics, settings, provenance.

The sections are built from summary.json, metrics.jsonl, manifest.json, posterior.nc and signs.npz of a run folder.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.modalities import Modality, describe_modalities
from mhng.experiment.diagnostics.diagnose import monitored_scalars, table_rows
from mhng.experiment.plots import diagnostics as plots
from mhng.experiment.plots.training import Curves, game_curves, plot_curves, training_curves
from mhng.experiment.report.drawing import ChartRenderer
from mhng.experiment.report.page import Answer, Cell, Picture, Section, Table, as_text, cells, count, number
from mhng.experiment.settings import by_dataset
from mhng.experiment.settings.config import plain
from mhng.experiment.settings.schema import SETTINGS, Config, key
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.text import percent

_TONES = {"yes": "good", "partly": "fair", "not yet": "fair", "no": "bad"}
_SIGN_PLOT_WIDTH = 5.0  # inches


def answers(report: Mapping[str, Any]) -> list[Answer]:
    """The three verdicts of `diagnose.build_report`, as boxes at the top of the page."""
    verdict = report["verdict"]
    titles = {"converged": "Convergence", "agreed": "Agreement", "right": "Match with the labels"}
    return [
        Answer(title, verdict[name]["answer"], verdict[name]["words"], _TONES.get(verdict[name]["answer"], "none"))
        for name, title in titles.items()
    ]


# -- scores ------------------------------------------------------------------------------------------


def scores(summary: Mapping[str, Any]) -> Section:
    """Tables of summary.json: scores per agent, and scores of all agents together."""
    columns = {
        "ARI": "ari", "mean ARI after burn-in": "ari_mean", "NMI": "nmi", "accuracy": "accuracy", "ELBO": "elbo",
        "reconstruction": "reconstruction", "KL": "kl", "signs used": "signs_used",
    }  # fmt: skip
    digits = {"elbo": 2, "reconstruction": 2, "kl": 2, "signs_used": 0}
    agent_rows = [
        cells([f"Agent {name}", *(number(values.get(column), digits.get(column, 3)) for column in columns.values())])
        for name, values in summary["agents"].items()
    ]
    variational = summary.get("mode") == "variational"
    evidence = "lower bound of the log evidence (nats)" if variational else "log evidence (nats)"
    shared_signs = summary.get("kappa_of", "signs") != "signs"
    shared = [
        (f"kappa between agents{' without communication' if shared_signs else ''}", summary.get("kappa"), 3),
        ("mean kappa after burn-in", summary.get("kappa_mean"), 3),
        ("kappa after the best matching of signs", summary.get("kappa_matched"), 3),
        ("Fleiss' kappa", summary.get("kappa_fleiss") if len(summary["agents"]) > 2 else None, 3),
        *(
            (f"kappa at graph distance {distance}", value, 3)
            for distance, value in (summary.get("kappa_by_distance") or {}).items()
        ),
        *((f"acceptance rate, {direction}", rate, 3) for direction, rate in (summary.get("acceptance") or {}).items()),
        ("messages per sweep", summary.get("messages"), 0),
        ("log joint density (nats)", None if variational else summary.get("log_joint"), 1),
        (evidence, summary.get("log_evidence"), 1),
    ]
    paragraphs = [
        "All scores use chain 0: its last draw, or the mean over its sweeps after burn-in. ARI, NMI and accuracy "
        "compare signs with labels, which the agents never see. ELBO, reconstruction and KL are in nats per object.",
    ]
    if shared_signs:
        paragraphs.append(
            "The agents share one set of signs. Kappa therefore compares the signs that each agent would choose alone."
        )
    return Section(
        "scores",
        "Scores",
        paragraphs,
        tables=[
            Table(["", *columns], agent_rows, "Scores per agent"),
            Table(
                ["", "value"],
                [cells([name, number(value, places)]) for name, value, places in shared if value is not None],
                "Scores of all agents together",
            ),
            *_kappa_table(summary),
        ],
    )


def _kappa_table(summary: Mapping[str, Any]) -> list[Table]:
    """Kappa between pairs of agents; empty for two agents."""
    names, matrix = list(summary["agents"]), summary.get("kappa_matrix")
    if len(names) < 3 or not isinstance(matrix, list):
        return []
    rows = [cells([name, *(number(value) for value in row)]) for name, row in zip(names, matrix, strict=True)]
    return [Table(["", *names], rows, "Kappa between pairs of agents")]


# -- curves ------------------------------------------------------------------------------------------


def curves(renderer: ChartRenderer, rows: Sequence[Mapping[str, Any]]) -> Section:
    """Plots of the rows of metrics.jsonl: game scores by sweep, training losses by epoch."""
    pictures: list[list[Picture]] = []
    absent: list[str] = []
    for (panels, step_rows), step in ((game_curves(rows), "sweep"), (training_curves(rows), "epoch")):
        pictures.append([])
        for panel in panels:
            if any(value is not None for line in panel.lines.values() for value in line):
                pictures[-1].append(_curve_picture(renderer, panel, step_rows, step))
            elif panel.otherwise not in absent:
                absent.append(panel.otherwise)
    paragraphs = [
        "Grey lines separate the rounds. The agents are trained between rounds, so each round plays on new latents. "
        "All curves show chain 0."
    ]
    if absent:
        paragraphs.append("Omitted: " + "; ".join(absent) + ".")
    return Section("curves", "Curves of the game and the training", paragraphs, pictures=pictures)


def _curve_picture(renderer: ChartRenderer, panel: Curves, rows: Sequence[Mapping[str, Any]], step: str) -> Picture:
    label = " ".join(panel.label.split())
    ends = []
    for name, line in panel.lines.items():
        known = [value for value in line if value is not None]
        if known:
            ends.append(f"{name} from {number(known[0])} to {number(known[-1])}")
    rounds = len({row["round"] for row in rows})
    alt = f"{label} by {step}: {', '.join(ends)}; {len(rows)} {step}s in {rounds} rounds."
    return renderer.chart(lambda path: plot_curves(path, panel, rows, f"{step}, over all rounds"), alt)


# -- diagnostics -------------------------------------------------------------------------------------


def diagnostics(renderer: ChartRenderer, run: SavedRun, report: Mapping[str, Any]) -> Section:
    """The table of R-hat and ESS, and the plots of `diagnose`."""
    rows = [
        cells(
            [
                name, number(row["mean"], 4), number(row["sd"], 4), number(row["mcse"], 4), number(row["rhat"]),
                number(row["ess"], 0), percent(row["constant_chains"]),
            ]
        )
        for name, row in table_rows(report).items()
    ]  # fmt: skip
    C, D = report["chains"], report["draws"]
    paragraphs = [
        f"Statistics of the last round: {count(C, 'chain')} with {count(D, 'draw')} per chain. The quantities do "
        "not depend on the numbering of the signs."
    ]
    if report["rhat_note"]:
        paragraphs.append(f"R-hat is {report['rhat_note']}.")
    head = ["quantity", "mean", "sd", "MCSE", "R-hat", "bulk ESS", "constant chains"]
    return Section(
        "diagnostics",
        "Convergence diagnostics",
        paragraphs,
        tables=[Table(head, rows, "Convergence statistics")],
        pictures=[
            _trace_pictures(renderer, run, report),
            *_sign_pictures(renderer, run),
            _agreement_pictures(renderer, run, report),
        ],
    )


def _trace_pictures(renderer: ChartRenderer, run: SavedRun, report: Mapping[str, Any]) -> list[Picture]:
    """Trace plots of scalar quantities, one line per chain."""
    draws = run.posterior["posterior"]["draw"].values
    scalars = monitored_scalars(run)
    acceptance = run.draws("acceptance_rate")
    if acceptance is not None and run.settings["mode"] in ("com", "all"):
        directions = [str(name) for name in run.posterior["sample_stats"]["direction"].values]
        scalars |= {f"acceptance rate, {name}": acceptance[:, :, d] for d, name in enumerate(directions)}
    C = report["chains"]
    return [
        renderer.chart(
            partial(plots.plot_monitor, name=name, chains=values, draws=draws),
            f"{name} over the draws of {'one chain' if C == 1 else f'{C} chains'}: {_range(values)}.",
        )
        for name, values in scalars.items()
    ]


def _range(values: NDArray[Any]) -> str:
    known = values[np.isfinite(values)]
    return f"from {number(float(known.min()))} to {number(float(known.max()))}" if known.size else "no finite values"


def _sign_pictures(renderer: ChartRenderer, run: SavedRun) -> list[list[Picture]]:
    """Sizes of the signs, and co-assignment of objects; one plot per agent."""
    weight, signs, permutation = run.draws("weight"), run.draws("signs"), run.draws("relabel")
    if weight is None or permutation is None:
        return []
    sizes, co_assignments = [], []
    for m, name in enumerate(run.agents):
        agent_weight = weight[:, :, m : m + 1]
        mean = agent_weight.mean((0, 1, 2))
        alt = f"Sign sizes of agent {name}: {mean.min():.1%} to {mean.max():.1%} of the objects."
        draw = partial(plots.plot_components, weight=agent_weight, names=[name], min_width=_SIGN_PLOT_WIDTH)
        sizes.append(renderer.chart(draw, alt))
        if signs is None:
            continue
        # In mode no-com the agents have separate permutations.
        agent_permutation = permutation[:, :, m : m + 1] if permutation.ndim == 4 else permutation
        draw = partial(
            plots.plot_co_assignment, signs=signs[:, :, m : m + 1], permutation=agent_permutation, names=[name]
        )
        alt = (
            f"Co-assignment of agent {name}: share of {signs.shape[0] * signs.shape[1]} draws in which two objects "
            "have the same sign. Objects are sorted by sign."
        )
        co_assignments.append(renderer.chart(draw, alt))
    return [sizes, co_assignments]


def _agreement_pictures(renderer: ChartRenderer, run: SavedRun, report: Mapping[str, Any]) -> list[Picture]:
    """Similarity of the partitions of different chains; one plot per agent."""
    basins = report["basins"]
    if basins is None or len(basins["chains"]) < 2:
        return []
    agreement = np.array(basins["agreement"])
    pictures = []
    for m, name in enumerate(run.agents):
        off = agreement[m][~np.eye(agreement.shape[1], dtype=bool)]
        alt = f"Agreement between chains of agent {name}: ARI from {off.min():.2f} to {off.max():.2f}."
        draw = partial(plots.plot_agreement, agreement=agreement[m : m + 1], chains=basins["chains"], names=[name])
        pictures.append(renderer.chart(draw, alt))
    return pictures


# -- settings and provenance -------------------------------------------------------------------------


def settings(resolved: Mapping[str, Any]) -> Section:
    """The settings in the manifest, by group. Settings that differ from the default are in bold."""
    special = by_dataset.defaults(
        {name: resolved[name] for name in ("dataset", "agents", "program") if name in resolved}
    )
    default = to_plain(plain(replace(Config(), **special)))
    groups: dict[str, list[tuple[str, str, bool]]] = {}
    group_names = {key(name): setting.group for name, setting in SETTINGS.items()}
    for name, value in resolved.items():
        changed = name not in default or to_plain(value) != default[name]
        groups.setdefault(group_names.get(name, "other").capitalize(), []).append((name, as_text(value), changed))
    return Section(
        "settings",
        "Settings",
        ["Values used by the run, after flags, files and data were combined. Bold values differ from the default."],
        lists=list(groups.items()),
    )


def provenance(manifest: Mapping[str, Any], folder: str) -> Section:
    """Origin of the run: command, times, data, machine, versions."""
    command = manifest.get("command_line")
    resumed = manifest.get("resumed")
    commands = [command, *resumed] if isinstance(resumed, list) else [command]
    rows: list[tuple[str, Any]] = [
        ("run folder", folder),
        *(
            ("resume command" if n else "command", shlex.join(["cli.py", *map(str, words)]))
            for n, words in enumerate(commands)
            if isinstance(words, list)
        ),
        ("status", manifest.get("status")),
        ("error", manifest.get("error")),
        ("start time", manifest.get("started")),
        ("end time", manifest.get("finished")),
        ("data set", manifest.get("dataset")),
        ("number of objects", manifest.get("objects")),
        ("SHA-256 of the data", manifest.get("checksum")),
        ("observations", _observations(manifest)),
        ("seed", manifest.get("seed")),
        ("device", manifest.get("device")),
        ("threads", manifest.get("threads")),
        ("git revision", manifest.get("git_revision")),
        ("Python", manifest.get("python")),
        ("platform", manifest.get("platform")),
        ("package versions", manifest.get("versions")),
    ]
    known = [[Cell(name), Cell(as_text(value))] for name, value in rows if value is not None]
    return Section("provenance", "Provenance", tables=[Table([], known, text_columns=2)])


def _observations(manifest: Mapping[str, Any]) -> str | None:
    """The modalities of each agent; None for manifests of older versions, which lack them."""
    try:
        senses = {
            name: [Modality(str(entry["title"]), tuple(entry["shape"]), int(entry["missing"])) for entry in entries]
            for name, entries in manifest["perceives"].items()
        }
        N = int(manifest["objects"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return "; ".join(f"{name}: {describe_modalities(entries, N)}" for name, entries in senses.items())
