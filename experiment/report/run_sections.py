"""The sections that come from a run's JSON files alone: scores, settings, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.modalities import Sense, described
from mhng.experiment.diagnostics.diagnose import Run, monitors, table_rows
from mhng.experiment.plots import diagnostics as plots
from mhng.experiment.plots.training import Curves, game_curves, plot_curves, training_curves
from mhng.experiment.report.drawing import Studio
from mhng.experiment.report.page import Answer, Cell, Picture, Section, Table, cells, number, word
from mhng.experiment.settings.config import plain
from mhng.experiment.settings.schema import FIELDS, Config, key
from mhng.experiment.util.jsonable import to_plain


def scores(summary: Mapping[str, Any]) -> Section:
    """summary.json as two tables: the agents', and what they have in common."""
    columns = {
        "ARI": "ari", "ARI, mean": "ari_mean", "NMI": "nmi", "accuracy": "accuracy", "ELBO": "elbo",
        "reconstruction": "reconstruction", "KL": "kl", "signs used": "signs_used",
    }  # fmt: skip
    digits = {"elbo": 2, "reconstruction": 2, "kl": 2, "signs_used": 0}
    own = [
        cells([f"Agent {name}", *(number(scores.get(column), digits.get(column, 3)) for column in columns.values())])
        for name, scores in summary["agents"].items()
    ]
    variational = summary.get("mode") == "variational"
    bound = "lower bound of the " if variational else ""
    alone = summary.get("kappa_of", "signs") != "signs"
    shared = [
        ("kappa of " + str(summary.get("kappa_of", "signs")), summary.get("kappa"), 3),
        ("kappa, mean after burn-in", summary.get("kappa_mean"), 3),
        ("kappa after the best renumbering", summary.get("kappa_matched"), 3),
        ("Fleiss's kappa", summary.get("kappa_fleiss") if len(summary["agents"]) > 2 else None, 3),
        *((f"kappa at distance {at}", value, 3) for at, value in (summary.get("kappa_by_distance") or {}).items()),
        *((f"accepted, {name}", rate, 3) for name, rate in (summary.get("acceptance") or {}).items()),
        ("messages in a sweep" if variational else "names said in a sweep", summary.get("messages"), 0),
        ("log joint (nats)", None if variational else summary.get("log_joint"), 1),
        (bound + "log evidence (nats)", summary.get("log_evidence"), 1),
    ]
    words = [
        "Scores of the last draw of chain 0, and means over the sweeps after burn-in. ARI, NMI and accuracy need "
        "labels, which took no part in the game. ELBO, reconstruction and KL are in nats per object.",
    ]
    if alone:
        words.append("The agents share their signs, so kappa is of what each would say alone.")
    return Section(
        "scores",
        "Scores",
        words,
        tables=[
            Table(["", *columns], own, "Each agent"),
            Table(
                ["", "value"],
                [cells([name, number(value, places)]) for name, value, places in shared if value is not None],
                "Together",
            ),
            *_kappas(summary),
        ],
    )


def _kappas(summary: Mapping[str, Any]) -> list[Table]:
    """Kappa of each two agents, where there are more than two."""
    names, matrix = list(summary["agents"]), summary.get("kappa_matrix")
    if len(names) < 3 or not isinstance(matrix, list):
        return []
    rows = [cells([name, *(number(value) for value in row)]) for name, row in zip(names, matrix, strict=True)]
    return [Table(["", *names], rows, "Kappa of each two agents")]


def settings(made: Mapping[str, Any]) -> Section:
    """The settings of the manifest, by group; those that are not the default stand out."""
    default = to_plain(plain(Config()))
    groups: dict[str, list[tuple[str, str, bool]]] = {}
    known = {key(name): field.metadata["group"] for name, field in FIELDS.items()}
    for name, value in made.items():
        changed = name not in default or to_plain(value) != default[name]
        groups.setdefault(known.get(name, "other").capitalize(), []).append((name, word(value), changed))
    return Section(
        "settings",
        "Settings",
        ["As resolved from flags and files. What differs from the default is in bold."],
        lists=list(groups.items()),
    )


