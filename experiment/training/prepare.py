"""Load the objects of a run, scale them, and check that its agents can observe them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from mhng.experiment.data.custom.dataset import Files, as_typed, match_layout
from mhng.experiment.data.loading import load
from mhng.experiment.data.modalities import Modality
from mhng.experiment.data.notes import view_notes
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.scaling import apply_transforms, fit_pca, fit_standardisation, transform_features
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import by_dataset, validation
from mhng.experiment.settings.schema import CHOSEN, WITHOUT_EFFECT, Config, flag
from mhng.experiment.training.agent_spec import AgentSpec
from mhng.experiment.training.build import build_agent
from mhng.experiment.training.compatibility import check_dimensions, check_observations, check_parts, check_precision
from mhng.experiment.training.defaults import choose, choose_images
from mhng.experiment.util.agent_names import agent_names
from mhng.inference import variational
from mhng.inference.svi import elbo
from mhng.models.agent import Agent
from mhng.models.mixtures.check import MixtureError, check_mixture
from mhng.models.plugins import is_plugin, line_of
from mhng.models.registry import FAMILIES
from mhng.models.rng import stream


class Prepared(NamedTuple):
    """The objects of a run and its agents.

    config: the settings, with what the objects decide (`mhng.experiment.training.defaults`); the jitter is 0 without
    images, and the number of latent dimensions that of the features where latents are observations.
    reasons: why a setting was chosen, by field name.
    """

    objects: Objects
    agents: tuple[AgentSpec, ...]
    config: Config
    reasons: dict[str, str]


def load_objects(
    config: Config, specs: Sequence[AgentSpec] | None = None, *, download: bool | None = None
) -> Prepared:
    """Load the objects of a run as its agents observe them, and choose the settings that are not given.

    Each feature is standardised with its mean and standard deviation over the objects, because the mixture's prior
    expects latents around zero. Binary features stay as they are, unless --standardise is yes. --reduce then projects
    features on principal components. Counts, angles and simplex rows stay as they are. `objects.notes` holds what a
    user should know about the data.

    specs: the result of `check_parts(config)`. download: instead of the setting.
    Raises UsageError if an agent does not support the objects.
    """
    specs = check_parts(config) if specs is None else specs
    config, reasons = choose_images(config)
    reasons |= by_dataset.reasons(config)
    objects = _load(config, download=config.download if download is None else download)
    if any(getattr(config, name) is None for name in CHOSEN):
        config, more = choose(config, objects)
        reasons |= more
        validation.check(config)
        specs = check_parts(config)
    are_features = [view.dim() == 2 for view in objects.views]
    if config.reduce is not None and not any(are_features):
        raise UsageError(f"--reduce requires features; the objects of {config.dataset} are images")
    _check_observations(specs, objects)
    for m, view in zip(objects.view_agents, objects.views, strict=True):
        check_precision(specs[m], view, objects.name)
    objects = replace(objects, notes=(*objects.notes, *view_notes(objects), *_binary_notes(specs, objects)))
    if any(are_features):
        objects = _scale(config.reduce, specs, objects)[0]
    objects = objects.packed()
    agents = tuple(
        spec.with_shapes(objects.shapes(m), _variance(spec, view))
        for m, (spec, view) in enumerate(zip(specs, objects.views, strict=True))
    )
    for spec, view in zip(agents, objects.views, strict=True):
        check_dimensions(spec)
        _rehearse(spec, view)
    fitted: dict[str, Any] = {}
    if all(are_features):
        fitted["jitter"] = 0.0
    if all(spec.settings.likelihood == "identity" for spec in agents):
        fitted["latent_dim"] = max(spec.latent_dim for spec in agents)
    return Prepared(objects, agents, replace(config, **fitted), reasons)


def load_others(config: Config, files: Files) -> Objects:
    """Load all objects in `files` as the agents of a run observe them, with the scaling of the run's objects.

    files: data of the user, with the layout of --data. An object may lack all but one modality of an agent.
    Raises UsageError with the difference to the run.
    """
    specs, run_objects = check_parts(config), _load(config)
    place = f"{files.flag} {as_typed(files.data)}"
    others = _load(config, match_layout(config.dataset, files_of(config), files))
    if run_objects.paired != others.paired:
        raise UsageError(f"{place} differs in layout from --data of the run, {as_typed(config.data or ())}")
    for m, then, now in zip(run_objects.view_agents, _modalities(run_objects), _modalities(others), strict=True):
        if then.shape != now.shape:
            given, expected = ("x".join(map(str, modality.shape)) for modality in (now, then))
            raise UsageError(f"{place}: agent {agent_names(m + 1)[m]} has {given} features; expected {expected}")
    try:
        _check_observations(specs, others)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from None
    views = _scale(config.reduce, specs, run_objects)[1](others.views)
    for m, view in zip(others.view_agents, views, strict=True):
        lost = view.flatten(1).isinf().any(1).nonzero()
        if len(lost):
            raise UsageError(
                f"{place}: object {int(lost[0])} of agent {agent_names(m + 1)[m]} is too far from the objects of the "
                "run to be scaled"
            )
    return replace(others, views=views, checksum=others.checksum).packed()


def load_unscaled(config: Config) -> Objects:
    """Load the objects of a run with their features as the data set has them, neither scaled nor reduced."""
    return _load(config)


def load_held_out(config: Config) -> Objects | None:
    """Load the objects with held-out combinations, with the scaling of the run's objects; None without --hold-out."""
    if config.hold_out is None:
        return None
    held = _load(config, held=True)
    views = _scale(config.reduce, check_parts(config), _load(config))[1](held.views)
    return replace(held, views=views, checksum=held.checksum).packed()


