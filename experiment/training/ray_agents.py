"""Agents in processes of their own, on this machine or others, by Ray: `--engine ray`.

Each agent is made from its own view of the objects in a process of its own (a Ray actor), which keeps its networks,
its percepts, its parameters and its random streams. They learn at the same time. In the game an agent is sent signs,
and answers with signs, with yes or no, and with sums over all objects (log densities, the gains of mergers): that is
all that there is to say in the paper's game. Signs pass through the process that holds the run folder, which keeps the
record; it also collects checkpoints and the traces that were asked for. No agent is sent anything of another but
signs.

What an agent draws comes from its own streams, as it does without Ray: the same seed gives the same signs, if both
calculate with as many threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import RunError
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import ray_cluster
from mhng.experiment.training.build import build_member, build_members
from mhng.experiment.training.prepare import pick_device
from mhng.inference.rounds import Member
from mhng.inference.svi import Loss
from mhng.models.belief import Belief, Response, Rule

Array = NDArray[Any]


class AgentLostError(RunError):
    """The process of the agent of that name has ended, or cannot be reached."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"the process of agent {name} has ended{why and f' ({why})'}")


# Size of one sign between agents. There are at most 10,000 signs.
BYTES_PER_SIGN = 2


class Traffic:
    """Bytes that went to and fro between the agents and who keeps the record, since the last look."""

    def __init__(self) -> None:
        self.moved = 0

    def taken(self) -> int:
        """They begin at 0 again."""
        found, self.moved = self.moved, 0
        return found


