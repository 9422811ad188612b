"""An agent that is a user's Pyro program.

The program has discrete latent sites of signs w, continuous latent sites theta (the agent's beliefs), discrete
nuisance sites u, and observations x. Its table is

    L(w) = sum_u p(u, x, theta | w)

for all joint values of a block of signs: the program runs with the signs held at each of them, under
`torch.func.vmap` over values and chains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from mhng.inference.programs.density import Density, conditional_logits, density, site_factors, total
from mhng.inference.programs.gaussian import Gaussian, conditional
from mhng.inference.programs.sites import Quantiles, Site, Sites, read_sites, run
from mhng.inference.programs.trial import check_observations, traced
from mhng.inference.programs.turns import Step

# Most numbers in one tensor of a batched evaluation.
_CHUNK = 2**22
# Most runs of a program for starting values: further chains repeat them.
MOST_STARTS = 1000

# The guide that draws from the Gaussian conditional.
GAUSSIAN = "gaussian"

Values = Mapping[str, Tensor]
Parts = tuple[Tensor, ...]


class ProgramPlayer:
    """A Pyro program as an agent of a `NamingGame`.

    Args:
        program: a Pyro program: any callable with `pyro.sample` statements.
        args, kwargs: its arguments, for example the agent's observations.
        beliefs: how continuous latent sites are redrawn given the signs (`mhng.inference.programs.beliefs`):
            "random-walk" (the default), a Pyro kernel such as NUTS, HMC or `functools.partial(HMC, step_size=0.1)`,
            a function `redraw(signs, values)`, "svi" (inexact), or "fixed".
        guide: for a continuous sign, "gaussian" or a Pyro program. "gaussian" draws from p(w | x, theta); it requires
            that log p(w, x | theta) is quadratic in w. A program has the same arguments and proposes the sign,
            q(w | x, theta). It may sample the sites of beliefs too; these are held at their current values.
        nuisance: "sum" sums discrete nuisance sites out, "redraw" draws them from their conditional.
        steps: redraws of the beliefs in each turn as a listener.
        vmap: whether the program runs under `torch.func.vmap`. False: a loop, for programs that branch on values.

    Raises:
        ValueError: an unknown choice.
    """

    def __init__(
        self,
        program: Callable[..., Any],
        *args: Any,
        beliefs: Any = None,
        guide: Callable[..., Any] | str | None = None,
        nuisance: str = "sum",
        steps: int = 1,
        vmap: bool = True,
        **kwargs: Any,
    ) -> None:
        if not callable(program):
            raise ValueError(
                f"program is of type {type(program).__name__}; pass the function and then its arguments, as in "
                "ProgramPlayer(points, x)"
            )
        if nuisance not in ("sum", "redraw"):
            raise ValueError(f"nuisance is {nuisance!r}; expected 'sum' or 'redraw'")
        if isinstance(guide, str) and guide != GAUSSIAN:
            raise ValueError(f"guide is {guide!r}; expected {GAUSSIAN!r} or a program")
        self.program, self.guide, self.args, self.kwargs = program, guide, args, kwargs
        self.beliefs, self.nuisance, self.steps, self.vmap = beliefs, nuisance, steps, vmap
        self.name = getattr(program, "__name__", type(program).__name__)
        self.sites: Sites
        self.observed: dict[str, Tensor] = {}
        # The plate whose objects are independent given the other beliefs, once the game has checked it.
        self.plate: str | None = None

    def read(self, name: str, sign: str) -> None:
        """Read the sites of the program, as the agent `name` in a game about `sign`."""
        self.name = name
        trace = traced(name, "the program", self.program, self.args, self.kwargs)
        self.sites = read_sites(name, trace, sign, self.guide is not None)
        check_observations(name, trace)
        self.observed = {site: trace.nodes[site]["value"] for site in self.sites.observations}

    @property
    def summed(self) -> tuple[Site, ...]:
        """Nuisance sites that are summed out."""
        return self.sites.nuisance if self.nuisance == "sum" else ()

    @property
    def redrawn(self) -> tuple[Site, ...]:
        """Nuisance sites that are redrawn; their indices are among the beliefs' values."""
        return self.sites.nuisance if self.nuisance == "redraw" else ()

    def starts(self, chains: int) -> dict[str, Tensor]:
        """Values (C, ...) of beliefs and redrawn nuisance sites from the prior of the program."""
        sites = self.sites.beliefs + self.redrawn
        if not sites:
            return {}
        draws = [run(self.program, self.args, self.kwargs).nodes for _ in range(min(chains, MOST_STARTS))]
        places = torch.arange(chains) % len(draws)
        return {site.name: torch.stack([nodes[site.name]["value"] for nodes in draws])[places] for site in sites}

    def sign_starts(self, chains: int) -> Tensor:
        """Signs (C, D) from the prior of the program."""
        draws = [run(self.program, self.args, self.kwargs).nodes for _ in range(min(chains, MOST_STARTS))]
        signs = [
            torch.cat([site.indices(nodes[site.name]["value"]).reshape(-1) for site in self.sites.signs])
            for nodes in draws
        ]
        return torch.stack(signs)[torch.arange(chains) % len(draws)]

    def log_density(self, signs: Tensor, beliefs: Values, plate: str | None = None) -> Density:
        """The log density for every chain: signs (C, D) and beliefs (C, ...) -> (C,), or (C, N) along the plate."""
        return Density(*self._map(lambda w, theta: self._density(w, theta, plate), signs, beliefs))

    def log_beliefs(self, signs: Tensor, beliefs: Values) -> Tensor:
        """The log density of the beliefs alone, (C,); nuisance sites that are summed out are at their first value."""

        def of_chain(w: Tensor, theta: Values) -> tuple[Tensor]:
            held = {site.name: site.values(torch.zeros(site.shape, dtype=torch.int64)) for site in self.summed}
            factors = site_factors(self.program, self.args, self.kwargs, {**held, **self.sign_values(w), **theta})
            names = [site.name for site in self.sites.beliefs]
            return (sum((factors[name].value.double().sum() for name in names), torch.zeros((), dtype=torch.float64)),)

        return self._map(of_chain, signs, beliefs)[0]

    def propose(self, signs: Tensor, beliefs: Values, step: Step) -> Tensor:
        """Continuous signs (C, D) from the guide; the current `signs` (C, D) do not matter to it.

        Distributions with a quantile function run for all chains at once; with others the guide runs in a loop.
        """
        sites, drawn = self.sites.signs, signs.clone()
        if self.guide == GAUSSIAN:
            drawn[:, step.coordinates] = self.gaussian(torch.zeros_like(signs), beliefs, step).draw()
            return drawn

        def of_chain(u: Tensor, theta: Values) -> tuple[Tensor]:
            uniform = {site.name: part for site, part in zip(sites, u.split([s.size for s in sites]), strict=True)}
            guide = Quantiles(uniform)(poutine.condition(self.guide, data=theta))
            nodes = run(guide, self.args, self.kwargs).nodes
            return (torch.cat([nodes[site.name]["value"].reshape(-1) for site in sites]),)

        def one(c: int) -> Tensor:
            theta = {name: value[c] for name, value in beliefs.items()}
            nodes = run(poutine.condition(self.guide, data=theta), self.args, self.kwargs).nodes
            return torch.cat([nodes[site.name]["value"].reshape(-1) for site in sites])

        try:
            u = torch.rand(signs.shape, dtype=torch.float64)
            return self._map(of_chain, u.clamp(1e-15, 1 - 1e-15), beliefs)[0]
        except NotImplementedError:  # no quantile function
            return torch.stack([one(c) for c in range(len(signs))])

    def log_guide(self, signs: Tensor, beliefs: Values, step: Step) -> Tensor:
        """log q(w | x, theta) of the guide: (C,), or (C, N) along the plate of the step."""
        names = {site.name for site in self.sites.signs}
        if self.guide == GAUSSIAN:
            log_q = self.gaussian(torch.zeros_like(signs), beliefs, step).log_prob(signs[:, step.coordinates])
            return log_q if step.plate is not None else log_q.squeeze(1)

        def of_chain(w: Tensor, theta: Values) -> tuple[Tensor]:
            factors = site_factors(self.guide, self.args, self.kwargs, {**theta, **self.sign_values(w)})
            return (total([factor for name, factor in factors.items() if name in names], step.plate),)

        return self._map(of_chain, signs, beliefs)[0]

    def gaussian(self, signs: Tensor, beliefs: Values, step: Step) -> Gaussian:
        """The Gaussian conditional of the blocks of a step, by the density around `signs` (C, D)."""

        def of_chain(w: Tensor, theta: Values) -> Parts:
            return conditional(lambda v: self._density(v, theta, step.plate).total.sum(), w, step.coordinates)

        return Gaussian(*self._map(of_chain, signs, beliefs))

    def table(self, signs: Tensor, beliefs: Values, step: Step) -> Density:
        """The log density for every chain, block and joint value of it: (C, G, V); signs (C, D)."""

        def by_value(w: Tensor, theta: Values) -> Parts:
            blocks = step.values.unsqueeze(1).expand(-1, len(step.coordinates), -1)
            varied = w.expand(len(blocks), -1).clone()
            varied = varied.index_put((torch.arange(len(blocks)).view(-1, 1, 1), step.coordinates), blocks)
            return self._map(lambda w, _: self._density(w, theta, step.plate), varied, {})

        parts = self._map(by_value, signs, beliefs, len(step.values))
        return Density(*((part.unsqueeze(-1) if step.plate is None else part).mT for part in parts))

    def nuisance_logits(self, signs: Tensor, beliefs: Values, site: Site) -> Tensor:
        """Unnormalised log p(u | all other values) for every chain: (C, K, *shape)."""

        def of_chain(w: Tensor, theta: Values) -> tuple[Tensor]:
            values = {**theta, **self.sign_values(w)}
            return (conditional_logits(self.program, self.args, self.kwargs, self.sites, values, site),)

        return self._map(of_chain, signs, beliefs, site.K)[0]

    def _density(self, signs: Tensor, beliefs: Values, plate: str | None) -> Density:
        """The log density of one chain: signs (D,)."""
        values = {**self.sign_values(signs), **beliefs}
        return density(self.program, self.args, self.kwargs, self.sites, values, self.summed, plate)

    def sign_values(self, signs: Tensor) -> dict[str, Tensor]:
        """The values of the sites of the signs: indices (..., D) -> {site: (..., *shape)}."""
        parts = signs.split([site.size for site in self.sites.signs], dim=-1)
        return {
            site.name: site.values(part.reshape((*signs.shape[:-1], *site.shape, *site.event)))
            for site, part in zip(self.sites.signs, parts, strict=True)
        }

    def _map(self, function: Callable[..., Parts], signs: Tensor, beliefs: Values, width: int = 1) -> Parts:
        """Apply a function of one chain to signs (C, D) and beliefs (C, ...); width: values that it tries itself."""
        if not self.vmap:
            rows = [function(w, {name: value[c] for name, value in beliefs.items()}) for c, w in enumerate(signs)]
            return tuple(torch.stack(part) for part in zip(*rows, strict=True))
        if len(signs) == 1:  # faster than vmap
            return tuple(part.unsqueeze(0) for part in function(signs[0], {n: v[0] for n, v in beliefs.items()}))
        size = max([signs.shape[1], *(value[0].numel() for value in beliefs.values())])
        chunk = max(1, _CHUNK // (width * size))
        try:
            parts: Parts = torch.func.vmap(function, chunk_size=chunk)(signs, dict(beliefs))
            return parts
        except RuntimeError as error:
            if "vmap" not in str(error) and "data-dependent" not in str(error):
                raise
            reason = str(error).splitlines()[0][:100]
            raise ValueError(
                f"agent {self.name}: the program does not run under vmap ({reason}); remove .item(), "
                "validate_args=True and branches on sampled values, or pass vmap=False"
            ) from error
