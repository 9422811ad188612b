"""Where a chain begins, and which of several beginnings is kept.

Every mode of the game gets stuck in a local optimum: two classes share a sign while another has two. Where a
chain begins decides the vocabulary more than anything that follows, so several starts are made and the one
whose signs have the largest collapsed log evidence, summed over agents and averaged over the last draws, is
kept. No label takes part.

    prior   each agent draws parameters from its prior and signs given them
    kmeans  one agent clusters its own percepts into K and names the objects so
    merge   one agent clusters its percepts into more signs than K, all agents play with those, and then pairs
            of signs are merged, each time the pair that raises (or least lowers) the log evidence, until K remain
    split   from those of kmeans all agents play with one shared sign for each object and split-merge steps
            (mhng.inference.split_merge)

The agent who names first is the first of two, and of more another one in each start: what one of them cannot see, the
others hardly bring into a vocabulary that is already there.

In all modes but `no-com` two things cross between agents: the names that agents give (signs, as in the game), and
numbers: an agent's change of log evidence for each pair of signs that `merge` may join or each step that `split`
proposes, and its log evidence for each of several starts. Percepts and parameters do not. In `no-com` every agent
starts by itself and judges by its own evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhng.inference import STARTS
from mhng.inference.game import init, play
from mhng.inference.log_joint import counts_of, evidence_of_signs
from mhng.inference.remote import Stream, speak
from mhng.inference.spec import Game, shares
from mhng.inference.topology import among, groups
from mhng.inference.types import Starter

# Bytes of one agent's table of log densities (chains x objects x signs) while starts are made; several such tables
# exist at one time.
_MOST_TOGETHER = 2**28


@dataclass(frozen=True)
class Start:
    """How to begin.

    kind: one of STARTS. tries: how many starts compete for each chain. excess: signs of `merge` per final
    sign. before, after: sweeps before the merging (or with split-merge steps), and before the evidence is compared;
    tail: over how many of the last sweeps it is averaged.
    """

    kind: str = "merge"
    tries: int = 6
    excess: float = 3.0
    before: int = 40
    after: int = 30
    tail: int = 10


def begin(
    start: Start, game: Game, players: Sequence[Starter], generators: Sequence[Stream], chains: int
) -> tuple[Tensor, Tensor]:
    """Signs (C, M, N) to begin `chains` chains from, and the evidence of the starts that competed for each.

    The evidence is (C, G, tries), summed over the agents of each of G groups that nobody joins (`meetings.groups`),
    mostly one of all agents; in `no-com`, where each agent keeps its own best, each is a group.
    """
    if game.recursion == "exact":
        # A start need not be exact, and is played with percepts that nobody has agreed on yet: it could take forever.
        game = replace(game, recursion="os")
    found: list[Tensor] = [torch.empty(0)] * len(players)
    evidences = []
    for members in _apart(game, len(players)):
        # One alone has nobody to play with.
        mode = "no-com" if len(members) == 1 else game.mode
        rules = game.acceptance if isinstance(game.acceptance, str) else tuple(game.acceptance[m] for m in members)
        own = replace(game, mode=mode, meetings=among(game.meetings, members), acceptance=rules)
        signs, evidence = _begin(start, own, [players[m] for m in members], [generators[m] for m in members], chains)
        evidences.append(evidence)
        for m, mine in zip(members, signs.unbind(1), strict=True):
            found[m] = mine
    return torch.stack(found, dim=1), torch.cat(evidences, dim=1)


def _apart(game: Game, M: int) -> list[list[int]]:
    """Agents by those whose signs have anything to do with each other's, when a game begins."""
    if game.mode == "no-com":
        return [[m] for m in range(M)]
    return [list(range(M))] if shares(game) else groups(game.meetings, M)


