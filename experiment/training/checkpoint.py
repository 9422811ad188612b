"""Checkpoints: the state of all agents and of the rounds, to and from tensors and plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.settings import config as run_settings
from mhng.experiment.settings.schema import Config
from mhng.experiment.util.jsonable import to_plain
from mhng.inference.members import StreamDeviceError
from mhng.inference.rounds import RoundProgress
from mhng.models.agent import Agent

# 2: `mlp` has leaky ReLU. The weights of an earlier run would give other latents.
CHECKPOINT_FORMAT = 2


class CheckpointMember(Protocol):
    """Interface of an agent that checkpoints need, local (`mhng.inference.members.Member`) or remote."""

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any], parts: Sequence[torch.Tensor] | None) -> Any: ...


def identity_of(settings: Mapping[str, Any], checksum: Any) -> dict[str, Any]:
    """The identity of a run: the settings that --resume keeps, with the seed, and the checksum of the data.

    settings: by key, as `settings.config.plain` gives them.
    """
    kept = {name: value for name, value in to_plain(settings).items() if name not in run_settings.CHANGEABLE}
    return {"settings": kept, "checksum": checksum}


def to_checkpoint(
    members: Sequence[CheckpointMember], progress: RoundProgress, seconds: float, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """State for the next round or epoch, as tensors and plain values. Random streams are read last."""
    return {
        "format": CHECKPOINT_FORMAT,
        "run": dict(identity),
        "done": progress.done,
        "seconds": seconds,
        "signs": progress.signs,
        "components": [list(components) for components in progress.components],
        "learned": dict(progress.learned),
        "members": {member.name: member.state() for member in members},
    }


def from_checkpoint(
    members: Sequence[CheckpointMember],
    state: Mapping[str, Any],
    file: str,
    config: Config,
    identity: Mapping[str, Any],
) -> tuple[RoundProgress, float]:
    """Restore the members; return the progress and the seconds spent. Raises UsageError naming `file`.

    identity: `identity_of` the run. A checkpoint of another run is refused.
    """
    device = members[0].device
    _check_format(state, file)
    _check_identity(state, identity, file)
    restored = []
    with _mismatch_as_usage_error(file):
        for member, parts in zip(members, _component_tensors(state, len(members)), strict=True):
            try:
                with _errors_name_agent(member.name):
                    restored.append(member.restore(state["members"][member.name], parts))
            except StreamDeviceError as error:
                raise UsageError(
                    f"{file} was made on {error.args[0]}, but the device is {error.args[1]}; random streams cannot "
                    f"move, so resume on {error.args[0]}"
                ) from error
        components = () if state.get("done") == 0 else tuple(restored)
        done, signs = state["done"], state["signs"]
        limit = (config.round_epochs if done else config.epochs) or 0
        learned = _learned(state.get("learned", {}), [member.name for member in members], limit)
        if type(done) is not int or done < (0 if learned else 1):
            raise ValueError(f"its number of rounds is {done!r}")
        if done:
            _check_signs(signs, (config.chains, len(members), members[0].count), config.signs)
            signs = signs.to(device)
        return RoundProgress(done, signs if done else None, components, learned), float(state["seconds"])


def _learned(learned: Any, names: list[str], limit: int) -> dict[str, int]:
    """Completed epochs of the current round, by agent. Raises ValueError unless they are 0 to `limit`."""
    if not isinstance(learned, dict) or not all(
        name in names and type(epochs) is int and 0 <= epochs <= limit for name, epochs in learned.items()
    ):
        raise ValueError("its numbers of completed epochs are missing or damaged")
    return dict(learned)


def _check_signs(signs: torch.Tensor, shape: tuple[int, ...], K: int) -> None:
    """Raise ValueError unless the signs are 64-bit integers below K with that shape."""
    if signs.shape != shape:
        raise ValueError(f"its signs have the shape {tuple(signs.shape)}")
    if signs.dtype != torch.int64:
        raise ValueError(f"its signs must be 64-bit integers; they are {signs.dtype}")
    if signs.min() < 0 or signs.max() >= K:
        raise ValueError(f"its signs must be 0 to {K - 1}; one is {int(signs[(signs < 0) | (signs >= K)][0])}")


def load_agents(
    agents: Mapping[str, Agent], state: Mapping[str, Any], file: str, identity: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Load network weights into agents by name; return the components of each agent in chain 0.

    Works on any device, because random streams are not loaded. Raises UsageError naming `file` if the checkpoint does
    not fit.
    """
    _check_format(state, file)
    _check_identity(state, identity, file)
    restored = []
    with _mismatch_as_usage_error(file):
        for (name, agent), parts in zip(agents.items(), _component_tensors(state, len(agents)), strict=True):
            with _errors_name_agent(name):
                restored.append(agent.restore(state["members"][name]["agent"], parts))
    return tuple(restored)


def _check_format(state: Mapping[str, Any], file: str) -> None:
    if state.get("format") != CHECKPOINT_FORMAT:
        raise UsageError(
            f"{file} has the format {state.get('format')!r}; this version reads {CHECKPOINT_FORMAT}. Use the "
            "version that made it, or train again"
        )


def _check_identity(state: Mapping[str, Any], identity: Mapping[str, Any], file: str) -> None:
    """Raise UsageError if the checkpoint names another run. Checkpoints of older versions name none."""
    made = state.get("run")
    if made is None:
        return
    if not isinstance(made, dict) or not isinstance(made.get("settings"), dict):
        raise UsageError(f"{file} does not fit the settings of the run: it does not say which run it is from")
    for name, (here, there) in run_settings.differences(identity["settings"], made["settings"]).items():
        raise UsageError(f"{file} belongs to another run: its {name} is {there}; this run has {here}")
    if made.get("checksum") != identity["checksum"]:
        raise UsageError(f"{file} belongs to another run: it was trained on other data")


def _component_tensors(state: Mapping[str, Any], agents: int) -> Sequence[Any]:
    """Tensors of the components, by agent; None for all agents before the end of round 0."""
    if state.get("done") == 0:
        return [None] * agents
    if len(state["components"]) != agents:
        raise ValueError(f"it holds {len(state['components'])} agents")
    parts: Sequence[Any] = state["components"]
    return parts


@contextmanager
def _errors_name_agent(name: str) -> Iterator[None]:
    """Add the agent to the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"agent {name}: {error}") from error


@contextmanager
def _mismatch_as_usage_error(file: str) -> Iterator[None]:
    """Raise UsageError naming `file` for the errors that a foreign checkpoint causes."""
    try:
        yield
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{file} does not fit the settings of the run: {reason}") from error
