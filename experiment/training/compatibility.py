"""Compatibility of an agent's parts with each other and with the objects. A violation is a `UsageError` of one line.

It names the flag, and the agent if agents differ.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from mhng.experiment.data.modalities import is_present
from mhng.experiment.data.scaling import rounding_loss
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import SETTINGS, Config, flag, modality_count
from mhng.experiment.training.agent_spec import AgentSpec, agent_specs
from mhng.models.hyperparameters import hyperparameter_names
from mhng.models.mixtures.base import INPUT_SUPPORTS, Conjugate, InputSupport, has_sign_probabilities
from mhng.models.networks import patch_count
from mhng.models.plugins import is_plugin, line_of
from mhng.models.registry import NETWORKS

# The largest count. float32 represents all whole numbers up to it.
MAX_COUNT = 2**24
# Largest error of unscaled float32 features, as a share of the standard deviation
_MOST_LOSS = 1e-4
# Largest deviation of a simplex row's sum from 1: rounded input files.
_SUM_TOLERANCE = 1e-4
_REQUIREMENTS = {
    "counts": f"counts, whole numbers from 0 to {MAX_COUNT}",
    "angles": "angles that all lie in [-pi, pi] or all in [0, 2 pi)",
    "simplex": "non-negative features that sum to 1 for each object",
}


def check_parts(config: Config) -> tuple[AgentSpec, ...]:
    """The agents that the settings describe, if their parts fit together for any objects. Raises UsageError.

    Parts that the data will decide are not checked.
    """
    specs = agent_specs(config)
    for m, spec in enumerate(specs):
        settings, parts, suffix = spec.settings, spec.parts, spec.suffix
        if is_plugin(settings.likelihood):
            _check_likelihood(parts.likelihood, f"--likelihood {settings.likelihood}{suffix}")
        if modality_count(config, m) > 1:
            try:
                parts.fusion(parts.guide)
            except ValueError as error:
                raise UsageError(f"--fusion {settings.fusion}{suffix}, --guide {settings.guide}: {error}") from None
        mixture = f"--mixture {settings.mixture}{suffix}"
        if undefined := sorted(getattr(parts.mixture, "__abstractmethods__", ())):
            raise UsageError(f"{mixture} does not define {', '.join(undefined)}")
        if is_plugin(settings.mixture):
            _check_constructor(spec, mixture)
        names = hyperparameter_names(parts.mixture)
        for name in settings.prior.values:
            if name not in names:
                raise UsageError(
                    f"--prior {settings.prior}{suffix} has {name!r}; --mixture {settings.mixture} has "
                    f"{', '.join(names)}"
                )
        support = parts.mixture.input_support
        if support not in INPUT_SUPPORTS:
            raise UsageError(f"{mixture}: input_support is {support!r}; expected one of {', '.join(INPUT_SUPPORTS)}")
        if support != "real" and settings.likelihood not in (None, "identity"):
            raise UsageError(
                f"{mixture}, for observed {support}, requires --likelihood identity; --likelihood is "
                f"{settings.likelihood}"
            )
        if config.mode == "variational" and not (
            parts.mixture.exact_evidence and issubclass(parts.mixture, Conjugate)
        ):
            raise UsageError(f"--mode variational does not support {mixture} (no closed-form expectations)")
        if config.weights != "uniform" and has_sign_probabilities(parts.mixture):
            raise UsageError(
                f"--weights {config.weights} does not support {mixture}: its categories determine p(sign)"
            )
        if config.split_merge and not parts.mixture.exact_evidence:
            raise UsageError(f"--split-merge does not support {mixture} (no closed-form evidence)")
    return specs


def check_observations(spec: AgentSpec, view: torch.Tensor, dataset: str) -> None:
    """Check that an agent can observe a view (N, *shape) of the data set. Raises UsageError."""
    settings, likelihood, suffix = spec.settings, spec.parts.likelihood, spec.suffix
    if spec.input_support != "real":
        _check_support(spec, view, dataset)
    if view.dim() != 2:
        if settings.likelihood == "identity":
            raise UsageError(f"--likelihood identity{suffix} requires features; the objects of {dataset} are images")
        if settings.network == "patches":
            try:
                patch_count(tuple(view.shape[1:]), spec.latent_dim)
            except ValueError as error:
                raise UsageError(f"--network patches{suffix} {error}") from None
        return
    if likelihood.needs_unit_interval:
        outside = (view < 0) | (view > 1)  # False for NaN
        if outside.any() or spec.standardises(view):
            values = "standardised features" if not outside.any() else "features outside"
            remedy = "--standardise no, or --likelihood" if not outside.any() else "--likelihood"
            raise UsageError(
                f"--likelihood {settings.likelihood}{suffix} requires pixels in [0, 1]; the objects of {dataset} are "
                f"{values}; pass {remedy} gaussian or identity"
            )
    if likelihood.has_network and settings.network in set(NETWORKS) - {"mlp", "linear"}:
        raise UsageError(
            f"--network {settings.network}{suffix} requires images; the objects of {dataset} are features"
        )


def check_precision(spec: AgentSpec, view: torch.Tensor, dataset: str) -> None:
    """Check that float32 holds the spread of features that are not standardised. Raises UsageError."""
    if view.dim() != 2 or spec.standardises(view):
        return
    lost = (rounding_loss(view[is_present(view)]) > _MOST_LOSS).nonzero()
    if len(lost):
        d = int(lost[0])
        reason = "--standardise no" if spec.input_support == "real" else f"--mixture {spec.settings.mixture}"
        column = view[:, d][~view[:, d].isnan()].double()
        raise UsageError(
            f"column {d} of agent {spec.name} in {dataset} varies by {float(column.max() - column.min()):g} around "
            f"{float(column.mean()):g}; {reason} uses it as float32, which is too coarse for that"
        )


def check_dimensions(spec: AgentSpec) -> None:
    """Check the number of latent dimensions, and the mixture's hyperparameters for it. Raises UsageError."""
    most = SETTINGS["latent_dim"].limits.most
    assert most is not None
    if spec.latent_dim > most:
        raise UsageError(
            f"--likelihood identity supports at most {most} features; agent {spec.name} has {spec.latent_dim}; pass "
            "--reduce, or --likelihood gaussian"
        )
    try:
        spec.mixture()
    except ValueError as error:
        raise UsageError(f"--prior {spec.settings.prior}{spec.suffix}: {error}") from None


