"""Graph specifications: the values of `--meet` and `--meet-later`. Importing this module does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mhng.experiment.util.paths import typed_path

GRAPHS = ("together", "complete", "ring", "star", "random-pairs", "small-world:P", "bridges:B")

# Graphs with a number after a colon, and its default.
_NUMBERED = {"small-world": 0.1, "bridges": 1.0}


@dataclass(frozen=True)
class GraphSpec:
    """Which agents meet, parsed from text such as "ring" or "bridges:2".

    text: as in config.toml; a file has its absolute path. kind: the name before the colon, or "file". number: P or B.
    """

    text: str
    kind: str
    number: float = math.nan

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class LaterGraphs:
    """The value of `--meet-later`: each graph with the round from which it applies, in increasing order."""

    text: str
    stages: tuple[tuple[int, GraphSpec], ...]

    def __str__(self) -> str:
        return self.text


TOGETHER = GraphSpec("together", "together")


def parse_graph(text: str) -> GraphSpec:
    """Parse the value of `--meet`. Any other name than a graph's is the path of a file. Raises ValueError."""
    if not text:
        raise ValueError(f"is ''; expected {', '.join(GRAPHS)}, or a file of edges")
    if text in GRAPHS and ":" not in text:
        return GraphSpec(text, text)
    kind, _, number = text.partition(":")
    if kind not in _NUMBERED:
        return GraphSpec(_absolute(text), "file")
    try:
        value = float(number) if number else _NUMBERED[kind]
    except ValueError:
        value = math.nan
    if not (0 <= value <= 1 if kind == "small-world" else value >= 0 and value.is_integer()):
        raise ValueError(
            f"is {text!r}; expected small-world:P with P from 0 to 1, or bridges:B with a whole number B from 0"
        )
    return GraphSpec(text, kind, value)


def parse_later(text: str) -> LaterGraphs:
    """Parse the value of `--meet-later`. Raises ValueError."""
    stages, written = [], []
    for part in text.split(","):
        number, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not number.isdecimal() or not 0 < int(number) < 10**9 or not name:
            raise ValueError(f"is {text!r}; expected R=GRAPH[,R=GRAPH...] with rounds R from 1")
        graph = parse_graph(name)
        if graph.kind == "together":
            raise ValueError(f"is {text!r}; expected graphs of pairs, such as complete instead of together")
        # Commas separate the graphs, so a path with a comma is written as it was typed.
        written.append(f"{int(number)}={name if ',' in graph.text else graph.text}")
        stages.append((int(number), GraphSpec(name, graph.kind) if "," in graph.text else graph))
    rounds = [number for number, _ in stages]
    if rounds != sorted(set(rounds)):
        raise ValueError(f"is {text!r}; expected increasing rounds")
    return LaterGraphs(",".join(written), tuple(stages))


def _absolute(path: str) -> str:
    """The absolute path of an existing file: a saved path must mean the same from every folder."""
    try:
        file = typed_path(path, "the graph")
        return str(file.absolute()) if file.is_file() else path
    except (OSError, ValueError):  # not a valid file name
        return path
