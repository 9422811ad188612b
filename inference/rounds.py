"""Mutual learning: rounds of learning, perceiving and playing (Taniguchi et al. 2023, algorithm 2).

    round 0   learn with the prior N(0, I) of z; find initial signs; perceive; play
    round r   learn with the prior p(z_n | w_n, phi) given by the agent's own signs from round r - 1; perceive; play,
              from the signs of round r - 1; sentences also start again in some rounds (`_starts_again`)

The signs return into the prior of z, so that the networks change with the language. All chains play on the same
latents; the agents learn from chain 0.

A round ends with play, so that the last signs belong to the last networks. Games between rounds are short: learning
and play alternate often. Only the game of the last round is continued, for draws from one posterior. The continuation
draws from copies of the generators, and the next round does not start from it; so R rounds are the first R of R + 1.

Initial signs are found on expected latents, an average over draws of q(z | x). On one draw, wrong signs may have the
largest score. Initial signs only decide where the first game starts.

The game is played on one draw of q(z | x) for each object and round (`percept` = "draw"). With the means ("mean"), its
posterior is p(w | means), without the spread of q.

`RoundProgress` is what the next round needs; `Played` is for reports only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mhng.inference.game import init, play
from mhng.inference.initialization import Start, initial_signs, merge_if_sparse
from mhng.inference.members import Member, Participant
from mhng.inference.side_by_side import AgentError, SideBySide, Task, gains
from mhng.inference.spec import Game
from mhng.inference.svi import Learner, Loss, NotFiniteError
from mhng.inference.trace import Trace, concatenate
from mhng.inference.types import StartPlayer, State
from mhng.models.agent import Agent
from mhng.models.percepts import Percepts
from mhng.models.torch_defaults import torch_threads


class Threads(NamedTuple):
    """Threads on the CPU while an agent learns, and in the game; and processes."""

    learning: int = 1
    game: int = 1
    processes: int = 1  # copies of this process that work side by side: agents learn, and chains make starts


@dataclass(frozen=True)
class Schedule:
    """Lengths and sizes of the rounds.

    Args:
        epochs: epochs of round 0.
        round_epochs: epochs of every later round.
        rounds: rounds after round 0.
        sweeps: sweeps of the last round.
        round_sweeps: sweeps of every other round; `sweeps`, if that is less.
        chains: C.
        start: settings of the initialisation.
        batch_size, lr, jitter, columns: settings of the learner (`mhng.inference.svi.Learner`).
        keep_means: whether traces store component means.
        pointwise_limit: the most numbers that the trace of the last round may store as log likelihoods of objects;
            with more, and at 0, it stores none.
        cuda_graphs: whether learning steps are captured as CUDA graphs (`mhng.inference.cuda_graphs`).
        percept: "draw" or "mean" of q(z | x).
        threads: threads of learning and of the game; None leaves the number of this process as it is.
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
    columns: int = 1
    keep_means: bool = True
    pointwise_limit: int = 0
    cuda_graphs: bool = True
    percept: str = "draw"
    threads: Threads | None = None

    def keeps_pointwise(self, agents: int, objects: int) -> bool:
        """Whether the trace of the last round stores the log likelihood of every object."""
        return self.chains * self.sweeps * agents * objects <= self.pointwise_limit

    def sweeps_between(self) -> int:
        """Sweeps of a round before the last."""
        return min(self.round_sweeps, self.sweeps)


@dataclass
class RoundProgress:
    """The state between rounds, and between the epochs of a round, besides that of the members."""

    done: int  # completed rounds, round 0 included
    signs: Tensor | None = None  # (C, M, N)
    components: tuple[Any, ...] = ()  # parameters in chain 0, one per agent
    learned: dict[str, int] = field(default_factory=dict)  # completed epochs of the current round, by member


@dataclass(frozen=True)
class Played:
    """The results of a completed round."""

    round: int
    trace: Trace
    signs: Tensor  # (C, M, N) after the last sweep
    components: tuple[Any, ...]  # parameters in chain 0, one per agent, after the last sweep
    start_scores: Tensor | None  # (C, groups, tries) in round 0, see `initial_signs`
    latents: tuple[Tensor, ...] | None = None  # (N, L) of each agent in this process


class Watcher(Protocol):
    """Callbacks of a run."""

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """Called after each epoch of a member."""

    def wants_state(self) -> bool:
        """Whether a checkpoint is due, for which members in other processes must send their state."""

    def keep(self) -> None:
        """Called when the state of all members is that of the progress; a checkpoint may be taken now."""

    def progress(self, steps: Iterable[int], round: int, stage: str) -> Iterable[int]:
        """Wrap an iterable, to show progress. stage: "agent A learns", "starts" or "game"."""


