"""A grid of runs: every variant in every mode with every seed, from flags or a TOML file, checked whole.

    [compare]
    modes = ["com", "gibbs"]
    seeds = ["0-9"]              # numbers, or ranges that include both ends
    baseline = "com"             # a row: "MODE" or "MODE, VARIANT"; without it the first

    [settings]                   # of all runs: keys as in the file of train's --config
    dataset = "digits"

    [variants.plain]             # without variants there is one, which has no name and changes nothing

    [variants.split]
    start = "split"

Flags beat the file: --modes, --seeds and --baseline the key of that name, --variant all of [variants], and what stands
after -- the keys of [settings]. A variant's own settings beat those of all runs.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.settings import config as settings
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.parsing import checked, read_settings, toml_value
from mhng.experiment.settings.schema import FIELDS, Config, flag, key
from mhng.experiment.util.text import suggestion
from mhng.inference import MODES

SEEDS = "0-4"
# Where no modes are named: what can be played whatever agents are made of.
_COMPARED = [mode for mode in MODES if mode != "variational"]

# More runs than this are a mistyped range.
MOST_RUNS = 10_000
LONGEST_NAME = 60

# What the grid itself says of each run: by field, or by train's flag, and what to do instead.
_ELSEWHERE = {
    "mode": "give --modes",
    "seed": "give --seeds",
    "run_dir": "they lie in --out",
    "overwrite": "give the --overwrite of compare",
}
_NOT_SETTINGS = {
    "--resume": "the same command again goes on with what was stopped",
    "--config": "give the --config of compare",
}


class Run(NamedTuple):
    """One run: the row of the table that it belongs to, what it is made from, and the name of its folder."""

    row: str
    mode: str
    variant: str
    seed: int
    folder: str
    config: Config


@dataclass(frozen=True)
class Grid:
    """What is compared. Settings by field name, each checked; the variant "" has no name in the table."""

    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    baseline: str | None = None

    def rows(self) -> list[tuple[str, str, str]]:
        """(name, mode, variant) of each row of the table, in its order."""
        return [(row_name(mode, variant), mode, variant) for variant in self.variants for mode in self.modes]

    def runs(self) -> list[Run]:
        """All runs, row by row. `UsageError` naming the row whose settings do not fit together."""
        runs = []
        for row, mode, variant in self.rows():
            for seed in self.seeds:
                values = {**self.settings, **self.variants[variant], "mode": mode, "seed": seed}
                try:
                    config = settings.together(values)
                except UsageError as error:
                    raise UsageError(f"row {row!r}: {error}") from None
                runs.append(Run(row, mode, variant, seed, f"{_stem(mode, variant)}-seed{seed}", config))
        return runs

    def to_toml(self) -> str:
        """The grid as a file for --config."""
        lines = ["# What is compared in this folder. Use it again: python cli.py compare --config THIS_FILE --out DIR"]
        lines += ["", "[compare]", f"modes = {toml_value(self.modes)}"]
        lines += [f"seeds = {toml_value(self.seeds)}"]
        if self.baseline is not None:
            lines += [f"baseline = {toml_value(self.baseline)}"]
        lines += ["", "[settings]", *_assignments(self.settings)]
        for name, own in self.variants.items():
            lines += ["", f"[variants.{toml_value(name)}]", *_assignments(own)]
        return "\n".join(lines) + "\n"


def make(
    file: Path | None = None,
    *,
    modes: Sequence[str] | None = None,
    seeds: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    baseline: str | None = None,
    words: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Grid:
    """The grid of a file and of flags as typed, of which None is absent; `words` are the flags after --.

    Bad input is a `UsageError` that names the flag, or the file with the key.
    """
    table = {} if file is None else settings.read_toml(file)
    place = f"--config {file}"
    _refuse_unknown(table, ("compare", "settings", "variants"), place)
    head = _table(table, "compare", place)
    _refuse_unknown(head, ("modes", "seeds", "baseline"), f"{place}, [compare]")

    shared = _from_table(_table(table, "settings", place), f"{place}, [settings]", trust_plugins)
    shared |= _from_words(words, "after --")
    if variants is not None:
        own = _from_flags(variants)
    else:
        found = _table(table, "variants", place)
        own = {
            name: _from_table(_table(found, name, place), f"{place}, [variants.{name}]", trust_plugins)
            for name in found
        }
    for name in own:
        _check_name(name, "--variant" if variants is not None else f"{place}, [variants]")
    own = own or {"": {}}
    if own.get(""):
        raise UsageError(f"{place if variants is None else '--variant'}: a variant that has settings needs a name")

    where, given = ("--modes", modes) if modes is not None else (f"{place}: modes", head.get("modes", _COMPARED))
    modes_found = [checked("mode", str(mode), where) for mode in _listed(given, where)]
    _refuse_repeated(modes_found, where)
    where, given = ("--seeds", seeds) if seeds is not None else (f"{place}: seeds", head.get("seeds", SEEDS))
    seeds_found = [seed for part in _listed(given, where) for seed in seeds_of(part, where)]
    _refuse_repeated(seeds_found, where)
    if len(own) * len(modes_found) * len(seeds_found) > MOST_RUNS:
        raise UsageError(f"{where} make more than {MOST_RUNS} runs")

    where, line = ("--baseline", baseline) if baseline is not None else (f"{place}: baseline", head.get("baseline"))
    grid = Grid(tuple(modes_found), tuple(seeds_found), shared, own, line)
    names = [name for name, _, _ in grid.rows()]
    if line is not None and line not in names:
        near = suggestion(str(line), names)
        raise UsageError(f"{where} must be a row of the table ({'; '.join(names)}); it is {line!r}{near}")
    stems = [_stem(mode, variant).casefold() for _, mode, variant in grid.rows()]
    for row, stem in zip(names, stems, strict=True):
        if stems.count(stem) > 1:
            raise UsageError(f"row {row!r} would share its folders, {stem}-seed..., with another: rename the variant")
    return grid


def row_name(mode: str, variant: str) -> str:
    """ "com", or "com, split" with a variant."""
    return f"{mode}, {variant}" if variant else mode


def seeds_of(part: str | int, place: str) -> range:
    """7, "7" or "0-4", which has five seeds."""
    found = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", str(part).strip())
    if isinstance(part, bool) or found is None:
        raise UsageError(f"{place} must be whole numbers or ranges such as 0-4; one is {part!r}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise UsageError(f"{place}: the range {part} ends before it begins")
    if last - first >= MOST_RUNS:
        raise UsageError(f"{place}: the range {part} has more than {MOST_RUNS} seeds")
    checked("seed", last, place)
    return range(first, last + 1)


def _stem(mode: str, variant: str) -> str:
    """What the names of a row's folders begin with."""
    words = re.sub(r"[^\w.+=]+", "-", variant).strip("-.")
    return f"{mode}-{words}" if variant else mode


