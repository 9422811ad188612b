"""Initialisation: the signs from which a chain starts, and the choice between several starts.

In every mode a chain may stay in a local optimum, in which two classes share a sign and another class has two signs.
So several starts are made for each chain, and the start with the largest score is kept. The score is the collapsed log
evidence minus the entropy of the signs, summed over agents, in the last sweeps of a short game. Without the entropy,
one wide component that holds unusual objects of all classes has more evidence than the classes. It is a heuristic
penalty, no bound. The score of sentences, and of a single start, is the log evidence. In `variational` signs hardly
change, so their entropy is near zero. Labels are not used.

    prior   each agent draws parameters from its prior, and signs given them
    kmeans  one agent clusters its latents into K signs by k-means
    merge   one agent clusters its latents into more than K signs; all agents play a short game with these; then pairs
            of signs are merged greedily by the change of log evidence until K remain, and single parts are moved to
            other signs while that raises it (`mhng.inference.mergers`)
            (words of sentences: see `mhng.inference.word_starts`)
    slots   for sentences: as kmeans for each slot, on an independent subspace of each agent's latents
            (`mhng.inference.word_starts.slot_players`), and all agents play a short game with the words of the slot;
            as merge if an agent has no such subspaces
    split   from kmeans, all agents play a short game with shared signs and split-merge steps
            (`mhng.inference.split_merge`); as kmeans if K < 3

With two agents, agent 0 clusters. With more, agents take turns.

Agents exchange signs and these numbers: the change of log evidence for each pair of signs in `merge` and each step in
`split`, and the score of each start. In `no-com` each agent starts separately and uses its own score only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from mhng.inference import STARTS
from mhng.inference.batched import batch_groups
from mhng.inference.copies import call_side_by_side
from mhng.inference.game import init, play
from mhng.inference.log_joint import sign_log_evidence
from mhng.inference.mergers import merge, move_parts
from mhng.inference.spec import Game
from mhng.inference.topology import connected_components, restrict
from mhng.inference.types import StartPlayer, Stream
from mhng.inference.word_starts import WordPlayer, refine_words, slot_players
from mhng.models.rng import spawn
from mhng.models.torch_defaults import torch_threads

# Bytes of one agent's table of log densities (chains x objects x signs) while starts are made. Several such tables
# exist at a time.
_TABLE_BYTES = 2**28
# On a CPU, if all tables of the starts have _LARGE entries or more, each part of _TOGETHER chains makes its starts
# alone, with generators of its own. The parts do not depend on the number of cores, so the signs do not either.
_LARGE, _TOGETHER = 2**20, 2
# `merge` begins with at most _MANY signs, or with _FEWER per final sign if these are more.
_MANY, _FEWER = 100, 3


@dataclass(frozen=True)
class Start:
    """Settings of the initialisation.

    Args:
        kind: one of STARTS.
        tries: starts per chain.
        excess: signs of `merge` before the mergers, per final sign (see `most_signs`); 1: no mergers.
        before: sweeps before the mergers; moves of words in sentences.
        moves: sweeps with split-merge steps.
        after: sweeps before the scores are compared.
        tail: number of last sweeps over which the score is computed.
        entropy: weight of the entropy of the signs in the score.
    """

    kind: str = "merge"
    tries: int = 6
    excess: int = 5
    before: int = 40
    moves: int = 40
    after: int = 30
    tail: int = 10
    entropy: float = 1.0


def initial_signs(
    start: Start,
    game: Game,
    players: Sequence[StartPlayer],
    generators: Sequence[Stream],
    chains: int,
    present: Tensor | None = None,
    processes: int = 1,
) -> tuple[Tensor, Tensor]:
    """Initial signs (C, M, N) of `chains` chains, and the scores (C, G, tries) of all starts.

    Chain 0 is the chain with the largest score, in every group. Signs `present` (C, M, N) are one more start.
    G is the number of groups of agents that start separately: all agents are one group, unless the graph has several
    components; in `no-com` every agent is a group. Scores are summed over the agents of a group. A single start is
    not played, and its score is its log evidence.

    processes: the most copies of this process that make starts at the same time. It does not change the signs.
    """
    if game.recursion == "exact":
        # Exact recursion could take forever before any agreement, and a start need not be exact.
        game = replace(game, recursion="os")
    result: list[Tensor] = [torch.empty(0)] * len(players)
    scores = []
    for members in _groups(game, len(players)):
        rules = game.acceptance if isinstance(game.acceptance, str) else tuple(game.acceptance[m] for m in members)
        group_game = replace(game, meetings=restrict(game.meetings, members), acceptance=rules)
        if len(members) == 1:
            group_game = replace(group_game, mode="no-com", split_merge=0)
        signs, score = _group_signs(
            start,
            group_game,
            [players[m] for m in members],
            [generators[m] for m in members],
            chains,
            None if present is None else present[:, members],
            processes,
        )
        order = _best_first(score)
        signs = signs[order]
        scores.append(score[order])
        for m, agent_signs in zip(members, signs.unbind(1), strict=True):
            result[m] = agent_signs
    return torch.stack(result, dim=1), torch.cat(scores, dim=1)


def _best_first(score: Tensor) -> Tensor:
    """The order of chains (C,) in which that with the largest score (C, 1, tries) is the first."""
    best = score.flatten(1).amax(1).argmax()
    chains = torch.arange(len(score), device=score.device)
    return torch.cat([best.unsqueeze(0), chains[chains != best]])


def _groups(game: Game, M: int) -> list[list[int]]:
    """The groups of agents that start separately."""
    if game.mode == "no-com":
        return [[m] for m in range(M)]
    return [list(range(M))] if game.shares_signs else connected_components(game.meetings, M)


def _group_signs(
    start: Start,
    game: Game,
    players: Sequence[StartPlayer],
    generators: Sequence[Stream],
    chains: int,
    present: Tensor | None,
    processes: int,
) -> tuple[Tensor, Tensor]:
    """Initial signs (C, M, N) of one group, and the scores (C, 1, tries)."""
    if start.kind == "slots":
        start = replace(start, kind="merge")
        if (slots := _slots(start, game, players, generators)) is not None:
            return _slot_signs(start, game, slots, generators, chains, present, processes)
    if start.tries == 1 and present is None:
        signs = merge_if_sparse(game, players, _candidates(start, game, players, generators, range(1), chains))
        score = torch.stack([p.evidence(signs[:, m], game.K) for m, p in enumerate(players)]).sum(0)
        if game.weights is not None:
            score = score + sign_log_evidence(game, game.weights, signs)
        return signs, score.view(chains, 1, 1)
    N = players[0].count
    sizes, batch = part_sizes(start, game, N, chains), tries_per_batch(start, N, game.table_width, chains)
    if len(sizes) == 1:
        return _best_starts(start, game, players, batch, generators, chains, present)
    streams = zip(*(spawn(generator, len(sizes)) for generator in generators), strict=True)
    given = [None] * len(sizes) if present is None else present.split(_TOGETHER)
    parts = [
        partial(_best_starts, start, game, players, batch, *part) for part in zip(streams, sizes, given, strict=True)
    ]
    if processes > 1:
        batch_groups(players)  # computes what agents keep of their latents, so that copies share it
        results = call_side_by_side(parts, processes, 1, "the starts")
    else:
        with torch_threads(1):
            results = [part() for part in parts]
    return torch.cat([signs for signs, _ in results]), torch.cat([scores for _, scores in results])


def part_sizes(start: Start, game: Game, N: int, chains: int) -> list[int]:
    """The numbers of chains whose starts are made together, on one thread. Parts may be made side by side."""
    entries = chains * start.tries * N * most_signs(start, game.table_width)
    if start.tries == 1 or entries < _LARGE or game.log_prior.device.type != "cpu":
        return [chains]
    return [min(_TOGETHER, chains - first) for first in range(0, chains, _TOGETHER)]


def _best_starts(
    start: Start,
    game: Game,
    players: Sequence[StartPlayer],
    batch: int,
    generators: Sequence[Stream],
    chains: int,
    present: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The signs (C, M, N) of the best start of each chain, and the scores (C, 1, tries) of all.

    batch: starts of each chain that are played at a time.
    """
    results, scores = [], []

    def compare(signs: Tensor, tries: int) -> None:
        state, trace = play(
            game,
            players,
            generators,
            init(players, generators, signs, game.K, game.mode),
            start.after,
            keep_means=False,
        )
        results.append(state.signs.unflatten(0, (chains, tries)))
        score = trace.evidence[:, -start.tail :].mean(1)
        if start.entropy:
            score = score - start.entropy * sign_entropy(trace.signs[:, -start.tail :])
        scores.append(score.view(chains, tries))

    for first in range(0, start.tries, batch):
        tries = min(batch, start.tries - first)
        candidates = _candidates(start, game, players, generators, range(first, first + tries), chains)
        compare(merge_if_sparse(game, players, candidates), tries)
    if present is not None:
        compare(present, 1)
    signs, score = torch.cat(results, dim=1), torch.cat(scores, dim=1)
    return signs[torch.arange(chains, device=score.device), score.argmax(1)], score.unsqueeze(1)


