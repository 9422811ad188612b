"""The log density of a Pyro program at given values of its sites.

    log p(w)              the sites of the signs
    log p(x, theta | w)   all other sites, with discrete nuisance sites u summed out

Nuisance sites take all their values side by side, each in a batch dimension of its own on the left of all plates. They
are eliminated in reverse order of the program, so a chain of T sites costs T K^2 and not K^T. Pyro's EnumMessenger
does not run under `torch.func.vmap`; values given by `poutine.condition` do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor
from torch.distributions import Categorical, Independent, Multinomial, Normal
from torch.distributions.utils import probs_to_logits

from mhng.inference.programs.sites import Plate, Site, Sites, is_density, plates_of


class Density(NamedTuple):
    """A log density in two parts, for each object or in total."""

    prior: Tensor  # log p(w); 0 if it depends on nuisance sites, and then a part of the likelihood
    likelihood: Tensor  # log p(x, theta | w)

    @property
    def total(self) -> Tensor:
        """log p(x, theta, w)."""
        return self.prior + self.likelihood


class Factor(NamedTuple):
    """The log density of one site, or of several sites after an elimination."""

    value: Tensor
    plates: frozenset[Plate]


def density(
    program: Any,
    args: Any,
    kwargs: Any,
    sites: Sites,
    values: Mapping[str, Tensor],
    summed: Sequence[Site] = (),
    plate: str | None = None,
) -> Density:
    """The log density at `values` of signs and beliefs: (N,) for the objects of `plate`, or () in total.

    With a plate, sites outside it are left out: they must not depend on the signs.

    Args:
        summed: the nuisance sites to sum out; the other latent sites must have values.

    Raises:
        ValueError: a nuisance site cannot be summed out.
    """
    given = dict(values)
    for place, site in enumerate(summed):
        assert site.support is not None
        event = site.support.shape[1:]
        given[site.name] = site.support.reshape(site.K, *[1] * (sites.nesting + place), *event)
    factors = site_factors(program, args, kwargs, given)
    names = {site.name for site in sites.signs}
    prior = [factor for name, factor in factors.items() if name in names]
    rest = [factor for name, factor in factors.items() if name not in names]
    if any(_depends(factor, sites.nesting + place) for factor in prior for place in range(len(summed))):
        prior, rest = [], [*prior, *rest]
    rest = _eliminate(rest, summed, sites.nesting, plate)
    return Density(*torch.broadcast_tensors(total(prior, plate), total(rest, plate)))


def conditional_logits(
    program: Any, args: Any, kwargs: Any, sites: Sites, values: Mapping[str, Tensor], site: Site
) -> Tensor:
    """Unnormalised log p(u | all other values) of a nuisance site u: (K, *shape). Its elements are in plates.

    Raises:
        ValueError: the site has a batch dimension outside plates, so its elements may depend on each other.
    """
    if site.shape.numel() != torch.Size([plate.size for plate in site.plates]).numel():
        raise ValueError(f"discrete site {site.name!r} has a batch dimension without a plate; put it into a plate")
    assert site.support is not None
    event = site.support.shape[1:]
    held = {**values, site.name: site.support.reshape(site.K, *[1] * sites.nesting, *event)}
    logits = torch.zeros(site.K, *[1] * (sites.nesting - len(site.shape)), *site.shape, dtype=torch.float64)
    for factor in site_factors(program, args, kwargs, held).values():
        if _depends(factor, sites.nesting):
            logits = logits + _sum_over(factor.value.double(), factor.plates - frozenset(site.plates))
    return logits.reshape(site.K, *site.shape)


def site_factors(program: Any, args: Any, kwargs: Any, values: Mapping[str, Tensor]) -> dict[str, Factor]:
    """The log density of every site at given values, which replace observations too."""
    with pyro.validation_enabled(False), poutine.block():
        trace = poutine.trace(poutine.condition(program, data=values)).get_trace(*args, **kwargs)
        for node in trace.nodes.values():
            if is_density(node) and (log_prob := _log_prob(node["fn"], node["value"])) is not None:
                node["log_prob"] = scale_and_mask(log_prob, node["scale"], node["mask"])
        trace.compute_log_prob(lambda _, node: is_density(node))
    return {
        name: Factor(node["log_prob"], frozenset(plates_of(node)))
        for name, node in trace.nodes.items()
        if is_density(node)
    }


def _log_prob(distribution: Any, value: Tensor) -> Tensor | None:
    """The log density of frequent distributions in fewer operations than torch's; None for others and subclasses."""
    base, events = distribution, 0
    while isinstance(base, Independent):
        base, events = base.base_dist, events + base.reinterpreted_batch_ndims
    if type(base) in (Normal, pyro.distributions.Normal):
        return _normal(base, value, events)
    if type(base) in (Categorical, pyro.distributions.Categorical) and not events:
        return _categorical(base, value)
    return _multinomial(base, value) if isinstance(base, Multinomial) and not events else None