def _begin(
    start: Start, game: Game, players: Sequence[Starter], generators: Sequence[Stream], chains: int
) -> tuple[Tensor, Tensor]:
    if start.tries == 1:
        signs = tidied(game, players, _tried(start, game, players, generators, _namers(range(1), chains, players)))
        evidence = torch.stack([p.evidence(signs[:, m], game.K) for m, p in enumerate(players)]).sum(0)
        if game.weights is not None:
            evidence = evidence + evidence_of_signs(game, game.weights, signs)
        return signs, evidence.view(chains, 1, 1)
    together = tries_together(start, players[0].count, game.K, chains)
    found, evidences = [], []
    for first in range(0, start.tries, together):
        tries = min(together, start.tries - first)
        namers = _namers(range(first, first + tries), chains, players)
        signs = tidied(game, players, _tried(start, game, players, generators, namers))
        state, trace = play(
            game,
            players,
            generators,
            init(players, generators, signs, game.K, game.mode),
            start.after,
            keep_means=False,
        )
        found.append(state.signs.unflatten(0, (chains, tries)))
        evidences.append(trace.evidence[:, -start.tail :].mean(1).view(chains, tries))
    signs, evidence = torch.cat(found, dim=1), torch.cat(evidences, dim=1)
    return signs[torch.arange(chains, device=evidence.device), evidence.argmax(1)], evidence.unsqueeze(1)


