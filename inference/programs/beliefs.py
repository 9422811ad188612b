"""Kernels that redraw an agent's beliefs theta given the signs.

Each kernel except `Variational` leaves p(theta | x, w) invariant:

    RandomWalk    Metropolis with Gaussian steps in the unconstrained space, all chains at once; beliefs inside the
                  plate of the turn are accepted object by object
    PyroKernel    a kernel of `pyro.infer.mcmc` (NUTS, HMC, RandomWalkKernel), chain by chain
    Variational   a mean-field normal fitted by SVI: inexact
    Function      a function of the user, for example a conjugate draw
    Fixed         beliefs stay as they are

Discrete nuisance sites that an agent does not sum out are drawn from their conditional (`redraw_nuisance`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import pyro
import torch
from pyro import poutine
from pyro.infer.mcmc.mcmc_kernel import MCMCKernel
from torch import Tensor

from mhng.inference.programs.player import ProgramPlayer
from mhng.inference.programs.sites import Site
from mhng.inference.programs.trial import user_errors
from mhng.models.rng import categorical

__all__ = ["Fixed", "Function", "Kernel", "PyroKernel", "RandomWalk", "Variational", "kernel_of", "redraw_nuisance"]

Values = Mapping[str, Tensor]


class Kernel(Protocol):
    """A kernel for one agent in one game."""

    exact: bool

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """New beliefs (C, ...) given signs (C, D). In warm-up the kernel may adapt."""


class Fixed:
    """Beliefs stay as they are."""

    exact = True

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """The same beliefs."""
        return dict(beliefs)


class Function:
    """A function `redraw(signs, values)` or `redraw(signs, values, data)` of the user; chains are the first dimension.

    signs: {site: (C, ...)}; values: {belief: (C, ...)}; data: {observed site: (C, ...)}. It returns new values of
    beliefs. `prove` requires `data`, because it simulates observations.
    """

    exact = True

    def __init__(self, function: Callable[..., Values]) -> None:
        self.function = function
        self.takes_data = len(inspect.signature(function).parameters) > 2

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """Call the function and check the shapes of its values."""
        arguments = [
            player.sign_values(signs),
            {name: v for name, v in beliefs.items() if name not in player.observed},
        ]
        if self.takes_data:
            data = {
                name: beliefs.get(name, value.expand(len(signs), *value.shape))
                for name, value in player.observed.items()
            }
            arguments.append(data)
        result = self.function(*arguments)
        if not (isinstance(result, Mapping) and all(isinstance(value, Tensor) for value in result.values())):
            raise ValueError(
                f"agent {player.name}: the beliefs function returns {type(result).__name__}; expected a dictionary of "
                "tensors, new values by belief"
            )
        drawn = {**beliefs, **result}
        for name, value in drawn.items():
            expected = beliefs[name].shape if name in beliefs else None
            if value.shape != expected:
                raise ValueError(
                    f"agent {player.name}: the beliefs function returns {name!r} of shape {tuple(value.shape)}; "
                    f"expected {tuple(expected) if expected is not None else 'a belief of the program'}"
                )
        return drawn


class RandomWalk:
    """Random-walk Metropolis for all chains at once.

    Beliefs in the plate of the turn are proposed together and accepted object by object; all others, with one
    acceptance for each chain. In warm-up both steps adapt to an acceptance of 0.234; afterwards they are fixed.
    """

    exact = True

    def __init__(self, step: float = 0.3) -> None:
        self.log_step = {True: math.log(step), False: math.log(step)}  # by object, by chain
        self._adaptations = 0

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """One step of every chain."""
        self._adaptations += warmup
        drawn = dict(beliefs)
        inner = {site.name for site in player.sites.beliefs if player.plate in {plate.name for plate in site.plates}}
        for by_object in (False, True):
            sites = [site for site in player.sites.beliefs if (site.name in inner) == by_object]
            if sites:
                drawn = self._step(player, signs, drawn, sites, player.plate if by_object else None, warmup)
        return drawn

    def _step(
        self,
        player: ProgramPlayer,
        signs: Tensor,
        beliefs: dict[str, Tensor],
        sites: Sequence[Site],
        plate: str | None,
        warmup: bool,
    ) -> dict[str, Tensor]:
        """Propose the beliefs of `sites`; accept by chain, or by object of the plate."""
        current = {site.name: site.transform.inv(beliefs[site.name]) for site in sites}
        scale = math.exp(self.log_step[plate is not None])
        proposed = {name: value + scale * torch.randn_like(value) for name, value in current.items()}
        moved = beliefs | {site.name: site.transform(proposed[site.name]) for site in sites}
        with torch.no_grad():
            log_ratio = player.log_density(signs, moved, plate).total - player.log_density(signs, beliefs, plate).total
        for site in sites:
            log_ratio = log_ratio + _volume(site, proposed[site.name], moved[site.name], plate)
            log_ratio = log_ratio - _volume(site, current[site.name], beliefs[site.name], plate)
        accepted = torch.rand_like(log_ratio).log() < log_ratio
        if warmup:
            rate = float(log_ratio.exp().clamp_max(1).nan_to_num().mean())
            self.log_step[plate is not None] += (rate - 0.234) * max(0.05, self._adaptations**-0.5)
        for site in sites:
            old, new = beliefs[site.name], moved[site.name]
            shape = [len(old)] + [1] * (old.dim() - 1)
            if plate is not None:
                place = _place(site, plate, old)
                shape[place] = old.shape[place]
            moved[site.name] = torch.where(accepted.reshape(shape), new, old)
        return moved


class Variational:
    """A mean-field normal q(theta) in the unconstrained space, fitted to p(theta | x, w), and one draw from it.

    Inexact: the beliefs follow q and not their posterior. Each redraw takes a few steps of Adam from the last q.
    """

    exact = False

    def __init__(self, steps: int = 20, rate: float = 0.05) -> None:
        self.steps, self.rate = steps, rate
        self._fitted: dict[str, tuple[Tensor, Tensor]] = {}

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """Fit q for every chain and draw from it."""
        transforms = {site.name: site.transform for site in player.sites.beliefs}
        for name, transform in transforms.items():
            if name not in self._fitted:
                place = transform.inv(beliefs[name]).detach()
                self._fitted[name] = (place.clone(), torch.full_like(place, -2.0))
        parameters = [part.requires_grad_() for pair in self._fitted.values() for part in pair]
        optimizer = torch.optim.Adam(parameters, lr=self.rate)
        with torch.enable_grad():
            for _ in range(self.steps):
                optimizer.zero_grad()
                drawn = {name: m + s.exp() * torch.randn_like(m) for name, (m, s) in self._fitted.items()}
                constrained = {name: transforms[name](value) for name, value in drawn.items()}
                bound = player.log_density(signs, {**beliefs, **constrained}).total
                for site in player.sites.beliefs:
                    log_scale = self._fitted[site.name][1]
                    bound = bound + _volume(site, drawn[site.name], constrained[site.name])
                    bound = bound + log_scale.reshape(len(log_scale), -1).sum(1)
                (-bound.sum()).backward()
                optimizer.step()
        drawn = {name: m + s.exp() * torch.randn_like(m) for name, (m, s) in self._fitted.items()}
        return {**beliefs, **{name: transforms[name](value).detach() for name, value in drawn.items()}}


class PyroKernel:
    """A kernel of Pyro on the program, conditioned on the signs; one kernel for each chain.

    Args:
        factory: a kernel class, or a function that makes a kernel from a model.
        warmup: warm-up sweeps, in which the kernel adapts.
    """

    exact = True

    def __init__(self, factory: Callable[..., Any], warmup: int, steps: int) -> None:
        self.factory, self.warmup = factory, warmup * steps
        self._chains: list[_Chain] = []

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """One step of every chain."""
        while len(self._chains) < len(signs):
            self._chains.append(_Chain(self.factory, player, self.warmup))
        drawn = []
        for c, chain in enumerate(self._chains):
            drawn.append(chain.redraw(player, signs[c], {name: value[c] for name, value in beliefs.items()}))
        return {name: torch.stack([values[name] for values in drawn]) for name in beliefs}


class _Chain:
    """One chain of a kernel of Pyro; the model reads the chain's signs at every call."""

    def __init__(self, factory: Callable[..., Any], player: ProgramPlayer, warmup: int) -> None:
        self.held: dict[str, Tensor] = {}
        self.warmup = warmup
        self.kernel = factory(lambda: poutine.condition(player.program, self.held)(*player.args, **player.kwargs))
        self.ready = False

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: dict[str, Tensor]) -> dict[str, Tensor]:
        transforms = {site.name: site.transform for site in player.sites.beliefs}
        kept = {name: value for name, value in beliefs.items() if name not in transforms}
        self.held.clear()
        self.held.update(player.sign_values(signs), **kept)
        with pyro.validation_enabled(False):  # a step may leave the support; the kernel rejects it
            return {**kept, **self._step(transforms, beliefs)}

    def _step(self, transforms: Mapping[str, Any], beliefs: Values) -> dict[str, Tensor]:
        """One step of the kernel."""
        if not self.ready:
            self.kernel.setup(self.warmup)
            self.ready = True
        params = {name: transform.inv(beliefs[name]) for name, transform in transforms.items()}
        # The signs have changed since the last call, and with them the density that a kernel remembers.
        if hasattr(self.kernel, "clear_cache"):
            self.kernel.clear_cache()
        else:
            self.kernel._energy_last = self.kernel.potential_fn(params)
        params = self.kernel.sample(params)
        return {name: transforms[name](value.detach()) for name, value in params.items()}