def _perceived(manifest: Mapping[str, Any]) -> str | None:
    """What each agent perceives, if the manifest, which older versions wrote too, says so."""
    try:
        each = {
            name: [Sense(str(one["title"]), tuple(one["shape"]), int(one["missing"])) for one in own]
            for name, own in manifest["perceives"].items()
        }
        N = int(manifest["objects"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return "; ".join(f"{name}: {described(own, N)}" for name, own in each.items())


def provenance(manifest: Mapping[str, Any], folder: str) -> Section:
    """Where the run came from: command, times, versions, data."""
    command = manifest.get("command_line")
    resumed = manifest.get("resumed")
    commands = [command, *resumed] if isinstance(resumed, list) else [command]
    rows: list[tuple[str, Any]] = [
        ("run folder", folder),
        *(
            ("command" if n == 0 else "resumed by", shlex.join(["cli.py", *map(str, one)]))
            for n, one in enumerate(commands)
            if isinstance(one, list)
        ),
        ("status", manifest.get("status")),
        ("error", manifest.get("error")),
        ("started", manifest.get("started")),
        ("finished", manifest.get("finished")),
        ("objects", f"{word(manifest.get('objects'))} of {word(manifest.get('dataset'))}"),
        ("their SHA-256", manifest.get("checksum")),
        ("perceived", _perceived(manifest)),
        ("seed", manifest.get("seed")),
        ("device", manifest.get("device")),
        ("threads", manifest.get("threads")),
        ("git revision", manifest.get("git_revision")),
        ("Python", manifest.get("python")),
        ("platform", manifest.get("platform")),
        ("versions", manifest.get("versions")),
    ]
    known = [[Cell(name), Cell(word(value))] for name, value in rows if value is not None]
    return Section("provenance", "Provenance", tables=[Table([], known, words=2)])


def curves(studio: Studio, rows: Sequence[Mapping[str, Any]]) -> Section:
    """Of the rows of metrics.jsonl. A quantity that the run has not is left out."""
    pictures: list[list[Picture]] = []
    absent: list[str] = []
    for found, steps in ((game_curves(rows), "sweep"), (training_curves(rows), "epoch")):
        panels, own = found
        pictures.append([])
        for one in panels:
            if any(value is not None for line in one.lines.values() for value in line):
                pictures[-1].append(_panel(studio, one, own, steps))
            elif one.otherwise not in absent:
                absent.append(one.otherwise)
    words = [
        "Grey lines part the rounds; in between the agents learn, so that each round is a game on other percepts. "
        "Lines are of chain 0."
    ]
    if absent:
        words.append("Not here: " + "; ".join(absent) + ".")
    return Section("curves", "Curves", words, pictures=pictures)


def _panel(studio: Studio, one: Curves, rows: Sequence[Mapping[str, Any]], steps: str) -> Picture:
    label = " ".join(one.label.split())
    ends = []
    for name, line in one.lines.items():
        known = [value for value in line if value is not None]
        if known:
            ends.append(f"{name} from {number(known[0])} to {number(known[-1])}")
    rounds = len({row["round"] for row in rows})
    alt = f"{label} by {steps}: {', '.join(ends)}; {len(rows)} {steps}s in {rounds} rounds."
    return studio.chart(lambda path: plot_curves(path, one, rows, f"{steps}, over all rounds"), alt)


_TONES = {"yes": "good", "partly": "fair", "not yet": "fair", "no": "bad"}


def answers(report: Mapping[str, Any]) -> list[Answer]:
    """report: of `diagnose.examine`."""
    return [
        Answer(question, part["answer"], part["words"], _TONES.get(part["answer"], "none"))
        for question, part in (
            ("Converged?", report["verdict"]["converged"]),
            ("Agreed?", report["verdict"]["agreed"]),
            ("Right?", report["verdict"]["right"]),
        )
    ]


def diagnostics(studio: Studio, run: Run, report: Mapping[str, Any]) -> Section:
    """The table of R-hat and ESS, and the pictures of `diagnose`."""
    rows = [
        cells(
            [
                name, number(row["mean"], 4), number(row["sd"], 4), number(row["mcse"], 4), number(row["rhat"]),
                number(row["ess"], 0), f"{row['constant_chains']:.0%}",
            ]
        )
        for name, row in table_rows(report).items()
    ]  # fmt: skip
    C, D = report["chains"], report["draws"]
    words = [
        f"Of the last round: {C} {'chain' if C == 1 else 'chains'} of {D} draws. What is diagnosed does not depend on "
        "how signs are numbered."
    ]
    if report["rhat_note"]:
        words.append(f"R-hat is {report['rhat_note']}.")
    return Section(
        "diagnostics",
        "Diagnostics",
        words,
        tables=[
            Table(["quantity", "mean", "sd", "MCSE", "R-hat", "ESS bulk", "constant chains"], rows, "Chains and draws")
        ],
        pictures=_pictures(studio, run, report),
    )


def _pictures(studio: Studio, run: Run, report: Mapping[str, Any]) -> list[list[Picture]]:
    """In groups: chains of scalars, sizes of signs, co-assignment, agreement of chains."""
    draws = run.data["posterior"]["draw"].values
    scalars = monitors(run)
    acceptance = run.array("acceptance")
    if acceptance is not None and run.settings["mode"] in ("com", "all"):
        directions = [str(name) for name in run.data["sample_stats"]["direction"].values]
        scalars |= {f"accepted, {name}": acceptance[:, :, d] for d, name in enumerate(directions)}
    C = report["chains"]
    chains = [
        studio.chart(
            partial(plots.plot_monitor, name=name, chains=values, draws=draws),
            f"{name} over the draws of {'one chain' if C == 1 else f'{C} chains'}: from {_ends(values)}.",
        )
        for name, values in scalars.items()
    ]
    return [chains, *_of_signs(studio, run), *_of_chains(studio, run, report)]


def _ends(values: NDArray[Any]) -> str:
    known = values[np.isfinite(values)]
    return f"{number(float(known.min()))} to {number(float(known.max()))}" if known.size else "nothing to nothing"


def _of_signs(studio: Studio, run: Run) -> list[list[Picture]]:
    """How large the signs are, and which objects share one; a picture an agent."""
    weight, signs, permutation = run.array("weight"), run.array("signs"), run.array("relabel")
    assert weight is not None and permutation is not None
    sizes, together = [], []
    for m, name in enumerate(run.names):
        own = weight[:, :, m : m + 1]
        mean = own.mean((0, 1, 2))
        alt = f"Sizes of agent {name}'s signs: shares of objects from {mean.min():.1%} to {mean.max():.1%}."
        sizes.append(studio.chart(partial(plots.plot_components, weight=own, names=[name], least=5), alt))
        if signs is None:
            continue
        # in no-com each agent has a permutation of its own
        new = permutation[:, :, m : m + 1] if permutation.ndim == 4 else permutation
        draw = partial(plots.plot_co_assignment, signs=signs[:, :, m : m + 1], permutation=new, names=[name])
        count = signs.shape[0] * signs.shape[1]
        alt = f"How often two objects share a sign of agent {name}, over {count} draws: objects sorted by sign."
        together.append(studio.chart(draw, alt))
    return [sizes, together]


def _of_chains(studio: Studio, run: Run, report: Mapping[str, Any]) -> list[list[Picture]]:
    """How alike the partitions of different chains are; a picture an agent."""
    basins = report["basins"]
    if basins is None or len(basins["chains"]) < 2:
        return []
    agreement = np.array(basins["agreement"])
    pictures = []
    for m, name in enumerate(run.names):
        off = agreement[m][~np.eye(agreement.shape[1], dtype=bool)]
        alt = f"Agreement of chains, agent {name}: ARI between chains from {off.min():.2f} to {off.max():.2f}."
        draw = partial(plots.plot_agreement, agreement=agreement[m : m + 1], chains=basins["chains"], names=[name])
        pictures.append(studio.chart(draw, alt))
    return [pictures]
