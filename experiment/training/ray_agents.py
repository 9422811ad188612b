"""Remote agents: one Ray actor per agent, on this machine or others (`--engine ray`).

Each actor builds its agent from its view of the objects. The actor holds the networks, latents, parameters and random
streams. Agents learn in parallel. In the game an agent receives signs. It answers with signs, with acceptance (yes or
no) and with sums over all objects (log densities, gains of merging signs). All messages pass through the main process,
which records the run. The main process also collects checkpoints and the requested traces. Agents receive nothing but
signs from each other.

An agent draws from its own random streams, so the same seed gives the same signs as without Ray, if both use the same
number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.errors import RunError
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import ray_cluster
from mhng.experiment.training.agent_spec import AgentSpec
from mhng.experiment.training.build import build_member, build_members
from mhng.experiment.training.prepare import Prepared, pick_device
from mhng.inference.members import Member
from mhng.inference.rounds import Threads
from mhng.inference.svi import Loss
from mhng.models.belief import Belief, Response, Rule
from mhng.models.rng import spawn

Array = NDArray[Any]


class AgentLostError(RunError):
    """The process of an agent has ended, or cannot be reached."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(f"the process of agent {name} has ended{reason and f' ({reason})'}")


# Size of one sign between agents. There are at most 10,000 signs.
BYTES_PER_SIGN = 2


class Traffic:
    """Counter of the bytes between the main process and all agents."""

    def __init__(self) -> None:
        self.bytes = 0

    def taken(self) -> int:
        """Return the count and reset it to 0."""
        count, self.bytes = self.bytes, 0
        return count


