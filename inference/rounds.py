"""Mutual learning: rounds of learn, perceive, play.

    round 0   learn with the prior N(0, I), perceive, find a start, play
    round r   learn with every object's prior given by the agent's own sign for it, perceive, play on from the
              signs of round r - 1

(Taniguchi et al. 2023, algorithm 2.) That return of the signs into the prior of z is what makes the agents' eyes
change with their language. All chains play on the same percepts; chain 0 is the one that the agents learn from.

A round begins with learning so that the last thing a run does is play: the signs at the end belong to the networks
at the end. Games between rounds are short, because percepts and beliefs teach each other most where they take turns
often; the last round's is played on, for draws of one posterior to look at. Those further sweeps draw from copies of
the random streams and the next round does not start from them, so that R rounds are the beginning of R + 1.

What is played on is a draw of q(z | x) for each object and round (`percept` = "draw"), so that an agent that is unsure
of what it sees is unsure of its names too. On the means ("mean") the game samples p(w | means): another posterior, in
which nothing of q's spread is left.

`Progress` is all that the next round needs; `Played` is only for looking at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mhng.inference.game import init, play
from mhng.inference.initialization import Start, begin, tidied
from mhng.inference.recursive import EndlessGameError
from mhng.inference.remote import Stream, copy_of, read
from mhng.inference.spec import Game
from mhng.inference.svi import Learner, Loss, NotFiniteError, bound
from mhng.inference.trace import Trace, joined
from mhng.inference.types import Starter, State
from mhng.models.agent import Agent
from mhng.models.percepts import Percepts
from mhng.models.rng import stream

STREAMS = ("init", "learn", "perceive", "play")


@dataclass(frozen=True)
class Schedule:
    """How long everything takes. `epochs` is for round 0, `round_epochs` for each of the `rounds` after it.

    The last round plays `sweeps` sweeps, every other one `round_sweeps`, or `sweeps` if those are fewer.
    """

    epochs: int
    round_epochs: int
    rounds: int
    sweeps: int
    round_sweeps: int
    chains: int
    start: Start
    batch_size: int
    lr: float
    jitter: float = 0.0
    keep_means: bool = True  # in the traces
    graphs: bool = True  # steps of learning are captured, on a CUDA device (`mhng.inference.cuda_graphs`)
    percept: str = "draw"  # or "mean": the game's target is then that of the means, whatever the guide's spread

    def sweeps_between(self) -> int:
        """Sweeps of a round that is not the last."""
        return min(self.round_sweeps, self.sweeps)


class Participant(Protocol):
    """One agent of the community, here or in a process of its own."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def play_stream(self) -> Stream:
        """What it draws from in the game."""

    def learning(self, epochs: int, signs: Tensor | None, components: Any, done: int) -> Iterator[tuple[int, Loss]]:
        """As `Learner.learning`; an agent in a process of its own begins at once, whoever is listened to first."""

    def perceive(self) -> Starter:
        """It as a player of the next game, with fresh percepts."""

    def believe(self, log_pi: Tensor) -> None:
        """Take over the signs' weights (K,) that the game drew for it."""


