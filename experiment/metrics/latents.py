"""Collapse of latents: whether q(z | x) differs from the prior, in nats per object."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

# Latents that hold less do not tell a few classes apart. Our choice; two signs need log 2.
LEAST_NATS = 1.0


def latent_nats(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """KL of q(z | x) from the prior by agent, at the end of round 0 or of the last epoch, whichever is larger.

    rows: those of metrics.jsonl. In later rounds the prior is the component of the sign, so the KL of good latents
    may be small there.
    """
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in rows:
        if row.get("kind") == "epoch" and isinstance(row.get("kl"), float):
            last[row["agent"]] = row["kl"]
            if row.get("round") == 0:
                first[row["agent"]] = row["kl"]
    return {name: max(kl, first.get(name, kl)) for name, kl in last.items()}


def collapse(nats: Mapping[str, float], signs: int) -> str | None:
    """A clause on the agents whose latents have collapsed; None if there are none."""
    least = min(LEAST_NATS, math.log(signs))
    collapsed = {name: value for name, value in nats.items() if value < least}
    if not collapsed:
        return None
    values = ", ".join(f"{value:.2g}" for value in collapsed.values())
    agents = f"agent{'s' if len(collapsed) > 1 else ''} {', '.join(collapsed)}"
    return f"the percepts of {agents} hold {values} nats: their latents have collapsed"


REMEDY = "train with more gradient steps (--epochs, a smaller --batch-size), or another --likelihood"
