"""The sections that come from a run's JSON files alone: scores, settings, provenance."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from mhng.experiment.data.modalities import Sense, described
from mhng.experiment.report.page import Cell, Section, Table, cells, number, word
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
