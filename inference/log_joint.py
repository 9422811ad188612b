"""What signs and parameters of all agents are worth together, and what each agent alone would say."""

from __future__ import annotations

import torch
from torch import Tensor

from mhng.inference.remote import best, log_likelihood
from mhng.inference.spec import Game, shares
from mhng.inference.types import State
from mhng.models.sign_prior import SignPrior


def log_joint(game: Game, state: State) -> Tensor:
    """log p(w, phi, z) of all agents: (C,). Signs that are not shared count once for each agent, p(w^m) too."""
    owners = slice(0, 1) if shares(game) else slice(None)
    if state.log_pi is None:
        total = game.log_prior[state.signs[:, owners]].sum((-2, -1))
    else:
        assert game.weights is not None
        log_pi = state.log_pi[:, owners]
        total = (log_pi.gather(-1, state.signs[:, owners]).sum(-1) + game.weights.log_density(log_pi)).sum(-1)
    for m, belief in enumerate(state.beliefs):
        total = total + belief.log_density + log_likelihood(belief.table, state.signs[:, m])
    return total


def evidence(game: Game, state: State) -> Tensor:
    total = torch.stack([belief.evidence for belief in state.beliefs]).sum(0)
    if game.weights is None:
        return total
    return total + evidence_of_signs(game, game.weights, state.signs)


def evidence_of_signs(game: Game, weights: SignPrior, signs: Tensor) -> Tensor:
    """log p(w), pi integrated out: signs (C, M, N) -> (C,). Signs that are not shared count once for each agent."""
    owners = slice(0, 1) if shares(game) else slice(None)
    return weights.log_evidence(counts_of(signs[:, owners], game.K)).sum(-1)


def counts_of(signs: Tensor, K: int) -> Tensor:
    """How many objects each sign has: (..., N) -> (..., K)."""
    counts = torch.zeros(*signs.shape[:-1], K, dtype=torch.int64, device=signs.device)
    return counts.scatter_add_(-1, signs, torch.ones_like(signs))


def alone(game: Game, state: State) -> Tensor:
    """What each agent would say by itself: the best sign of its own posterior, (C, M, N)."""
    own = [best(log_pi_of(game, state, m), belief.table) for m, belief in enumerate(state.beliefs)]
    return torch.stack(own, dim=1)


def log_pi_of(game: Game, state: State, m: int) -> Tensor:
    """log pi of agent m, as it is added to a table (C, N, K)."""
    return game.log_prior if state.log_pi is None else state.log_pi[:, m].unsqueeze(1)
