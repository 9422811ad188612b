"""Specification of an agent: its settings, the classes of its parts and the shapes of its observations.

A run derives it once, before anything is written. Parts of the user ("module:attribute") are imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from mhng.experiment.data.scaling import is_binary
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.per_agent import of_agent
from mhng.experiment.settings.schema import Config, flag
from mhng.models.hyperparameters import hyperparameter_names
from mhng.models.mixtures.additive import additive
from mhng.models.mixtures.base import InputSupport
from mhng.models.plugins import PluginError, is_plugin
from mhng.models.prior_scale import feature_scale
from mhng.models.registry import FAMILIES, resolve

Shapes = tuple[tuple[int, ...], ...]


class Parts(NamedTuple):
    """The class or function that builds each part of an agent."""

    network: Any
    likelihood: Any
    guide: Any
    fusion: Any
    mixture: Any


@dataclass(frozen=True)
class AgentSpec:
    """One agent of a run.

    settings: of this agent (`Config.per_agent`). suffix: " of agent B" in messages if agents differ, else "".
    shapes: of an observation, for each modality; empty until the objects are loaded. variance: mean variance of the
    features; 1 if they are standardised.
    """

    name: str
    settings: Config
    suffix: str
    parts: Parts
    shapes: Shapes = ()
    variance: float = 1.0

    @property
    def latent_dim(self) -> int:
        """L: --latent-dim, or the number of features with --likelihood identity; 1 while it is not known."""
        if self.settings.likelihood == "identity":
            return self.shapes[0][0] if self.shapes else 1
        return self.settings.latent_dim or 1

    @property
    def jitter(self) -> float:
        """Strength of image augmentation: 0 without images."""
        return self.settings.jitter if any(len(shape) == 3 for shape in self.shapes) else 0.0

    @property
    def input_support(self) -> InputSupport:
        """The values that observations must have. Only real ones are standardised and reduced."""
        support: InputSupport = "counts" if self.parts.likelihood.needs_counts else self.parts.mixture.input_support
        return support

    def standardises(self, view: Tensor) -> bool:
        """Whether features (N, D) are standardised: by --standardise, else unless all of them are 0 or 1."""
        if self.input_support != "real" or view.dim() != 2:
            return False
        if self.settings.standardise is not None:
            return self.settings.standardise == "yes"
        return not is_binary(view)

    @property
    def chooses_scale(self) -> bool:
        """Whether the data decide W: the mixture of the registry has it, and --prior does not give it."""
        return (
            "W" not in self.settings.prior.values
            and not is_plugin(self.settings.mixture)
            and "W" in hyperparameter_names(self.parts.mixture)
        )

    @property
    def fits_scale(self) -> bool:
        """Whether the agent selects W for its latents in round 0 (`Agent.fit_prior_scale`)."""
        return self.chooses_scale and self.settings.likelihood != "identity"

    @property
    def prior(self) -> dict[str, float]:
        """Hyperparameters of the mixture: those of --prior, and W for observed features."""
        values = dict(self.settings.prior.values)
        if self.chooses_scale and not self.fits_scale:
            scale = feature_scale(self.parts.mixture, self.latent_dim, self.settings.signs, values)
            values["W"] = scale / self.variance
        return values

    def mixture(self) -> Any:
        """The mixture in L dimensions, with the hyperparameters `prior`. Raises ValueError."""
        return self.parts.mixture(self.latent_dim, **self.prior)

    def with_shapes(self, shapes: Shapes, variance: float = 1.0) -> AgentSpec:
        """The specification for observations of these shapes and this mean variance of the features."""
        return replace(self, shapes=shapes, variance=variance)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process imports the parts again: classes of the user cannot be pickled by name everywhere.
        return _again, (self.name, self.settings, self.suffix, self.shapes, self.variance)


def _again(name: str, settings: Config, suffix: str, shapes: Shapes, variance: float) -> AgentSpec:
    return AgentSpec(name, settings, suffix, find_parts(settings, suffix), shapes, variance)


def agent_specs(config: Config) -> tuple[AgentSpec, ...]:
    """The agents that the settings describe, without shapes. Raises UsageError."""
    specs = []
    for name, settings in config.per_agent.items():
        suffix = of_agent(config, name)
        specs.append(AgentSpec(name, settings, suffix, find_parts(settings, suffix)))
    return tuple(specs)


def find_parts(settings: Config, suffix: str = "") -> Parts:
    """Find or import the parts that the settings of an agent name. Raises UsageError with the flag and the suffix.

    A part that the data will decide is None.
    """
    parts = {}
    for name in FAMILIES:
        value = getattr(settings, name)
        try:
            parts[name] = None if value is None else resolve(name, value)
        except PluginError as error:
            raise UsageError(f"{flag(name)} {value}{suffix}: {error}") from error
    if settings.sentences is not None:
        parts["mixture"] = additive(settings.sentences, settings.meaning)
    return Parts(**parts)