class AgentActor:
    """The process of one agent. Receives and returns signs as arrays (C, N)."""

    def __init__(self, spec: AgentSpec, view: Array, threads: Threads) -> None:
        self._threads = threads
        self._member = build_member(spec, torch.from_numpy(view.copy()), pick_device(spec.settings.device))
        self._streams = {"play": self._member.play_stream}
        self._belief: Belief
        self._serial = 0

    def device(self) -> str:
        """Device of the agent."""
        return str(self._member.device)

    def train_epochs(
        self, epochs: int, signs: Array | None, components: Any, done: int
    ) -> Iterator[tuple[int, tuple[float, ...]]]:
        """Train as `Learner.train_epochs` does; yield the loss of every epoch as a tuple."""
        self._use(self._threads.learning)
        on_device = None if components is None else self._on_device(components)
        targets = None if signs is None else self._decode(signs)
        for epoch, loss in self._member.train_epochs(epochs, targets, on_device, done):
            yield epoch, tuple(loss)

    def perceive(self) -> bool:
        """Compute latents for the next game; return whether they are finite."""
        self._use(self._threads.game)
        self._player = self._member.perceive()
        return self._player.is_finite()

    def perceive_expected(self) -> bool:
        """Compute expected latents for the initialisation; return whether they are finite."""
        self._use(self._threads.game)
        self._player = self._member.perceive_expected()
        return self._player.is_finite()

    def clusters(self, stream: str, chains: int, K: int) -> Array:
        """Initial signs from clusters of the latents."""
        return encode_signs(self._player.clusters(self._streams[stream], chains, K))

    def redraw(self, serial: int, stream: str, signs: Array, K: int, first: bool) -> tuple[Array, Array]:
        """Redraw the parameters as belief number `serial`; return log density and evidence, both (C,)."""
        previous = None if first else self._belief
        self._belief = self._player.redraw(self._streams[stream], self._decode(signs), K, previous)
        return self._numbered(serial)

    def from_prior(self, serial: int, stream: str, chains: int, K: int) -> tuple[Array, Array]:
        """Draw the parameters from the prior as belief number `serial`; return as `redraw` does."""
        self._belief = self._player.from_prior(self._streams[stream], chains, K)
        return self._numbered(serial)

    def propose(self, serial: int, stream: str, log_prior: Array) -> Array:
        """Propose a sign for every object."""
        belief, generator = self._numbered_belief(serial), self._streams[stream]
        return encode_signs(belief.propose(generator, self._decode(log_prior)))

    def respond(self, serial: int, stream: str, proposed: Array, current: Array, rule: Rule) -> tuple[Array, Array]:
        """Accept or reject proposals; return the accepted ones and those with ratio NaN, both as packed bits."""
        signs = self._decode(proposed), self._decode(current)
        response = self._numbered_belief(serial).respond(self._streams[stream], *signs, rule)
        return np.packbits(response.accepted.cpu().numpy()), np.packbits(response.not_a_number.cpu().numpy())

    def log_likelihood(self, serial: int, signs: Array) -> Array:
        """Log likelihood of signs, summed over objects: (C,)."""
        return _array(self._numbered_belief(serial).log_likelihood(self._decode(signs)))

    def best(self, serial: int, log_prior: Array) -> Array:
        """Most probable signs for the agent alone."""
        return encode_signs(self._numbered_belief(serial).best(self._decode(log_prior)))

    def parameters(self, serial: int) -> Any:
        """Parameters of the belief, for the record of the run."""
        return _on_cpu(self._numbered_belief(serial).parameters)

    def evidence(self, signs: Array, K: int) -> Array:
        """Log evidence log p(z | signs): (C,)."""
        return _array(self._player.evidence(self._decode(signs), K))

    def merge_gain(self, signs: Array, K: int, sign: Array) -> Array:
        """Change of the log evidence by merging `sign` (C,) with every other sign: (C, K)."""
        return _array(self._player.merge_gain(self._decode(signs), K, self._decode(sign)))

    def copy_stream(self) -> None:
        """Copy the stream "play" to "aside"."""
        self._streams["aside"] = self._member.copy_play_stream()

    def spawn_streams(self, stream: str, count: int) -> list[str]:
        """Make streams as `mhng.models.rng.spawn` does, in place of earlier ones; returns their names."""
        spawned = {f"{stream}/{number}": made for number, made in enumerate(spawn(self._streams[stream], count))}
        self._streams |= spawned
        return list(spawned)

    def elbo(self, seed: int, round: int, signs: Array, components: Any) -> tuple[float, ...] | None:
        """Parts of the ELBO, as in `Member.elbo`."""
        loss = self._member.elbo(seed, round, self._decode(signs), self._on_device(components))
        return None if loss is None else tuple(loss)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as in `Member.state`."""
        return self._member.state()

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Restore the agent as `Member.restore` does."""
        components = self._member.restore(state, parts)
        return None if components is None else _on_cpu(components)

    def _use(self, threads: int) -> None:
        if threads != torch.get_num_threads():
            torch.set_num_threads(threads)

    def _on_device(self, components: Any) -> Any:
        return type(components)(*(part.to(self._member.device) for part in components))

    def _numbered_belief(self, serial: int) -> Belief:
        # The actor keeps the latest belief only.
        assert serial == self._serial
        return self._belief

    def _decode(self, array: Array) -> Tensor:
        return decode_array(array).to(self._member.device)

    def _numbered(self, serial: int) -> tuple[Array, Array]:
        self._serial = serial
        return _array(self._belief.log_density), _array(self._belief.evidence)


def encode_signs(signs: Tensor) -> Array:
    """Convert signs to an array for transfer, with two or four bytes per sign."""
    array: Array = signs.cpu().numpy()
    small = array.size == 0 or array.max() <= np.iinfo(np.int16).max
    return array.astype(np.int16 if small else np.int32)


def decode_array(array: Array) -> Tensor:
    """Convert a transferred array to a tensor; integers become int64."""
    return torch.from_numpy(array.astype(np.int64 if array.dtype.kind == "i" else array.dtype))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array


def _on_cpu(components: Any) -> Any:
    return type(components)(*(part.cpu() for part in components))


