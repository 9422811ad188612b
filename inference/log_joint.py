"""Densities of a state: log joint, log evidence of the signs, and each agent's most probable signs."""

from __future__ import annotations

import torch
from torch import Tensor

from mhng.inference.spec import Game
from mhng.inference.types import State
from mhng.models.sign_prior import SignPrior


def agent_terms(state: State) -> tuple[Tensor, Tensor]:
    """log p(z | w, phi) and log p(phi) of each agent: (C, M) each."""
    likelihood = [belief.log_likelihood(state.signs[:, m]) for m, belief in enumerate(state.beliefs)]
    return torch.stack(likelihood, dim=1), torch.stack([belief.log_density for belief in state.beliefs], dim=1)


def log_joint(game: Game, state: State, terms: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """log p(w, phi, z) for all agents: (C,). Unshared signs have a factor p(w^m) for each agent.

    terms: the `agent_terms` of the state, if they are known.
    """
    owners = sign_owners(game)
    if state.log_pi is None:
        total = game.log_prior[state.signs[:, owners]].sum((-2, -1))
    else:
        assert game.weights is not None
        log_pi = state.log_pi[:, owners]
        total = (log_pi.gather(-1, state.signs[:, owners]).sum(-1) + game.weights.log_density(log_pi)).sum(-1)
    likelihood, density = agent_terms(state) if terms is None else terms
    for m in range(len(state.beliefs)):
        total = total + density[:, m] + likelihood[:, m]
    return total


def log_evidence(game: Game, state: State) -> Tensor:
    """Sum of log p(z | w) over agents, phi integrated out: (C,). If pi is drawn, log p(w) is added."""
    total = torch.stack([belief.evidence for belief in state.beliefs]).sum(0)
    if game.weights is None:
        return total
    return total + sign_log_evidence(game, game.weights, state.signs)


def sign_log_evidence(game: Game, weights: SignPrior, signs: Tensor) -> Tensor:
    """log p(w), pi integrated out: signs (C, M, N) -> (C,). Unshared signs have a factor for each agent."""
    return weights.log_evidence(sign_counts(signs[:, sign_owners(game)], game.K)).sum(-1)


def sign_counts(signs: Tensor, K: int) -> Tensor:
    """Objects of each sign: (..., N) -> (..., K)."""
    counts = torch.zeros(*signs.shape[:-1], K, dtype=torch.int64, device=signs.device)
    return counts.scatter_add_(-1, signs, torch.ones_like(signs))


def best_signs(game: Game, state: State) -> Tensor:
    """The most probable signs of each agent alone, under its own posterior: (C, M, N)."""
    signs = [belief.best(agent_log_pi(game, state, m)) for m, belief in enumerate(state.beliefs)]
    return torch.stack(signs, dim=1)


def agent_log_pi(game: Game, state: State, m: int) -> Tensor:
    """log pi of agent m: (K,), or (C, 1, K) if pi is drawn."""
    return game.log_prior if state.log_pi is None else state.log_pi[:, m].unsqueeze(1)


def sign_owners(game: Game) -> slice:
    """The agents whose signs count: the first one if signs are shared, else all."""
    return slice(0, 1) if game.shares_signs else slice(None)
