"""Check that a game samples its target, and which faults the check can see on this model.

    enumeration  games without beliefs and with at most 10^6 assignments: chains that start at the prior must reach the
                 enumerated P(w | x); chi-square
    simulation   other games: signs, beliefs and observations are simulated from the programs. Sweeps given the
                 simulated observations must keep their joint law (Geweke 2004). Chains that start at other draws from
                 the prior must reach it, if the right game does in the given sweeps. Kolmogorov-Smirnov and
                 chi-square, with Bonferroni's correction

Then each of the faults of `mhng.inference.programs.faults` is planted. A fault that passes the check is not visible on
this model, for example a second prior if the prior is uniform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from pyro import poutine
from pyro.distributions import Unit
from scipy import stats
from torch import Tensor

from mhng.inference.programs import faults
from mhng.inference.programs.beliefs import Function
from mhng.inference.programs.naming_game import GameState, NamingGame
from mhng.inference.programs.player import ProgramPlayer
from mhng.inference.programs.sites import run
from mhng.models.rng import seeded_global_rng, stream

MOST_ASSIGNMENTS = 10**6
# A check fails if its p-value is below this.
ALPHA = 1e-4

FAULTS: Mapping[str, type[NamingGame]] = {
    "prior twice": faults.PriorTwice,
    "speaker's ratio": faults.SpeakersRatio,
    "stale table": faults.StaleTable,
    "beliefs not redrawn": faults.BeliefsNotRedrawn,
    "nuisance not summed": faults.NuisanceNotSummed,
}


@dataclass(frozen=True)
class Proof:
    """The result of `prove`.

    Args:
        method: "enumeration" or "simulation".
        p_value: of the game.
        faults: for each planted fault, whether the check sees it; None: the model has no such part.
    """

    method: str
    p_value: float
    faults: Mapping[str, bool | None] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the game has its law, as far as the check can see."""
        return self.p_value >= ALPHA

    def __str__(self) -> str:
        words = {True: "seen", False: "not visible on this model", None: "does not apply"}
        verdict = "the game has its law" if self.passed else "the game does NOT have its law"
        lines = [f"{verdict} (by {self.method}, p = {self.p_value:.3g})"]
        return "\n".join([*lines, *(f"planted fault, {name}: {words[seen]}" for name, seen in self.faults.items())])


def prove(game: NamingGame, chains: int = 4000, sweeps: int = 20, seed: int = 0) -> Proof:
    """Check the law of a game, plant faults, and say which of them the check sees.

    Raises:
        ValueError: the law is known to be approximate, or the observations cannot be simulated.
    """
    if not game.exact:
        raise ValueError("the game is approximate: state='chain' with beliefs redrawn, or beliefs='svi'")
    has_beliefs = any(player.sites.beliefs or player.redrawn for player in game.agents)
    assignments = np.prod([float(site.K) ** site.shape.numel() for site in game.signs])
    if not has_beliefs and assignments <= MOST_ASSIGNMENTS:
        method, p_values = "enumeration", _by_enumeration(game, chains, sweeps, seed)
    else:
        method, p_values = "simulation", _by_simulation(game, chains, sweeps, seed)
    right = p_values(NamingGame)
    # The second check is about convergence: it counts only if the right game converges.
    usable = [number == 0 or p >= ALPHA for number, p in enumerate(right)]
    seen: dict[str, bool | None] = {}
    for name, kind in FAULTS.items():
        needs = {"stale table": has_beliefs, "beliefs not redrawn": has_beliefs}
        needs["nuisance not summed"] = any(player.summed for player in game.agents)
        applies = needs.get(name, len(game.agents) > 1)
        seen[name] = min(p for p, use in zip(p_values(kind), usable, strict=True) if use) < ALPHA if applies else None
    return Proof(method, right[0], seen)


Check = Callable[[type[NamingGame]], list[float]]