class ActorHandle:
    """Sends calls to the process of one agent and receives the results."""

    def __init__(self, ray: Any, actor: Any, name: str, traffic: Traffic) -> None:
        self.ray = ray
        self.actor = actor
        self.name = name
        self.traffic = traffic
        self.serial = 0

    def send(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Send a call; return a reference for `get`. The process handles calls in order."""
        self.traffic.bytes += _bytes(arguments)
        return getattr(self.actor, method).options(**options).remote(*arguments)

    def get(self, reference: Any) -> Any:
        """Wait for a result. Raises AgentLostError, or the error that the agent raised."""
        try:
            result = self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self.ray.exceptions.RayError as error:
            raise AgentLostError(self.name, _start_error(error)) from error
        self.traffic.bytes += _bytes(result)
        return result

    def call(self, method: str, *arguments: Any) -> Any:
        """Send a call and wait for its result."""
        return self.get(self.send(method, *arguments))

    def next_serial(self) -> int:
        """Number of the next belief."""
        self.serial += 1
        return self.serial


def _start_error(error: Exception) -> str:
    """Error that an actor raised in its constructor; empty for other errors. Ray reports it in the last line."""
    lines = str(error).strip().splitlines() if getattr(error, "actor_init_failed", False) else []
    return " ".join(lines[-1].split())[:200] if lines else ""


def _bytes(message: Any) -> int:
    """Size of the arrays and tensors in a message."""
    if isinstance(message, np.ndarray | Tensor):
        return message.nbytes
    if isinstance(message, Mapping):
        return sum(_bytes(part) for part in message.values())
    return sum(_bytes(part) for part in message) if isinstance(message, tuple | list) else 0


class _Stream:
    """A random stream in the process of the agent, by its name: "play"; "aside", a copy; "play/0", from `spawn`."""

    def __init__(self, actor: ActorHandle, name: str) -> None:
        self._actor = actor
        self.name = name

    def spawn(self, count: int) -> list[_Stream]:
        """As `mhng.models.rng.spawn`, in the process of the agent."""
        return [_Stream(self._actor, name) for name in self._actor.call("spawn_streams", self.name, count)]


class _Belief:
    """Current belief of a remote agent. Implements `mhng.inference.types.Belief`."""

    stackable = False

    def __init__(self, actor: ActorHandle, serial: int, pending: Any) -> None:
        self._actor = actor
        self._serial = serial
        self._pending = pending
        self._numbers: tuple[Tensor, Tensor] | None = None

    @property
    def parameters(self) -> Any:
        """Parameters phi, for the record of the run."""
        return self._call("parameters")

    @property
    def log_density(self) -> Tensor:
        return self._received()[0]

    @property
    def evidence(self) -> Tensor:
        return self._received()[1]

    def propose(self, generator: _Stream, log_prior: Tensor) -> Tensor:
        return decode_array(self._call("propose", generator.name, _array(log_prior)))

    def respond(self, generator: _Stream, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        packed = self._call("respond", generator.name, encode_signs(proposed), encode_signs(current), rule)
        accepted, not_a_number = (
            torch.from_numpy(np.unpackbits(bits, count=proposed.numel()).astype(bool)).view(proposed.shape)
            for bits in packed
        )
        return Response(torch.where(accepted, proposed, current), proposed, accepted, not_a_number)

    def log_likelihood(self, signs: Tensor) -> Tensor:
        return decode_array(self._call("log_likelihood", encode_signs(signs)))

    def best(self, log_prior: Tensor) -> Tensor:
        return decode_array(self._call("best", _array(log_prior)))

    def _call(self, method: str, *arguments: Any) -> Any:
        return self._actor.call(method, self._serial, *arguments)

    def _received(self) -> tuple[Tensor, Tensor]:
        """Log density and evidence. The process computes them while the game continues."""
        if self._numbers is None:
            density, evidence = self._actor.get(self._pending)
            self._numbers = decode_array(density), decode_array(evidence)
        return self._numbers


class _Player:
    """Remote agent in the game. Implements `mhng.inference.types.StartPlayer`."""

    def __init__(self, actor: ActorHandle, count: int, finite: Any) -> None:
        self._actor = actor
        self._finite = finite
        self.count = count

    def is_finite(self) -> bool:
        return bool(self._actor.get(self._finite))

    def clusters(self, generator: _Stream, chains: int, K: int) -> Tensor:
        return decode_array(self._actor.call("clusters", generator.name, chains, K))

    def redraw(self, generator: _Stream, signs: Tensor, K: int, previous: Any = None) -> _Belief:
        serial = self._actor.next_serial()
        pending = self._actor.send("redraw", serial, generator.name, encode_signs(signs), K, previous is None)
        return _Belief(self._actor, serial, pending)

    def from_prior(self, generator: _Stream, chains: int, K: int) -> _Belief:
        serial = self._actor.next_serial()
        return _Belief(self._actor, serial, self._actor.send("from_prior", serial, generator.name, chains, K))

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        return decode_array(self._actor.call("evidence", encode_signs(signs), K))

    def merge_gain(self, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        return decode_array(self._actor.call("merge_gain", encode_signs(signs), K, encode_signs(sign)))

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        raise NotImplementedError("split-merge steps require local agents")


class RemoteMember:
    """Agent in another process, as a participant of the rounds. Its signs are stored in the main process."""

    device = torch.device("cpu")

    def __init__(self, actor: ActorHandle, count: int) -> None:
        self.actor = actor
        self.name = actor.name
        self.count = count
        self.play_stream = _Stream(actor, "play")

    def copy_play_stream(self) -> _Stream:
        """Copy the random stream "play" in the process of the agent."""
        self.actor.call("copy_stream")
        return _Stream(self.actor, "aside")

    def train_epochs(
        self, epochs: int, signs: Tensor | None, components: Any, done: int
    ) -> Iterator[tuple[int, Loss]]:
        """Start training at once; yield the losses as `Learner.train_epochs` does."""
        targets = None if signs is None else encode_signs(signs)
        references = self.actor.send("train_epochs", epochs, targets, components, done, num_returns="streaming")
        return self._losses(references)

    def _losses(self, references: Any) -> Iterator[tuple[int, Loss]]:
        for reference in references:
            epoch, loss = self.actor.get(reference)
            yield epoch, Loss(*loss)

    def perceive(self) -> _Player:
        """Start computing latents; return a player for the next game."""
        return _Player(self.actor, self.count, self.actor.send("perceive"))

    def perceive_expected(self) -> _Player:
        """Start computing expected latents; return a player for the initialisation."""
        return _Player(self.actor, self.count, self.actor.send("perceive_expected"))

    def set_log_pi(self, log_pi: Tensor) -> None:
        """Not supported: with Ray, the prior of signs is fixed."""
        raise NotImplementedError("a learned prior of signs requires local agents")

    def elbo(self, seed: int, round: int, signs: Tensor, components: Any) -> Loss | None:
        """ELBO given signs, as in `Member.elbo`."""
        parts = self.actor.call("elbo", seed, round, encode_signs(signs), components)
        return None if parts is None else Loss(*parts)

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as in `Member.state`."""
        state: dict[str, Any] = self.actor.call("state")
        return state

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Restore the agent as `Member.restore` does."""
        return self.actor.call("restore", dict(state), parts)


class AgentPlacement(NamedTuple):
    """Location of the agents of a run: this process, or Ray actors."""

    make: Callable[[], list[Member | RemoteMember]]  # creates all agents and ends those created before
    traffic: Traffic | None  # None for agents in this process
    threads: Threads


@contextmanager
def place_agents(
    config: Config, prepared: Prepared, device: torch.device, threads: Threads
) -> Iterator[AgentPlacement]:
    """Yield the placement of the agents by `config.engine`. Raises UsageError if Ray cannot be used.

    threads: of the process of an agent.
    """
    if config.engine == "local":
        yield AgentPlacement(lambda: list(build_members(prepared.agents, prepared.objects, device)), None, threads)
        return
    cpus = max(threads)
    traffic = Traffic()
    with ray_cluster.cluster(config.address, config.agents * cpus) as ray:
        actors: list[Any] = []

        def make() -> list[Member | RemoteMember]:
            for actor in actors:
                ray.kill(actor)
            actors.clear()
            share = min(cpus, ray.cluster_resources().get("CPU", 1) / config.agents)
            remote_class = ray.remote(num_cpus=share)(AgentActor)
            members = []
            for spec, view in zip(prepared.agents, prepared.objects.views, strict=True):
                actors.append(remote_class.remote(spec, view.numpy(), threads))
                members.append(RemoteMember(ActorHandle(ray, actors[-1], spec.name, traffic), len(view)))
            for member in members:
                member.actor.call("device")  # raises the errors of the constructor
            traffic.taken()
            return list(members)

        try:
            yield AgentPlacement(make, traffic, threads)
        finally:
            # An existing connection to Ray continues, and so would the actors.
            for actor in actors:
                ray.kill(actor)
