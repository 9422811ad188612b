"""From settings to the agents of a run: objects, device, members, and the game they will play."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch

from mhng.experiment.data.custom.dataset import Files, as_those, told
from mhng.experiment.data.loading import load
from mhng.experiment.data.modalities import Sense
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.scaling import as_changed, changed, reducing, standardising
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.schema import Config, flag
from mhng.experiment.training.compatibility import check_parts, check_sight, fits, perceives_counts
from mhng.experiment.training.graphs import Edges, meetings_of
from mhng.experiment.util.agent_names import agent_names
from mhng.inference.initialization import Start
from mhng.inference.rounds import ForeignStreamError, Member, Progress, Schedule, member, streams_of
from mhng.inference.spec import Game
from mhng.inference.svi import bound
from mhng.inference.variational import begin
from mhng.models.agent import Agent
from mhng.models.hyperparameters import read_prior
from mhng.models.multimodal import Multimodal
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES
from mhng.models.rng import stream
from mhng.models.sign_prior import sign_weights

CHECKPOINT_FORMAT = 1


def load_objects(config: Config) -> tuple[Objects, Config]:
    """The objects, and the settings made to fit them (L is the number of features where z is the observation).

    Features are standardised, each by its own mean and spread over an agent's objects: the mixture's prior expects
    percepts around zero. Then --reduce makes them fewer. Counts stay as they are. Raises `UsageError` where
    network or likelihood cannot take such objects.
    """
    check_parts(config)
    objects = _as_they_are(config)
    vectors = [view.dim() == 2 for view in objects.views]
    if config.reduce is not None and not any(vectors):
        raise UsageError(f"--reduce is for features; the objects of {config.dataset} are images")
    _check_sights(config, objects)
    if any(vectors):
        objects = _scaled(config, objects)[0]
    if all(vectors):
        config = replace(config, jitter=0.0)
    if all(own.likelihood == "identity" for _, own in per_agent.each(config)):
        config = replace(config, latent_dim=max(view.shape[1] for view in objects.views))
    objects = objects.packed()
    for m, ((name, own), view) in enumerate(zip(per_agent.each(config), objects.views, strict=True)):
        fits(own, _latent(own, tuple(view.shape[1:])), name, per_agent.who(config, name))
        _rehearse(own, view, objects.shapes(m))
    return objects, config


def load_others(config: Config, files: Files) -> Objects:
    """All objects in `files`, as the agents of a run see them: scaled by what the objects of the run were.

    Files are those of a run with data of its own, or others of the same layout; `UsageError` naming what differs. An
    object may lack all but one of an agent's modalities, also where every other does.
    """
    of_run = _as_they_are(config)
    place = f"{files.flag} {told(files.data)}"
    others = _as_they_are(config, as_those(config.dataset, files_of(config), files))
    if of_run.paired != others.paired:
        raise UsageError(f"{place} must be laid out as the run's own --data, {told(config.data or ())}")
    for m, then, now in zip(of_run.owners, _senses(of_run), _senses(others), strict=True):
        if then.shape != now.shape:
            there, seen = ("x".join(map(str, sense.shape)) for sense in (now, then))
            raise UsageError(
                f"{place}: agent {agent_names(m + 1)[m]} would see {there} numbers, and in the run {seen}"
            )
    try:
        _check_sights(config, others)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None
    views = _scaled(config, of_run)[1](others.views)
    for m, view in zip(others.owners, views, strict=True):
        lost = view.flatten(1).isinf().any(1).nonzero()
        if len(lost):
            raise UsageError(
                f"{place}: what agent {agent_names(m + 1)[m]} would see of object {int(lost[0])} lies too far from "
                "all that the run saw"
            )
    return replace(others, views=views, checksum=others.checksum).packed()


def _check_sights(config: Config, objects: Objects) -> None:
    """UsageError where an agent cannot look at what it would see."""
    agents = list(per_agent.each(config))
    for m, view in zip(objects.owners, objects.views, strict=True):
        name, own = agents[m]
        check_sight(own, view, name, per_agent.who(config, name), config.dataset)


def _senses(objects: Objects) -> list[Sense]:
    return [sense for senses in objects.senses for sense in senses]


def _as_they_are(config: Config, others: Files | None = None) -> Objects:
    """The objects that the settings name, or all that other files hold; features as they were given."""
    return load(
        config.dataset,
        data_root=config.data_root,
        download=config.download,
        limit=config.limit if others is None else None,
        views=config.views,
        seed=config.seed,
        classes=config.classes,
        ambiguity=config.ambiguity,
        dimension=config.dimension,
        files=files_of(config) if others is None else others,
        missing=config.missing if others is None else None,
    )


def _scaled(
    config: Config, objects: Objects
) -> tuple[Objects, Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]]:
    """The objects with features as agents perceive them, and what makes them so of the views of others."""
    agents = list(per_agent.each(config))
    counts = [perceives_counts(agents[m][1]) for m in objects.owners]
    views, changes = changed(standardising, objects.views, counts)
    # Of the standardised features: principal components may differ in the last digit from machine to machine.
    objects, steps = replace(objects, views=views, checksum=""), [changes]
    if config.reduce is not None:
        views, changes = changed(partial(reducing, dimensions=config.reduce), objects.views, counts)
        objects, steps = replace(objects, views=views, checksum=objects.checksum), [*steps, changes]

    def as_scaled(others: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        for step in steps:
            others = as_changed(step, others)
        return tuple(others)

    return objects, as_scaled


def _rehearse(own: Config, view: torch.Tensor, shapes: tuple[tuple[int, ...], ...]) -> None:
    """UsageError if parts of the user's own cannot do with two objects what a run will do with all of them."""
    parts = [f"{flag(name)} {getattr(own, name)}" for name in FAMILIES if is_plugin(getattr(own, name))]
    if not parts:
        return
    place = f"{', '.join(parts)}: a rehearsal with two objects failed"
    x, generator = view[:2], stream(own.seed, "rehearsal")
    try:
        agent = build_agent(own, shapes, generator, x.device)
        signs = torch.zeros(len(x), dtype=torch.int64)
        learns = any(True for _ in agent.parameters())
        loss = bound(agent, x, generator, signs, agent.mixture.standard(x.device)) if learns else None
        player = agent.perceive(x, generator)
        player.redraw(generator, signs.unsqueeze(0), own.signs)
        if own.mode == "variational":
            begin([player], signs.view(1, 1, -1), own.signs)
        shapes = tuple(player.z.shape), tuple(agent.imagine(player.z).shape)
    except Exception as error:  # whatever code of others may raise
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UsageError(f"{place}: {told}") from error
    if shapes != ((len(x), agent.latent), tuple(x.shape)):
        raise UsageError(f"{place}: percepts and images of {tuple(x.shape)} have the shapes {shapes}")
    if loss is not None and not math.isfinite(loss.total):
        raise UsageError(f"{place}: the loss is {loss.total}")


