"""Check that a game samples its target, and which faults the check can see on this model.

    enumeration  games without beliefs and with at most 10^6 assignments: chains that start at the prior must reach the
                 enumerated P(w | x); chi-square
    simulation   other games: signs, beliefs and observations are simulated from the programs. Sweeps given these
                 observations must keep their joint law, in three checks:
                   sweeps    a few sweeps (Geweke 2004)
                   signs     a sweep, many redraws of the beliefs, then only turns of signs: signs given new beliefs
                   beliefs   the true signs and other beliefs from the prior, then many redraws: beliefs given signs,
                             as in simulation-based calibration (Talts et al. 2018). It counts only if the game
                             itself reaches the law
                 Each check compares a state with the simulated state of the same chain, by ranks of signs, beliefs and
                 densities: a normal test of each mean difference and Hotelling's test of all, with Bonferroni's
                 correction

Then each of the faults of `mhng.inference.programs.faults` is planted. A fault that passes the check is not visible on
this model, for example a second prior if the prior is uniform.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import Unit
from scipy import stats
from torch import Tensor

from mhng.inference.programs import faults
from mhng.inference.programs.beliefs import Fixed, Function, PyroKernel
from mhng.inference.programs.naming_game import GameState, NamingGame
from mhng.inference.programs.sites import run
from mhng.inference.topology import Together
from mhng.models.rng import seeded_global_rng, stream

MOST_ASSIGNMENTS = 10**6
# Chains, and chains with kernels of Pyro.
CHAINS, SLOW_CHAINS = 4000, 400
# A check fails if its p-value is below this.
ALPHA = 1e-4
# Sweeps, or turns of signs, of a check by simulation.
SWEEPS = 5
# A statistic that differs in fewer chains than this is left out: its mean is not normal.
LEAST_MOVED = 30
# Fewer chains see no fault.
LEAST_CHAINS = 60

FAULTS: Mapping[str, type[NamingGame]] = {
    "prior twice": faults.PriorTwice,
    "speaker's ratio": faults.SpeakersRatio,
    "stale table": faults.StaleTable,
    "beliefs not redrawn": faults.BeliefsNotRedrawn,
    "nuisance not summed": faults.NuisanceNotSummed,
}


class NotProvableError(ValueError):
    """The law of the game is approximate, or its observations cannot be simulated."""


@dataclass(frozen=True)
class Proof:
    """The result of `prove`.

    Args:
        method: "enumeration" or "simulation".
        chains: their number for planted faults; more chains see more.
        p_value: of the game.
        faults: for each planted fault, whether the check sees it; None: the model has no such part.
        settled: redraws after which beliefs from other starts have their law; 0: more than tried; None: not tried.
        signs_moved: whether a sign changed in a chain.
    """

    method: str
    chains: int
    p_value: float
    faults: Mapping[str, bool | None] = field(default_factory=dict)
    settled: int | None = None
    signs_moved: bool = True

    @property
    def passed(self) -> bool:
        """Whether the game has its law, as far as the check can see."""
        return self.p_value >= ALPHA

    def __str__(self) -> str:
        unseen = f"not visible on this model with {self.chains:,} chains"
        words = {True: "seen", False: unseen, None: "does not apply"}
        verdict = "the game has its law" if self.passed else "the game does NOT have its law"
        correction = " after Bonferroni's correction" if self.method == "simulation" else ""
        lines = [f"{verdict} (by {self.method}, p = {self.p_value:.3g}{correction}; fails below {ALPHA:g})"]
        if not self.signs_moved:
            lines.append("no sign changed in any chain, so the check says nothing about turns of signs")
        if self.settled is not None:
            when = f"is reached in {self.settled} redraws" if self.settled else "is not reached; raise sweeps"
            lines.append(f"from other beliefs the law {when}")
        return "\n".join([*lines, *(f"planted fault, {name}: {words[seen]}" for name, seen in self.faults.items())])


def prove(game: NamingGame, chains: int | None = None, sweeps: int = 20, seed: int = 0) -> Proof:
    """Check the law of a game, plant faults, and say which of them the check sees.

    chains: None: 4,000. A game with kernels of Pyro, which run chain by chain, is checked with 400; its faults are
        planted in the same game with random walks.

    Raises:
        ValueError: fewer than 60 chains.
        NotProvableError: the law is known to be approximate, or the observations cannot be simulated.
    """
    if chains is not None and chains < LEAST_CHAINS:
        raise ValueError(f"chains is {chains}; expected {LEAST_CHAINS} or more, because fewer see no fault")
    if not game.exact:
        raise NotProvableError("the game is approximate: state='chain' with beliefs redrawn, or beliefs='svi'")
    # A planted fault is seen by the check and not by the kernel of beliefs, so it takes a fast one.
    fast = _with_random_walks(game)
    counts = (chains or (CHAINS if fast is game else SLOW_CHAINS), chains or CHAINS)
    has_beliefs = any(player.sites.beliefs or player.redrawn for player in game.agents)
    if not has_beliefs and is_small(game):
        method, way = "enumeration", _by_enumeration
    else:
        method, way = "simulation", _by_simulation
    check = way(game, counts[0], sweeps, seed)
    right = list(check.p_values(type(game)))
    signs_moved = check.signs_moved()
    if fast is not game:
        check = way(fast, counts[1], sweeps, seed)
    seen: dict[str, bool | None] = {}
    for name, kind in FAULTS.items():
        needs = {"stale table": has_beliefs, "beliefs not redrawn": has_beliefs}
        needs["nuisance not summed"] = any(player.summed for player in game.agents)
        applies = needs.get(name, len(game.agents) > 1)
        seen[name] = any(p < ALPHA for p in check.p_values(kind)) if applies else None
    return Proof(
        method,
        counts[1],
        min(1.0, min(right) * len(right)),
        seen,
        None if fast is not game else check.settled(),
        signs_moved,
    )


def _is_slow(game: NamingGame) -> bool:
    return any(isinstance(kernel, PyroKernel) for kernel in game.kernels)


def _with_random_walks(game: NamingGame) -> NamingGame:
    """The same game with random walks in place of kernels of Pyro; `game` if it has none."""
    if not _is_slow(game):
        return game
    fast = copy.copy(game)
    fast.players = {}
    for (name, player), kernel in zip(game.players.items(), game.kernels, strict=True):
        fast.players[name] = copy.copy(player)
        if isinstance(kernel, PyroKernel):
            fast.players[name].beliefs = "random-walk"
    return like(fast, NamingGame)


def is_small(game: NamingGame) -> bool:
    """Whether the signs have at most 10^6 assignments."""
    return not game.continuous and math.prod(site.K**site.size for site in game.signs) <= MOST_ASSIGNMENTS


class Check(NamedTuple):
    """A way to check the law of a game."""

    p_values: Callable[[type[NamingGame]], Iterator[float]]  # of the same game of a class
    settled: Callable[[], int | None]  # redraws after which beliefs from other starts have their law; 0: more
    signs_moved: Callable[[], bool]  # whether a sign changed in the last call of p_values


def _by_enumeration(game: NamingGame, chains: int, sweeps: int, seed: int) -> Check:
    """The p-value of the signs of chains against the enumerated posterior."""
    sizes = [site.K for site in game.signs for _ in range(site.size)]
    signs = torch.cartesian_prod(*[torch.arange(K) for K in sizes]).view(-1, len(sizes))
    with torch.no_grad():
        parts = [player.log_density(signs, {}) for player in game.agents]
    log_p = sum((part.likelihood for part in parts), start=parts[0].prior.clone())
    if game.prior == "each":
        log_p = log_p + torch.stack([part.prior for part in parts[1:]]).sum(0) if len(parts) > 1 else log_p
    law = log_p.softmax(0).numpy()

    def p_values(kind: type[NamingGame]) -> Iterator[float]:
        wrong = like(game, kind)
        samples = wrong.play(chains, sweeps, thin=sweeps, seed=seed)
        drawn = samples[wrong.sign_keys[-1]][:, -1].reshape(chains, -1).long()
        cells = torch.zeros(chains, dtype=torch.int64)
        for place, K in enumerate(sizes):
            cells = cells * K + drawn[:, place]
        yield _chi_square(np.bincount(cells.numpy(), minlength=len(law)), law)

    return Check(p_values, lambda: None, lambda: True)


def _by_simulation(game: NamingGame, chains: int, sweeps: int, seed: int) -> Check:
    """The p-values of the three checks: simulated samples against samples that were played."""
    has_beliefs = any(player.sites.beliefs or player.redrawn for player in game.agents)
    if game.prior == "each":
        raise NotProvableError("prove cannot simulate a product of experts; give all agents one prior")
    for player, kernel in zip(game.agents, game.kernels, strict=True):
        if isinstance(kernel, Function) and not kernel.takes_data:
            raise NotProvableError(
                f"agent {player.name}: prove cannot give simulated observations to the beliefs function; give it a "
                "third argument, redraw(signs, values, data)"
            )
    with seeded_global_rng(stream(seed, "simulation")):
        truth, others = (_simulate(game, chains) for _ in range(2))
    observed = [
        {name: values[name] for name in player.sites.observations}
        for player, values in zip(game.agents, truth.beliefs, strict=True)
    ]
    elsewhere = GameState(
        truth.signs, tuple({**theirs, **data} for theirs, data in zip(others.beliefs, observed, strict=True))
    )
    compare = _Comparison(game, truth)
    redraws = any(not isinstance(kernel, Fixed) for kernel in game.kernels)
    moved = [True]

    def set_up(played: NamingGame, warmup: int) -> None:
        """Set kernels up. Those of Pyro take their first step size from a state that is independent of the truth."""
        played.setup(warmup)
        if _is_slow(played):
            for m in range(len(played.agents)):
                played.redraw(others, m, warmup > 0)

    def redrawn(played: NamingGame, state: GameState, count: int) -> GameState:
        """Many redraws of all beliefs; kernels adapt in the first half."""
        for number in range(count):
            for m in range(len(played.agents)):
                state = played.redraw(state, m, number < count // 2)
        return state

    def settles(kind: type[NamingGame], count: int) -> float:
        """The p-value of beliefs after `count` redraws from other starts."""
        played = like(game, kind)
        with seeded_global_rng(stream(seed, "settle")):
            set_up(played, count // 2)
            return compare(redrawn(played, elsewhere, count))

    @cache
    def settled() -> int:
        """The number of redraws after which beliefs of the right game have their law; 0: they do not reach it."""
        return next((n for n in (sweeps, 5 * sweeps) if settles(NamingGame, n) >= ALPHA), 0)

    def p_values(kind: type[NamingGame]) -> Iterator[float]:
        played = like(game, kind)
        with seeded_global_rng(stream(seed, "play")):
            set_up(played, 0)
            state = truth
            for _ in range(SWEEPS):
                state = played.sweep(state)
        moved.append(not state.signs.equal(truth.signs))
        if redraws and not moved[-1] and _same(state, truth):  # nothing moves: the law stays, and is never reached
            yield 0.0
            return
        yield compare(state)
        if not has_beliefs:
            return
        count = sweeps if _is_slow(game) else settled() or sweeps
        with seeded_global_rng(stream(seed, "signs")):
            set_up(played, count // 2)
            state = redrawn(played, played.sweep(truth), count)
            for _ in range(2 * SWEEPS):
                state = _turns_only(played, state)
        yield compare(state)
        # Games of other kinds redraw as the right one does.
        if kind.redraw is not NamingGame.redraw and settled():
            yield settles(kind, settled())

    return Check(p_values, settled if has_beliefs else lambda: None, lambda: moved[-1])


def _same(state: GameState, other: GameState) -> bool:
    """Whether all beliefs are the same."""
    pairs = zip(state.beliefs, other.beliefs, strict=True)
    return all(value.equal(theirs[name]) for beliefs, theirs in pairs for name, value in beliefs.items())


def _turns_only(played: NamingGame, state: GameState) -> GameState:
    """A sweep in which no agent redraws its beliefs."""
    for encounter in Together().encounters(len(played.agents), 0):
        for step in played.steps:
            state = played.turn(state, step, encounter)
    return state


def like(game: NamingGame, kind: type[NamingGame]) -> NamingGame:
    """The same game of another class."""
    return kind(game.players, game.sign, game.turns, prior=game.prior, state=game.state, recursion=game.recursion)


def _simulate(game: NamingGame, chains: int) -> GameState:
    """Signs, beliefs, redrawn nuisance and observations from the programs; observations are among the beliefs."""
    signs: list[Tensor] = []
    drawn: list[list[dict[str, Tensor]]] = [[] for _ in game.agents]
    for _ in range(chains):
        given: dict[str, Tensor] = {}
        for player, kept in zip(game.agents, drawn, strict=True):
            free = poutine.condition(poutine.uncondition(player.program), given)
            nodes = run(free, player.args, player.kwargs).nodes
            for name in player.sites.observations:
                if isinstance(nodes[name]["fn"], Unit):
                    raise NotProvableError(f"agent {player.name}: prove cannot simulate pyro.factor site {name!r}")
            given = {site.name: nodes[site.name]["value"] for site in player.sites.signs}
            names = [site.name for site in player.sites.beliefs + player.redrawn] + list(player.sites.observations)
            kept.append({name: nodes[name]["value"] for name in names})
        signs.append(torch.cat([site.indices(given[site.name]).reshape(-1) for site in game.signs]))
    beliefs = tuple({name: torch.stack([row[name] for row in rows]) for name in rows[0]} for rows in drawn)
    return GameState(torch.stack(signs).unsqueeze(1), beliefs)


class _Comparison:
    """A test that states have the law of the simulated state, chain by chain.

    Under the law a statistic f has the same mean before and after, so f(after) - f(before) has mean zero. Within a
    chain this difference has less noise than between independent samples, because much of the state is the same.
    """

    def __init__(self, game: NamingGame, truth: GameState) -> None:
        self.game, self.signs = game, truth.signs[:, 0]
        self.truth = self._numbers(truth)

    def __call__(self, state: GameState) -> float:
        """The p-value of a state."""
        now, columns = self._numbers(state), []
        for before, after in zip(self.truth, now, strict=True):
            ranks = stats.rankdata(np.concatenate([before, after])).reshape(2, -1) / (2 * len(before)) - 0.5
            columns += [ranks[1] - ranks[0], ranks[1] ** 2 - ranks[0] ** 2]
        if not self.game.continuous:
            signs, drawn = self.signs, state.signs[:, 0]
            K = max(site.K for site in self.game.signs)
            for k in range(K):
                columns += [part.numpy() for part in ((drawn == k).double() - (signs == k).double()).unbind(1)]
        columns = [column for column in columns if np.count_nonzero(column) >= LEAST_MOVED]
        if not columns:
            return 1.0
        moved = np.stack(columns, axis=1)
        if not moved.std(0).all():  # the same change in every chain
            return 0.0
        p_values = 2 * stats.norm.sf(np.abs(moved.mean(0)) / (moved.std(0) / len(moved) ** 0.5))
        return float(min(1.0, p_values.min() * 2 * len(p_values), 2 * _hotelling(moved)))

    def _numbers(self, state: GameState) -> list[np.ndarray]:
        """Densities of all agents, continuous signs, and up to eight elements of each belief: arrays (C,)."""
        numbers = list(state.signs[:, 0].unbind(1)) if self.game.continuous else []
        for player, beliefs in zip(self.game.agents, state.beliefs, strict=True):
            with torch.no_grad():
                density = player.log_density(state.signs[:, 0], beliefs)
                own = player.log_beliefs(state.signs[:, 0], beliefs)
            numbers += [density.prior, density.likelihood, density.likelihood - own, own]
            for site in player.sites.beliefs:
                numbers += list(beliefs[site.name].reshape(len(state.signs), -1)[:, :8].unbind(1))
        # Single precision: rounding errors would break ties.
        return [number.float().nan_to_num().numpy() for number in numbers]


def _hotelling(differences: np.ndarray) -> float:
    """p-value of Hotelling's test that rows (C, D) have mean zero; 1 if they are too few."""
    C = len(differences)
    mean = differences.mean(0) / differences.std(0)
    values, vectors = np.linalg.eigh(np.corrcoef(differences, rowvar=False).reshape(len(mean), -1))
    kept = values > 1e-6
    D = int(kept.sum())
    if C < 4 * D:
        return 1.0
    square = C * float((((vectors.T @ mean)[kept] ** 2) / values[kept]).sum())
    return float(stats.f.sf(square * (C - D) / (D * (C - 1)), D, C - D))


def _chi_square(counts: np.ndarray, law: np.ndarray) -> float:
    """p-value of counts; cells that expect fewer than 5 are joined."""
    expected = counts.sum() * law
    small = expected < 5
    counts, expected = (np.append(part[~small], part[small].sum()) for part in (counts, expected))
    if expected[-1] < 1e-9:
        if counts[-1]:
            return 0.0
        counts, expected = counts[:-1], expected[:-1]
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue) if len(counts) > 1 else 1.0
