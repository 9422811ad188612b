"""Signs from smaller parts, by the collapsed log evidence of all agents: greedy mergers, and moves of a part.

Agents exchange the change of log evidence for each pair of signs, and nothing else. Mergers are those of agglomerative
clustering, and moves those of Hartigan's k-means (1975), with the evidence as the score.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mhng.inference.log_joint import sign_counts, sign_owners
from mhng.inference.spec import Game
from mhng.inference.types import StartPlayer

# The most passes over all parts in `move_parts`. On digits three were enough.
_MOST_PASSES = 10


def merge(players: Sequence[StartPlayer], signs: Tensor, K: int, target: int, game: Game) -> Tensor:
    """Merge pairs of the K signs (C, M, N) greedily by the summed change of log evidence, until `target` remain.

    All agents rename alike; afterwards the signs are 0..target-1. A merger changes the gains of the merged sign only,
    so each merger needs K new gains instead of K^2.

    Args:
        game: its number of signs is not used. If its pi is drawn, the evidence of the signs counts too. If the prior
            of pi is sparse, mergers continue below `target` while they raise the evidence, and signs are numbered by
            size, the largest first.
    """
    signs = signs.clone()
    C = len(signs)
    chain = torch.arange(C, device=signs.device)
    sparse = game.weights is not None and game.weights.sparse

    gain = torch.stack([_gains(players, signs, K, torch.full_like(chain, k), game) for k in range(K)], dim=1)
    gain.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    alive = torch.ones(C, K, dtype=torch.bool, device=signs.device)
    for left in range(K, 1, -1):
        most, pair = gain.flatten(1).max(1)
        merges = torch.full_like(most, left > target, dtype=torch.bool)
        if sparse:
            merges |= most > 0
        if left <= target and not merges.any():
            break
        kept, gone = torch.minimum(pair // K, pair % K), torch.maximum(pair // K, pair % K)
        gone = torch.where(merges, gone, kept)  # a finished chain merges a sign with itself
        signs = torch.where(signs == gone[:, None, None], kept[:, None, None], signs)
        alive[chain, gone] &= ~merges
        row = _gains(players, signs, K, kept, game).masked_fill(~alive, -torch.inf)
        row[chain, kept] = -torch.inf
        gain[chain, kept], gain[chain, :, kept] = row, row
        dead = ~alive
        gain.masked_fill_(dead.unsqueeze(1) | dead.unsqueeze(2), -torch.inf)
    if sparse:
        size = sign_counts(signs, K).sum(1)
        numbers = (-size).argsort(dim=1, stable=True).argsort(1)
    else:
        numbers = alive.cumsum(1) - 1
    return numbers.gather(1, signs.flatten(1)).view_as(signs)


def move_parts(players: Sequence[StartPlayer], parts: Tensor, P: int, signs: Tensor, game: Game) -> Tensor:
    """Move parts to other signs while that raises the summed log evidence.

    Mergers are greedy: a part that joined the wrong sign early stays there, although a sign that arose later suits it
    better. Here each part in turn is taken out of its sign, and joins the sign that gains most by it. A sign may lose
    its last part, and then has no objects.

    Args:
        parts: (C, M, N), the signs before the mergers, each in 0..P-1.
        signs: (C, M, N), each in 0..K-1; a sign is a union of parts.
    """
    C, K = len(parts), game.K
    flat = parts.flatten(1)
    sign_of = torch.zeros(C, P, dtype=signs.dtype, device=signs.device).scatter_(1, flat, signs.flatten(1))
    chain, outside = torch.arange(C, device=signs.device), torch.full((C,), K, device=signs.device)
    for _ in range(_MOST_PASSES):
        before = sign_of.clone()
        for part in range(P):
            now = sign_of[:, part].clone()
            sign_of[:, part] = K
            gain = _gains(players, sign_of.gather(1, flat).view_as(parts), K + 1, outside, game)[:, :K]
            most, best = gain.max(1)
            sign_of[:, part] = torch.where(most > gain[chain, now], best, now)
        if torch.equal(sign_of, before):
            break
    return sign_of.gather(1, flat).view_as(parts)


def _gains(players: Sequence[StartPlayer], signs: Tensor, K: int, sign: Tensor, game: Game) -> Tensor:
    """Change of the summed log evidence if `sign` (C,) were merged with each other sign: (C, K)."""
    total = torch.stack([p.merge_gain(signs[:, m], K, sign) for m, p in enumerate(players)]).sum(0)
    return total if game.weights is None else total + _sign_merge_gain(game, signs, K, sign)


def _sign_merge_gain(game: Game, signs: Tensor, K: int, sign: Tensor) -> Tensor:
    """Change of `SignPrior.merge_evidence` if `sign` (C,) were merged with each other sign: (C, K)."""
    assert game.weights is not None
    counts = sign_counts(signs[:, sign_owners(game)], K)  # (C, M, K)
    index = sign[:, None, None].expand(-1, counts.shape[1], 1)
    moved = counts.gather(2, index)
    without = counts.scatter(2, index, 0)
    merged = without.unsqueeze(2) + moved.unsqueeze(3) * torch.eye(K, dtype=torch.int64, device=signs.device)
    change = game.weights.merge_evidence(merged) - game.weights.merge_evidence(counts).unsqueeze(2)
    return change.sum(1)
