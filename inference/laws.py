"""Verdicts on the law that each game samples: exact, another exact law, biased, or unproved.

    exact     the posterior of all agents, P(w | z^1, ..., z^M)
    another   an exact law of another kind; the sentence names it
    biased    neither; `bias` is its distance from the posterior of all agents
    unproved  no proof and no measurement

A bias is the largest total variation between the law of an agent's signs and the posterior of all agents, on a named
case with three signs, a skewed sign prior and agents that differ. T is 2.5 in `tempered:T`, P is 0.7 in `constant:P`,
a graph is the complete one.

    parameters fixed    one object, in closed form; two agents, or the worst of three to five and of the recursions os,
                        ll:2 and exact (`tests/proofs/inference/test_laws.py`)
    parameters redrawn  four objects, Normal-Wishart mixtures, 270,000 draws (noise about 0.01); two agents, or three
                        with os (`tests/proofs/inference/test_redrawn_laws.py`)

These tests hold every verdict. This module does not import torch.
"""

from __future__ import annotations

from typing import NamedTuple


class Law(NamedTuple):
    """The verdict on a game. kind: exact, another, biased or unproved. sentence: what the law is, or why not exact.

    bias: total variation from the posterior of all agents on the named case; None if it was not measured.
    near: whether a biased law is an approximation of the posterior, rather than a law with another purpose.
    """

    kind: str
    sentence: str
    bias: float | None = None
    near: bool = False


class Cell(NamedTuple):
    """One game, as the table sees it.

    rules: the acceptance rule of each agent, or one for all. agents, signs: M and K. meet: together, or a graph.
    redrawn: whether agents redraw their parameters. synchronous: whether they do so at the end of a sweep only.
    mixtures: the mixture of each agent, or one for all. weights: the prior of pi, uniform, fixed (any known pi),
    dirichlet, sticks or markov. Both count with redrawn parameters only. words: those of a sentence; with two or more,
    mixtures are meanings of sentences.
    """

    mode: str = "com"
    listener_state: str = "chain"
    rules: tuple[str, ...] = ("mh",)
    recursion: str = "os"
    inner_start: str = "listener"
    agents: int = 2
    signs: int = 3
    meet: str = "together"
    redrawn: bool = True
    synchronous: bool = False
    mixtures: tuple[str, ...] = ("normal-wishart",)
    weights: str = "uniform"
    words: int = 1


class _Biases(NamedTuple):
    """Distances from the posterior by column; None: not measured."""

    two: float | None  # two agents
    together: float | None = None  # more agents, inner games from the sign of the agent above, or exact recursion
    own: float | None = None  # more agents, inner games from the agents' own signs
    pairs: float | None = None  # more agents on a complete graph


_FIXED = {
    ("chain", "mh"): _Biases(0, 0, 0.219, 0.371),
    ("chain", "numerator"): _Biases(0, 0, 0.273, 0.364),
    ("chain", "tempered"): _Biases(0.108, 0.258, 0.217, 0.384),
    ("chain", "constant"): _Biases(0.187, 0.465, 0.411, 0.352),
    ("chain", "subtraction"): _Biases(0.010, 0.156, 0.117, 0.313),
    ("chain", "binary"): _Biases(0.774, 0.997, 0.626, 0.997),
    ("chain", "all"): _Biases(0.187, 0.465, 0.465, 0.449),
    ("shared", "mh"): _Biases(0, 0, 0.009, 0.331),
    ("shared", "numerator"): _Biases(0, 0, 0.007, 0.241),
    ("shared", "tempered"): _Biases(0.083, 0.149, 0.148, 0.286),
    ("shared", "constant"): _Biases(0.112, 0.308, 0.308, 0.349),
    ("shared", "subtraction"): _Biases(0.008, 0.092, 0.092, 0.259),
    ("shared", "binary"): _Biases(0.179, 0.583, 0.583, 0.196),
    ("shared", "all"): _Biases(0.187, 0.448, 0.448, 0.448),
    ("speaker-sample", "mh"): _Biases(0.105, 0.126, 0.153, 0.457),
    ("speaker-sample", "numerator"): _Biases(0.141, 0.203, 0.157, 0.452),
    ("speaker-sample", "tempered"): _Biases(0.070, 0.255, 0.206, 0.396),
    ("speaker-sample", "constant"): _Biases(0.090, 0.364, 0.339, 0.373),
    ("speaker-sample", "subtraction"): _Biases(0.129, 0.196, 0.158, 0.410),
    ("speaker-sample", "binary"): _Biases(0.200, 0.481, 0.411, 0.588),
    ("speaker-sample", "all"): _Biases(0.187, 0.465, 0.465, 0.449),
}

