"""The naming game between Pyro programs, as a kernel of `pyro.infer.MCMC`.

Target, for agents m with observations x_m, beliefs theta_m and nuisance u_m:

    p(w) prod_m p(theta_m) sum_u p(u, x_m | theta_m, w)

In a sweep each agent listens once to all others. For every block of the turn (`mhng.inference.programs.turns`) the
others propose by the recursive game (`mhng.inference.recursive`), and the listener accepts by its own likelihood
ratio. Then the listener redraws its beliefs given the signs. p(w) is counted once, in the speaker's draw.

Prior
    once  the programs must have the same p(w), independent of beliefs
    each  a product of experts: every agent multiplies by its own p(w | theta_m)

Listener states
    shared  one sign for all agents. The law is exact, with beliefs redrawn too
    chain   each agent has its own signs. The law is exact with fixed beliefs only: the beliefs of each agent follow
            its own signs, and these conditionals belong to no joint law (docs/correctness.md)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from mhng.inference.programs.agreement import check_agreement
from mhng.inference.programs.beliefs import Fixed, Kernel, check_kernel, kernel_of, redraw_nuisance
from mhng.inference.programs.density import Density
from mhng.inference.programs.player import ProgramPlayer
from mhng.inference.programs.sites import seeded
from mhng.inference.programs.turns import Step, Turn, each, whole
from mhng.inference.proposals import acceptance_rule
from mhng.inference.recursive import Speaker, inner_length, propose
from mhng.inference.topology import Encounter, Together
from mhng.inference.types import Belief
from mhng.models.belief import TableAnswers
from mhng.models.rng import seeded_global_rng, stream

PRIORS = ("once", "each")
LISTENER_STATES = ("shared", "chain")

_MH = acceptance_rule("mh")
# The programs draw from torch's global generator, as all kernels of Pyro do.
_GLOBAL: Any = None


class GameState(NamedTuple):
    """What C chains carry from one sweep to the next."""

    signs: Tensor  # (C, S, D) all signs as one vector: S = 1 if they are shared, else one for each agent
    beliefs: tuple[dict[str, Tensor], ...]  # for each agent, {site: (C, ...)}


class NamingGame(MCMCKernel):
    """A naming game between Pyro programs.

    Args:
        players: agents by name. A sweep has them speak and listen in this order.
        sign: the site of the signs, or a pattern for several sites, such as "w_*".
        turn: the signs that are proposed at once: a turn of `mhng.inference.programs.turns`, or a list of them. None:
            `each` of the plate of the sign, or `whole` without a plate.
        prior, state: see the module.
        recursion: the proposal of several speakers: os, ll:T or exact (`mhng.inference.recursive`).

    Raises:
        ValueError: the programs do not make a game; the message names agent and site.
    """

    def __init__(
        self,
        players: Mapping[str, ProgramPlayer],
        sign: str = "w",
        turn: Turn | Sequence[Turn] | None = None,
        *,
        prior: str = "once",
        state: str = "shared",
        recursion: str = "os",
    ) -> None:
        for name, value, known in (("prior", prior, PRIORS), ("state", state, LISTENER_STATES)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; expected {' or '.join(map(repr, known))}")
        if not players:
            raise ValueError("a game needs an agent or more; players is empty")
        if not isinstance(players, Mapping):
            raise ValueError(
                f"players is of type {type(players).__name__}; expected agents by name, {{'A': player, ...}}"
            )
        for name, player in players.items():
            if not isinstance(player, ProgramPlayer):
                raise ValueError(
                    f"agent {name} is of type {type(player).__name__}; expected ProgramPlayer(program, observations)"
                )
        self.players, self.sign, self.prior, self.state = dict(players), sign, prior, state
        self.recursion, self.length = recursion, inner_length(recursion)
        self.agents = list(self.players.values())
        seeded(self._read)
        self.signs = self.agents[0].sites.signs
        self.continuous = self.signs[0].continuous
        if self.continuous and recursion != "os":
            raise ValueError(f"recursion is {recursion!r}; continuous signs require 'os'")
        chosen: Any = turn or self._default_turn()
        self.turns: list[Turn] = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
        if not all(isinstance(part, Turn) for part in self.turns):
            raise ValueError(f"turn is {turn!r}; expected turns.each(plate), turns.whole(), or a list of such turns")
        self.steps = [step for part in self.turns for step in part.steps(self.signs)]
        self.kernels: list[Kernel] = [kernel_of(player, 0) for player in self.agents]
        seeded(lambda: check_agreement(self.agents, prior == "once", self.steps))
        seeded(self._try_beliefs)
        self.transforms = {
            f"{name}.{site.name}": site.transform.inv
            for name, player in self.players.items()
            for site in player.sites.beliefs
        }
        self._initial: dict[str, Tensor] | None = None
        self._warmup = self._sweeps = 0
        self.accepted: list[Tensor] = []
        self.offered: list[int] = []
        self._reset_counts()

    def _read(self) -> None:
        for name, player in self.players.items():
            player.read(name, self.sign)

    def _try_beliefs(self) -> None:
        for player, kernel in zip(self.agents, self.kernels, strict=True):
            check_kernel(player, kernel)

    def _default_turn(self) -> Turn:
        plates = self.signs[0].plates
        return each(plates[0].name) if plates else whole()

    @property
    def exact(self) -> bool:
        """Whether the game has its target as the stationary law."""
        fixed = all(isinstance(kernel, Fixed) for kernel in self.kernels) and not any(
            player.redrawn for player in self.agents
        )
        return all(kernel.exact for kernel in self.kernels) and (self.state == "shared" or fixed)

    # -- one sweep -------------------------------------------------------------------------------------

    def sweep(self, state: GameState, warmup: bool = False) -> GameState:
        """Every agent listens once to all others, and then redraws its beliefs."""
        for encounter in Together().encounters(len(self.agents), 0):
            listener = encounter[-1]
            for step in self.steps:
                state = self.turn(state, step, encounter)
            state = self.redraw(state, listener, warmup)
        return state

    def turn(self, state: GameState, step: Step, encounter: Encounter) -> GameState:
        """One proposal and one answer for the blocks of a step; the last agent of the encounter listens."""
        *speakers, listener = encounter
        held = self.held_signs(state, listener)
        if self.continuous:
            return self._write(state, listener, self._guided(state, held, step, encounter))
        tables = [self.table(m, state, held, step) for m in speakers or [listener]]
        current = step.indices(held)
        beliefs = [TableAnswers(table) for table in (tables[0].likelihood, *self.answers(tables))]
        row = [Speaker(_GLOBAL, cast(Belief, belief), _MH) for belief in beliefs]
        proposal = propose(tables[0].prior, row, self.length, current)
        proposed = step.write(held, proposal.signs)
        if not speakers:  # an agent alone draws from its own posterior
            return self._write(state, listener, proposed)
        # The listener needs its likelihood at two values only.
        places = torch.stack([current, proposal.signs], dim=-1)
        said = Density(*(part.expand(tables[0].likelihood.shape).gather(-1, places) for part in tables[0]))
        heard = self.densities(listener, state, (held, proposed), step.plate)
        heard = Density(*(part.reshape(current.shape + (2,)) for part in heard))
        answer = TableAnswers(self.answers([said, heard])[0])
        now = torch.zeros_like(current)
        response = answer.respond(_GLOBAL, now + 1, now, _MH)
        self._count(listener, response.accepted)
        return self._write(state, listener, step.write(held, torch.where(response.accepted, proposal.signs, current)))

    def _guided(self, state: GameState, held: Tensor, step: Step, encounter: Encounter) -> Tensor:
        """Continuous signs after a turn: the first speaker proposes by its guide, all others accept in sequence.

        The first ratio is multiplied by exp(v(w') - v(w)), v(w) = log p(w) L_Sp(w) - log q(w) of the speaker.
        """
        speaker, *others = encounter
        player, beliefs = self.player(speaker, state)
        with torch.no_grad():
            proposed = player.propose(held, beliefs, step).to(held.dtype)
            log_q = [player.log_guide(w, beliefs, step) for w in (held, proposed)]
        pairs = [self.densities(m, state, (held, proposed), step.plate) for m in encounter]
        densities = [[Density(*(part[..., n] for part in pair)) for pair in pairs] for n in range(2)]
        v = [row[0].total - q for row, q in zip(densities, log_q, strict=True)]
        answers = [[v_w, *self.answers(row)] for v_w, row in zip(v, densities, strict=True)]
        ratios = [after - before for before, after in zip(*answers, strict=True)]
        ratios = [ratios[0] + ratios[1], *ratios[2:]] if others else ratios
        accepted = torch.ones_like(ratios[0], dtype=torch.bool)
        for m, ratio in zip(others or [speaker], ratios, strict=True):
            accepted &= torch.rand_like(ratio).log() < ratio
            if others:
                self._count(m, accepted.reshape(len(held), -1))
        chosen = torch.zeros_like(held, dtype=torch.bool)
        blocks = accepted.reshape(len(held), -1, 1).expand(-1, -1, step.coordinates.shape[1])
        chosen[:, step.coordinates] = blocks
        return torch.where(chosen, proposed, held)

    def held_signs(self, state: GameState, listener: int) -> Tensor:
        """(C, D) the signs with which a listener compares a proposal, and which complete it."""
        return state.signs[:, 0 if self.state == "shared" else listener]

    def table(self, m: int, state: GameState, held: Tensor, step: Step) -> Density:
        """The table (C, G, V) of agent m for the blocks of a step, given all other signs of `held`."""
        player, beliefs = self.player(m, state)
        with torch.no_grad():
            return player.table(held, beliefs, step)

    def densities(self, m: int, state: GameState, signs: Sequence[Tensor], plate: str | None) -> Density:
        """The densities of agent m at several signs (C, D): (C, N, len(signs)) along the plate, or (C, len(signs))."""
        player, beliefs = self.player(m, state)
        with torch.no_grad():
            parts = [player.log_density(w, beliefs, plate) for w in signs]
        return Density(*(torch.stack(part, dim=-1) for part in zip(*parts, strict=True)))

    def player(self, m: int, state: GameState) -> tuple[ProgramPlayer, dict[str, Tensor]]:
        """Agent m, and its beliefs (C, ...) in a turn."""
        return self.agents[m], state.beliefs[m]

    def answers(self, tables: Sequence[Density]) -> list[Tensor]:
        """For all agents of an encounter but the first, the log density (C, G, V) by whose ratio it accepts."""
        return [table.likelihood if self.prior == "once" else table.total for table in tables[1:]]

    def preferred(self, m: int, state: GameState) -> Tensor:
        """(C, D) the signs that agent m would choose alone: block by block, the most probable values."""
        signs = held = self.held_signs(state, m)
        for step in self.turns[0].steps(self.signs):
            signs = step.write(signs, self.table(m, state, held, step).total.argmax(-1))
        return signs

    def log_joint(self, state: GameState) -> list[tuple[Density, Tensor]]:
        """For each agent, its log density (C,) at its signs, and the part log p(theta) of it."""
        parts = []
        for m, player in enumerate(self.agents):
            held = self.held_signs(state, m)
            with torch.no_grad():
                parts.append((player.log_density(held, state.beliefs[m]), player.log_beliefs(held, state.beliefs[m])))
        return parts

    def redraw(self, state: GameState, m: int, warmup: bool) -> GameState:
        """Agent m redraws its beliefs and nuisance sites given its signs."""
        player, beliefs, held = self.agents[m], state.beliefs[m], self.held_signs(state, m)
        for _ in range(player.steps if beliefs else 0):
            with torch.no_grad():
                beliefs = redraw_nuisance(player, held, beliefs)
            beliefs = self.kernels[m].redraw(player, held, beliefs, warmup)
        return state._replace(beliefs=(*state.beliefs[:m], beliefs, *state.beliefs[m + 1 :]))

    def _write(self, state: GameState, listener: int, signs: Tensor) -> GameState:
        if self.state == "shared":
            return state._replace(signs=signs.unsqueeze(1))
        kept = state.signs.clone()
        kept[:, listener] = signs
        return state._replace(signs=kept)

    # -- many chains at once ---------------------------------------------------------------------------

    def start(self, chains: int, params: Mapping[str, Tensor] | None = None) -> GameState:
        """The initial state of C chains: draws from the programs' priors, or `params` where given (C, ...)."""
        params = params or {}
        known = {*self.sign_keys, *(f"{name}.{site}" for name, site in self._belief_names())}
        if unknown := sorted(set(params) - known):
            raise ValueError(f"start has {unknown[0]!r}; expected some of {', '.join(sorted(known))}")
        drawn = self.agents[0].sign_starts(chains)
        signs = [params[key].reshape(chains, -1).to(drawn.dtype) if key in params else drawn for key in self.sign_keys]
        beliefs = []
        for name, player in self.players.items():
            values = player.starts(chains)
            beliefs.append({site: params.get(f"{name}.{site}", value) for site, value in values.items()})
        return GameState(torch.stack(signs, dim=1), tuple(beliefs))

    def play(
        self,
        chains: int,
        sweeps: int,
        *,
        warmup: int = 0,
        thin: int = 1,
        seed: int = 0,
        start: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Play all chains at once: samples (C, sweeps // thin, ...) by site, in the space of the sites.

        Args:
            warmup: sweeps before the first sample, in which the kernels of beliefs adapt.
            thin: only every thin-th sweep is kept.
            start: values (C, ...) by site; without them chains start at draws from the priors. Beyond 1,000 chains
                these repeat.
        """
        for name, value, least in (
            ("chains", chains, 1),
            ("sweeps", sweeps, 0),
            ("warmup", warmup, 0),
            ("thin", thin, 1),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}; expected {least} or more")
        kept = []
        with seeded_global_rng(stream(seed, "programs")):
            self.setup(warmup)
            state = self.start(chains, start)
            for number in range(warmup + sweeps):
                state = self.sweep(state, number < warmup)
                if number >= warmup and (number - warmup + 1) % thin == 0:
                    kept.append(self.named(state))
        return {name: torch.stack([values[name] for values in kept], dim=1) for name in (kept[0] if kept else ())}

    def named(self, state: GameState) -> dict[str, Tensor]:
        """The state as values by site."""
        first = self.signs[0]
        shape = first.shape + first.event if len(self.signs) == 1 else state.signs.shape[2:]
        values = {key: state.signs[:, s].reshape(-1, *shape) for s, key in enumerate(self.sign_keys)}
        for (name, site), beliefs in zip(self._belief_names(), self._belief_values(state), strict=True):
            values[f"{name}.{site}"] = beliefs
        return values

    @property
    def sign_keys(self) -> list[str]:
        """Names of the signs in samples: of several sites "w_*", "w" is the vector."""
        key = self.sign.replace("*", "").strip("_") or "signs"
        return [key] if self.state == "shared" else [f"{name}.{key}" for name in self.players]

    def _belief_names(self) -> list[tuple[str, str]]:
        return [
            (name, site.name)
            for name, player in self.players.items()
            for site in player.sites.beliefs + player.redrawn
        ]

    def _belief_values(self, state: GameState) -> list[Tensor]:
        return [value for beliefs in state.beliefs for value in beliefs.values()]

    # -- the interface of Pyro's kernels ---------------------------------------------------------------

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Make new kernels of beliefs, which adapt for `warmup_steps` sweeps."""
        self.kernels = [kernel_of(player, warmup_steps) for player in self.agents]
        self._warmup, self._sweeps = warmup_steps, 0
        self._reset_counts()

    @property
    def initial_params(self) -> dict[str, Tensor]:
        """Values to start with: beliefs in the unconstrained space, signs as they are."""
        if self._initial is None:
            self._initial = self._to_params(self.start(1))
        return self._initial

    @initial_params.setter
    def initial_params(self, params: Mapping[str, Tensor]) -> None:
        self._initial = {**self._to_params(self.start(1)), **params}

    def sample(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One sweep of one chain."""
        state = self.sweep(self._from_params(params), self._sweeps < self._warmup)
        self._sweeps += 1
        if self._sweeps == self._warmup:  # rates are those after warm-up
            self._reset_counts()
        return self._to_params(state)

    def cleanup(self) -> None:
        """Forget the start, so that the next chain has its own."""
        self._initial = None

    def logging(self) -> OrderedDict[str, str]:
        """The acceptance rate of each listener, for the progress bar."""
        return OrderedDict(
            (f"{name} acc.", f"{rate:.2f}") for name, rate in self.diagnostics()["acceptance rate"].items()
        )

    def diagnostics(self) -> dict[str, Any]:
        """The acceptance rate of each listener."""
        rates = [float(n.mean()) / max(1, offered) for n, offered in zip(self.accepted, self.offered, strict=True)]
        return {"acceptance rate": dict(zip(self.players, rates, strict=True))}

    def _reset_counts(self) -> None:
        """Forget the numbers of blocks that each listener was offered, and accepted (C,)."""
        self.accepted = [torch.zeros(1, dtype=torch.float64) for _ in self.agents]
        self.offered = [0] * len(self.agents)

    def _count(self, listener: int, accepted: Tensor) -> None:
        """Add the answers (C, G) to the blocks of a step."""
        self.accepted[listener] = self.accepted[listener] + accepted.double().sum(1)
        self.offered[listener] += accepted.shape[1]

    def _to_params(self, state: GameState) -> dict[str, Tensor]:
        """Parameters of Pyro's MCMC: unconstrained, and signs as floats, because it averages all sites."""
        values = {name: value[0] for name, value in self.named(state).items()}
        params = {name: self.transforms[name](value) for name, value in values.items() if name in self.transforms}
        return {**{name: value.double() for name, value in values.items()}, **params}

    def _from_params(self, params: Mapping[str, Tensor]) -> GameState:
        signs = [params[key].reshape(1, -1) for key in self.sign_keys]
        signs = signs if self.continuous else [part.to(torch.int64) for part in signs]
        beliefs = []
        for name, player in self.players.items():
            values = {}
            for site in player.sites.beliefs + player.redrawn:
                value = params[f"{name}.{site.name}"].unsqueeze(0)
                values[site.name] = site.transform(value) if site.continuous else site.values(site.indices(value))
            beliefs.append(values)
        return GameState(torch.stack(signs, dim=1), tuple(beliefs))

    def to_arviz(self, samples: Any) -> Any:
        """Samples of `pyro.infer.MCMC` or of `play` for ArviZ: InferenceData, or a DataTree with ArviZ 1.

        Raises:
            ValueError: the samples have no dimension of chains, as those of `mcmc.get_samples()`.
        """
        import warnings

        with warnings.catch_warnings():  # ArviZ 0.23 announces its refactoring once a day
            warnings.simplefilter("ignore", FutureWarning)
            import arviz
        values = samples if isinstance(samples, Mapping) else samples.get_samples(group_by_chain=True)
        first = self.signs[0]
        dims = 2 + (len(first.shape) + len(first.event) if len(self.signs) == 1 else 1)
        for key in self.sign_keys:
            if key in values and values[key].dim() != dims:
                raise ValueError(
                    f"{key} has shape {tuple(values[key].shape)}; expected (chain, draw, ...); pass mcmc, or "
                    "mcmc.get_samples(group_by_chain=True)"
                )
        arrays = {
            name: (value.round().long() if name in self.sign_keys and not self.continuous else value)
            .detach()
            .cpu()
            .numpy()
            for name, value in values.items()
        }
        groups = {"posterior": arrays}
        return arviz.from_dict(**groups) if arviz.__version__.startswith("0.") else arviz.from_dict(groups)
