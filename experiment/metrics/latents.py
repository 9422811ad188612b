"""Collapse of latents: whether q(z | x) differs from the prior, in nats per object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

# Latents that hold less do not tell a few classes apart. Our choice; two signs need log 2.
LEAST_NATS = 1.0


def latent_nats(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """KL of q(z | x) from the prior N(0, I) by agent, at the end of round 0, from rows of metrics.jsonl.

    Later rounds say less: their prior is the component of the sign, from which even good latents may not differ.
    """
    return {
        row["agent"]: row["kl"]
        for row in rows
        if row.get("kind") == "epoch" and row.get("round") == 0 and isinstance(row.get("kl"), float)
    }


def collapse(nats: Mapping[str, float], signs: int) -> str | None:
    """A clause on the agents whose latents have collapsed; None if there are none."""
    least = min(LEAST_NATS, math.log(signs))
    collapsed = {name: value for name, value in nats.items() if value < least}
    if not collapsed:
        return None
    values = ", ".join(f"{value:.2g}" for value in collapsed.values())
    agents = f"agent{'s' if len(collapsed) > 1 else ''} {', '.join(collapsed)}"
    return f"the percepts of {agents} hold {values} nats after round 0: the latents have collapsed"


REMEDY = "train with more gradient steps (--epochs, a smaller --batch-size), or another --likelihood"
