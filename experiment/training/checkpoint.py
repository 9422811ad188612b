"""The state of a community as a checkpoint holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import Config
from mhng.inference.rounds import ForeignStreamError, Progress
from mhng.models.agent import Agent

CHECKPOINT_FORMAT = 1


class CheckpointMember(Protocol):
    """A member of the community as a checkpoint knows it; see `mhng.inference.rounds.Member`."""

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any], parts: Sequence[torch.Tensor] | None) -> Any: ...


def to_checkpoint(members: Sequence[CheckpointMember], progress: Progress, seconds: float) -> dict[str, Any]:
    """All that the next round, or epoch, needs, as tensors and plain values. The streams are read last."""
    return {
        "format": CHECKPOINT_FORMAT,
        "done": progress.done,
        "seconds": seconds,
        "signs": progress.signs,
        "components": [list(components) for components in progress.components],
        "learned": dict(progress.learned),
        "members": {one.name: one.state() for one in members},
    }


def from_checkpoint(
    members: Sequence[CheckpointMember], state: Mapping[str, Any], file: str, config: Config
) -> tuple[Progress, float]:
    """Put the members where the checkpoint's were; also the seconds spent. UsageError naming `file` if it is unfit."""
    device = members[0].device
    _check_format(state, file)
    found = []
    with _fits_or_says(file):
        for one, parts in zip(members, _parts_of(state, len(members)), strict=True):
            try:
                with _named(one.name):
                    found.append(one.restore(state["members"][one.name], parts))
            except ForeignStreamError as error:
                raise UsageError(
                    f"{file} was made on {error.args[0]} and the run would go on on {error.args[1]}: random streams "
                    "cannot move between them"
                ) from error
        components = () if state.get("done") == 0 else tuple(found)
        done, signs = state["done"], state["signs"]
        most = config.round_epochs if done else config.epochs
        learned = _learned(state.get("learned", {}), [one.name for one in members], most)
        if type(done) is not int or done < (0 if learned else 1):
            raise ValueError(f"it tells of {done!r} rounds")
        if done:
            _check_signs(signs, (config.chains, len(members), members[0].count), config.signs)
            signs = signs.to(device)
        return Progress(done, signs if done else None, components, learned), float(state["seconds"])


def _learned(learned: Any, names: list[str], most: int) -> dict[str, int]:
    """By member: the epochs, `most` at most, of a round that has begun. ValueError if it is anything else."""
    if not isinstance(learned, dict) or not all(
        name in names and type(epochs) is int and 0 <= epochs <= most for name, epochs in learned.items()
    ):
        raise ValueError("it does not tell how many epochs are over")
    return dict(learned)


def _check_signs(signs: torch.Tensor, shape: tuple[int, ...], K: int) -> None:
    """ValueError unless they are whole numbers below K, of that shape."""
    if signs.shape != shape:
        raise ValueError(f"its signs have the shape {tuple(signs.shape)}")
    if signs.dtype != torch.int64:
        raise ValueError(f"its signs must be whole numbers of 64 bits; they are {signs.dtype}")
    if signs.min() < 0 or signs.max() >= K:
        raise ValueError(f"its signs must be 0 to {K - 1}; one is {int(signs[(signs < 0) | (signs >= K)][0])}")


def load_agents(agents: Mapping[str, Agent], state: Mapping[str, Any], file: str) -> tuple[Any, ...]:
    """Give the agents, by name, the weights of a checkpoint; returns each one's components of chain 0.

    What an agent knows lives on any device, unlike the streams that a run goes on with. UsageError naming `file` if
    the checkpoint is unfit.
    """
    _check_format(state, file)
    found = []
    with _fits_or_says(file):
        for (name, agent), parts in zip(agents.items(), _parts_of(state, len(agents)), strict=True):
            with _named(name):
                found.append(agent.restore(state["members"][name]["agent"], parts))
    return tuple(found)


def _check_format(state: Mapping[str, Any], file: str) -> None:
    if state.get("format") != CHECKPOINT_FORMAT:
        raise UsageError(f"{file} has the format {state.get('format')!r}; this version reads {CHECKPOINT_FORMAT}")


def _parts_of(state: Mapping[str, Any], agents: int) -> Sequence[Any]:
    """The tensors of each agent's components; None of each, in a first round that is not over."""
    if state.get("done") == 0:
        return [None] * agents
    if len(state["components"]) != agents:
        raise ValueError(f"it tells of {len(state['components'])} agents")
    parts: Sequence[Any] = state["components"]
    return parts


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whose components they are that do not fit."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"agent {name}: {error}") from error


@contextmanager
def _fits_or_says(file: str) -> Iterator[None]:
    """What a foreign checkpoint may raise, as a UsageError that names it."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{file} does not fit the run's settings: {reason}") from error