def kernel_of(player: ProgramPlayer, warmup: int) -> Kernel:
    """The kernel that an agent's argument `beliefs` names.

    Raises:
        ValueError: an unknown choice, or a choice for a program without beliefs.
    """
    chosen, has_beliefs = player.beliefs, bool(player.sites.beliefs)
    if not has_beliefs:
        if chosen not in (None, "fixed"):
            raise ValueError(
                f"agent {player.name}: beliefs is {chosen!r}, but the program has no continuous latent site; "
                "remove beliefs="
            )
        return Fixed()
    if isinstance(chosen, MCMCKernel):
        kind = type(chosen).__name__
        raise ValueError(
            f"agent {player.name}: beliefs is an object of {kind}; pass the class {kind}, or "
            f"functools.partial({kind}, ...), because each chain has a kernel"
        )
    if chosen in (None, "random-walk"):
        return RandomWalk()
    if chosen == "fixed":
        return Fixed()
    if chosen == "svi":
        return Variational()
    if isinstance(chosen, str) or not callable(chosen):
        raise ValueError(
            f"agent {player.name}: beliefs is {chosen!r}; expected 'random-walk', 'svi', 'fixed', "
            "a Pyro kernel such as NUTS, or a function"
        )
    return PyroKernel(chosen, warmup, player.steps) if _makes_kernels(chosen) else Function(chosen)


