"""Grid of runs: all combinations of variants, modes and seeds, from flags or a TOML file.

    [compare]
    modes = ["com", "gibbs"]
    seeds = ["0-9"]              # numbers, or ranges that include both ends
    baseline = "com"             # a row: "MODE" or "MODE, VARIANT"; default: the first row

    [settings]                   # settings of all runs; keys as in the --config file of train
    dataset = "digits"

    [variants.plain]             # default: one variant without a name and without settings

    [variants.split]
    start = "split"

Flags take precedence over the file: --modes, --seeds and --baseline replace the key of the same name, --variant
replaces all of [variants], and flags after -- replace keys of [settings]. Settings of a variant take precedence over
settings of all runs.
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
from mhng.experiment.settings.parsing import from_value, read_settings, toml_value
from mhng.experiment.settings.schema import SETTINGS, Config, flag, key
from mhng.experiment.util.text import suggestion
from mhng.inference import MODES

SEEDS = "0-4"
# Mode variational is not a default, because some mixtures do not support it.
_DEFAULT_MODES = [mode for mode in MODES if mode != "variational"]

MAX_RUNS = 10_000  # a larger number is a mistyped range
MAX_NAME_LENGTH = 60

# Settings and flags of train that the grid sets itself, and what to use instead.
_GRID_FIELDS = {
    "mode": "use --modes",
    "seed": "use --seeds",
    "run_dir": "the run folders are in --out",
    "overwrite": "use the --overwrite of compare",
}
_GRID_FLAGS = {
    "--resume": "run the same compare command again to resume its runs",
    "--config": "use the --config of compare",
}


class Run(NamedTuple):
    """A run of the grid: its row, mode, variant, seed, folder name and settings."""

    row: str
    mode: str
    variant: str
    seed: int
    folder: str
    config: Config


@dataclass(frozen=True)
class Grid:
    """Grid of runs. Settings are checked values by field name; the variant "" has no name in the table."""

    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    baseline: str | None = None

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the table in order, as (name, mode, variant)."""
        return [(row_name(mode, variant), mode, variant) for variant in self.variants for mode in self.modes]

    def runs(self) -> list[Run]:
        """All runs, row by row. Raises `UsageError`, with the row, for settings that contradict each other."""
        runs = []
        for row, mode, variant in self.rows():
            for seed in self.seeds:
                values = {**self.settings, **self.variants[variant], "mode": mode, "seed": seed}
                try:
                    config = settings.together(values)
                except UsageError as error:
                    raise UsageError(f"row {row!r}: {error}") from None
                runs.append(Run(row, mode, variant, seed, f"{_folder_prefix(mode, variant)}-seed{seed}", config))
        return runs

    def to_toml(self) -> str:
        """Format the grid as a --config file."""
        lines = ["# Grid of this comparison. To reuse it: python cli.py compare --config THIS_FILE --out DIR"]
        lines += ["", "[compare]", f"modes = {toml_value(self.modes)}"]
        lines += [f"seeds = {toml_value(self.seeds)}"]
        if self.baseline is not None:
            lines += [f"baseline = {toml_value(self.baseline)}"]
        lines += ["", "[settings]", *_assignments(self.settings)]
        for name, values in self.variants.items():
            lines += ["", f"[variants.{toml_value(name)}]", *_assignments(values)]
        return "\n".join(lines) + "\n"


