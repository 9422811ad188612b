"""What is kept of the sweeps of a game."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference.remote import read
from mhng.inference.types import State


class Trace(NamedTuple):
    """The draws of T sweeps, on the device where they were made."""

    signs: Tensor  # (C, T, M, N) int16
    alone: Tensor | None  # (C, T, M, N) int16, each agent's own best sign; kept where signs are shared
    accepted: Tensor  # (C, T, M)
    heard: Tensor  # (T, M)
    messages: Tensor  # (C, T)
    not_a_number: Tensor  # (C, T)
    splits: Tensor  # (C, T)
    log_joint: Tensor  # (C, T)
    evidence: Tensor  # (C, T)
    means: Tensor | None  # (C, T, M, K, L) where each agent's components lie; None if not kept, or there are none


def joined(first: Trace, then: Trace) -> Trace:
    """Two traces of one game, the second of the sweeps after the first."""
    tensors = first._asdict()
    for name, after in then._asdict().items():
        if after is not None:
            tensors[name] = torch.cat([tensors[name], after], dim=0 if name == "heard" else 1)
    return Trace(**tensors)


def component_means(state: State) -> Tensor | None:
    """The means of all agents' components, (C, M, K, L); None if one has no `mu`, or they differ in L."""
    parameters = [read(belief.parameters) for belief in state.beliefs]
    if not all(hasattr(phi, "mu") and phi.mu.shape == parameters[0].mu.shape for phi in parameters):
        return None
    return torch.stack([phi.mu for phi in parameters], dim=1)
