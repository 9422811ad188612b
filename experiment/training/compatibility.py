"""The parts of agents that the settings name: whether they can be had, go together, and take these objects.

Every complaint is a `UsageError` that names the flag, and the agent where agents differ. Parts of the user's own
("module:attribute") are imported here, before anything else of a run happens.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from mhng.experiment.data.modalities import is_present
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.schema import SETTINGS, Config, flag, modality_count
from mhng.models.hyperparameters import hyperparameter_names
from mhng.models.mixtures.base import INPUT_SUPPORTS, Conjugate, InputSupport
from mhng.models.plugins import PluginError, is_plugin
from mhng.models.registry import FAMILIES, NETWORKS, resolve

# The largest count; float32 is exact up to it.
MAX_COUNT = 2**24
# Largest deviation of a simplex row's sum from 1: rounded input files.
_SUM_TOLERANCE = 1e-4
_REQUIREMENTS = {
    "counts": f"counts, whole numbers from 0 to {MAX_COUNT}",
    "angles": "angles that all lie in [-pi, pi] or all in [0, 2 pi)",
    "simplex": "non-negative features that sum to 1 for each object",
}


def parts_of(own: Config, who: str = "") -> dict[str, Any]:
    """The builder of each family for an agent with these settings; `who` names it. `UsageError` naming the flag."""
    found = {}
    for name in FAMILIES:
        given = getattr(own, name)
        try:
            found[name] = resolve(name, given)
        except PluginError as error:
            raise UsageError(f"{flag(name)} {given}{who}: {error}") from error
    if is_plugin(own.likelihood):
        _check_likelihood(found["likelihood"], f"{flag('likelihood')} {own.likelihood}{who}")
    return found


def check_parts(config: Config) -> None:
    """UsageError for an agent's parts that exclude each other, whatever the objects are."""
    for m, (name, own) in enumerate(config.per_agent.items()):
        who = per_agent.of_agent(config, name)
        parts = parts_of(own, who)
        mixture = parts["mixture"]
        if modality_count(config, m) > 1:
            try:
                parts["fusion"](parts["guide"])
            except ValueError as error:
                raise UsageError(f"--fusion {own.fusion}{who}, --guide {own.guide}: {error}") from None
        takes = hyperparameter_names(mixture)
        for one in own.prior.values:
            if one not in takes:
                raise UsageError(
                    f"--prior {own.prior}{who}: --mixture {own.mixture} has no {one}; it has {', '.join(takes)}"
                )
        if mixture.input_support not in INPUT_SUPPORTS:
            raise UsageError(
                f"--mixture {own.mixture}{who}: input_support is {mixture.input_support!r}; expected one of "
                f"{', '.join(INPUT_SUPPORTS)}"
            )
        if mixture.input_support != "real" and own.likelihood != "identity":
            raise UsageError(
                f"--mixture {own.mixture}{who} is for observed {mixture.input_support} and requires --likelihood "
                f"identity; it is {own.likelihood}"
            )
        if config.mode == "variational" and not (mixture.exact_evidence and issubclass(mixture, Conjugate)):
            raise UsageError(
                f"--mode variational needs what is expected of signs, which --mixture {own.mixture}{who} has not in "
                "closed form"
            )
        if config.split_merge and not mixture.exact_evidence:
            raise UsageError(
                f"--split-merge {config.split_merge} needs the evidence of signs, which --mixture "
                f"{own.mixture}{who} has not in closed form"
            )


def input_support(own: Config) -> InputSupport:
    """The values that an agent's observations must have; only real ones are standardised and reduced."""
    parts = parts_of(own)
    support: InputSupport = "counts" if parts["likelihood"].needs_counts else parts["mixture"].input_support
    return support


def check_sight(own: Config, view: torch.Tensor, name: str, who: str, dataset: str) -> None:
    """UsageError where the agent called `name` cannot look at such observations."""
    likelihood = parts_of(own)["likelihood"]
    support = input_support(own)
    if support != "real":
        _check_support(support, own, view, name, who, dataset)
    if view.dim() != 2:
        if own.likelihood == "identity":
            raise UsageError(f"--likelihood identity{who} needs feature vectors; the objects of {dataset} are images")
        return
    if likelihood.needs_unit_interval:
        raise UsageError(
            f"--likelihood {own.likelihood}{who} needs pixels in [0, 1]; the objects of {dataset} are feature "
            "vectors: give gaussian or identity"
        )
    if likelihood.has_network and own.network in NETWORKS and own.network != "mlp":
        raise UsageError(f"--network {own.network}{who} needs images; the objects of {dataset} are vectors")


def fits(own: Config, latent: int, name: str, who: str) -> None:
    """UsageError if percepts of `latent` dimensions are too many, or the mixture's hyperparameters unfit for them."""
    most = SETTINGS["latent_dim"].limits.most
    assert most is not None
    if own.likelihood == "identity" and latent > most:
        raise UsageError(
            f"--likelihood identity takes {most} features at most, and agent {name} has {latent}: give --reduce, or "
            "--likelihood gaussian"
        )
    try:
        parts_of(own)["mixture"](latent, **own.prior.values)
    except ValueError as error:
        raise UsageError(f"--prior {own.prior}{who}: {error}") from None


def _check_support(support: InputSupport, own: Config, view: torch.Tensor, name: str, who: str, dataset: str) -> None:
    """Raise UsageError naming the first feature outside the support."""
    part = "likelihood" if parts_of(own)["likelihood"].needs_counts else "mixture"
    requirement = f"{flag(part)} {getattr(own, part)}{who} requires {_REQUIREMENTS[support]}"
    if view.dim() != 2:
        raise UsageError(f"{requirement}; the objects of {dataset} are images")
    present = is_present(view).unsqueeze(1)
    outside = (_outside(support, view) & present).nonzero()
    if len(outside):
        n, d = outside[0].tolist()
        raise UsageError(
            f"{requirement}; object {n}, column {d} of agent {name} in {dataset} is {float(view[n, d]):g}"
        )
    if support == "simplex":
        total = view.double().sum(1, keepdim=True)
        wrong = (((total - 1).abs() > _SUM_TOLERANCE) & present).nonzero()
        if len(wrong):
            n = int(wrong[0, 0])
            raise UsageError(f"{requirement}; object {n} of agent {name} in {dataset} sums to {float(total[n]):g}")


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


def _check_likelihood(kind: Any, place: str) -> None:
    from mhng.models.likelihoods import Likelihood

    missing = [name for name in ("forward", "mean") if getattr(kind, name) is getattr(Likelihood, name)]
    if missing:
        raise UsageError(f"{place}: it has no {' and no '.join(missing)} of its own")
    if not kind.has_network:
        raise UsageError(f"{place}: has_network is False, and only --likelihood identity can do without networks")
    unknown = [name for name in kind.options if name != "noise"]
    if unknown:
        raise UsageError(f"{place}: it takes {', '.join(map(repr, unknown))}; only 'noise' can be given")
