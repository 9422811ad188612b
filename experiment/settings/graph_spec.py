"""`--meet-later`: from which round on agents meet along which graph. Read without torch, as all flags are."""

from __future__ import annotations

from pathlib import Path

from mhng.experiment.errors import UsageError

GRAPHS = ("together", "complete", "ring", "star", "random-pairs", "small-world:P", "bridges:B")


def absolute(name: str) -> str:
    """A graph as a run keeps it: the path of a file of edges, absolute, must mean the same from every folder."""
    if name in GRAPHS or name.partition(":")[0] in ("small-world", "bridges"):
        return name
    try:
        return str(Path(name).absolute()) if Path(name).is_file() else name
    except (OSError, ValueError):  # a name that no file can have
        return name


def absolute_later(text: str) -> str:
    """The same of --meet-later; a path that its commas would cut stays as it was typed."""
    paths = {name: absolute(name) for _, name in later(text)}
    return ",".join(f"{number}={name if ',' in paths[name] else paths[name]}" for number, name in later(text))


def later(text: str) -> list[tuple[int, str]]:
    """The rounds of --meet-later, in their order, and what takes over there. UsageError."""
    found = []
    for part in text.split(","):
        number, mark, name = part.strip().partition("=")
        if not mark or not number.isdecimal() or not 0 < int(number) < 10**9 or not name.strip():
            raise UsageError(f"--meet-later must be R=GRAPH[,R=GRAPH...] with rounds R from 1; it is {text!r}")
        if name.strip() == "together":
            raise UsageError(f"--meet-later {part.strip()}: those who meet later meet in pairs (complete: every pair)")
        found.append((int(number), name.strip()))
    if [round for round, _ in found] != sorted({round for round, _ in found}):
        raise UsageError(f"--meet-later {text}: its rounds must rise")
    return found