def sign_entropy(signs: Tensor) -> Tensor:
    """Entropy in nats of the signs in T sweeps, summed over agents and objects: (C, T, M, N) -> (C,)."""
    sweeps = signs.shape[1]
    total = torch.zeros(len(signs), dtype=torch.float64, device=signs.device)
    for sweep in signs.unbind(1):
        share = (signs == sweep.unsqueeze(1)).sum(1, dtype=torch.float64) / sweeps
        total -= share.log().sum((1, 2)) / sweeps
    return total


def _have_words(players: Sequence[StartPlayer]) -> bool:
    """Whether the signs of all players are sentences whose words have meanings, as in `WordPlayer`."""
    return all(getattr(player, "has_words", False) for player in players)


def _slots(
    start: Start, game: Game, players: Sequence[StartPlayer], generators: Sequence[Stream]
) -> list[list[StartPlayer]] | None:
    """The players of each slot of a sentence, or None for single signs and where subspaces are not found."""
    if game.sentences is None or not _have_words(players):
        return None
    clusters = start.excess * game.sentences.vocabulary
    return slot_players(cast(Sequence[WordPlayer], players), generators, clusters)


def _slot_signs(
    start: Start,
    game: Game,
    slots: Sequence[Sequence[StartPlayer]],
    generators: Sequence[Stream],
    chains: int,
    present: Tensor | None,
    processes: int,
) -> tuple[Tensor, Tensor]:
    """As `_group_signs`, from the players of each slot. Slots are independent, so each has its best start.

    Chain 0 has the start with the largest score of all chains in every slot. The scores of a chain are sums over
    slots: of the best start of each slot, of the second best, and so on.
    """
    language = game.sentences
    assert language is not None
    V = language.vocabulary
    uniform = torch.zeros(V, dtype=torch.float64, device=game.log_prior.device).log_softmax(0)
    single = replace(game, log_prior=uniform, sentences=None, weights=None)
    words, scores = [], []
    for slot, players in enumerate(slots):
        said = None if present is None else language.word(present, slot)
        signs, score = _group_signs(start, single, players, generators, chains, said, processes)
        order = _best_first(score)
        words.append(signs[order])
        scores.append(score[order].sort(dim=2, descending=True).values)
    return language.join(torch.stack(words, dim=-1)), torch.stack(scores).sum(0)


