"""Settings are read and written: flags, a TOML file, the plain values of a manifest.

A default gives way to the file of --config, and that to a flag. A key of the file is the flag's name without
its dashes (`latent-dim = 12`). Unknown names, wrong types and values out of range are `UsageError`s of one line
that name the flag or the file's key. `mhng.experiment.settings.schema` has the settings,
`mhng.experiment.settings.parsing` what each may be,
`mhng.experiment.settings.validation` which go together.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import parsing, per_agent, validation
from mhng.experiment.settings.parsing import (
    ABSOLUTE,
    toml_value,
    words_of,
)
from mhng.experiment.settings.schema import FIELDS, Config, key
from mhng.experiment.util.jsonable import to_plain

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
    """Parse and check flags, `--agent` included: field name -> text as typed, or a bool."""
    flags = dict(flags)
    agent = {"agent": per_agent.from_flags(flags.pop("agent"))} if "agent" in flags else {}
    return parsing.from_flags(flags) | agent


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Parse and check a TOML table, [agents] and [agents.NAME] included; see `parsing.from_table`."""
    table = dict(table)
    agents = table.pop("agents") if isinstance(table.get("agents"), dict) else {}
    found = parsing.from_table(table, place, trust_plugins=trust_plugins)
    if "count" in agents:
        found |= parsing.from_table({"agents": agents.pop("count")}, f"{place}, [agents]")
    return found | ({"agent": per_agent.from_tables(agents, place, trust_plugins=trust_plugins)} if agents else {})


def together(values: Mapping[str, Any]) -> Config:
    """The settings, defaults where `values` (by field name, each checked) has none. Checks that they fit together."""
    values = dict(values)
    values.update(_as_many_as_the_data(values))
    if values.get("agents", 2) != 2 and "views" not in values:
        values["views"] = tuple(100 * m / values["agents"] for m in range(values["agents"]))
    config = Config(**values)
    validation.check(config)
    return config


def _as_many_as_the_data(values: dict[str, Any]) -> dict[str, Any]:
    """As many agents as there are data of their own, and views as they are, where nothing else is said."""
    kind, data = values.get("dataset"), values.get("data")
    if kind not in custom_dataset.KINDS or not data or {"agents", "views"} <= values.keys():
        return {}
    count = custom_dataset.agents_in(kind, data)
    found: dict[str, Any] = {} if "agents" in values or count is None or count < 2 else {"agents": count}
    if "views" not in values and (count is not None or not custom_dataset.has_shared_images(kind, data)):
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
        lines += ["", "[agents]", f"count = {config.agents}"]
        for name, own in per_agent.to_tables(config.agent).items():
            lines += ["", f"[agents.{name}]", *(f"{field} = {toml_value(value)}" for field, value in own.items())]
    return "\n".join(lines) + "\n"


def plain(config: Config) -> dict[str, Any]:
    """The settings by key, as JSON knows them."""
    found = {key(name): _plain(getattr(config, name)) for name, field in FIELDS.items() if field.metadata["saved"]}
    return found | {"agent": per_agent.to_tables(config.agent)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def to_flags(config: Config) -> list[str]:
    """The flags of `train` that make these settings: those that differ from the defaults."""
    values = {name: getattr(config, name) for name in FIELDS if name != "agent"}
    changed = {name: value for name, value in values.items() if value != FIELDS[name].default}
    return words_of(changed) + per_agent.to_flags(config)


def changes(config: Config, made: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where `config` differs from settings in a manifest, by key: (that of config, that of the manifest)."""
    # A setting that the manifest's version did not know yet was what it is by default.
    made = dict(to_plain(plain(Config())) | made)
    # Files of edges stood there as they were typed once.
    for name, change in ABSOLUTE.items():
        if isinstance(made[key(name)], str):
            made[key(name)] = change(made[key(name)])
    return {name: (value, made[name]) for name, value in to_plain(plain(config)).items() if made[name] != value}
