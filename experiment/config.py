"""Settings are read and written: flags, a TOML file, the plain values of a manifest.

A default gives way to the file of --config, and that to a flag. A key of the file is the flag's name without
its dashes (`latent-dim = 12`). Unknown names, wrong types and values out of range are `UsageError`s of one line
that name the flag or the file's key. `mhng.experiment.fields` has the settings, `mhng.experiment.values` what each may be,
`mhng.experiment.fitting` which go together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mhng.experiment.data import own
from mhng.experiment.data.modalities import JOINT
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.fields import FIELDS, Config, flag, key
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.text import shown, suggestion
from mhng.experiment.values import ABSOLUTE, checked, from_text, from_toml, toml_value
from mhng.models import FAMILIES
from mhng.models.plugins import is_plugin

# Keys that may change while a run remains the same run.
MOVABLE = (
    "data",
    "data-root",
    "download",
    "device",
    "engine",
    "address",
    "cuda-graphs",
    "checkpoint-minutes",
    "tensorboard",
)


def resolve(flags: Mapping[str, Any], file: Path | None = None, *, trust_plugins: bool = False) -> Config:
    """Defaults, then the file, then `flags` (field name -> text as typed, or a bool). Checks everything.

    trust_plugins: the file may name code of its own to run; without it that is an `UntrustedError`.
    """
    return together(({} if file is None else read_file(file, trust_plugins=trust_plugins)) | from_flags(flags))


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by field name, each checked, of flags as typed: field name -> text, or a bool."""
    return {name: checked(name, from_text(name, typed), flag(name)) for name, typed in flags.items()}


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Settings by field name, each checked, of a TOML table by key; messages begin with `place`.

    A name of code to be imported ("module:attribute") is refused unless `trust_plugins`: whoever wrote the file could
    have anything run. On the command line the user has typed it.
    """
    values = {}
    names = {key(name): name for name in FIELDS}
    for found, value in table.items():
        if found == "agents" and isinstance(value, dict):
            values.update(_agents_of(value, place, trust_plugins))
            continue
        if found not in names or found == "agent":
            raise UsageError(f"{place}: unknown key {shown(found)}{suggestion(found, names)}")
        name = names[found]
        where = f"{place}: {found}"
        values[name] = checked(name, from_toml(name, value, where), where)
        if not trust_plugins:
            refuse_plugin(name, values[name], where)
    return values


def _agents_of(table: Mapping[str, Any], place: str, trust_plugins: bool) -> dict[str, Any]:
    """The settings in [agents] and [agents.NAME]."""
    from mhng.experiment import individuals

    tables = dict(table)
    count = {} if "count" not in tables else from_table({"agents": tables.pop("count")}, f"{place}, [agents]")
    return count | {"agent": individuals.from_tables(tables, place, trust_plugins=trust_plugins)}


def refuse_plugin(name: str, value: Any, place: str) -> None:
    """`UntrustedError` if the value of a field, from a file, names code to be imported."""
    if name in FAMILIES and isinstance(value, str) and is_plugin(value):
        raise UntrustedError(
            f"{place} = {value} runs code that is not of this program: give --trust-plugins if you trust that and the "
            "file"
        )


def together(values: Mapping[str, Any]) -> Config:
    """The settings, defaults where `values` (by field name, each checked) has none. Checks that they fit together."""
    values = dict(values)
    values.update(_as_many_as_the_data(values))
    if values.get("agents", 2) != 2 and "views" not in values:
        values["views"] = tuple(100 * m / values["agents"] for m in range(values["agents"]))
    config = Config(**values)
    from mhng.experiment import fitting

    fitting.check(config)
    return config


def _as_many_as_the_data(values: dict[str, Any]) -> dict[str, Any]:
    """As many agents as there are data of their own, and views as they are, where nothing else is said."""
    kind, data = values.get("dataset"), values.get("data")
    if kind not in own.KINDS or not data or {"agents", "views"} <= values.keys():
        return {}
    count = own.agents_in(kind, data)
    found: dict[str, Any] = {} if "agents" in values or count is None or count < 2 else {"agents": count}
    if "views" not in values and (count is not None or not own.is_for_all(kind, data)):
        found["views"] = (0.0,) * (values | found).get("agents", 2)
    return found


def read_file(file: Path, *, trust_plugins: bool = False) -> dict[str, Any]:
    """The settings in a TOML file, by field name, each checked. trust_plugins: as in `from_table`."""
    return from_table(read_toml(file), f"--config {file}", trust_plugins=trust_plugins)


def read_toml(file: Path) -> dict[str, Any]:
    """The table in the TOML file of --config."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise UsageError(f"--config {file}: not valid TOML: {error}") from error


def to_toml(config: Config) -> str:
    """The settings as a file for --config; what is absent stands there as a comment."""
    lines = ["# The settings of this run, resolved. Use it again: python cli.py train --config THIS_FILE", ""]
    group = None
    for name, field in FIELDS.items():
        if not field.metadata["saved"]:
            continue
        if field.metadata["group"] != group:
            lines += [""] * (group is not None)
            group = field.metadata["group"]
            lines.append(f"# {group}")
        if name == "agent" or (name == "agents" and config.agent):
            continue
        value = getattr(config, name)
        lines.append(f"# {key(name)} =" if value is None else f"{key(name)} = {toml_value(value)}")
    if config.agent:
        from mhng.experiment import individuals

        lines += ["", "[agents]", f"count = {config.agents}"]
        for name, own in individuals.to_tables(config.agent).items():
            lines += ["", f"[agents.{name}]", *(f"{field} = {toml_value(value)}" for field, value in own.items())]
    return "\n".join(lines) + "\n"


def plain(config: Config) -> dict[str, Any]:
    """The settings by key, as JSON knows them."""
    from mhng.experiment import individuals

    found = {key(name): _plain(getattr(config, name)) for name, field in FIELDS.items() if field.metadata["saved"]}
    return found | {"agent": individuals.to_tables(config.agent)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def to_flags(config: Config) -> list[str]:
    """The flags of `train` that make these settings: those that differ from the defaults."""
    from mhng.experiment import individuals

    values = {name: getattr(config, name) for name in FIELDS if name != "agent"}
    changed = {name: value for name, value in values.items() if value != FIELDS[name].default}
    return words_of(changed) + individuals.to_flags(config)


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Flags that make these settings, by field name."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else "--no-" + key(name))
        else:
            # In one word, because a value may begin with a dash.
            text = ",".join(map(_word, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{flag(name)}={text}")
    return words


def _word(item: Any) -> str:
    return JOINT.join(map(str, item)) if isinstance(item, tuple) else str(item)


def changes(config: Config, made: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where `config` differs from settings in a manifest, by key: (that of config, that of the manifest)."""
    # A setting that the manifest's version did not know yet was what it is by default.
    made = dict(to_plain(plain(Config())) | made)
    # Files of edges stood there as they were typed once.
    for name, change in ABSOLUTE.items():
        if isinstance(made[key(name)], str):
            made[key(name)] = change(made[key(name)])
    return {name: (value, made[name]) for name, value in to_plain(plain(config)).items() if made[name] != value}
