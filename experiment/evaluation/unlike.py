"""Objects unlike those of a run: their reconstruction is far less likely than that of the objects of the run.

A sign has a high probability also for an object that no component explains, because the probability compares signs
only. The log likelihood of the reconstruction is log p(x | z), with z the mean of q(z | x).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.training.saved_run import SavedRun
from mhng.models.agent import Agent

# An object is unlike those of the run if it lies FACTOR times as far below their median as 99% of them.
FACTOR = 3.0
_QUANTILE = 0.01
_MAX_OBJECTS = 2_000  # of the run, evenly spaced
_CHUNK = 500


class UnlikeObjects:
    """Finds objects unlike those of the run. Agents without a decoder are left out."""

    def __init__(self, run: SavedRun) -> None:
        self._agents = list(run.models.values())
        self._limits = []
        for agent, view in zip(self._agents, run.objects.views, strict=True):
            likelihoods = reconstruction_log_likelihoods(agent, view[:: -(-len(view) // _MAX_OBJECTS)])
            low, median = np.quantile(likelihoods, [_QUANTILE, 0.5]) if len(likelihoods) else (0.0, 0.0)
            self._limits.append(float(median - FACTOR * (median - low)))

    def find(self, views: Sequence[Tensor]) -> NDArray[np.bool_]:
        """Mask (B,) of the objects that are unlike those of the run for at least one agent."""
        mask = np.zeros(len(views[0]), dtype=np.bool_)
        for agent, view, limit in zip(self._agents, views, self._limits, strict=True):
            likelihoods = reconstruction_log_likelihoods(agent, view)
            if len(likelihoods):
                mask |= likelihoods < limit
        return mask


@torch.no_grad()
def reconstruction_log_likelihoods(agent: Agent, x: Tensor) -> NDArray[np.float64]:
    """log p(x | z) of observations x (B, *shape), without missing modalities; (0,) without a decoder."""
    if not all(owner.likelihood.has_network for owner, _ in agent.observed(x[:1])):
        return np.zeros(0)
    parts = []
    for chunk in x.split(_CHUNK):
        z = agent.perceive(chunk, None).places.float()
        total = torch.zeros(len(chunk), dtype=torch.float64)
        for (owner, seen), part in zip(agent.observed(chunk), agent.split(chunk), strict=True):
            log_prob = owner.likelihood(owner.decoder(z)).log_prob(seen).double()
            total += log_prob.where(~part.flatten(1).isnan().all(1), 0.0)
        parts.append(total)
    return torch.cat(parts).numpy()
