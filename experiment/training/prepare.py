"""The objects of a run, loaded, scaled and checked against its settings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from mhng.experiment.data.custom.dataset import Files, as_typed, match_layout
from mhng.experiment.data.loading import load
from mhng.experiment.data.modalities import Modality
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.scaling import apply_transforms, fit_pca, fit_standardisation, transform_features
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.schema import Config, flag
from mhng.experiment.training.build import _latent, build_agent
from mhng.experiment.training.compatibility import check_parts, check_sight, fits, input_support
from mhng.experiment.util.agent_names import agent_names
from mhng.inference import variational
from mhng.inference.svi import elbo
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES
from mhng.models.rng import stream


def load_objects(config: Config) -> tuple[Objects, Config]:
    """The objects, and the settings made to fit them (L is the number of features where z is the observation).

    Features are standardised, each by its own mean and spread over an agent's objects: the mixture's prior expects
    percepts around zero. Then --reduce makes them fewer. Counts, angles and simplex rows stay as they are. Raises
    `UsageError` where network or likelihood cannot take such objects.
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
    if all(own.likelihood == "identity" for _, own in config.per_agent.items()):
        config = replace(config, latent_dim=max(view.shape[1] for view in objects.views))
    objects = objects.packed()
    for m, ((name, own), view) in enumerate(zip(config.per_agent.items(), objects.views, strict=True)):
        fits(own, _latent(own, tuple(view.shape[1:])), name, per_agent.of_agent(config, name))
        _rehearse(own, view, objects.shapes(m))
    return objects, config


def load_others(config: Config, files: Files) -> Objects:
    """All objects in `files`, as the agents of a run see them: scaled by what the objects of the run were.

    Files are those of a run with data of its own, or others of the same layout; `UsageError` naming what differs. An
    object may lack all but one of an agent's modalities, also where every other does.
    """
    of_run = _as_they_are(config)
    place = f"{files.flag} {as_typed(files.data)}"
    others = _as_they_are(config, match_layout(config.dataset, files_of(config), files))
    if of_run.paired != others.paired:
        raise UsageError(f"{place} must be laid out as the run's own --data, {as_typed(config.data or ())}")
    for m, then, now in zip(of_run.view_agents, _senses(of_run), _senses(others), strict=True):
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
    for m, view in zip(others.view_agents, views, strict=True):
        lost = view.flatten(1).isinf().any(1).nonzero()
        if len(lost):
            raise UsageError(
                f"{place}: what agent {agent_names(m + 1)[m]} would see of object {int(lost[0])} lies too far from "
                "all that the run saw"
            )
    return replace(others, views=views, checksum=others.checksum).packed()


def _check_sights(config: Config, objects: Objects) -> None:
    """UsageError where an agent cannot look at what it would see."""
    agents = list(config.per_agent.items())
    for m, view in zip(objects.view_agents, objects.views, strict=True):
        name, own = agents[m]
        check_sight(own, view, name, per_agent.of_agent(config, name), config.dataset)


def _senses(objects: Objects) -> list[Modality]:
    return [sense for senses in objects.modalities for sense in senses]


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
    agents = list(config.per_agent.items())
    as_given = [input_support(agents[m][1]) != "real" for m in objects.view_agents]
    views, changes = transform_features(fit_standardisation, objects.views, as_given)
    # Of the standardised features: principal components may differ in the last digit from machine to machine.
    objects, steps = replace(objects, views=views, checksum=""), [changes]
    if config.reduce is not None:
        views, changes = transform_features(partial(fit_pca, dimensions=config.reduce), objects.views, as_given)
        objects, steps = replace(objects, views=views, checksum=objects.checksum), [*steps, changes]

    def as_scaled(others: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        for step in steps:
            others = apply_transforms(step, others)
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
        loss = elbo(agent, x, generator, signs, agent.mixture.standard_normal_prior(x.device)) if learns else None
        player = agent.perceive(x, generator)
        player.redraw(generator, signs.unsqueeze(0), own.signs)
        if own.mode == "variational":
            variational.init([player], signs.view(1, 1, -1), own.signs)
        shapes = tuple(player.z.shape), tuple(agent.decode(player.z).shape)
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
    each = zip(config.per_agent.items(), objects.views, strict=True)
    return tuple(_latent(own, tuple(view.shape[1:])) for (_, own), view in each)


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
