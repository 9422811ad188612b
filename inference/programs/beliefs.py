"""Kernels that redraw an agent's beliefs theta given the signs.

Each kernel leaves p(theta | x, w) invariant, but for `Variational`:

    RandomWalk    Metropolis with Gaussian steps in the unconstrained space, all chains at once
    PyroKernel    a kernel of `pyro.infer.mcmc` (NUTS, HMC, RandomWalkKernel), chain by chain
    Variational   a mean-field normal fitted by SVI: inexact
    Function      a function of the user, for example a conjugate draw
    Fixed         beliefs stay as they are

Discrete nuisance sites that an agent does not sum out are drawn from their conditional (`redraw_nuisance`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from pyro import poutine
from torch import Tensor

from mhng.inference.programs.player import ProgramPlayer
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
    """A function `redraw(signs, values)` of the user, with chains as the first dimension.

    signs: {site: (C, ...)}; values: {belief: (C, ...)}. It returns new values of beliefs.
    """

    exact = True

    def __init__(self, function: Callable[[dict[str, Tensor], dict[str, Tensor]], Values]) -> None:
        self.function = function

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """Call the function and check the shapes of its values."""
        drawn = {**beliefs, **self.function(player.sign_values(signs), dict(beliefs))}
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

    In warm-up the step adapts to an acceptance of 0.234, one step for all chains; afterwards it is fixed.
    """

    exact = True

    def __init__(self, step: float = 0.3) -> None:
        self.log_step = math.log(step)
        self._adaptations = 0

    def redraw(self, player: ProgramPlayer, signs: Tensor, beliefs: Values, warmup: bool) -> dict[str, Tensor]:
        """One step of every chain."""
        transforms = {site.name: site.transform for site in player.sites.beliefs}
        current = {name: transforms[name].inv(value) for name, value in beliefs.items() if name in transforms}
        scale = math.exp(self.log_step)
        proposed = {name: value + scale * torch.randn_like(value) for name, value in current.items()}
        constrained = {**beliefs, **{name: transforms[name](value) for name, value in proposed.items()}}
        with torch.no_grad():
            log_ratio = player.log_density(signs, constrained).total - player.log_density(signs, beliefs).total
        for name in current:
            log_ratio = log_ratio + _volume(transforms[name], proposed[name], constrained[name])
            log_ratio = log_ratio - _volume(transforms[name], current[name], beliefs[name])
        accepted = torch.rand_like(log_ratio).log() < log_ratio
        if warmup:
            self._adaptations += 1
            rate = float(log_ratio.exp().clamp_max(1).nan_to_num().mean())
            self.log_step += (rate - 0.234) * max(0.05, self._adaptations**-0.5)
        return {
            name: torch.where(accepted.view(-1, *[1] * (value.dim() - 1)), constrained[name], value)
            for name, value in beliefs.items()
        }


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
                for name, (_, log_scale) in self._fitted.items():
                    bound = bound + _volume(transforms[name], drawn[name], constrained[name])
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
        return {**kept, **{name: transforms[name](value.detach()) for name, value in params.items()}}


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


def _makes_kernels(chosen: Any) -> bool:
    from pyro.infer.mcmc.mcmc_kernel import MCMCKernel

    made = getattr(chosen, "func", chosen)  # functools.partial
    return isinstance(made, type) and issubclass(made, MCMCKernel)


def redraw_nuisance(player: ProgramPlayer, signs: Tensor, beliefs: Values) -> dict[str, Tensor]:
    """Draw each nuisance site that is not summed out from its conditional."""
    drawn = dict(beliefs)
    for site in player.redrawn:
        logits = player.nuisance_logits(signs, drawn, site)
        drawn[site.name] = site.values(categorical(None, logits.movedim(1, -1)))
    return drawn


def _volume(transform: Any, unconstrained: Tensor, constrained: Tensor) -> Tensor:
    """(C,) log absolute determinant of the Jacobian of a transform."""
    log_det = transform.log_abs_det_jacobian(unconstrained, constrained)
    return log_det.reshape(len(log_det), -1).sum(1)
