"""Checks that programs make one game: the same signs, the same prior of signs, no shared parameters, right plates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mhng.inference.programs.density import site_factors
from mhng.inference.programs.guides import check_guide
from mhng.inference.programs.player import GAUSSIAN, ProgramPlayer
from mhng.inference.programs.sites import Site
from mhng.inference.programs.trial import user_errors
from mhng.inference.programs.turns import Step

# Sign vectors at which densities are compared, and the relative tolerance: programs may use float32.
_TRIES = 4
_TOLERANCE = 1e-5


def check_agreement(players: Sequence[ProgramPlayer], prior_once: bool, steps: Sequence[Step]) -> None:
    """Check that programs make one game, at a few random signs. Raises ValueError."""
    first, *others = players
    for player in others:
        if _shapes(player.sites.signs) != _shapes(first.sites.signs):
            raise ValueError(
                f"the signs differ: {_shapes(first.sites.signs)} in agent {first.name}, "
                f"{_shapes(player.sites.signs)} in agent {player.name}; give all agents "
                "the same objects and values of signs"
            )
        _check_plate_names(first, player, steps)
    _refuse_shared_parameters(players)
    plates = {step.plate for step in steps}
    for player in players:
        if callable(player.guide):
            check_guide(player, plates)
    signs = random_signs(first, _TRIES)
    if first.guide is None:
        changed = (signs + 1) % torch.tensor([site.K for site in first.sites.signs for _ in range(site.size)])
    else:
        changed = random_signs(first, _TRIES)
    for player in players:
        with user_errors(player.name, "the program fails at random signs"):
            player.log_density(signs, player.starts(len(signs)))
    if prior_once:
        _check_priors(players, signs)
    for player in players:
        for step in steps:
            with user_errors(player.name, f"the program fails at random signs of plate {step.plate!r}"):
                if step.plate is not None:
                    _check_plate(player, step, signs, changed)
                if player.guide == GAUSSIAN:
                    _check_gaussian(player, step, signs)
        player.plate = next(iter(plates)) if len(plates) == 1 else None


def random_signs(player: ProgramPlayer, chains: int) -> Tensor:
    """Signs (C, D): uniform indices of discrete values, or draws from the prior of continuous ones."""
    if player.guide is not None:
        return player.sign_starts(chains)
    return torch.cat([torch.randint(site.K, (chains, site.size)) for site in player.sites.signs], dim=1)


def _shapes(signs: Sequence[Site]) -> str:
    return ", ".join(
        f"{site.name} of shape {tuple(site.shape + site.event)}"
        + (" with continuous values" if site.support is None else f" with {site.K} values")
        for site in signs
    )


def _check_plate_names(first: ProgramPlayer, player: ProgramPlayer, steps: Sequence[Step]) -> None:
    """Check that signs lie in the plates of the turns in all programs."""
    played = {step.plate for step in steps}
    for expected, site in zip(first.sites.signs, player.sites.signs, strict=True):
        theirs, ours = ([(p.name, p.dim) for p in s.plates if p.name in played] for s in (expected, site))
        if theirs != ours:
            around = ", ".join(repr(plate.name) for plate in site.plates) or "none"
            raise ValueError(
                f"agent {player.name}: the sign {site.name!r} is in plate {around}; in agent {first.name} it is in "
                f"plate {', '.join(repr(plate.name) for plate in expected.plates)}; give them one name"
            )


def _refuse_shared_parameters(players: Sequence[ProgramPlayer]) -> None:
    owners: dict[int, ProgramPlayer] = {}
    for player in players:
        named = {name: _stored(tensor) for name, tensor in player.sites.parameters.items()}
        if isinstance(player.program, nn.Module):
            named |= dict(player.program.named_parameters())
        for name, tensor in named.items():
            owner = owners.setdefault(id(tensor), player)
            if owner is not player:
                raise ValueError(
                    f"agents {owner.name} and {player.name} share the parameter {name!r}; "
                    "parameters stay in their agent, so give each agent its own"
                )


def _stored(parameter: Any) -> Any:
    """The tensor in Pyro's parameter store; a constrained parameter is a function of it."""
    return parameter.unconstrained() if hasattr(parameter, "unconstrained") else parameter


