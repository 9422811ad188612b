"""Checks of a program that proposes continuous signs (`guide=` of a player)."""

from __future__ import annotations

from pyro import poutine
from torch import Tensor

from mhng.inference.programs.player import ProgramPlayer
from mhng.inference.programs.sites import is_density, plates_of, support_of
from mhng.inference.programs.trial import shape_of, traced

# Draws from the prior at which a guide must have a density.
_DRAWS = 200


def check_guide(player: ProgramPlayer, plates: set[str | None]) -> None:
    """Check that a program as a guide proposes the sign, wherever the prior has mass. Raises ValueError.

    plates: plates of the game's turns.
    """
    guide, agent, signs = player.guide, player.name, {site.name: site for site in player.sites.signs}
    assert callable(guide)
    drawn, beliefs = player.sign_starts(_DRAWS), player.starts(_DRAWS)
    free = traced(agent, "the guide", guide, player.args, player.kwargs)
    known = {*signs, *(site.name for site in player.sites.beliefs + player.redrawn)}
    sites = {name: node for name, node in free.nodes.items() if is_density(node)}
    for name in sites:
        if name not in known:
            raise ValueError(
                f"agent {agent}: the guide has the site {name!r}, which is neither the sign nor a belief of the "
                "program; a guide samples the sign, and beliefs under their names"
            )
    for name, site in signs.items():
        if name not in sites:
            raise ValueError(f"agent {agent}: the guide has no site {name!r}; sample the sign in it")
        value, expected = sites[name]["value"], (*site.shape, *site.event)
        if tuple(value.shape) != expected:
            raise ValueError(
                f"agent {agent}: the guide draws {name!r} of shape {shape_of(value)}; expected {expected}, as in the "
                "program"
            )
        around = {plate.name for plate in plates_of(sites[name])}
        for plate in plates - {None}:
            if plate not in around:
                raise ValueError(
                    f"agent {agent}: the guide draws {name!r} outside plate {plate!r}; put it into the plate, or pass "
                    "turn=turns.whole()"
                )
    for c in range(_DRAWS):
        held = {name: value[c] for name, value in beliefs.items()} | player.sign_values(drawn[c])
        nodes = traced(agent, "the guide", poutine.condition(guide, data=held), player.args, player.kwargs).nodes
        for name in signs:
            distribution, value = nodes[name]["fn"], nodes[name]["value"]
            inside = support_of(distribution).check(value).all()
            if not (inside and distribution.log_prob(value).isfinite().all()):
                raise ValueError(
                    f"agent {agent}: the guide of {name!r} must cover the support of the prior; it has no density at "
                    f"{name} = {_numbers(value)}, a draw from the prior"
                )


def _numbers(value: Tensor) -> str:
    """At most four numbers of a tensor."""
    numbers = [f"{number:.3g}" for number in value.reshape(-1)[:4].tolist()]
    return ", ".join([*numbers, *(["..."] if value.numel() > 4 else [])])