def _check_support(spec: AgentSpec, view: torch.Tensor, dataset: str) -> None:
    """Raise UsageError with the first feature outside the support of the likelihood or mixture."""
    support = spec.input_support
    part = "likelihood" if spec.parts.likelihood.needs_counts else "mixture"
    requirement = f"{flag(part)} {getattr(spec.settings, part)}{spec.suffix} requires {_REQUIREMENTS[support]}"
    if view.dim() != 2:
        raise UsageError(f"{requirement}; the objects of {dataset} are images")
    exact, view = view, view.float()
    present = is_present(view).unsqueeze(1)
    outside = (_outside(support, view) | ((support == "counts") & (exact > MAX_COUNT))) & present
    if outside.any():
        n, d = outside.nonzero()[0].tolist()
        raise UsageError(
            f"{requirement}; object {n}, column {d} of agent {spec.name} in {dataset} is {float(exact[n, d]):.9g}"
        )
    if support == "simplex":
        total = view.double().sum(1, keepdim=True)
        wrong = (((total - 1).abs() > _SUM_TOLERANCE) & present).nonzero()
        if len(wrong):
            n = int(wrong[0, 0])
            raise UsageError(
                f"{requirement}; object {n} of agent {spec.name} in {dataset} sums to {float(total[n]):g}"
            )


def _outside(support: InputSupport, view: torch.Tensor) -> torch.Tensor:
    """Mask (N, D) of the features outside the support. All angles of an agent must lie in the same interval."""
    if support == "counts":
        return (view < 0) | (view != view.round()) | (view > MAX_COUNT)
    if support == "simplex":
        return view < 0
    # Limits in the precision of the features, where pi is rounded as the angles are.
    half, full = (float(torch.tensor(limit, dtype=view.dtype)) for limit in (math.pi, 2 * math.pi))
    signed = (view < 0).any()
    return (view < -half) | (view > (half if signed else full))


def _check_constructor(spec: AgentSpec, place: str) -> None:
    """Check that a mixture of the user can be made. Raises UsageError."""
    try:
        _ = spec.mixture().feature_dim
    except ValueError:  # a hyperparameter: it is checked again for the latent dimension of the data
        return
    except Exception as error:  # code of the user may raise anything
        arguments = ", ".join(["latent", *(f"{name}={value:g}" for name, value in spec.prior.items())])
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        line = line_of(error, [spec.settings.mixture.partition(":")[0]])
        raise UsageError(f"{place} cannot be made with ({arguments}): {reason}{line}") from error


def _check_likelihood(kind: Any, place: str) -> None:
    """Check a likelihood of the user. Raises UsageError."""
    from mhng.models.likelihoods import Likelihood

    missing = [name for name in ("forward", "mean") if getattr(kind, name) is getattr(Likelihood, name)]
    if missing:
        raise UsageError(f"{place} does not define {' and '.join(missing)}")
    if not kind.has_network:
        raise UsageError(f"{place}: has_network is False; only --likelihood identity supports that")
    unknown = [name for name in kind.options if name != "noise"]
    if unknown:
        raise UsageError(f"{place}: options is {', '.join(map(repr, unknown))}; expected only 'noise'")
