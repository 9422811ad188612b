"""The Metropolis-Hastings step of the naming game: a speaker proposes, a listener responds.

    w* ~ P(w | z^Sp_n, phi^Sp)                                 proportional to pi_w N(z^Sp_n; w)
    accepted with min(1, N(z^Li_n; w*) / N(z^Li_n; w_cur))     or by another rule of `mhng.inference.proposals`

(Taniguchi et al. 2023, algorithm 1.) One step is made for all objects and chains at once: given the parameters, the
signs of different objects are independent. Every agent draws from its own generator, so that the draws of one agent
do not depend on another.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from mhng.models.belief import Response, Rule


class Speaker(Protocol):
    """Interface of a speaker: a belief, or a stack of beliefs."""

    def propose(self, generator: Any, log_prior: Tensor) -> Tensor:
        """Draw a sign for every object."""


class Listener(Protocol):
    """Interface of a listener: a belief, or a stack of beliefs."""

    def respond(self, generator: Any, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        """Accept `proposed` or keep `current`."""


def step(
    speaker: Speaker,
    listener: Listener,
    speaker_generator: Any,
    listener_generator: Any,
    log_prior: Tensor,
    current: Tensor,
    rule: Rule,
) -> Response:
    """One step: log_prior (K,), or (C, 1, K) if chains differ; `current` (C, N) is the listener's w_cur."""
    proposed = speaker.propose(speaker_generator, log_prior)
    return listener.respond(listener_generator, proposed, current, rule)
