"""The trace of a game: what is stored for each sweep."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference.types import State


class Trace(NamedTuple):
    """T sweeps of a game, on the device of the game. C chains, M agents, N objects, K signs."""

    signs: Tensor  # (C, T, M, N) int16; int32 with more than 2^15 signs
    best_signs: Tensor | None  # (C, T, M, N) the most probable sign of each agent alone; if signs are shared
    accepted: Tensor  # (C, T, M)
    encounters: Tensor  # (T, M)
    messages: Tensor  # (C, T)
    not_a_number: Tensor  # (C, T)
    splits: Tensor  # (C, T)
    log_likelihood: Tensor  # (C, T, M) log p(z | w, phi) of each agent
    log_density: Tensor  # (C, T, M) log p(phi) of each agent
    pointwise: Tensor | None  # (C, T, M, N) float32, log p(z_n | w_n, phi); None if not stored
    log_joint: Tensor  # (C, T)
    evidence: Tensor  # (C, T)
    means: Tensor | None  # (C, T, M, K, L) mu of each agent's components; None if not stored, or without mu


def concatenate(first: Trace, second: Trace) -> Trace:
    """Join two traces of one game along the sweeps."""
    tensors = first._asdict()
    for name, after in second._asdict().items():
        if after is not None:
            tensors[name] = torch.cat([tensors[name], after], dim=0 if name == "encounters" else 1)
    return Trace(**tensors)


def component_means(state: State) -> Tensor | None:
    """mu of all agents' components, (C, M, K, L); None if an agent has no `mu`, or L differs."""
    parameters = [belief.parameters for belief in state.beliefs]
    if not all(hasattr(phi, "mu") and phi.mu.shape == parameters[0].mu.shape for phi in parameters):
        return None
    return torch.stack([phi.mu for phi in parameters], dim=1)