def check_kernel(player: ProgramPlayer, kernel: Kernel) -> None:
    """Call a beliefs function once, with two chains. Raises ValueError."""
    if isinstance(kernel, Function):
        signs, beliefs = player.sign_starts(2), player.starts(2)
        with user_errors(player.name, "the beliefs function fails with two chains"):
            kernel.redraw(player, signs, beliefs, False)


def _makes_kernels(chosen: Any) -> bool:
    made = getattr(chosen, "func", chosen)  # functools.partial
    return isinstance(made, type) and issubclass(made, MCMCKernel)


def redraw_nuisance(player: ProgramPlayer, signs: Tensor, beliefs: Values) -> dict[str, Tensor]:
    """Draw each nuisance site that is not summed out from its conditional."""
    drawn = dict(beliefs)
    for site in player.redrawn:
        logits = player.nuisance_logits(signs, drawn, site)
        drawn[site.name] = site.values(categorical(None, logits.movedim(1, -1)))
    return drawn


def _place(site: Site, plate: str, values: Tensor) -> int:
    """The dimension of the plate in values (C, *shape, *event)."""
    (dim,) = (frame.dim for frame in site.plates if frame.name == plate)
    return values.dim() + dim - len(site.event)


def _volume(site: Site, unconstrained: Tensor, constrained: Tensor, plate: str | None = None) -> Tensor:
    """Log absolute determinant of the Jacobian of a site's transform: (C,), or (C, N) along the plate."""
    log_det = site.transform.log_abs_det_jacobian(unconstrained, constrained)
    if plate is None:
        return log_det.reshape(len(log_det), -1).sum(1)
    by_object = log_det.movedim(_place(site, plate, constrained), 1)
    return by_object.reshape(*by_object.shape[:2], -1).sum(2)