def build_grid(
    file: Path | None = None,
    *,
    modes: Sequence[str] | None = None,
    seeds: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    baseline: str | None = None,
    words: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Grid:
    """Build the grid from a file and from flags as typed (None: not given). words: the flags after --.

    Raises `UsageError` with the flag, or with the file and the key, for bad input.
    """
    place = f"--config {file}"
    table = {} if file is None else settings.read_toml(file, place)
    _refuse_unknown(table, ("compare", "settings", "variants"), place)
    head = _table(table, "compare", place)
    _refuse_unknown(head, ("modes", "seeds", "baseline"), f"{place}, [compare]")

    shared = _from_table(_table(table, "settings", place), f"{place}, [settings]", trust_plugins)
    shared |= _from_words(words, "after --")
    if variants is not None:
        variant_settings = _from_flags(variants)
    else:
        tables = _table(table, "variants", place)
        variant_settings = {
            name: _from_table(_table(tables, name, place), f"{place}, [variants.{name}]", trust_plugins)
            for name in tables
        }
    for name in variant_settings:
        _check_name(name, "--variant" if variants is not None else f"{place}, [variants]")
    variant_settings = variant_settings or {"": {}}
    if variant_settings.get(""):
        raise UsageError(f"{place if variants is None else '--variant'}: a variant with settings requires a name")

    default = ["com"] if "program" in shared else _DEFAULT_MODES
    where, given = ("--modes", modes) if modes is not None else (f"{place}: modes", head.get("modes", default))
    grid_modes = [from_value("mode", str(mode), where) for mode in _as_list(given, where)]
    _refuse_repeated(grid_modes, where)
    where, given = ("--seeds", seeds) if seeds is not None else (f"{place}: seeds", head.get("seeds", SEEDS))
    grid_seeds = [seed for part in _as_list(given, where) for seed in parse_seeds(part, where)]
    _refuse_repeated(grid_seeds, where)
    count = len(variant_settings) * len(grid_modes) * len(grid_seeds)
    if count > MAX_RUNS:
        raise UsageError(f"{where}: the grid has {count} runs; expected at most {MAX_RUNS}")

    where, line = ("--baseline", baseline) if baseline is not None else (f"{place}: baseline", head.get("baseline"))
    grid = Grid(tuple(grid_modes), tuple(grid_seeds), shared, variant_settings, line)
    names = [name for name, _, _ in grid.rows()]
    if line is not None and line not in names:
        near = suggestion(str(line), names)
        raise UsageError(f"{where} is {line!r}; expected a row of the table ({'; '.join(names)}){near}")
    prefixes = [_folder_prefix(mode, variant).casefold() for _, mode, variant in grid.rows()]
    for row, prefix in zip(names, prefixes, strict=True):
        if prefixes.count(prefix) > 1:
            raise UsageError(f"row {row!r}: another row has the same folders {prefix}-seed...; rename the variant")
    return grid


def row_name(mode: str, variant: str) -> str:
    """Name of a row: "com", or "com, split" with a variant."""
    return f"{mode}, {variant}" if variant else mode


def parse_seeds(part: str | int, place: str) -> range:
    """Parse 7, "7" or "0-4" (five seeds)."""
    match = re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", str(part).strip())
    if isinstance(part, bool) or match is None:
        raise UsageError(f"{place} is {part!r}; expected whole numbers or ranges such as 0-4")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise UsageError(f"{place}: the end of the range {part} is before its start")
    if last - first >= MAX_RUNS:
        raise UsageError(f"{place}: the range {part} has {last - first + 1} seeds; expected at most {MAX_RUNS}")
    from_value("seed", last, place)
    return range(first, last + 1)


def _folder_prefix(mode: str, variant: str) -> str:
    """Common prefix of the folder names of a row."""
    words = re.sub(r"[^\w.+=]+", "-", variant).strip("-.")
    return f"{mode}-{words}" if variant else mode


_AGENTS = ("agents", "agent")  # in a file, both are in the table `agents`


def _assignments(values: Mapping[str, Any]) -> list[str]:
    lines = [f"{key(name)} = {toml_value(values[name])}" for name in values if name not in _AGENTS]
    if "agent" in values:
        tables: dict[str, Any] = {"count": values["agents"]} if "agents" in values else {}
        tables |= per_agent.to_tables(values["agent"])
        return [*lines, f"agents = {toml_value(tables)}"]
    return lines + [f"agents = {values[name]}" for name in _AGENTS if name in values]


# -- reading ---------------------------------------------------------------------------------------


def _table(table: Mapping[str, Any], name: str, place: str) -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise UsageError(f"{place}: {name} is {value!r}; expected a table")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: Sequence[str], place: str) -> None:
    for name in table:
        if name not in known:
            hint = suggestion(name, known)
            if name in map(key, SETTINGS):
                hint = "; settings of train belong in [settings]"
            raise UsageError(f"{place}: unknown key {name!r}{hint}")


def _from_table(table: Mapping[str, Any], place: str, trust_plugins: bool) -> dict[str, Any]:
    for name, remedy in _GRID_FIELDS.items():
        if key(name) in table:
            raise UsageError(f"{place}: {key(name)} cannot be set per run; {remedy}")
    return settings.from_table(table, place, trust_plugins=trust_plugins)


def _from_words(words: Sequence[str], place: str) -> dict[str, Any]:
    """Parse flags of train into settings."""
    for word in words:
        if (remedy := _GRID_FLAGS.get(word.split("=")[0])) is not None:
            raise UsageError(f"{place}: {word} cannot be set per run; {remedy}")
    try:
        values = read_settings(words)
        for name, remedy in _GRID_FIELDS.items():
            if name in values:
                raise UsageError(f"{flag(name)} cannot be set per run; {remedy}")
        return settings.from_flags(values)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None


def _from_flags(variants: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse --variant 'NAME: FLAGS' options."""
    result: dict[str, dict[str, Any]] = {}
    for text in variants:
        name, colon, flags = text.partition(":")
        name = name.strip()
        # Without this check, a forgotten colon would give a variant without settings.
        if (not colon and name) or name.startswith("--"):
            raise UsageError(f"--variant is {text!r}; expected 'NAME: FLAGS', or '' for no change")
        if name in result:
            raise UsageError(f"--variant {name!r} is given twice")
        try:
            words = shlex.split(flags)
        except ValueError as error:
            raise UsageError(f"--variant {name!r}: {error}") from None
        result[name] = _from_words(words, f"--variant {name!r}")
    return result


def _check_name(name: str, place: str) -> None:
    """Check the name of a variant: it becomes a cell of a table and part of a folder name."""
    if name and (len(name) > MAX_NAME_LENGTH or not name.isprintable() or "|" in name or not re.search(r"\w", name)):
        raise UsageError(
            f"{place}: the name is {name!r}; expected at most {MAX_NAME_LENGTH} printable characters with a letter or "
            "digit, and no |"
        )


def _as_list(value: Any, place: str) -> list[Any]:
    """Check a list of names and whole numbers; a single value becomes a list."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise UsageError(f"{place} is {value!r}; expected a list of names or numbers")
    return values


def _refuse_repeated(values: Sequence[Any], place: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{place} has {value} twice")
        seen.add(value)