def _normal(distribution: Normal, value: Tensor, events: int) -> Tensor:
    """The log density of values (..., *event), summed over the last dimensions."""
    scale, squares = _distinct(distribution.scale), (value - distribution.loc).square()
    log_scale = (scale.log() + 0.5 * math.log(2 * math.pi)).expand(distribution.batch_shape)
    if scale.shape[scale.dim() - events :].numel() == 1:  # one scale for all elements of an event: divide their sum
        scaled = sum_rightmost(squares, events) / scale.reshape(scale.shape[: scale.dim() - events]).square()
    else:
        scaled = sum_rightmost(squares / scale.square(), events)
    return -0.5 * scaled - sum_rightmost(log_scale, events)


def _categorical(distribution: Categorical, value: Tensor) -> Tensor:
    """The log density of values. torch's own computes the logits of every element."""
    if "logits" in vars(distribution):
        logits = _distinct(distribution.logits)
    else:
        logits = probs_to_logits(_distinct(distribution.probs))
    shape = torch.broadcast_shapes(distribution.batch_shape, value.shape)
    if logits.shape[:-1].numel() == 1:
        return logits.reshape(-1)[value.long()].expand(shape)
    logits = logits.expand(*shape, logits.shape[-1])
    return logits.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)


def _distinct(values: Tensor) -> Tensor:
    """Values without the repeats of an expanded tensor: such dimensions have size 1."""
    for dim, stride in enumerate(values.stride()):
        if stride == 0 and values.shape[dim] > 1:
            values = values.narrow(dim, 0, 1)
    return values


def _multinomial(distribution: Multinomial, counts: Tensor) -> Tensor:
    """The log density of counts (..., D). torch's own takes a boolean mask, which does not run under vmap."""
    logits, counts = torch.broadcast_tensors(distribution.logits, counts)
    terms = torch.where(counts > 0, counts * logits, 0.0)
    return (counts.sum(-1) + 1).lgamma() - (counts + 1).lgamma().sum(-1) + terms.sum(-1)


def _depends(factor: Factor, place: int) -> bool:
    """Whether a factor has the batch dimension -1 - place."""
    return factor.value.dim() > place and factor.value.shape[-1 - place] > 1


def _eliminate(factors: list[Factor], summed: Sequence[Site], nesting: int, plate: str | None) -> list[Factor]:
    """Sum out nuisance sites: those in most plates first, then in reverse order of the program."""
    order = sorted(enumerate(summed), key=lambda pair: (len(pair[1].plates), pair[0]), reverse=True)
    for place, site in order:
        around = frozenset(site.plates)
        with_site = [factor for factor in factors if _depends(factor, nesting + place)]
        if not with_site:
            continue
        inside = frozenset.union(*(factor.plates for factor in with_site))
        if any(not around <= factor.plates for factor in with_site):
            raise ValueError(
                f"discrete site {site.name!r} cannot be summed out: a site outside its plate depends on it; "
                "pass nuisance='redraw'"
            )
        if plate in {other.name for other in inside - around}:
            raise ValueError(
                f"discrete site {site.name!r} is outside plate {plate!r}, so its sum couples the objects; "
                "pass nuisance='redraw', or use turns.whole()"
            )
        # Sites in further plates are a product over them, given this site.
        joint = sum(_sum_over(factor.value, factor.plates - around) for factor in with_site)
        factors = [factor for factor in factors if not _depends(factor, nesting + place)]
        factors.append(Factor(torch.as_tensor(joint).logsumexp(-1 - (nesting + place), keepdim=True), around))
    return factors


def _sum_over(value: Tensor, plates: frozenset[Plate]) -> Tensor:
    dims = [plate.dim for plate in plates if -plate.dim <= value.dim()]
    return value.sum(dims, keepdim=True) if dims else value


def total(factors: Sequence[Factor], plate: str | None) -> Tensor:
    """The sum of factors: a number, or (N,) along the plate for the factors inside it."""
    result: Any = torch.zeros((), dtype=torch.float64)
    for factor in factors:
        dims = [other.dim for other in factor.plates if other.name == plate]
        if plate is None:
            result = result + factor.value.double().sum()
        elif dims:
            by_object = factor.value.double().movedim(dims[0], -1)
            result = result + by_object.reshape(-1, by_object.shape[-1]).sum(0)
    return result