def _by_enumeration(game: NamingGame, chains: int, sweeps: int, seed: int) -> Check:
    """The p-value of the signs of chains against the enumerated posterior."""
    sizes = [site.K for site in game.signs for _ in range(site.shape.numel())]
    signs = torch.cartesian_prod(*[torch.arange(K) for K in sizes]).view(-1, len(sizes))
    with torch.no_grad():
        parts = [player.log_density(signs, {}) for player in game.agents]
    log_p = sum((part.likelihood for part in parts), start=parts[0].prior.clone())
    if game.prior == "each":
        log_p = log_p + torch.stack([part.prior for part in parts[1:]]).sum(0) if len(parts) > 1 else log_p
    law = log_p.softmax(0).numpy()

    def p_values(kind: type[NamingGame]) -> list[float]:
        wrong = like(game, kind)
        samples = wrong.play(chains, sweeps, thin=sweeps, seed=seed)
        drawn = samples[wrong.sign_keys[-1]][:, -1].reshape(chains, -1).long()
        cells = torch.zeros(chains, dtype=torch.int64)
        for place, K in enumerate(sizes):
            cells = cells * K + drawn[:, place]
        return [_chi_square(np.bincount(cells.numpy(), minlength=len(law)), law)]

    return p_values


def _by_simulation(game: NamingGame, chains: int, sweeps: int, seed: int) -> Check:
    """The p-values of two samples: simulated, and played from the truth or from other draws."""
    if game.prior == "each":
        raise ValueError("prove cannot simulate a product of experts; give all agents one prior")
    for player, kernel in zip(game.agents, game.kernels, strict=True):
        if isinstance(kernel, Function):
            raise ValueError(
                f"agent {player.name}: prove cannot give simulated observations to a beliefs function; "
                "check the game with beliefs='random-walk'"
            )
    with seeded_global_rng(stream(seed, "simulation")):
        reference, truth, others = (_simulate(game, chains) for _ in range(3))
    observed = [
        {name: values[name] for name in player.sites.observations}
        for player, values in zip(game.agents, truth.beliefs, strict=True)
    ]
    other_start = GameState(
        others.signs, tuple({**theirs, **data} for theirs, data in zip(others.beliefs, observed, strict=True))
    )

    def p_values(kind: type[NamingGame]) -> list[float]:
        wrong = like(game, kind)
        played = []
        for start, number in ((truth, 3), (other_start, sweeps)):
            with seeded_global_rng(stream(seed, "play")):
                wrong.setup(0)
                state = start
                for _ in range(number):
                    state = wrong.sweep(state)
            played.append(_compare(game, reference, state))
        return played

    return p_values


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
                    raise ValueError(f"agent {player.name}: prove cannot simulate pyro.factor site {name!r}")
            given = {site.name: nodes[site.name]["value"] for site in player.sites.signs}
            names = [site.name for site in player.sites.beliefs + player.redrawn] + list(player.sites.observations)
            kept.append({name: nodes[name]["value"] for name in names})
        signs.append(torch.cat([site.indices(given[site.name]).reshape(-1) for site in game.signs]))
    beliefs = tuple({name: torch.stack([row[name] for row in rows]) for name in rows[0]} for rows in drawn)
    return GameState(torch.stack(signs).unsqueeze(1), beliefs)


def _compare(game: NamingGame, reference: GameState, played: GameState) -> float:
    """The p-value for equal laws of two samples, by statistics of signs, beliefs and densities."""
    p_values = []
    for place in range(reference.signs.shape[2]):
        both = [state.signs[:, 0, place].numpy() for state in (reference, played)]
        table = np.stack([np.bincount(part, minlength=max(map(np.max, both)) + 1) for part in both])
        table = table[:, table.sum(0) > 0]
        p_values.append(float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0)
    for m, player in enumerate(game.agents):
        numbers = [_numbers(player, state, m) for state in (reference, played)]
        p_values += [float(stats.ks_2samp(*columns).pvalue) for columns in zip(*numbers, strict=True)]
    return min(1.0, min(p_values) * len(p_values))


def _numbers(player: ProgramPlayer, state: GameState, m: int) -> list[np.ndarray]:
    """Log densities of agent m and up to eight elements of each of its beliefs: arrays (C,)."""
    with torch.no_grad():
        parts = player.log_density(state.signs[:, 0], state.beliefs[m])
    numbers = [parts.prior, parts.likelihood]
    for site in player.sites.beliefs:
        numbers += list(state.beliefs[m][site.name].reshape(len(state.signs), -1)[:, :8].unbind(1))
    return [number.numpy() for number in numbers]


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
