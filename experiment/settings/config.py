"""Settings of a run from flags, a TOML file or keyword arguments, and back to text.

Flags override the file of --config, which overrides the defaults. A key of the file is the flag without its dashes
(`latent-dim = 12`). Bad settings are a `UsageError` of one line that names the flag, or the file and the key.

`schema` declares the settings, `parsing` reads one of them, `per_agent` those of single agents, `validation` checks
constraints between them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.views import parse_view
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import by_dataset, parsing, per_agent, presets, validation
from mhng.experiment.settings.parsing import PARSERS, plain_value, toml_value
from mhng.experiment.settings.schema import CHOSEN, MOST_SENTENCES, SETTINGS, Config, key
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.paths import typed_path
from mhng.experiment.util.text import short_number

# Keys that may change while a run remains the same run.
MOVABLE = (
    "data",
    "data-root",
    "download",
    "device",
    "engine",
    "address",
    "threads",
    "cuda-graphs",
    "checkpoint-minutes",
    "tensorboard",
)
# Keys that may change when a run resumes.
CHANGEABLE = ("rounds", *MOVABLE)
# Fields that a run folder holds.
_SAVED = tuple(name for name, setting in SETTINGS.items() if setting.saved)


def resolve(
    flags: Mapping[str, Any],
    file: Path | None = None,
    *,
    preset: str | None = None,
    trust_plugins: bool = False,
    place: str | None = None,
) -> Config:
    """Parse and check the settings of a run. flags: field name -> text as typed, or a bool.

    preset: a name in `presets`; file and flags override it. trust_plugins: the file may name code to import; without
    it that is an `UntrustedError`. place: the beginning of messages about the file (default: --config FILE).
    """
    given = {} if file is None else read_file(file, trust_plugins=trust_plugins, place=place)
    given |= from_flags(flags)
    return with_preset(given, preset)


def with_preset(given: Mapping[str, Any], preset: str | None) -> Config:
    """A `Config` of parsed values by field name, and of those of a preset where none are given."""
    return together(({} if preset is None else from_flags(presets.settings_of(preset, given))) | dict(given))


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Parse and check flags, `--agent` included: field name -> text as typed, or a bool."""
    flags = dict(flags)
    agent = {"agent": per_agent.from_flags(flags.pop("agent"))} if "agent" in flags else {}
    return parsing.from_flags(flags) | agent


def from_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Parse and check keyword arguments: field name -> Python value; `agent` maps names to such arguments."""
    keywords = dict(keywords)
    agent = keywords.pop("agent", None)
    overrides = {} if agent is None else {"agent": per_agent.from_keywords(agent)}
    return parsing.from_keywords(keywords) | overrides


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Parse and check a TOML table, [agents] and [agents.NAME] included; see `parsing.from_table`."""
    table = dict(table)
    agents = table.pop("agents") if isinstance(table.get("agents"), dict) else {}
    values = parsing.from_table(table, place, trust_plugins=trust_plugins)
    if "count" in agents:
        values |= parsing.from_table({"agents": agents.pop("count")}, f"{place}, [agents]")
    return values | ({"agent": per_agent.from_tables(agents, place, trust_plugins=trust_plugins)} if agents else {})