@dataclass
class Member:
    """An agent here, with what is its own: observations, learner, random streams."""

    name: str
    agent: Agent
    x: Tensor
    learner: Learner
    streams: dict[str, torch.Generator]
    percept: str = "draw"  # or "mean", see `Schedule`

    @property
    def count(self) -> int:
        """N."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """Where it lives, and its signs."""
        return self.x.device

    @property
    def play_stream(self) -> torch.Generator:
        """What it draws from in the game."""
        return self.streams["play"]

    def learning(self, epochs: int, signs: Tensor | None, components: Any, done: int) -> Iterator[tuple[int, Loss]]:
        """As `Learner.learning`."""
        return self.learner.learning(epochs, signs, components, done)

    def perceive(self) -> Percepts:
        """Its percepts for the next game."""
        return self.agent.perceive(self.x, self.streams["perceive"] if self.percept == "draw" else None)

    def believe(self, log_pi: Tensor) -> None:
        """Take over the signs' weights (K,) that the game drew for it."""
        self.agent.log_pi.copy_(log_pi)

    def bound(self, seed: int, round: int, signs: Tensor, components: Any) -> Loss | None:
        """The ELBO after `round`, given its signs (N,); None if it has nothing to learn.

        By a stream of its own: scoring must not shift what is drawn later.
        """
        if self.learner.optimiser is None:
            return None
        generator = stream(seed, f"{self.name}/score/{round}", self.x.device)
        return bound(self.agent, self.x, generator, signs, components)

    def state(self) -> dict[str, Any]:
        """All that going on needs of it, as tensors and plain values. The streams are read last."""
        return {
            "agent": self.agent.state_dict(),
            "optimiser": self.learner.optimiser.state_dict() if self.learner.optimiser else None,
            "streams": {kind: generator.get_state() for kind, generator in self.streams.items()},
            "device": self.x.device.type,
        }

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Put it where it was when `state` was taken; returns its components, made from their tensors `parts`.

        What does not fit raises one of many errors.
        """
        components = self.agent.restore(state["agent"], parts)
        if state["device"] != self.x.device.type:
            raise ForeignStreamError(state["device"], self.x.device.type)
        if self.learner.optimiser is not None:
            self.learner.optimiser.load_state_dict(state["optimiser"])
        for kind, generator in self.streams.items():
            generator.set_state(state["streams"][kind])
        return components


class ForeignStreamError(Exception):
    """Random streams cannot move between kinds of devices: from the first to the second."""


@dataclass
class Progress:
    """What goes on needs beside the members themselves, between rounds and between the epochs of one."""

    done: int  # rounds that are complete, round 0 counted: 0 at the beginning
    signs: Tensor | None = None  # (C, M, N)
    components: tuple[Any, ...] = ()  # of chain 0, one per agent
    learned: dict[str, int] = field(default_factory=dict)  # by member: epochs of the round that has begun


@dataclass(frozen=True)
class Played:
    """What a finished round shows."""

    round: int
    trace: Trace
    signs: Tensor  # (C, M, N) after the last sweep of the trace
    components: tuple[Any, ...]  # of chain 0, one per agent, after the same sweep
    start_evidence: Tensor | None  # (C, groups, tries) in round 0, see `starts.begin`


class Watcher(Protocol):
    """Told what happens while it happens."""

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """An epoch of one member is over, and `progress` and the members are as the next epoch needs them."""

    def progress(self, steps: Iterable[int], title: str) -> Iterable[int]:
        """`steps`, shown as they pass."""


class RoundError(ArithmeticError):
    """A round cannot be finished: something is not finite, or a game has no end. Says which round, and where."""


def member(name: str, agent: Agent, x: Tensor, streams: dict[str, torch.Generator], schedule: Schedule) -> Member:
    """An agent made ready to learn from its observations x (N, *shape)."""
    learner = Learner(
        agent,
        x,
        streams["learn"],
        batch_size=schedule.batch_size,
        lr=schedule.lr,
        jitter=schedule.jitter,
        graphs=schedule.graphs,
    )
    return Member(name, agent, x, learner, streams, schedule.percept)


def streams_of(seed: int, name: str, device: torch.device | str) -> dict[str, torch.Generator]:
    """The random streams of the agent called `name`."""
    return {kind: stream(seed, f"{name}/{kind}", device) for kind in STREAMS}


def run_rounds(
    game: Game, schedule: Schedule, members: Sequence[Participant], progress: Progress, watcher: Watcher
) -> Iterator[Played]:
    """Play what is left of the rounds; `progress` is up to date whenever a round is yielded."""
    while progress.done <= schedule.rounds:
        yield _round(game, schedule, members, progress, watcher)


def _round(
    game: Game, schedule: Schedule, members: Sequence[Participant], progress: Progress, watcher: Watcher
) -> Played:
    number = progress.done
    _learn(members, number, schedule, progress, watcher)
    players = [one.perceive() for one in members]
    for one, player in zip(members, players, strict=True):
        # The last step of learning may have done what no loss has told of.
        if not player.is_finite():
            raise RoundError(f"round {number}, agent {one.name}: percepts are not finite; a smaller --lr may help")

    try:
        played = _play(game, schedule, members, players, progress, watcher)
    except EndlessGameError as error:
        raise RoundError(f"round {number}: {error}") from error
    if not played.trace.log_joint.isfinite().all():
        lost = [one.name for one, own in zip(members, played.components, strict=True) if not _finite(own)]
        who = f", agent {', '.join(lost)}" if lost else ""
        raise RoundError(
            f"round {number}{who}: the log joint of the game is not finite, so its percepts are too large or too "
            "near each other; a smaller --lr may help"
        )
    return played


def _play(
    game: Game,
    schedule: Schedule,
    members: Sequence[Participant],
    players: Sequence[Starter],
    progress: Progress,
    watcher: Watcher,
) -> Played:
    number, generators = progress.done, [one.play_stream for one in members]
    signs, evidence = progress.signs, None
    if signs is None:
        signs, evidence = begin(schedule.start, game, players, generators, schedule.chains)
    else:
        # What the percepts of this round do not tell apart. The games are of different posteriors anyway.
        signs = tidied(game, players, signs)
    between = schedule.sweeps_between()
    state = init(players, generators, signs, game.K, game.mode)
    state, trace = play(
        game,
        players,
        generators,
        state,
        between,
        lambda steps: watcher.progress(steps, f"round {number}: game"),
        first=number * between,
        keep_means=schedule.keep_means,
    )
    progress.done = number + 1
    progress.learned = {}
    progress.signs = state.signs
    progress.components = first_chain(state)
    if state.log_pi is not None:
        for m, one in enumerate(members):
            one.believe(state.log_pi[0, m])
    if number == schedule.rounds and schedule.sweeps > between:
        state, more = play(
            game,
            players,
            [copy_of(generator) for generator in generators],
            state,
            schedule.sweeps - between,
            lambda steps: watcher.progress(steps, f"round {number}: game, played on"),
            first=number * between + between,
            keep_means=schedule.keep_means,
        )
        trace = joined(trace, more)
    return Played(number, trace, state.signs, first_chain(state), evidence)


def _learn(
    members: Sequence[Participant], number: int, schedule: Schedule, progress: Progress, watcher: Watcher
) -> None:
    epochs = schedule.epochs if number == 0 else schedule.round_epochs
    begun = []
    for m, one in enumerate(members):
        signs = None if progress.signs is None else progress.signs[0, m]
        components = progress.components[m] if progress.components else None
        begun.append(one.learning(epochs, signs, components, progress.learned.get(one.name, 0)))
    for one, losses in zip(members, begun, strict=True):
        left = range(progress.learned.get(one.name, 0), epochs)
        try:
            steps = watcher.progress(left, f"round {number}: agent {one.name} learns")
            for _, told in zip(steps, losses, strict=False):  # an agent without networks has no losses
                epoch, loss = told
                progress.learned[one.name] = epoch
                watcher.epoch(number, one.name, epoch, epochs, loss)
        except NotFiniteError as error:
            raise RoundError(f"round {number}, agent {one.name}: {error}; a smaller --lr may help") from error


def _finite(components: Any) -> bool:
    return all(bool(part.isfinite().all()) for part in components)


def first_chain(state: State) -> tuple[Any, ...]:
    """The parameters of chain 0, one NamedTuple per agent."""
    return tuple(
        type(phi)(*(part[0] for part in phi)) for phi in (read(belief.parameters) for belief in state.beliefs)
    )
