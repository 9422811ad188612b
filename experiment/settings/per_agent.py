"""Settings of single agents: `--agent` flags and tables [agents.NAME] to overrides, and back.

    --agent 'B: --network conv --latent-dim 8'           [agents.B]
                                                         network = "conv"
                                                         latent-dim = 8

An override replaces a setting of the run for one agent. Agents always share the objects, the number of signs and the
game. A file with such tables gives the number of agents as `count` in [agents], instead of `agents = M`.
`Config.per_agent` holds the resulting settings of every agent.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.settings import parsing
from mhng.experiment.settings.schema import SETTINGS, Config, Overrides, flag, key

# Settings that an agent may override: parts of the agent, learning, and the acceptance rule.
INDIVIDUAL = (
    *(
        setting.name
        for setting in SETTINGS.values()
        if setting.group == "agents" and setting.name not in ("agents", "agent")
    ),
    "acceptance",
    "jitter",
    "batch_size",
    "lr",
)


def of_agent(config: Config, name: str) -> str:
    """ " of agent B" if agents differ, else "". It follows the value of a setting in a message."""
    return f" of agent {name}" if config.agent else ""


def from_flags(texts: Sequence[str]) -> Overrides:
    """Parse the texts 'NAME: FLAGS' of `--agent`. Raises UsageError."""
    overrides: dict[str, Mapping[str, Any]] = {}
    for text in texts:
        name, colon, flags = text.partition(":")
        name = name.strip()
        place = f"--agent {name!r}"
        if not colon or not name or name.startswith("-") or not flags.strip():
            raise UsageError(f"--agent is {text!r}; expected 'NAME: FLAGS', as in 'B: --network conv'")
        if name in overrides:
            raise UsageError(f"{place} is given twice")
        try:
            typed = parsing.read_settings(shlex.split(flags))
            _refuse_shared({flag(field): field for field in typed})
            overrides[name] = parsing.from_flags(typed)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{place}: {error}") from None
    return _frozen(overrides)


def from_tables(tables: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> Overrides:
    """Parse tables [agents.NAME] of a file. Raises UsageError. trust_plugins: as in `parsing.from_table`."""
    overrides: dict[str, Mapping[str, Any]] = {}
    for name, table in tables.items():
        where = f"{place}, [agents.{name}]"
        if not isinstance(table, dict):
            raise UsageError(f"{place}: agents.{name} is no table; expected [agents.{name}], or a whole number count")
        overrides[name] = parsing.from_table(table, where, trust_plugins=trust_plugins)
        _refuse_shared({f"{where}: {key(field)}": field for field in overrides[name]})
    return _frozen(overrides)


def from_keywords(tables: Mapping[str, Mapping[str, Any]]) -> Overrides:
    """Parse settings by field name of each agent. Raises UsageError."""
    if not isinstance(tables, Mapping):
        raise UsageError(f"agent is {tables!r}; expected a dict of agent names and dicts of settings")
    overrides: dict[str, Mapping[str, Any]] = {}
    for name, values in tables.items():
        if not isinstance(values, Mapping):
            raise UsageError(f"agent[{name!r}] is {values!r}; expected a dict of settings")
        _refuse_shared({f"agent[{name!r}]: {field}": field for field in values if field in SETTINGS})
        overrides[str(name)] = parsing.from_keywords(values, f"agent[{name!r}]: ")
    return _frozen(overrides)


def to_tables(overrides: Overrides) -> dict[str, dict[str, Any]]:
    """The overrides of each agent by key: the reverse of `from_tables`."""
    return {name: {key(field): parsing.plain_value(value) for field, value in values} for name, values in overrides}


def to_flags(overrides: Overrides) -> list[str]:
    """The reverse of `from_flags`."""
    return [f"--agent={name}: {shlex.join(parsing.to_flags(dict(values)))}" for name, values in overrides]


def _refuse_shared(given: Mapping[str, str]) -> None:
    """Raise UsageError for settings that all agents share. given: field by the user's spelling."""
    for written, field in given.items():
        if field not in INDIVIDUAL:
            allowed = ", ".join(map(key, INDIVIDUAL))
            raise UsageError(f"{written} applies to all agents; an agent may override {allowed}")


def _frozen(overrides: Mapping[str, Mapping[str, Any]]) -> Overrides:
    return tuple((name, tuple(sorted(values.items()))) for name, values in sorted(overrides.items()))