def tries_per_batch(start: Start, N: int, K: int, chains: int) -> int:
    """Starts of each chain that are played at a time: all, unless their tables exceed _TABLE_BYTES."""
    return max(1, min(start.tries, _TABLE_BYTES // (8 * chains * N * most_signs(start, K))))


def most_signs(start: Start, K: int) -> int:
    """The largest number of signs during a start. Mergers cost its square, so many signs have fewer parts each."""
    if start.kind != "merge":
        return K
    return max(min(start.excess, _FEWER) * K, min(start.excess * K, _MANY))


def _clusterers(tries: range, chains: int, players: Sequence[StartPlayer]) -> list[int]:
    """The agent that clusters, for each try of each chain."""
    M = len(players)
    return [number % M if M > 2 else 0 for _ in range(chains) for number in tries]


def _candidates(
    start: Start,
    game: Game,
    players: Sequence[StartPlayer],
    generators: Sequence[Stream],
    tries: range,
    chains: int,
) -> Tensor:
    """The signs (candidates, M, N) of the starts with the numbers `tries`, for each chain."""
    clusterers = _clusterers(tries, chains, players)
    if start.kind == "prior":
        return _prior_signs(game, players, generators, len(clusterers))
    if start.kind == "kmeans":
        return _kmeans_signs(players, generators, clusterers, game.K)
    if start.kind == "merge" and _have_words(players):
        signs = _kmeans_signs(players, generators, clusterers, game.K)
        return refine_words(game, cast(Sequence[WordPlayer], players), generators, signs, start.before)
    if start.kind == "merge":
        return _merge_signs(start, game, players, generators, clusterers)
    if start.kind == "split":
        return _split_signs(start, game, players, generators, clusterers)
    raise ValueError(f"start is {start.kind!r}; expected one of {', '.join(STARTS)}")


def _prior_signs(game: Game, players: Sequence[StartPlayer], generators: Sequence[Stream], chains: int) -> Tensor:
    signs = []
    for player, generator in zip(players, generators, strict=True):
        belief = player.from_prior(generator, chains, game.K)
        signs.append(belief.propose(generator, game.log_prior))
    return torch.stack(signs, dim=1)


def _kmeans_signs(
    players: Sequence[StartPlayer], generators: Sequence[Stream], clusterers: Sequence[int], K: int
) -> Tensor:
    """The clusters of each candidate's clusterer, as the signs of all agents: (candidates, M, N)."""
    clusters = {m: iter(players[m].clusters(generators[m], clusterers.count(m), K)) for m in sorted(set(clusterers))}
    return torch.stack([next(clusters[m]) for m in clusterers]).unsqueeze(1).repeat(1, len(players), 1)


def _merge_signs(
    start: Start, game: Game, players: Sequence[StartPlayer], generators: Sequence[Stream], clusterers: Sequence[int]
) -> Tensor:
    more = most_signs(start, game.K)
    # The additional signs exist in the start only; their prior is uniform.
    uniform = torch.zeros(more, dtype=torch.float64, device=game.log_prior.device).log_softmax(0)
    overcomplete = replace(game, log_prior=uniform, weights=None)
    signs = _kmeans_signs(players, generators, clusterers, more)
    state = init(players, generators, signs, more, game.mode)
    state, _ = play(overcomplete, players, generators, state, start.before, keep_means=False)
    signs = merge(players, state.signs, more, game.K, game)
    return signs if more == game.K else move_parts(players, state.signs, more, signs, game)


def _split_signs(
    start: Start, game: Game, players: Sequence[StartPlayer], generators: Sequence[Stream], clusterers: Sequence[int]
) -> Tensor:
    signs = _kmeans_signs(players, generators, clusterers, game.K)
    if game.K < 3:
        return signs
    # A single agent cannot play com; with one agent, gibbs is a draw from its own posterior.
    mode = "gibbs" if game.mode == "gibbs" or len(players) == 1 else "com"
    shared = replace(game, mode=mode, listener_state="shared", acceptance="mh", split_merge=1, weights=None)
    state = init(players, generators, signs, game.K)
    return play(shared, players, generators, state, start.moves, keep_means=False)[0].signs


def merge_if_sparse(game: Game, players: Sequence[StartPlayer], signs: Tensor) -> Tensor:
    """With a sparse prior of pi, merge signs (C, M, N) while a merger raises the evidence; else return them unchanged.

    Groups that start separately merge separately.
    """
    if game.weights is None or not game.weights.sparse:
        return signs
    result = signs.clone()
    for members in _groups(game, len(players)):
        merged = merge([players[m] for m in members], signs[:, members], game.K, game.K, game)
        for m, agent_signs in zip(members, merged.unbind(1), strict=True):
            result[:, m] = agent_signs
    return result
