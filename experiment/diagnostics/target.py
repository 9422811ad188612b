"""The distribution that the chains of a run sample, from the table of laws (`mhng.inference.laws`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mhng.experiment.util.agent_names import agent_names
from mhng.inference.laws import EXACT_RULES, Cell, Law, law


class Target(NamedTuple):
    """What the chains sample. kind: exact, another, biased or unproved, as in `Law`. words: a sentence or two.

    bias: total variation from the joint posterior on the case of docs/correctness.md. known: whether converged chains
    sample a posterior, at least approximately or as far as is known.
    """

    kind: str
    words: str
    bias: float | None
    known: bool


def target(settings: Mapping[str, Any]) -> Target:
    """The distribution that a game with these settings samples."""
    if settings.get("program"):
        exact = bool(settings.get("exact"))
        words = (
            "Exact: the chains sample the joint posterior."
            if exact
            else (
                "Unproved: the game of programs is approximate (docs/programs.md), and the distance from the joint "
                "posterior was never measured."
            )
        )
        return Target("exact" if exact else "unproved", words, None, True)
    verdict = law(_cell(settings))
    known = verdict.kind in ("exact", "another") or verdict.near
    return Target(verdict.kind, _words(verdict), verdict.bias, known)


def _words(verdict: Law) -> str:
    if verdict.kind == "biased":
        return (
            f"Biased: {verdict.sentence} On the case of docs/correctness.md the total variation from the joint "
            f"posterior is {verdict.bias:.2f}."
        )
    if verdict.kind == "unproved":
        return f"Unproved: {verdict.sentence} The distance of this game from the joint posterior was never measured."
    return verdict.sentence


def _cell(settings: Mapping[str, Any]) -> Cell:
    """The cell of the table for a run, which redraws its parameters."""
    mixtures = tuple(_by_agent(settings, "mixture", "normal-wishart").values())
    weights, words = settings.get("weights", "uniform").partition(":")[0], settings.get("words", 1)
    if words > 1:
        mixtures = (settings["meaning"],)
        weights = "markov" if settings["grammar"] == "markov" else weights
    return Cell(
        settings["mode"],
        settings["listener-state"],
        tuple(acceptance_rules(settings).values()),
        settings.get("recursion", "os"),
        settings.get("inner-start", "listener"),
        settings.get("agents", 2),
        settings["signs"],
        settings.get("meet", "together"),
        synchronous=settings.get("synchronous", False),
        mixtures=mixtures,
        weights=weights,
        words=words,
    )


def acceptance_rules(settings: Mapping[str, Any]) -> dict[str, str]:
    """The acceptance rule of each agent."""
    return _by_agent(settings, "acceptance", "mh")


def _by_agent(settings: Mapping[str, Any], key: str, default: str) -> dict[str, str]:
    """A setting of each agent, with the overrides of `agent`."""
    overrides = settings.get("agent") or {}
    common = settings.get(key, default)
    return {name: overrides.get(name, {}).get(key, common) for name in agent_names(settings.get("agents", 2))}


def options_with_target(settings: Mapping[str, Any]) -> str:
    """The options that would make the game sample a posterior."""
    options = ["--mode com"] if settings["mode"] == "all" else []
    if is_on_graph(settings):
        options.append("--meet together" + (" without --meet-later" if settings.get("meet-later") else ""))
    if settings["listener-state"] != "shared":
        options.append("--listener-state shared")
    if not set(acceptance_rules(settings).values()) <= EXACT_RULES:
        options.append("--acceptance mh" + (" for all agents" if settings.get("agent") else ""))
    return " ".join(options)


def is_on_graph(settings: Mapping[str, Any]) -> bool:
    """Whether the agents meet in pairs on a graph of more than two."""
    return settings.get("agents", 2) > 2 and settings.get("meet", "together") != "together"