_REDRAWN = {
    ("chain", "mh"): _Biases(0.075, 0.130, 0.073, 0.282),
    ("chain", "numerator"): _Biases(0.107, 0.130, None, 0.284),
    ("chain", "tempered"): _Biases(0.072, 0.099, None, 0.215),
    ("chain", "constant"): _Biases(0.222, 0.232, None, 0.207),
    ("chain", "subtraction"): _Biases(0.087, 0.124, None, 0.231),
    ("chain", "binary"): _Biases(0.297, 0.145, None, 0.532),
    ("chain", "all"): _Biases(0.230, 0.246, None, 0.243),
    ("shared", "mh"): _Biases(0, 0, None, 0.140),
    ("shared", "numerator"): _Biases(0, 0, None, 0.104),
    ("shared", "tempered"): _Biases(0.052, 0.056, None, 0.165),
    ("shared", "constant"): _Biases(0.147, 0.176, None, 0.205),
    ("shared", "subtraction"): _Biases(0.046, 0.054, None, 0.140),
    ("shared", "binary"): _Biases(0.052, 0.061, None, 0.098),
    ("shared", "all"): _Biases(0.161, 0.232, None, 0.235),
    ("speaker-sample", "mh"): _Biases(0.200, None, None, 0.315),
    ("speaker-sample", "numerator"): _Biases(0.274, None, None, 0.339),
    ("speaker-sample", "tempered"): _Biases(0.087, None, None, 0.238),
    ("speaker-sample", "constant"): _Biases(0.201, None, None, 0.226),
    ("speaker-sample", "subtraction"): _Biases(0.230, None, None, 0.299),
    ("speaker-sample", "binary"): _Biases(0.341, None, None, 0.401),
    ("speaker-sample", "all"): _Biases(0.230, None, None, 0.243),
}

# By mixture, the kinds of weights with which the whole game was compared with its enumerated posterior.
_KNOWN, _DRAWN = {"uniform", "fixed"}, {"dirichlet", "sticks"}
PROVED_WEIGHTS = {
    "normal-wishart": _KNOWN | _DRAWN,
    "normal-gamma": _KNOWN | _DRAWN,
    "spherical": _KNOWN | _DRAWN,
    "tied": _KNOWN | _DRAWN,
    "dirichlet": _KNOWN | _DRAWN,
    "student-t": _KNOWN | _DRAWN,
    "head-to-head": _KNOWN,
    # meanings of sentences
    "positions": _KNOWN | {"markov"},
    "bag": _KNOWN,
    "pairs": _KNOWN,
    "holistic": _KNOWN,
}

# Rules that keep the posterior invariant.
EXACT_RULES = frozenset({"mh", "numerator"})


def law(cell: Cell) -> Law:
    """The verdict on a game."""
    if cell.redrawn and (unproved := _unproved_parts(cell)):
        return unproved
    if cell.mode == "no-com":
        return Law("another", "Without communication, each agent's chain samples its own posterior.")
    if cell.mode == "variational":
        return _variational(cell)
    families, column = _families(cell), _column(cell)
    if cell.mode == "gibbs" or cell.signs == 1 or _is_exact(cell, families, column):
        return Law("exact", "The chains sample the joint posterior of all agents.", 0)
    bias = _bias(cell, families, column)
    if not cell.redrawn and (sentence := _other_law(cell, families, column)):
        return Law("another", sentence, bias)
    reason, near = _reason(cell, families, column)
    return Law("unproved" if bias is None else "biased", reason, bias, near)


def _is_exact(cell: Cell, families: set[str], column: str) -> bool:
    state = cell.listener_state == "shared" or (cell.listener_state == "chain" and not cell.redrawn)
    return state and families <= EXACT_RULES and column in ("two", "together")


def _families(cell: Cell) -> set[str]:
    """The rules without their numbers, equal rules under one name: `all` for mode all."""
    if cell.mode == "all":
        return {"all"}
    return {_family(rule, cell.signs) for rule in cell.rules}


