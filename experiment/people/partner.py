"""The partner of a participant: an agent that speaks, answers and redraws its beliefs.

    speaks    w' ~ P(w | z_n, phi), proportional to pi_w p(z_n | w, phi)
    answers   accepts w' in place of its own sign w by the rule of the condition, from q(k) = L(k) / sum_j L(j)
    redraws   phi given its objects and its signs, after a block

Its file partner.pt holds tensors and plain values, and is read without pickle. A session holds a `Belief`; it is
never changed, so sessions may share one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.people import draws
from mhng.experiment.people.conditions import accepts
from mhng.experiment.people.design import check_version
from mhng.experiment.runs.checkpoint_io import checkpoint_bytes, read_checkpoint
from mhng.experiment.util.files import atomic_path
from mhng.models import belief as agents
from mhng.models.mixtures.base import Family
from mhng.models.percepts import Percepts
from mhng.models.registry import FAMILIES, load_variant
from mhng.models.rng import stream

PARTNER, PROGRAM = "partner.pt", "partner.py"
# The version of partner.pt and person.pt.
VERSION = 1

Rows = Sequence[Sequence[float]]


class Belief(NamedTuple):
    """What an agent knows of N objects and K signs."""

    log_prior: Rows  # (N, K) log pi
    table: Rows  # (N, K) log L, unnormalised
    inner: Any = None  # what the next redraw starts from

    def proposes(self, n: int, u: float) -> int:
        """A sign for object n, drawn with the uniform number u."""
        return draws.choice([p + value for p, value in zip(self.log_prior[n], self.table[n], strict=True)], u)

    def accepts(self, rule: str, n: int, offered: int, current: int, u: float) -> bool:
        """Whether the agent takes `offered` in place of `current` as its sign of object n."""
        row = self.table[n]
        peak = max(row)
        total = peak + math.log(sum(math.exp(value - peak) for value in row))
        return accepts(rule, row[offered] - total, row[current] - total, u)


class Partner(Protocol):
    """An agent that can be a partner."""

    @property
    def signs(self) -> tuple[int, ...]:
        """Its signs (N,) at the beginning."""

    @property
    def belief(self) -> Belief:
        """Its belief at the beginning."""

    def redraw(self, seed: int, name: str, signs: Sequence[int], belief: Belief) -> Belief:
        """Draw its belief given its signs (N,), from the random stream `name`."""


class MixturePartner:
    """An agent with latents z under a mixture of this package.

    The first N objects are those of the study. The agent keeps its signs of the others, which it has from a run; they
    take part in a redraw only.
    """

    def __init__(
        self,
        mixture: Family,
        z: Tensor,
        parameters: Any,
        log_pi: Tensor,
        signs: Iterable[Any],
        objects: int | None = None,
    ) -> None:
        """z: (N + others, L). parameters: phi (K, ...). log_pi: (K,). signs: those of z. objects: N (default: all)."""
        self.mixture, self.parameters, self.log_pi = mixture, parameters, log_pi.double()
        self.percepts = Percepts(z, mixture)
        all_signs = tuple(int(sign) for sign in signs)
        N = len(z) if objects is None else objects
        self.signs, self._others = all_signs[:N], all_signs[N:]
        if len(all_signs) != len(z):
            raise ValueError(f"{len(all_signs)} signs of {len(z)} objects")
        phi = type(parameters)(*(part.unsqueeze(0) for part in parameters))
        table = self.percepts.log_prob_table(phi)
        zero = torch.zeros(1, dtype=torch.float64)
        self.belief = self._belief(agents.Belief(table, phi, zero, zero))

    def redraw(self, seed: int, name: str, signs: Sequence[int], belief: Belief) -> Belief:
        """Draw phi from p(phi | z, signs of all objects)."""
        held = torch.tensor([[*signs, *self._others]])
        return self._belief(self.percepts.redraw(stream(seed, name), held, len(self.log_pi), belief.inner))

    def _belief(self, inner: agents.Belief) -> Belief:
        table = inner.table[:, : len(self.signs)]
        prior = self.log_pi.expand(len(self.signs), -1)
        return Belief(prior.tolist(), finite(table[0]).tolist(), replace(inner, table=table.clone()))

    def state(self) -> dict[str, Any]:
        """The partner as tensors and plain values."""
        return {
            "kind": "mixture", "mixture": mixture_state(self.mixture), "z": self.percepts.z,
            "parameters": list(self.parameters), "log_pi": self.log_pi,
            "signs": [*self.signs, *self._others], "objects": len(self.signs),
        }  # fmt: skip


def mixture_state(mixture: Family) -> dict[str, Any]:
    """A mixture as its name in the registry and its attributes. Raises UsageError for a mixture of the user."""
    for name, variant in FAMILIES["mixture"].items():
        if type(mixture) is load_variant(variant):
            parts = {
                key: mixture_state(value) if isinstance(value, Family) else value
                for key, value in vars(mixture).items()
                if key != "device"
            }
            return {"family": name, "parts": parts}
    raise UsageError(
        f"the mixture of the agent, {type(mixture).__name__}, is not one of this package; a study requires one of "
        f"{', '.join(FAMILIES['mixture'])}"
    )


def mixture_of(state: dict[str, Any]) -> Family:
    """The mixture of `mixture_state`."""
    family = load_variant(FAMILIES["mixture"][state["family"]])
    mixture: Family = object.__new__(family)
    mixture.device = "cpu"
    for name, value in state["parts"].items():
        setattr(mixture, name, mixture_of(value) if isinstance(value, dict) else value)
    return mixture


def save(file: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, with the version."""
    with atomic_path(file) as beside:
        beside.write_bytes(checkpoint_bytes({"version": VERSION} | state))


def load_state(file: Path) -> dict[str, Any]:
    """Read tensors and plain values. Raises UsageError for a damaged or foreign file, and for another version."""
    try:
        state = read_checkpoint(file)
    except Exception as error:  # torch raises errors of many types
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged or foreign"
        raise UsageError(f"{file} cannot be read: {reason}") from error
    check_version(file, state, VERSION)
    return state


def finite(table: Tensor) -> Tensor:
    """Log likelihoods whose impossible entries are finite, so that JSON and ratios can hold them."""
    return table.nan_to_num(nan=-1e9, posinf=1e9, neginf=-1e9).clamp(-1e9, 1e9)