def _check_observations(specs: Sequence[AgentSpec], objects: Objects) -> None:
    """Check that each agent can observe its views. Raises UsageError."""
    for m, view in zip(objects.view_agents, objects.views, strict=True):
        check_observations(specs[m], view, objects.name)


def _modalities(objects: Objects) -> list[Modality]:
    return [modality for group in objects.modalities for modality in group]


def _load(config: Config, others: Files | None = None, *, download: bool = False, held: bool = False) -> Objects:
    """Load the objects of the settings, or all objects in other files, unscaled."""
    return load(
        config.dataset,
        data_root=config.data_root,
        download=download,
        limit=config.limit if others is None else None,
        views=config.views,
        seed=config.seed,
        classes=config.classes,
        ambiguity=config.ambiguity,
        dimension=config.dimension,
        files=files_of(config) if others is None else others,
        missing=config.missing if others is None else None,
        hold_out=config.hold_out,
        held=held,
    )


def _scale(
    reduce: int | None, specs: Sequence[AgentSpec], objects: Objects
) -> tuple[Objects, Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]]:
    """Standardise and reduce features. Returns the objects, and a function that scales views of others equally."""
    seen = list(zip(objects.view_agents, objects.views, strict=True))
    kept = [not specs[m].standardises(view) for m, view in seen]
    views, transforms = transform_features(fit_standardisation, objects.views, kept)
    # The checksum is that of standardised features: the last digits of principal components depend on the machine.
    objects, steps = replace(objects, views=views, checksum=""), [transforms]
    unscaled = [specs[m].input_support != "real" for m in objects.view_agents]
    if reduce is not None:
        views, transforms = transform_features(partial(fit_pca, dimensions=reduce), objects.views, unscaled)
        reduced = replace(objects, views=views)
        notes = _rank_notes(reduce, objects, reduced, unscaled)
        objects, steps = replace(reduced, notes=(*objects.notes, *notes)), [*steps, transforms]

    def scale_others(others: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        for step in steps:
            others = apply_transforms(step, others)
        return tuple(others)

    return objects, scale_others


def _binary_notes(specs: Sequence[AgentSpec], objects: Objects) -> Iterator[str]:
    """Notes on features that are not standardised, because all of them are 0 or 1."""
    for index, who in objects.viewers.items():
        spec, view = specs[objects.view_agents[index]], objects.views[index]
        chosen = spec.settings.standardise is None and spec.input_support == "real"
        if chosen and view.dim() == 2 and not spec.standardises(view):
            yield f"{who}: all features are 0 or 1, so they are not standardised; --standardise yes does it"


def _variance(spec: AgentSpec, view: torch.Tensor) -> float:
    """Mean variance of features (N, D) that are latents; 1 if they are standardised or constant."""
    if spec.settings.likelihood != "identity" or spec.settings.reduce is not None or spec.standardises(view):
        return 1.0
    return float(view.double().var(0, correction=0).mean()) or 1.0


def _rank_notes(reduce: int, before: Objects, after: Objects, unscaled: Sequence[bool]) -> Iterator[str]:
    """Notes on views with fewer principal components than --reduce asks for."""
    for index, who in before.viewers.items():
        old, kept = before.views[index], after.views[index].shape[1]
        if old.dim() == 2 and not unscaled[index] and kept < min(reduce, old.shape[1]):
            yield (
                f"{who}: --reduce is {reduce}, but the features have {kept} principal "
                f"component{'s' if kept > 1 else ''} beyond rounding errors; the others are left out"
            )


def _rehearse(spec: AgentSpec, view: torch.Tensor) -> None:
    """Try parts of the user on two objects, with everything that a run will do. Raises UsageError."""
    settings = spec.settings
    plugins = {flag(name): value for name in FAMILIES if is_plugin(value := getattr(settings, name))}
    if not plugins:
        return
    modules = [value.partition(":")[0] for value in plugins.values()]
    place = f"{', '.join(f'{name} {value}' for name, value in plugins.items())}: a rehearsal with two objects failed"
    x, generator = view[:2], stream(settings.seed, "rehearsal")
    try:
        agent = build_agent(spec, generator, x.device)
        if is_plugin(settings.mixture):
            check_mixture(agent.mixture, agent.perceive(x, generator).z, settings.signs)
        signs = torch.zeros(len(x), dtype=torch.int64)
        learns = any(True for _ in agent.parameters())
        if learns and (fault := _batch_fault(agent, x)) is not None:
            raise UsageError(f"{place}: {fault}")
        loss = elbo(agent, x, generator, signs, agent.mixture.standard_normal_prior(x.device)) if learns else None
        player = agent.perceive(x, generator)
        player.redraw(generator, signs.unsqueeze(0), settings.signs)
        if settings.mode == "variational":
            variational.init([player], signs.view(1, 1, -1), settings.signs)
        shapes = tuple(player.z.shape), tuple(agent.decode(player.z).shape)
    except UsageError:
        raise
    except Exception as error:  # code of the user may raise anything
        kind = "" if isinstance(error, MixtureError | NotImplementedError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())[:300]
        raise UsageError(f"{place}: {reason}{line_of(error, modules)}") from error
    expected = (len(x), agent.latent), tuple(x.shape)
    if shapes != expected:
        raise UsageError(f"{place}: latents and decoded observations have the shapes {shapes}; expected {expected}")
    if loss is not None and not math.isfinite(loss.total):
        raise UsageError(f"{place}: the loss is {loss.total}")


@torch.no_grad()
def _batch_fault(agent: Agent, x: torch.Tensor) -> str | None:
    """What is wrong if the densities of objects x (B, ...) are not one number per object, or depend on each other."""
    B = len(x)
    z = torch.arange(B, dtype=torch.float64, device=x.device).unsqueeze(1).expand(B, agent.latent)
    if fault := _shape_fault("q(z | x)", agent.guide_distribution(x), z):
        return fault
    for modality, part in agent.observed(x):
        output = modality.decoder(z.float())
        law = modality.likelihood(output)
        if fault := _shape_fault("p(x | z)", law, part):
            return fault
        together = law.log_prob(part)
        alone = torch.cat([modality.likelihood(output[n : n + 1]).log_prob(part[n : n + 1]) for n in range(B)])
        if not torch.allclose(together, alone, rtol=1e-4, atol=1e-4, equal_nan=True):
            return (
                f"log p(x | z) of two objects is {together.tolist()}, but {alone.tolist()} for each object alone; "
                "expected equal numbers"
            )
    return None


def _shape_fault(name: str, law: Any, value: torch.Tensor) -> str | None:
    """What is wrong if `law` does not have one event for each object of value (B, ...)."""
    expected, found = (value.shape[:1], value.shape[1:]), (law.batch_shape, law.event_shape)
    if found == expected:
        return None
    batch, event, right_batch, right_event = map(tuple, (*found, *expected))
    return (
        f"{name} has batch shape {batch} and event shape {event}; expected {right_batch} and {right_event}, one event "
        "per object"
    )


def files_of(config: Config) -> Files:
    """The files of --data, with how to read them."""
    return Files(
        config.data or (),
        config.label_column,
        config.header,
        config.image_size or WITHOUT_EFFECT["image_size"],
        config.channels or WITHOUT_EFFECT["channels"],
    )


def pick_device(name: str) -> torch.device:
    """The device called `name`; auto is the first CUDA device if there is one, else cpu. Raises UsageError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:[0-9]{1,3})?", name):
        raise UsageError(f"--device is {name[:40]!r}; expected auto, cpu, cuda or cuda:N")
    number = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        raise UsageError(f"--device is {name}, but the number of CUDA devices is {count}")
    return torch.device("cuda", number)