def _family(rule: str, signs: int) -> str:
    kind, _, number = rule.partition(":")
    if kind == "tempered" and float(number) == 1:
        return "mh"
    if kind == "constant" and float(number) == 0:
        return rule  # no proposal is ever accepted
    # With two signs, the probabilities of both rules are equal.
    return "numerator" if kind == "subtraction" and signs == 2 else kind


def _unproved_parts(cell: Cell) -> Law | None:
    """Law of a game whose mixture and weights were never compared with a posterior; None if they were."""
    for mixture in dict.fromkeys(cell.mixtures):
        if cell.weights not in PROVED_WEIGHTS.get(mixture, ()):
            part = "mixture" if cell.words == 1 else "meaning"
            return Law(
                "unproved",
                f"No proof covers {part} {mixture} with weights {cell.weights}. The game samples the joint posterior "
                "if the mixture redraws its parameters from their posterior given the signs.",
                near=True,
            )
    return None


def _column(cell: Cell) -> str:
    """The column of the table for a game."""
    if cell.agents == 2:
        return "two"
    if cell.meet != "together":
        return "pairs"
    if cell.mode == "all" or cell.recursion == "exact" or cell.inner_start == "listener":
        return "together"
    one_try = cell.recursion in ("os", "ll:1")
    # Shared signs: the agents' own sign is the listener's. They differ after a first try only.
    same = cell.listener_state == "shared" and (one_try or cell.agents == 3)
    return "together" if same else "own"


def _bias(cell: Cell, families: set[str], column: str) -> float | None:
    """The distance in the table; None for games that were not measured."""
    if len(families) > 1 or cell.words > 1 or (cell.redrawn and cell.synchronous and column == "two"):
        return None
    (family,) = families
    row = (_REDRAWN if cell.redrawn else _FIXED).get((cell.listener_state, family))
    return None if row is None else getattr(row, column)


def _other_law(cell: Cell, families: set[str], column: str) -> str | None:
    """The law of a game with fixed parameters, if it is known and not the posterior of all agents."""
    if cell.words > 1:
        return None
    if families <= {"constant", "all"}:
        return (
            "Acceptance does not depend on the sign, so each agent's sign has a mixture of the posteriors that the "
            "speakers have without the listener."
        )
    if cell.listener_state != "chain" or column not in ("two", "together"):
        return None
    if families <= {*EXACT_RULES, "tempered", "constant"}:
        return (
            "Each agent's sign has a power posterior: likelihoods of agents that answer by tempered:T have the power "
            "1/T, those of agents that answer by constant:P the power 0."
        )
    if families <= {*EXACT_RULES, "tempered", "constant", "binary"} and column == "two":
        return "Each agent's sign has the law of its own rule; with binary it ends at the best sign for its latents."
    return None


def _reason(cell: Cell, families: set[str], column: str) -> tuple[str, bool]:
    """Why a game does not sample the posterior of all agents, and whether it is an approximation of it."""
    if column == "pairs":
        return (
            "Encounters in pairs use only the latents of the pair, so the chains do not sample the joint posterior of "
            "all agents.",
            False,
        )
    if cell.mode == "all":
        return "Mode all accepts every proposal, so the chains sample no posterior.", False
    if cell.listener_state == "speaker-sample":
        return "The chain of listener state speaker-sample is not a sampler of the posterior.", False
    if not families <= EXACT_RULES:
        wrong = [rule for rule in cell.rules if _family(rule, cell.signs) not in EXACT_RULES]
        return f"Acceptance rule {wrong[0]} does not keep the posterior invariant; mh and numerator do.", False
    if column == "own" and not (cell.redrawn and cell.listener_state == "chain"):
        return (
            "Inner games that start at the agents' own signs bias the law; the bias falls with T in ll:T. "
            "Inner start listener does not.",
            True,
        )
    return (
        "Each agent keeps its own copy of the signs and redraws its parameters from it, so the law is close to the "
        "joint posterior, but not equal. Listener state shared is exact.",
        True,
    )


def _variational(cell: Cell) -> Law:
    """The verdict on mode variational, which draws nothing."""
    if cell.synchronous or (cell.agents > 2 and cell.meet != "together"):
        return Law("another", "Mode variational draws no samples, and no lower bound increases with this graph.")
    if cell.redrawn:
        return Law("another", "Mode variational draws no samples; it ascends a lower bound of the log evidence.")
    return Law("another", "Mode variational draws no samples; its sign probabilities are the posterior.")