def files_of(config: Config) -> Files:
    """Where the objects are, if they are the user's own."""
    return Files(config.data or (), config.label_column, config.header, config.image_size, config.channels)


def latents_of(config: Config, objects: Objects) -> tuple[int, ...]:
    """L of each agent: the number of its features where z is the observation, else the same for all."""
    each = zip(per_agent.each(config), objects.views, strict=True)
    return tuple(_latent(own, tuple(view.shape[1:])) for (_, own), view in each)


def _latent(config: Config, shape: tuple[int, ...]) -> int:
    return shape[0] if config.likelihood == "identity" else config.latent_dim


def pick_device(name: str) -> torch.device:
    """The device called `name`; auto is the first CUDA device if there is one. UsageError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N; it is {name[:40]!r}")
    number = name.partition(":")[2]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise UsageError(f"--device {name}: there are {count} CUDA devices")
    return torch.device("cuda", int(number or 0))


def schedule_of(config: Config) -> Schedule:
    """How long everything takes, from the settings."""
    return Schedule(
        epochs=config.epochs,
        round_epochs=config.round_epochs,
        rounds=config.rounds,
        sweeps=config.sweeps,
        round_sweeps=config.round_sweeps,
        chains=config.chains,
        start=Start(config.start, tries=config.starts),
        batch_size=config.batch_size,
        lr=config.lr,
        jitter=config.jitter,
        keep_means=config.keep in ("all", "components"),
        percept=config.percept,
        graphs=_captured(config),
    )


def _captured(config: Config) -> bool:
    """Whether work on a GPU may be captured: what parts of the user's own ask of it is unknown."""
    return config.cuda_graphs and not any(is_plugin(getattr(config, name)) for name in FAMILIES)