class AgentActor:
    """What runs in the process of one agent. Signs come and go as arrays (C, N)."""

    def __init__(
        self, config: Config, number: int, view: Array, shapes: tuple[tuple[int, ...], ...], threads: int
    ) -> None:
        torch.set_num_threads(threads)
        name, own = list(config.per_agent.items())[number]
        self._member = build_member(own, name, torch.from_numpy(view.copy()), shapes, pick_device(own.device))
        self._aside: torch.Generator | None = None
        self._belief: Belief
        self._serial = 0

    def device(self) -> str:
        """Where it lives."""
        return str(self._member.device)

    def train_epochs(
        self, epochs: int, signs: Array | None, components: Any, done: int
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """As `Learner.train_epochs`, a loss as it is told."""
        heard = None if signs is None else self._told(signs)
        held = None if components is None else type(components)(*(part.to(self._device) for part in components))
        for epoch, loss in self._member.train_epochs(epochs, heard, held, done):
            yield epoch, tuple(loss)

    def perceive(self) -> bool:
        """Percepts for the next game; whether they are numbers."""
        self._player = self._member.perceive()
        return self._player.is_finite()

    def clusters(self, stream: str, chains: int, K: int) -> Array:
        """Signs by clusters of its percepts."""
        return encode_signs(self._player.clusters(self._stream(stream), chains, K))

    def redraw(self, serial: int, stream: str, signs: Array, K: int, anew: bool) -> tuple[Array, Array]:
        """New parameters, number `serial`; their log density and the evidence, (C,) each."""
        previous = None if anew else self._belief
        self._belief = self._player.redraw(self._stream(stream), self._told(signs), K, previous)
        return self._numbered(serial)

    def from_prior(self, serial: int, stream: str, chains: int, K: int) -> tuple[Array, Array]:
        """The same, before any sign was heard."""
        self._belief = self._player.from_prior(self._stream(stream), chains, K)
        return self._numbered(serial)

    def propose(self, serial: int, stream: str, log_prior: Array) -> Array:
        """A sign for every object."""
        belief, generator = self._numbered_belief(serial), self._stream(stream)
        return encode_signs(belief.propose(generator, self._told(log_prior)))

    def respond(self, serial: int, stream: str, proposed: Array, current: Array, rule: Rule) -> tuple[Array, Array]:
        """Which proposals are accepted, and which ratios were NaN; both as bits."""
        signs = self._told(proposed), self._told(current)
        response = self._numbered_belief(serial).respond(self._stream(stream), *signs, rule)
        return np.packbits(response.accepted.cpu().numpy()), np.packbits(response.not_a_number.cpu().numpy())

    def log_likelihood(self, serial: int, signs: Array) -> Array:
        """(C,) summed over objects."""
        return _array(self._numbered_belief(serial).log_likelihood(self._told(signs)))

    def best(self, serial: int, log_prior: Array) -> Array:
        """The most probable signs of the agent alone."""
        return encode_signs(self._numbered_belief(serial).best(self._told(log_prior)))

    def parameters(self, serial: int) -> Any:
        """Of the agent itself, for the record."""
        assert serial == self._serial
        own = self._belief.parameters
        return type(own)(*(part.cpu() for part in own))

    def evidence(self, signs: Array, K: int) -> Array:
        """(C,) log p(z | signs)."""
        return _array(self._player.evidence(self._told(signs), K))

    def merge_gain(self, signs: Array, K: int, one: Array) -> Array:
        """(C, K) what mergers with sign `one` (C,) would change."""
        return _array(self._player.merge_gain(self._told(signs), K, self._told(one)))

    def copy_stream(self) -> None:
        """Make the stream "aside" go on as "play" would."""
        self._aside = self._member.copy_play_stream()

    def elbo(self, seed: int, round: int, signs: Array, components: Any) -> tuple[float, ...] | None:
        """The ELBO's parts, as `Member.elbo`."""
        held = type(components)(*(part.to(self._device) for part in components))
        loss = self._member.elbo(seed, round, self._told(signs), held)
        return None if loss is None else tuple(loss)

    def state(self) -> dict[str, Any]:
        """As `Member.state`, for the checkpoint."""
        return self._member.state()

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """As `Member.restore`."""
        own = self._member.restore(state, parts)
        return None if own is None else type(own)(*(part.cpu() for part in own))

    @property
    def _device(self) -> torch.device:
        return self._member.device

    def _stream(self, name: str) -> torch.Generator:
        if name == "play":
            return self._member.play_stream
        assert self._aside is not None
        return self._aside

    def _numbered_belief(self, serial: int) -> Belief:
        # Earlier beliefs are not kept.
        assert serial == self._serial
        return self._belief

    def _told(self, array: Array) -> Tensor:
        return decode_array(array).to(self._device)

    def _numbered(self, serial: int) -> tuple[Array, Array]:
        self._serial = serial
        return _array(self._belief.log_density), _array(self._belief.evidence)


def encode_signs(signs: Tensor) -> Array:
    """Signs as they travel: two bytes each, or four."""
    array: Array = signs.cpu().numpy()
    small = array.size == 0 or array.max() <= np.iinfo(np.int16).max
    return array.astype(np.int16 if small else np.int32)


def decode_array(array: Array) -> Tensor:
    """What travelled, as the game has it: signs of 64 bits, other numbers as they are."""
    return torch.from_numpy(array.astype(np.int64 if array.dtype.kind == "i" else array.dtype))


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.cpu().numpy()
    return found


class ActorHandle:
    """How one agent's process is asked."""

    def __init__(self, ray: Any, actor: Any, name: str, traffic: Traffic) -> None:
        self.ray = ray
        self.actor = actor
        self.name = name
        self.traffic = traffic
        self.serial = 0

    def begin(self, what: str, *arguments: Any, **options: Any) -> Any:
        """Send a question; `get` waits for the answer. Questions are answered in their order."""
        self.traffic.moved += _bytes(arguments)
        return getattr(self.actor, what).options(**options).remote(*arguments)

    def get(self, reference: Any) -> Any:
        """The answer. AgentLostError; whatever the agent raised."""
        try:
            found = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            raise AgentLostError(self.name, _why(error)) from error
        self.traffic.moved += _bytes(found)
        return found

    def ask(self, what: str, *arguments: Any) -> Any:
        """Send a question and wait for the answer."""
        return self.get(self.begin(what, *arguments))

    def next_serial(self) -> int:
        """A number for the parameters that are drawn next."""
        self.serial += 1
        return self.serial


def _why(error: Exception) -> str:
    """What an agent raised when it was made: Ray tells of it by a text alone, whose last line names it."""
    lines = str(error).strip().splitlines() if getattr(error, "actor_init_failed", False) else []
    return " ".join(lines[-1].split())[:200] if lines else ""


def _bytes(what: Any) -> int:
    if isinstance(what, np.ndarray):
        return what.nbytes
    if isinstance(what, Tensor):
        return what.nbytes
    if isinstance(what, Mapping):
        return sum(_bytes(part) for part in what.values())
    return sum(_bytes(part) for part in what) if isinstance(what, tuple | list) else 0


class _Stream:
    """A handle of a generator in the agent's process: "play", or "aside", a copy of it."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Belief:
    """The agent's current belief; the agent's process answers. Implements `mhng.inference.types.Belief`."""

    stackable = False

    def __init__(self, line: ActorHandle, serial: int, drawn: Any) -> None:
        self._line = line
        self._serial = serial
        self._drawn = drawn
        self._numbers: tuple[Tensor, Tensor] | None = None

    @property
    def parameters(self) -> Any:
        """phi, for the record of the run."""
        return self._ask("parameters")

    @property
    def log_density(self) -> Tensor:
        return self._received()[0]

    @property
    def evidence(self) -> Tensor:
        return self._received()[1]

    def propose(self, generator: _Stream, log_prior: Tensor) -> Tensor:
        return decode_array(self._ask("propose", generator.name, _array(log_prior)))

    def respond(self, generator: _Stream, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        packed = self._ask("respond", generator.name, encode_signs(proposed), encode_signs(current), rule)
        accepted, not_a_number = (
            torch.from_numpy(np.unpackbits(bits, count=proposed.numel()).astype(bool)).view(proposed.shape)
            for bits in packed
        )
        return Response(torch.where(accepted, proposed, current), proposed, accepted, not_a_number)

    def log_likelihood(self, signs: Tensor) -> Tensor:
        return decode_array(self._ask("log_likelihood", encode_signs(signs)))

    def best(self, log_prior: Tensor) -> Tensor:
        return decode_array(self._ask("best", _array(log_prior)))

    def _ask(self, what: str, *arguments: Any) -> Any:
        return self._line.ask(what, self._serial, *arguments)

    def _received(self) -> tuple[Tensor, Tensor]:
        """Log density and evidence, which arrive while the game goes on."""
        if self._numbers is None:
            density, evidence = self._line.get(self._drawn)
            self._numbers = decode_array(density), decode_array(evidence)
        return self._numbers


class _Player:
    """An agent in the game."""

    def __init__(self, line: ActorHandle, count: int, finite: Any) -> None:
        self._line = line
        self._finite = finite
        self.count = count

    def is_finite(self) -> bool:
        return bool(self._line.get(self._finite))

    def clusters(self, generator: _Stream, chains: int, K: int) -> Tensor:
        return decode_array(self._line.ask("clusters", generator.name, chains, K))

    def redraw(self, generator: _Stream, signs: Tensor, K: int, previous: Any = None) -> _Belief:
        serial = self._line.next_serial()
        drawn = self._line.begin("redraw", serial, generator.name, encode_signs(signs), K, previous is None)
        return _Belief(self._line, serial, drawn)

    def from_prior(self, generator: _Stream, chains: int, K: int) -> _Belief:
        serial = self._line.next_serial()
        return _Belief(self._line, serial, self._line.begin("from_prior", serial, generator.name, chains, K))

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        return decode_array(self._line.ask("evidence", encode_signs(signs), K))

    def merge_gain(self, signs: Tensor, K: int, one: Tensor) -> Tensor:
        return decode_array(self._line.ask("merge_gain", encode_signs(signs), K, encode_signs(one)))

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        raise NotImplementedError("split-merge steps are for agents in one process")


class RemoteMember:
    """A member of the community whose agent is in another process; its signs are kept here."""

    device = torch.device("cpu")

    def __init__(self, line: ActorHandle, count: int) -> None:
        self.line = line
        self.name = line.name
        self.count = count
        self.play_stream = _Stream("play")

    def copy_play_stream(self) -> _Stream:
        """Copy the generator in the agent's process."""
        self.line.ask("copy_stream")
        return _Stream("aside")

    def train_epochs(
        self, epochs: int, signs: Tensor | None, components: Any, done: int
    ) -> Iterator[tuple[int, Loss]]:
        """It begins now; the losses are those of `Learner.train_epochs`."""
        heard = None if signs is None else encode_signs(signs)
        begun = self.line.begin("train_epochs", epochs, heard, components, done, num_returns="streaming")
        return self._losses(begun)

    def _losses(self, begun: Any) -> Iterator[tuple[int, Loss]]:
        for told in begun:
            epoch, loss = self.line.get(told)
            yield epoch, Loss(*loss)

    def perceive(self) -> _Player:
        """It as a player of the next game."""
        return _Player(self.line, self.count, self.line.begin("perceive"))

    def set_log_pi(self, log_pi: Tensor) -> None:
        """Weights of signs are drawn where the agent is, so there is no such game yet."""
        raise NotImplementedError("weights of signs are for agents in one process")

    def elbo(self, seed: int, round: int, signs: Tensor, components: Any) -> Loss | None:
        """As `Member.elbo`."""
        told = self.line.ask("elbo", seed, round, encode_signs(signs), components)
        return None if told is None else Loss(*told)

    def state(self) -> dict[str, Any]:
        """As `Member.state`."""
        found: dict[str, Any] = self.line.ask("state")
        return found

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """As `Member.restore`."""
        return self.line.ask("restore", dict(state), parts)


class AgentPlacement(NamedTuple):
    """Where the agents of a run are."""

    make: Callable[[], list[Member | RemoteMember]]  # all of them, new; those that were made before are gone
    traffic: Traffic | None  # None where all are in this process


@contextmanager
def place_agents(config: Config, objects: Objects, device: torch.device) -> Iterator[AgentPlacement]:
    """Places for the agents of a run, by `config.engine`. UsageError where Ray cannot be had."""
    if config.engine == "local":
        yield AgentPlacement(lambda: list(build_members(config, objects, device)), None)
        return
    threads = max(1, torch.get_num_threads() // config.agents)
    traffic = Traffic()
    with ray_cluster.cluster(config.address, config.agents * threads) as ray:
        actors: list[Any] = []

        def make() -> list[Member | RemoteMember]:
            for actor in actors:
                ray.kill(actor)
            actors.clear()
            share = min(threads, ray.cluster_resources().get("CPU", 1) / config.agents)
            mind = ray.remote(num_cpus=share)(AgentActor)
            found = []
            for number, name in enumerate(config.per_agent):
                view = objects.views[number].numpy()
                actors.append(mind.remote(config, number, view, objects.shapes(number), threads))
                found.append(RemoteMember(ActorHandle(ray, actors[-1], name, traffic), len(view)))
            for one in found:
                one.line.ask("device")  # what goes wrong when it is made is said here
            traffic.taken()
            return list(found)

        try:
            yield AgentPlacement(make, traffic)
        finally:
            # A connection that was there before goes on, and the agents would with it.
            for actor in actors:
                ray.kill(actor)
