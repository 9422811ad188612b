"""Agents that differ: settings that one agent has for itself, where the others have those of the run.

    --agent 'B: --network conv --latent-dim 8'           [agents.B]
                                                         network = "conv"
                                                         latent-dim = 8

Agents share the objects, the number of signs and the game; of everything that makes an agent each may have its own.
In a file a table [agents.NAME] says so; the number of agents, otherwise `agents = M`, is then `count` in [agents].
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.settings import parsing
from mhng.experiment.settings.schema import FIELDS, Config, Own, flag, key, modalities_of
from mhng.experiment.util.agent_names import agent_names
from mhng.models.registry import NETWORKS

# What an agent may have for itself: what it is made of, how it learns, and how it listens.
INDIVIDUAL = (
    *(
        name
        for name, field in FIELDS.items()
        if field.metadata["group"] == "agents" and name not in ("agents", "agent")
    ),
    "acceptance",
    "jitter",
    "batch_size",
    "lr",
)


def of(config: Config, name: str) -> Config:
    """The settings of the agent called `name`: its own where it has any."""
    return replace(config, agent=(), **dict(dict(config.agent).get(name, ())))


def each(config: Config) -> Iterator[tuple[str, Config]]:
    """The name and the settings of every agent."""
    for name in agent_names(config.agents):
        yield name, of(config, name)


def who(config: Config, name: str) -> str:
    """ "of agent B" where agents differ, to be put after the name of a setting; else nothing."""
    return f" of agent {name}" if config.agent else ""


def from_flags(texts: Sequence[str]) -> Own:
    """The value of the setting `agent` from --agent 'NAME: FLAGS', given any number of times."""
    found: dict[str, Mapping[str, Any]] = {}
    for text in texts:
        name, colon, flags = text.partition(":")
        name = name.strip()
        place = f"--agent {name!r}"
        if not colon or not name or name.startswith("-") or not flags.strip():
            raise UsageError(f"--agent must be 'NAME: FLAGS', as in 'B: --network conv'; it is {text!r}")
        if name in found:
            raise UsageError(f"{place} is given twice")
        try:
            given = parsing.read_settings(shlex.split(flags))
            _refuse_common({flag(field): field for field in given})
            found[name] = parsing.from_flags(given)
        except (UsageError, ValueError) as error:
            raise UsageError(f"{place}: {error}") from None
    return _frozen(found)


def from_tables(tables: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> Own:
    """The value of the setting `agent` from tables [agents.NAME] of a file. trust_plugins: as in `config.resolve`."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, table in tables.items():
        where = f"{place}, [agents.{name}]"
        if not isinstance(table, dict):
            raise UsageError(f"{place}: agents.{name} must be a table [agents.{name}], or count a whole number")
        found[name] = parsing.from_table(table, where, trust_plugins=trust_plugins)
        _refuse_common({f"{where}: {key(field)}": field for field in found[name]})
    return _frozen(found)


def to_tables(agent: Own) -> dict[str, dict[str, Any]]:
    """The reverse of `from_tables`."""
    return {name: {key(field): value for field, value in own} for name, own in agent}


def tables_of(made: Any) -> list[Mapping[str, Any]]:
    """The tables of settings in a manifest: of all agents, and of each that has its own."""
    if not isinstance(made, dict):
        return []
    own = made.get("agent")
    return [made, *(table for table in (own.values() if isinstance(own, dict) else ()) if isinstance(table, dict))]


def to_flags(config: Config) -> list[str]:
    """The reverse of `from_flags`."""
    words = []
    for name, own in config.agent:
        flags = shlex.join(parsing.words_of(dict(own)))
        words.append(f"--agent={name}: {flags}")
    return words


def check(config: Config) -> None:
    """UsageError for settings of agents that there are not, and for settings that exclude each other."""
    names = agent_names(config.agents)
    if config.reduce is not None and all(own.likelihood == "multinomial" for _, own in each(config)):
        raise UsageError(
            f"--reduce {config.reduce} and --likelihood multinomial do not go together: principal components are no "
            "counts"
        )
    count_of = {name: modalities_of(config, m) for m, name in enumerate(names)}
    if max(count_of.values()) == 1:
        for field in ("missing", "fusion"):
            if getattr(config, field) != FIELDS[field].default:
                raise UsageError(
                    f"{flag(field)} {getattr(config, field)} is for agents with several modalities, joined "
                    "by & in --views or --data; there is none"
                )
    for name, own in each(config):
        # What was said of all agents may be meant for the others.
        said = FIELDS.keys() if not config.agent else dict(dict(config.agent).get(name, ())).keys()
        changed = {field for field in said if getattr(own, field) != FIELDS[field].default}
        _check_one(own, changed, who(config, name))
        _check_modalities(own, count_of[name], name, "fusion" in dict(dict(config.agent).get(name, ())))
    for name, _ in config.agent:
        if name not in names:
            raise UsageError(
                f"--agent {name!r} is none of the {config.agents} agents, {names[0]} to {names[-1]}: their names are "
                "capital letters"
            )


def _check_modalities(own: Config, count: int, name: str, has_fusion: bool) -> None:
    """What an agent with several modalities cannot be, and what one with a single modality need not be told."""
    if count > 1 and own.likelihood == "identity":
        raise UsageError(
            f"--likelihood identity and the {count} modalities of agent {name} do not go together: there is no "
            "network, and the percept is the one observation"
        )
    if count == 1 and has_fusion:
        raise UsageError(f"--agent {name!r}: --fusion {own.fusion} is for several modalities; the agent has one")


def _check_one(own: Config, changed: Set[str], who: str) -> None:
    """Settings of a network where there is none, and of a likelihood that is another."""
    for name in ("network", "guide", "percept"):
        if own.likelihood == "identity" and name in changed:
            raise UsageError(
                f"{flag(name)} {getattr(own, name)} and --likelihood identity{who} do not go together: there "
                "is no network, and the percept is the observation"
            )
    if own.likelihood != "gaussian-fixed" and "noise" in changed:
        raise UsageError(
            f"--noise is for --likelihood gaussian-fixed; --likelihood{who} is {own.likelihood}, and --noise "
            f"{own.noise:g}"
        )
    if own.likelihood == "multinomial" and "network" in changed and own.network in NETWORKS:
        raise UsageError(
            f"--network {own.network} and --likelihood multinomial{who} do not go together: counts are no images"
        )


def _refuse_common(given: Mapping[str, str]) -> None:
    """UsageError for fields, by how the user wrote them, that are not an agent's own."""
    for written, field in given.items():
        if field not in INDIVIDUAL:
            own = ", ".join(key(name) for name in INDIVIDUAL)
            raise UsageError(f"{written} is one for all agents; an agent may have its own {own}")


def _frozen(found: Mapping[str, Mapping[str, Any]]) -> Own:
    return tuple((name, tuple(sorted(own.items()))) for name, own in sorted(found.items()))
