"""Read the sites of a Pyro program: which of them are signs, beliefs, nuisance and observations.

signs         the sites on which the agents agree, named by a site name or a pattern such as "w_*": all discrete, or
              all continuous
beliefs       continuous latent sites
nuisance      the other discrete latent sites
observations  sites with `obs=`
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor
from torch.distributions import Independent, biject_to, constraints

# Most sites that a program may have summed out side by side: a tensor has at most 64 dimensions.
MOST_NUISANCE = 48


class Plate(NamedTuple):
    """A vectorised plate around a site."""

    name: str
    dim: int  # counted from the right, negative
    size: int


class Site(NamedTuple):
    """A latent site of a program."""

    name: str
    shape: torch.Size  # batch shape
    event: torch.Size  # event shape of a continuous site; () for a discrete one, whose values have indices
    plates: tuple[Plate, ...]
    support: Tensor | None  # (K, *event) values of a finite discrete site
    transform: Any  # from unconstrained to constrained values; None for a discrete site
    continuous: bool
    is_index: bool  # the values of a discrete site are 0, 1, ..., K - 1

    @property
    def K(self) -> int:  # noqa: N802 - the letter of the mathematics
        """The number of values."""
        assert self.support is not None
        return len(self.support)

    @property
    def size(self) -> int:
        """The number of coordinates: the indices of a discrete site, the numbers of a continuous one."""
        return (self.shape + self.event).numel()

    def values(self, index: Tensor) -> Tensor:
        """The values with these indices: (...) -> (..., *event). Continuous values are as they are."""
        return index if self.support is None or self.is_index else self.support[index]

    def indices(self, values: Tensor) -> Tensor:
        """The indices of values: (..., *event) -> (...). Continuous values are as they are."""
        if self.support is None:
            return values
        event = self.support.dim() - 1
        same = values.unsqueeze(values.dim() - event).eq(self.support)
        return (same.flatten(-event).all(-1) if event else same).to(torch.int64).argmax(-1)


@dataclass(frozen=True)
class Sites:
    """The sites of one program."""

    signs: tuple[Site, ...]
    beliefs: tuple[Site, ...]
    nuisance: tuple[Site, ...]
    observations: tuple[str, ...]
    parameters: Mapping[str, Tensor]
    nesting: int  # number of batch dimensions on the right that plates and batch shapes use


def run(program: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run the program once, unseen by outer handlers, and return its trace."""
    with poutine.block(), torch.no_grad():
        return poutine.trace(program).get_trace(*args, **kwargs)


class Quantiles(Messenger):
    """Draw continuous sites by their quantile functions, because samplers do not run under `torch.func.vmap`.

    Args:
        uniform: for each site, uniform numbers (D,).
    """

    def __init__(self, uniform: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.uniform = uniform

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] in self.uniform:
            distribution = message["fn"]
            u = self.uniform[message["name"]].reshape(distribution.batch_shape + distribution.event_shape)
            while isinstance(distribution, Independent):
                distribution = distribution.base_dist
            message["value"] = distribution.icdf(u)
            message["done"] = True


def is_density(node: Mapping[str, Any]) -> bool:
    """Whether a node of a trace has a log density: sample sites but those of plates."""
    return node["type"] == "sample" and not isinstance(node["fn"], _Subsample)


def plates_of(node: Mapping[str, Any]) -> tuple[Plate, ...]:
    """The vectorised plates around a node of a trace, outermost first."""
    return tuple(
        Plate(frame.name, frame.dim, frame.size) for frame in node["cond_indep_stack"] if frame.dim is not None
    )