_AGENTS = ("agents", "agent")  # one table of a file holds both


def _assignments(values: Mapping[str, Any]) -> list[str]:
    lines = [f"{key(name)} = {toml_value(values[name])}" for name in values if name not in _AGENTS]
    if "agent" in values:
        tables: dict[str, Any] = {"count": values["agents"]} if "agents" in values else {}
        tables |= per_agent.to_tables(values["agent"])
        return [*lines, f"agents = {toml_value(tables)}"]
    return lines + [f"agents = {values[name]}" for name in _AGENTS if name in values]


# -- reading ---------------------------------------------------------------------------------------


def _table(table: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise UsageError(f"{place}: {name} must be a table; it is {found!r}")
    return found


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in table:
        if name not in known:
            hint = suggestion(name, known)
            if name in map(key, FIELDS):
                hint = "; settings of train stand under [settings]"
            raise UsageError(f"{place}: unknown key {name!r}{hint}")


def _from_table(table: Mapping[str, Any], place: str, trust_plugins: bool) -> dict[str, Any]:
    for name, instead in _ELSEWHERE.items():
        if key(name) in table:
            raise UsageError(f"{place}: {key(name)} is not for the runs of a grid: {instead}")
    return settings.from_table(table, place, trust_plugins=trust_plugins)


def _from_words(words: Sequence[str], place: str) -> dict[str, Any]:
    """The settings that flags of train make."""
    for word in words:
        if (instead := _NOT_SETTINGS.get(word.split("=")[0])) is not None:
            raise UsageError(f"{place}: {word} is not for the runs of a grid: {instead}")
    try:
        found = read_settings(words)
        for name, instead in _ELSEWHERE.items():
            if name in found:
                raise UsageError(f"{flag(name)} is not for the runs of a grid: {instead}")
        return settings.from_flags(found)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _from_flags(variants: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The variants of --variant 'NAME: FLAGS'."""
    found: dict[str, dict[str, Any]] = {}
    for text in variants:
        name, colon, flags = text.partition(":")
        name = name.strip()
        # Without the colon a forgotten one would make a variant that changes nothing.
        if (not colon and name) or name.startswith("--"):
            raise UsageError(f"--variant must be 'NAME: FLAGS', or '' for no change; it is {text!r}")
        if name in found:
            raise UsageError(f"--variant {name!r} is given twice")
        try:
            words = shlex.split(flags)
        except ValueError as error:
            raise UsageError(f"--variant {name!r}: {error}") from None
        found[name] = _from_words(words, f"--variant {name!r}")
    return found


def _check_name(name: str, place: str) -> None:
    """A name is a cell of a table and a part of a folder's name."""
    if name and (len(name) > LONGEST_NAME or not name.isprintable() or "|" in name or not re.search(r"\w", name)):
        raise UsageError(
            f"{place}: a name has {LONGEST_NAME} printable letters at most, one of them a letter or digit, and no |; "
            f"it is {name!r}"
        )


def _listed(value: Any, place: str) -> list[Any]:
    """A list of texts and whole numbers, of which one alone may stand for itself."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in values):
        raise UsageError(f"{place} must be a list of names or numbers; it is {value!r}")
    return values


def _refuse_repeated(values: Sequence[Any], place: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{place} has {value} twice")
        seen.add(value)