def tries_together(start: Start, N: int, K: int, chains: int) -> int:
    """How many starts of each chain are played at the same time: all, unless their tables would be too large."""
    return max(1, min(start.tries, _MOST_TOGETHER // (8 * chains * N * signs_of(start, K))))


def signs_of(start: Start, K: int) -> int:
    """The most signs that agents have while a start is made."""
    return max(K, round(start.excess * K)) if start.kind == "merge" else K


def _namers(tries: range, chains: int, players: Sequence[Starter]) -> list[int]:
    """Who names first in each try of each chain."""
    M = len(players)
    return [number % M if M > 2 else 0 for _ in range(chains) for number in tries]


def _tried(
    start: Start, game: Game, players: Sequence[Starter], generators: Sequence[Stream], namers: Sequence[int]
) -> Tensor:
    """The signs (candidates, M, N) that the starts begin from; namers: who names first in each."""
    if start.kind == "prior":
        return _from_prior(game, players, generators, len(namers))
    if start.kind == "kmeans":
        return _cluster(players, generators, namers, game.K)
    if start.kind == "merge":
        return _merged(start, game, players, generators, namers)
    if start.kind == "split":
        return _split(start, game, players, generators, namers)
    raise ValueError(f"start must be one of {', '.join(STARTS)}; it is {start.kind!r}")


def _from_prior(game: Game, players: Sequence[Starter], generators: Sequence[Stream], chains: int) -> Tensor:
    signs = []
    for player, generator in zip(players, generators, strict=True):
        belief = player.from_prior(generator, chains, game.K)
        signs.append(speak(generator, game.log_prior, belief.table))
    return torch.stack(signs, dim=1)


def _cluster(players: Sequence[Starter], generators: Sequence[Stream], namers: Sequence[int], K: int) -> Tensor:
    """Clusters of each namer's own, as the signs of everybody: (candidates, M, N)."""
    own = {m: iter(players[m].clusters(generators[m], namers.count(m), K)) for m in sorted(set(namers))}
    return torch.stack([next(own[m]) for m in namers]).unsqueeze(1).repeat(1, len(players), 1)


def _merged(
    start: Start,
    game: Game,
    players: Sequence[Starter],
    generators: Sequence[Stream],
    namers: Sequence[int],
) -> Tensor:
    more = signs_of(start, game.K)
    # The extra signs are a device of the start, and nothing is known about them: their prior is uniform.
    uniform = torch.zeros(more, dtype=torch.float64, device=game.log_prior.device).log_softmax(0)
    overcomplete = replace(game, log_prior=uniform, weights=None)
    signs = _cluster(players, generators, namers, more)
    state = init(players, generators, signs, more, game.mode)
    state, _ = play(overcomplete, players, generators, state, start.before, keep_means=False)
    return merge(players, state.signs, more, game.K, game)


def _split(
    start: Start, game: Game, players: Sequence[Starter], generators: Sequence[Stream], namers: Sequence[int]
) -> Tensor:
    signs = _cluster(players, generators, namers, game.K)
    if game.K < 3:
        return signs
    # With one player a draw from all players' percepts is a draw from its own.
    mode = "gibbs" if game.mode == "gibbs" or len(players) == 1 else "com"
    shared = replace(game, mode=mode, listener_state="shared", acceptance="mh", split_merge=1, weights=None)
    state = init(players, generators, signs, game.K)
    return play(shared, players, generators, state, start.before, keep_means=False)[0].signs


def tidied(game: Game, players: Sequence[Starter], signs: Tensor) -> Tensor:
    """Signs (C, M, N) after all mergers that raise the evidence, where there may be fewer than K; else as they are.

    Agents whose signs have nothing to do with each other's merge each their own: all, in `no-com`.
    """
    if game.weights is None or not game.weights.sparse:
        return signs
    found = signs.clone()
    for members in _apart(game, len(players)):
        merged = merge([players[m] for m in members], signs[:, members], game.K, game.K, game)
        for m, own in zip(members, merged.unbind(1), strict=True):
            found[:, m] = own
    return found


def merge(players: Sequence[Starter], signs: Tensor, K: int, target: int, game: Game | None = None) -> Tensor:
    """Merge pairs of the K signs (C, M, N), by the summed change of log evidence, until `target` remain.

    All agents rename alike. Afterwards the signs are 0..target-1. A merger changes the gains of the merged sign only,
    so K gains are found anew after each, not K^2.

    game: if its weights of signs are drawn, the evidence of the signs themselves counts too; if they are sparse,
    mergers go on below `target` while they raise it, and signs are numbered by how many objects they have, the
    largest first.
    """
    signs = signs.clone()
    C = len(signs)
    chain = torch.arange(C, device=signs.device)
    sparse = game is not None and game.weights is not None and game.weights.sparse

    def gains(one: Tensor) -> Tensor:
        total = torch.stack([p.merge_gain(signs[:, m], K, one) for m, p in enumerate(players)]).sum(0)
        return total if game is None or game.weights is None else total + _gain_of_signs(game, signs, K, one)

    gain = torch.stack([gains(torch.full_like(chain, k)) for k in range(K)], dim=1)
    gain.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    alive = torch.ones(C, K, dtype=torch.bool, device=signs.device)
    for left in range(K, 1, -1):
        most, best = gain.flatten(1).max(1)
        goes_on = torch.full_like(most, left > target, dtype=torch.bool)
        if sparse:
            goes_on |= most > 0
        if left <= target and not goes_on.any():
            break
        kept, gone = torch.minimum(best // K, best % K), torch.maximum(best // K, best % K)
        gone = torch.where(goes_on, gone, kept)  # a chain that has all it needs merges a sign with itself
        signs = torch.where(signs == gone[:, None, None], kept[:, None, None], signs)
        alive[chain, gone] &= ~goes_on
        row = gains(kept).masked_fill(~alive, -torch.inf)
        row[chain, kept] = -torch.inf
        gain[chain, kept], gain[chain, :, kept] = row, row
        dead = ~alive
        gain.masked_fill_(dead.unsqueeze(1) | dead.unsqueeze(2), -torch.inf)
    if sparse:
        size = counts_of(signs, K).sum(1)
        names = (-size).argsort(dim=1, stable=True).argsort(1)
    else:
        names = alive.cumsum(1) - 1
    return names.gather(1, signs.flatten(1)).view_as(signs)


def _gain_of_signs(game: Game, signs: Tensor, K: int, one: Tensor) -> Tensor:
    """Change of log p(w), pi integrated out, if sign `one` (C,) became one with each other: (C, K)."""
    assert game.weights is not None
    owners = slice(0, 1) if shares(game) else slice(None)
    counts = counts_of(signs[:, owners], K)  # (C, M, K)
    index = one[:, None, None].expand(-1, counts.shape[1], 1)
    moved = counts.gather(2, index)
    without = counts.scatter(2, index, 0)
    merged = without.unsqueeze(2) + moved.unsqueeze(3) * torch.eye(K, dtype=torch.int64, device=signs.device)
    change = game.weights.log_evidence(merged) - game.weights.log_evidence(counts).unsqueeze(2)
    return change.sum(1)