def read_sites(agent: str, trace: Any, sign: str, guided: bool = False) -> Sites:
    """Sort the sites of a trace by role. guided: the agent has a guide, which continuous signs require.

    Raises:
        ValueError: no site matches `sign`, a sign is observed, a plate is subsampled, or a discrete site has no finite
            support.
    """
    _refuse_subsampling(agent, trace)
    nodes = {name: node for name, node in trace.nodes.items() if is_density(node)}
    latent = {name: _site(name, node) for name, node in nodes.items() if not node["is_observed"]}
    observations = tuple(name for name, node in nodes.items() if node["is_observed"])
    signs = tuple(site for site in latent.values() if fnmatchcase(site.name, sign))
    if not signs:
        if any(fnmatchcase(name, sign) for name in observations):
            raise ValueError(f"agent {agent}: site {sign!r} is observed; a sign must be latent, without obs=")
        near = difflib.get_close_matches(sign, latent, 1, 0.3)
        family = [name for name in latent if name.startswith(sign)]
        if len(family) > 1:
            near = [f"{sign}_*" if all(name.startswith(f"{sign}_") for name in family) else f"{sign}*"]
        hint = f"; did you mean {near[0]!r}?" if near else f"; its latent sites are {', '.join(latent) or 'none'}"
        raise ValueError(f"agent {agent}: the program has no site {sign!r}{hint}")
    for site in signs:
        if site.continuous != guided:
            remedy = "pass guide='gaussian', or a program that proposes it" if site.continuous else "remove guide="
            kind = "continuous" if site.continuous else "discrete"
            raise ValueError(f"agent {agent}: the sign {site.name!r} is {kind}; {remedy}")
        if site.support is None and not site.continuous:
            if event := tuple(nodes[site.name]["fn"].event_shape):
                raise ValueError(
                    f"agent {agent}: the sign {site.name!r} is one event of shape {event}, which has no list of "
                    "values; use a plate in place of .to_event()"
                )
            raise ValueError(
                f"agent {agent}: site {site.name!r} is discrete with infinitely many values; a sign needs a finite "
                "discrete support"
            )
    others = [site for site in latent.values() if site not in signs]
    nuisance = tuple(site for site in others if not site.continuous)
    for site in nuisance:
        if site.support is None:
            raise ValueError(
                f"agent {agent}: discrete site {site.name!r} has infinitely many values; expected a finite support"
            )
    if len(nuisance) > MOST_NUISANCE:
        raise ValueError(
            f"agent {agent}: {len(nuisance)} discrete sites to sum out; at most {MOST_NUISANCE}; "
            "put them into a plate, or pass nuisance='redraw'"
        )
    return Sites(
        signs,
        tuple(site for site in others if site.continuous),
        nuisance,
        observations,
        {name: node["value"] for name, node in trace.nodes.items() if node["type"] == "param"},
        max((len(node["fn"].batch_shape) for node in nodes.values()), default=0),
    )


def _site(name: str, node: Mapping[str, Any]) -> Site:
    distribution = node["fn"]
    continuous = not support_of(distribution).is_discrete
    support = None
    if not continuous and distribution.has_enumerate_support:
        values = distribution.enumerate_support(expand=False)
        support = values.reshape(len(values), *distribution.event_shape)
    transform = biject_to(support_of(distribution)) if continuous else None
    event = distribution.event_shape if continuous else torch.Size()
    is_index = support is not None and support.dtype == torch.int64 and support.equal(torch.arange(len(support)))
    return Site(name, distribution.batch_shape, event, plates_of(node), support, transform, continuous, is_index)


def support_of(distribution: Any) -> Any:
    """The support of a distribution; the real line for one that has none."""
    try:
        return distribution.support
    except NotImplementedError:
        return constraints.real


def _refuse_subsampling(agent: str, trace: Any) -> None:
    for name, node in trace.nodes.items():
        if node["type"] == "sample" and isinstance(node["fn"], _Subsample):
            size, whole = node["fn"].subsample_size, node["fn"].size
            if size is not None and size < whole:
                raise ValueError(
                    f"agent {agent}: plate {name!r} takes {size} of {whole} objects; "
                    "the game needs all of them, so remove subsample and subsample_size"
                )


def seeded(function: Callable[[], Any], seed: int = 0) -> Any:
    """Call a function with seeded global generators, and restore them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with pyro.validation_enabled(True):
            return function()