class RoundError(ArithmeticError):
    """A round failed: values that are not finite. The message names the round and the agent."""


def make_member(name: str, agent: Agent, x: Tensor, streams: dict[str, torch.Generator], schedule: Schedule) -> Member:
    """A member with a learner for its observations x (N, *shape)."""
    learner = Learner(
        agent,
        x,
        streams["learn"],
        batch_size=schedule.batch_size,
        lr=schedule.lr,
        jitter=schedule.jitter,
        columns=schedule.columns,
        cuda_graphs=schedule.cuda_graphs,
    )
    return Member(name, agent, x, learner, streams, schedule.percept)


def run_rounds(
    game: Game, schedule: Schedule, members: Sequence[Participant], progress: RoundProgress, watcher: Watcher
) -> Iterator[Played]:
    """Run the remaining rounds; `progress` is up to date at each yield. Raises RoundError."""
    while progress.done <= schedule.rounds:
        yield _round(game, schedule, members, progress, watcher)


def _round(
    game: Game, schedule: Schedule, members: Sequence[Participant], progress: RoundProgress, watcher: Watcher
) -> Played:
    number = progress.done
    with torch_threads(schedule.threads and schedule.threads.learning):
        _learn(members, number, schedule, progress, watcher)
    with torch_threads(schedule.threads and schedule.threads.game):
        return _perceive_and_play(game, schedule, members, progress, watcher)


def _perceive_and_play(
    game: Game, schedule: Schedule, members: Sequence[Participant], progress: RoundProgress, watcher: Watcher
) -> Played:
    number, signs, scores = progress.done, progress.signs, None
    processes = schedule.threads.processes if schedule.threads else 1
    generators = [member.play_stream for member in members]
    if signs is None:
        expected = _finite_players(members, number, [member.perceive_expected() for member in members])
        starts = iter(watcher.progress(range(1), number, "starts"))
        next(starts)
        signs, scores = initial_signs(schedule.start, game, expected, generators, schedule.chains, None, processes)
        next(starts, None)
    players = _finite_players(members, number, [member.perceive() for member in members])
    if progress.signs is not None:
        # The posterior differs from that of the last round, so mergers between the games change no law.
        signs = merge_if_sparse(game, players, signs)
    if _starts_again(game, schedule.start, number):
        signs, _ = initial_signs(schedule.start, game, players, generators, len(signs), signs, processes)
    played = _play(game, schedule, members, players, signs, scores, progress, watcher)
    if not played.trace.log_joint.isfinite().all():
        failed = [m.name for m, phi in zip(members, played.components, strict=True) if not _finite(phi)]
        agents = f", agent {', '.join(failed)}" if failed else ""
        raise RoundError(
            f"round {number}{agents}: the log joint of the game is not finite; the latents are too large or too close "
            f"to each other; {_remedy(members)}"
        )
    return played


def _starts_again(game: Game, start: Start, number: int) -> bool:
    """Whether new starts are compared with the sentences of the last round: in rounds 1, 4, 16, 64, ...

    On the latents of round 0, starts often do not find the words of parts that explain little. Latents that have
    followed the first sentences show them more clearly. The rounds do not depend on how many there will be, so that
    a run that is continued equals one that was not interrupted. `slots` needs expected latents, and starts once.
    """
    if game.sentences is None or start.kind == "slots":
        return False
    return number > 0 and number.bit_count() == 1 and number.bit_length() % 2 == 1


def _finite_players(
    members: Sequence[Participant], number: int, players: Sequence[StartPlayer]
) -> Sequence[StartPlayer]:
    """The players. Raises RoundError unless their latents are finite: no loss was computed after the last step."""
    for member, player in zip(members, players, strict=True):
        if not player.is_finite():
            remedy = _remedy([member])
            raise RoundError(f"round {number}, agent {member.name}: the latents are not finite; {remedy}")
    return players