def together(values: Mapping[str, Any]) -> Config:
    """A `Config` of parsed values by field name, defaults elsewhere. Checks constraints between settings."""
    given = frozenset(values)
    values = dict(values) | _from_data(dict(values)) | by_dataset.defaults(values)
    M = values.get("agents", 2)
    if M != 2 and "views" not in values:
        values["views"] = tuple(parse_view(100 * m / M) for m in range(M))
    if "burn_in" not in values:
        values["burn_in"] = min(SETTINGS["burn_in"].default, 2 * values.get("sweeps", SETTINGS["sweeps"].default) // 5)
    if values.get("program"):
        file, colon, name = values["program"].rpartition(":")
        if file:  # else a message says that :NAME is missing
            values["program"] = f"{typed_path(file, '--program').absolute()}{colon}{name}"
    values |= _of_sentences(values)
    config = Config(**values, given=given)
    validation.check(config)
    return config


def check_values(config: Config) -> None:
    """Check a `Config` that was built in Python, as flags are checked. Raises UsageError."""
    given = {name: value for name in SETTINGS if (value := getattr(config, name)) != SETTINGS[name].default}
    parsing.from_keywords({name: plain_value(value) for name, value in given.items() if name != "agent"})
    validation.check(config)


def _of_sentences(values: Mapping[str, Any]) -> dict[str, Any]:
    """The vocabulary and the number of signs of sentences, where they are not given."""
    words, vocabulary = values.get("words", 1), values.get("vocabulary")
    if words == 1:
        return {}
    vocabulary = 10 if vocabulary is None else vocabulary
    sentences: int = vocabulary**words
    if sentences > MOST_SENTENCES:
        raise UsageError(
            f"--words {words} and --vocabulary {vocabulary} give {short_number(sentences)} sentences; expected at "
            f"most {MOST_SENTENCES:,}"
        )
    if values.get("signs", sentences) != sentences:
        raise UsageError(
            f"--signs is {values['signs']}; --words {words} and --vocabulary {vocabulary} give {sentences} signs"
        )
    return {"vocabulary": vocabulary, "signs": sentences}


def _from_data(values: dict[str, Any]) -> dict[str, Any]:
    """The number of agents and the views that `--data` implies, where they are not given."""
    kind, data = values.get("dataset"), values.get("data")
    if kind not in custom_dataset.KINDS or not data or {"agents", "views"} <= values.keys():
        return {}
    count = custom_dataset.agents_in(kind, data)
    implied: dict[str, Any] = {} if "agents" in values or count is None or count < 2 else {"agents": count}
    if "views" not in values and (count is not None or not custom_dataset.has_shared_images(kind, data)):
        implied["views"] = (parse_view(0.0),) * (values | implied).get("agents", 2)
    return implied


def read_file(file: Path, *, trust_plugins: bool = False, place: str | None = None) -> dict[str, Any]:
    """Parse and check the settings in a TOML file. Returns values by field name. Other arguments: as in `resolve`."""
    place = place or f"--config {file}"
    return from_table(read_toml(file, place), place, trust_plugins=trust_plugins)


def read_toml(file: Path, place: str) -> dict[str, Any]:
    """The table in a TOML file. Raises UsageError, which begins with `place`."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise UsageError(f"{place}: not valid TOML: {error}") from error


def to_toml(config: Config, reasons: Mapping[str, str] = MappingProxyType({})) -> str:
    """The settings as a file for --config. Settings without a value are comments.

    reasons: comments by field name, on the settings that were chosen from the data.
    """
    lines = ["# The settings of this run, resolved. Use it again: python cli.py train --config THIS_FILE", ""]
    group = None
    for name in _saved_of(config):
        setting = SETTINGS[name]
        if setting.group != group:
            lines += [""] * (group is not None)
            group = setting.group
            lines.append(f"# {group}")
        if name == "agent" or (name == "agents" and config.agent):
            continue
        value = getattr(config, name)
        comment = f"  # chosen: {reasons[name]}" if name in reasons else ""
        lines.append(f"# {key(name)} =" if value is None else f"{key(name)} = {toml_value(value)}{comment}")
    if config.agent:
        lines += ["", "[agents]", f"count = {config.agents}"]
        for name, table in per_agent.to_tables(config.agent).items():
            lines += ["", f"[agents.{name}]", *(f"{field} = {toml_value(value)}" for field, value in table.items())]
    return "\n".join(lines) + "\n"


def plain(config: Config) -> dict[str, Any]:
    """The settings by key, as plain values for JSON."""
    values = {key(name): plain_value(getattr(config, name)) for name in _SAVED}
    return values | {"dataset": data_name(config), "agent": per_agent.to_tables(config.agent)}


def concerning(config: Config) -> dict[str, Any]:
    """`plain`, without the settings that have no effect on a game of Pyro programs."""
    values = plain(config)
    return values if config.program is None else {key(name): values[key(name)] for name in _saved_of(config)}


def data_name(config: Config) -> str:
    """The data set, or FILE.py:NAME of a game of Pyro programs without the folder of the file."""
    return config.dataset if config.program is None else Path(config.program).name


def _saved_of(config: Config) -> tuple[str, ...]:
    """The fields that a run folder of `config` holds. A game of Pyro programs has no data set and no learning."""
    if config.program is None:
        return _SAVED
    return tuple(name for name in _SAVED if name in validation.PROGRAM_SETTINGS and name != "views")


def to_flags(config: Config) -> list[str]:
    """The flags of `train` that give these settings: those that differ from the defaults."""
    values = {name: getattr(config, name) for name in SETTINGS if name != "agent"}
    defaults = {name: SETTINGS[name].default for name in values} | by_dataset.defaults_of(config)
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    return parsing.to_flags(changed) + per_agent.to_flags(config.agent)


def changes(config: Config, made: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences between `config` and the settings in a manifest, by key: (value in config, value in manifest)."""
    return differences(to_plain(concerning(config)), made)


def differences(now: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences between two tables of plain settings by key: (value in `now`, value in `made`).

    A setting that `now` leaves to the data does not differ.
    """
    # A table of an older version lacks newer settings, which had their defaults.
    made = dict(to_plain(plain(Config())) | made)
    for name in ("meet", "meet_later"):  # older manifests hold paths of files as typed
        made[key(name)] = _canonical(name, made[key(name)])
    left = {key(name) for name in CHOSEN if now.get(key(name)) is None}
    return {name: (value, made[name]) for name, value in now.items() if made[name] != value and name not in left}


def _canonical(name: str, text: Any) -> Any:
    try:
        return PARSERS[SETTINGS[name].type](text).text if isinstance(text, str) else text
    except ValueError:  # the manifest is damaged
        return text