def game_of(config: Config, device: torch.device, known: Sequence[Edges | None] = ()) -> Game:
    """The rules of the game, with a uniform prior of signs. UsageError from `graphs.meetings_of`.

    known: the edges of each graph, as in `graphs.meetings_of`.
    """
    meetings = meetings_of(
        config.meet,
        config.agents,
        config.seed,
        synchronous=config.synchronous,
        meet_later=config.meet_later,
        round_sweeps=schedule_of(config).sweeps_between(),
        known=known,
    )
    rules = tuple(own.acceptance for _, own in per_agent.each(config))
    log_prior = torch.full((config.signs,), 1 / config.signs, dtype=torch.float64, device=device).log()
    return Game(
        log_prior,
        config.mode,
        config.listener_state,
        rules[0] if len(set(rules)) == 1 else rules,
        config.split_merge,
        meetings,
        config.recursion,
        config.inner_start,
        sign_weights(config.weights),
        newcomers=config.newcomers,
    )


def build_members(config: Config, objects: Objects, device: torch.device) -> list[Member]:
    """The agents A, B, ... with fresh weights. Each sees its own view of the objects and nothing else."""
    each = zip(per_agent.each(config), objects.views, strict=True)
    return [build_member(own, name, view, objects.shapes(m), device) for m, ((name, own), view) in enumerate(each)]


def build_member(
    own: Config, name: str, view: torch.Tensor, shapes: tuple[tuple[int, ...], ...], device: torch.device
) -> Member:
    """The agent called `name`, with its own settings and its own view; shapes: of each modality."""
    streams = streams_of(own.seed, name, device)
    agent = build_agent(own, shapes, streams["init"], device)
    schedule = schedule_of(own if any(len(shape) == 3 for shape in shapes) else replace(own, jitter=0.0))
    return member(name, agent, view.to(device), streams, schedule)


def build_agent(
    own: Config, shapes: tuple[tuple[int, ...], ...], generator: torch.Generator, device: torch.device
) -> Agent:
    """One agent with its own settings, fresh weights drawn from `generator`; shapes: of each modality."""
    made: dict[str, Any] = {
        "signs": own.signs,
        "latent": _latent(own, shapes[0]),
        "network": own.network,
        "likelihood": own.likelihood,
        "mixture": own.mixture,
        "guide": own.guide,
        "weights": own.weights,
        "prior": read_prior(own.prior),
        "noise": own.noise,
        "generator": generator,
        "device": device,
    }
    return Agent(shapes[0], **made) if len(shapes) == 1 else Multimodal(shapes, fusion=own.fusion, **made)


class Kept(Protocol):
    """A member of the community as a checkpoint knows it; see `mhng.inference.rounds.Member`."""

    @property
    def name(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any], parts: Sequence[torch.Tensor] | None) -> Any: ...


def to_checkpoint(members: Sequence[Kept], progress: Progress, seconds: float) -> dict[str, Any]:
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
    members: Sequence[Kept], state: Mapping[str, Any], file: str, config: Config
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


def load_minds(agents: Mapping[str, Agent], state: Mapping[str, Any], file: str) -> tuple[Any, ...]:
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