def _check_priors(players: Sequence[ProgramPlayer], signs: Tensor) -> None:
    remedy = "give all agents one known prior, or pass prior='each' for a product of experts"
    expected: Tensor | None = None
    for player in players:
        prior, other = (player.log_density(signs, player.starts(len(signs))).prior for _ in range(2))
        site = player.sites.signs[0].name
        if player.summed and bool((prior == 0).all()):
            raise ValueError(f"agent {player.name}: the prior of {site!r} depends on a discrete site; {remedy}")
        if not _close(prior, other):
            raise ValueError(f"agent {player.name}: the prior of {site!r} depends on a latent site; {remedy}")
        if expected is None:
            expected = prior
        elif not _close(expected, prior):
            n = int((expected - prior).abs().nan_to_num().argmax())
            raise ValueError(
                f"the priors of {site!r} differ: log p(w) of the same signs is {float(expected[n]):.4f} for agent "
                f"{players[0].name} and {float(prior[n]):.4f} for agent {player.name}; {remedy}"
            )


def _check_plate(player: ProgramPlayer, step: Step, signs: Tensor, others: Tensor) -> None:
    """Compare, for new signs and beliefs of one object, the change of its density with the change of the whole."""
    assert step.plate is not None
    beliefs, other_beliefs = player.starts(len(signs)), player.starts(len(signs))
    rows = torch.arange(len(signs))
    block = torch.randint(len(step.coordinates), (len(signs),))
    places = step.coordinates[block]  # (C, B)
    moved, new_beliefs = signs.clone(), dict(beliefs)
    moved[rows.unsqueeze(1), places] = others[rows.unsqueeze(1), places]
    for site in player.sites.beliefs:
        dims = [plate.dim for plate in site.plates if plate.name == step.plate]
        if dims:
            inside = beliefs[site.name].clone().movedim(dims[0] - len(site.event), 1)
            inside[rows, block] = other_beliefs[site.name].movedim(dims[0] - len(site.event), 1)[rows, block]
            new_beliefs[site.name] = inside.movedim(1, dims[0] - len(site.event))
    pairs = ((signs, beliefs), (moved, new_beliefs))
    by_object = [player.log_density(*pair, step.plate).total[rows, block] for pair in pairs]
    whole = [player.log_density(*pair).total for pair in pairs]
    if _close(by_object[1] - by_object[0], whole[1] - whole[0], 1 + whole[0].abs()):
        return
    for c in rows.tolist():
        here, there = (
            site_factors(
                player.program,
                player.args,
                player.kwargs,
                {**player.sign_values(w[c]), **{name: value[c] for name, value in theta.items()}},
            )
            for w, theta in pairs
        )
        for name, factor in here.items():
            outside = step.plate not in {plate.name for plate in factor.plates}
            if outside and not _close(factor.value.sum(), there[name].value.sum()):
                raise ValueError(
                    f"agent {player.name}: site {name!r} is outside plate {step.plate!r} but depends on its signs; "
                    f"put it into the plate, or use turns.stretch(T)"
                )
    raise ValueError(
        f"agent {player.name}: in plate {step.plate!r} the density of an object depends on the signs of other "
        "objects; use turns.stretch(T)"
    )


def _check_gaussian(player: ProgramPlayer, step: Step, signs: Tensor) -> None:
    """Compare the curvature of the log density in the signs at random signs, given the same beliefs."""
    beliefs = {name: value[:1].expand_as(value) for name, value in player.starts(len(signs)).items()}
    point = torch.tensor(-2.0)
    unbounded = all(site.event or site.transform(point) == point for site in player.sites.signs)
    try:
        precision = player.gaussian(signs, beliefs, step).precision
        torch.linalg.cholesky(precision)
        same = bool(((precision - precision[:1]).abs() <= 1e-4 * precision.abs().amax()).all())
    except RuntimeError:  # no derivative, or no positive curvature
        same = False
    if not (same and unbounded):
        raise ValueError(
            f"agent {player.name}: given beliefs, the log density is not quadratic in {player.sites.signs[0].name!r}; "
            "pass guide=, a program that proposes it"
        )


def _close(a: Tensor, b: Tensor, scale: Tensor | float = 1.0) -> bool:
    finite = a.isfinite() & b.isfinite()
    return bool(((a - b).abs() <= _TOLERANCE * (scale + a.abs() + b.abs()))[finite].all())