def _play(
    game: Game,
    schedule: Schedule,
    members: Sequence[Participant],
    players: Sequence[StartPlayer],
    signs: Tensor,
    scores: Tensor | None,
    progress: RoundProgress,
    watcher: Watcher,
) -> Played:
    number, generators = progress.done, [member.play_stream for member in members]
    between = schedule.sweeps_between()
    keep_pointwise = number == schedule.rounds and schedule.keeps_pointwise(len(players), players[0].count)
    state = init(players, generators, signs, game.K, game.mode)
    state, trace = play(
        game,
        players,
        generators,
        state,
        between,
        lambda steps: watcher.progress(steps, number, "game"),
        first=number * between,
        keep_means=schedule.keep_means,
        keep_pointwise=keep_pointwise,
    )
    progress.done = number + 1
    progress.learned = {}
    progress.signs = state.signs
    progress.components = chain_parameters(state)
    if state.log_pi is not None:
        for m, member in enumerate(members):
            member.set_log_pi(state.log_pi[0, m])
    if number == schedule.rounds and schedule.sweeps > between:
        state, rest = play(
            game,
            players,
            [member.copy_play_stream() for member in members],
            state,
            schedule.sweeps - between,
            lambda steps: watcher.progress(steps, number, "game"),
            first=number * between + between,
            keep_means=schedule.keep_means,
            keep_pointwise=keep_pointwise,
        )
        trace = concatenate(trace, rest)
    latents = tuple(player.z for player in players if isinstance(player, Percepts))
    return Played(
        number,
        trace,
        state.signs,
        chain_parameters(state),
        scores,
        latents if len(latents) == len(players) else None,
    )


def _learn(
    members: Sequence[Participant], number: int, schedule: Schedule, progress: RoundProgress, watcher: Watcher
) -> None:
    epochs = schedule.epochs if number == 0 else schedule.round_epochs
    tasks = []
    for m, member in enumerate(members):
        signs = None if progress.signs is None else progress.signs[0, m]
        components = progress.components[m] if progress.components else None
        tasks.append(Task(member, epochs, signs, components, progress.learned.get(member.name, 0)))
    try:
        if (threads := schedule.threads) is not None and threads.processes > 1 and gains(tasks):
            _learn_side_by_side(tasks, threads, number, progress, watcher)
        else:
            _learn_in_turn(tasks, number, progress, watcher)
    except AgentError as error:
        name, reason = error.args
        if isinstance(reason, NotFiniteError):
            raise RoundError(f"round {number}, agent {name}: {reason}; try a smaller --lr") from error
        raise reason from error


def _learn_in_turn(tasks: Sequence[Task], number: int, progress: RoundProgress, watcher: Watcher) -> None:
    # An agent in another process starts at once.
    iterators = [task.member.train_epochs(*task[1:]) for task in tasks]
    for task, losses in zip(tasks, iterators, strict=True):
        name = task.member.name
        try:
            for epoch, loss in _with_progress(task, losses, number, watcher):
                progress.learned[name] = epoch
                watcher.epoch(number, name, epoch, task.epochs, loss)
                watcher.keep()
        except NotFiniteError as error:
            raise AgentError(name, error) from error


def _learn_side_by_side(
    tasks: Sequence[Task], threads: Threads, number: int, progress: RoundProgress, watcher: Watcher
) -> None:
    """Learn in forked processes. Epochs are reported in the order of learning in turn, but before a checkpoint."""
    left = [task for task in tasks if task.done < task.epochs and task.member.learner.optimiser is not None]
    epochs = {task.member.name: task.epochs for task in left}

    def keep(learners: SideBySide) -> None:
        for name in epochs:  # the checkpoint covers these epochs
            for epoch, loss in learners.before_state(name):
                watcher.epoch(number, name, epoch, epochs[name], loss)
            progress.learned[name] = learners.learned[name]
        watcher.keep()

    with SideBySide(left, threads.processes, threads.learning) as learners:
        for task in left:
            name = task.member.name
            for epoch, loss in _with_progress(task, learners.epochs(name), number, watcher):
                watcher.epoch(number, name, epoch, task.epochs, loss)
                if watcher.wants_state():
                    learners.synchronise()
                    keep(learners)
        keep(learners)


def _with_progress(
    task: Task, losses: Iterable[tuple[int, Loss]], number: int, watcher: Watcher
) -> Iterator[tuple[int, Loss]]:
    """The losses, with a progress bar. An agent without networks has none."""
    left = range(task.done, task.epochs)
    steps = watcher.progress(left, number, f"agent {task.member.name} learns")
    for _, loss in zip(steps, losses, strict=False):
        yield loss


def _remedy(members: Sequence[Participant]) -> str:
    """Advice for numbers that are not finite: a smaller step, if an agent learns."""
    learns = any(getattr(member, "learns", True) for member in members)
    return "try a smaller --lr" if learns else "try another --prior or --mixture, or scale the features"


def _finite(components: Any) -> bool:
    return all(bool(part.isfinite().all()) for part in components)


def chain_parameters(state: State) -> tuple[Any, ...]:
    """The parameters of all agents in chain 0."""
    parameters = [belief.parameters for belief in state.beliefs]
    return tuple(type(phi)(*(part[0] for part in phi)) for phi in parameters)
