"""An agent's belief about the K signs, and its answers in the naming game.

Notation: object n with latent z_n, sign w, component parameters phi, sign prior pi.

    propose         a speaker draws w* from P(w | z_n, phi), proportional to pi_w p(z_n | w, phi)
    respond         a listener accepts w* in place of its current sign w; the acceptance rule sees the likelihood ratio
                    r = p(z_n | w*, phi) / p(z_n | w, phi)
    log_likelihood  log p(z | signs, phi)
    best            the most probable sign under P(w | z_n, phi)

Shapes: C chains, N objects, K signs; G agents in a stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mhng.models.rng import Generators, categorical, uniform


class Offer(NamedTuple):
    """A proposal, as the listener sees it."""

    log_ratio: Tensor  # (..., N) log r
    table: Callable[[], Tensor]  # (..., N, K) log p(z | w), computed for the rules that need it
    proposed: Tensor  # (..., N)
    current: Tensor  # (..., N)

    def log_normalised(self, signs: Tensor) -> Tensor:
        """log of p(z | w) / sum_k p(z | k) for signs (..., N)."""
        table = self.table()
        return _select(table, signs) - table.logsumexp(-1)


Rule = Callable[[Offer], Tensor]  # log acceptance probability (..., N)


class Response(NamedTuple):
    """A listener's answers to proposals."""

    signs: Tensor  # (..., N) the listener's signs after it
    proposed: Tensor  # (..., N)
    accepted: Tensor  # (..., N) bool
    not_a_number: Tensor  # (..., N) bool, the ratio was NaN: a rejection


def proposal_logits(log_prior: Tensor, table: Tensor) -> Tensor:
    """Unnormalised log P(w | z): log_prior (K,) or (..., 1, K), table (..., N, K).

    A sign whose density is not a number is impossible. If every sign is impossible, the logits are those of the prior.
    """
    logits = log_prior + table
    # On a GPU, this question would make the host wait for the device. The minimum is NaN if an entry is.
    if logits.device.type == "cpu" and logits.numel() and logits.min() > -math.inf:
        return logits
    possible = logits > -math.inf  # False for NaN
    logits = torch.where(possible, logits, -math.inf)
    return torch.where(possible.any(-1, keepdim=True), logits, log_prior)


def offer(table: Tensor, proposed: Tensor, current: Tensor) -> Offer:
    """Compare signs `proposed` and `current` (..., N) by a table (..., N, K).

    If both signs are impossible, log r is NaN. It stays NaN, to be counted.
    """
    return Offer(_select(table, proposed) - _select(table, current), lambda: table, proposed, current)


def answer(generator: Any, offered: Offer, rule: Rule) -> Response:
    """Accept or reject the proposals of an offer by the acceptance rule."""
    log_u = uniform(generator, offered.log_ratio).log()
    # NaN is a rejection for rules that do not look at the ratio, too.
    not_a_number = offered.log_ratio.isnan()
    accepted = (log_u < rule(offered)) & ~not_a_number
    signs = torch.where(accepted, offered.proposed, offered.current)
    return Response(signs, offered.proposed, accepted, not_a_number)


@dataclass(frozen=True, eq=False)
class TableAnswers:
    """The answers of an agent that has a table."""

    table: Tensor  # (C, N, K) log p(z_n | w_n = k, phi); (G, C, N, K) in a stack

    def propose(self, generator: Generators, log_prior: Tensor) -> Tensor:
        """Draw a sign for every object: log_prior (K,), or (C, 1, K) if chains differ -> (C, N)."""
        return categorical(generator, proposal_logits(log_prior, self.table))

    def respond(self, generator: Generators, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        """Accept signs `proposed` (C, N) by the acceptance rule, or keep `current` (C, N)."""
        return answer(generator, offer(self.table, proposed, current), rule)

    def log_likelihood(self, signs: Tensor) -> Tensor:
        """log p(z | signs, phi), summed over objects: signs (C, N) -> (C,)."""
        return self.pointwise(signs).sum(-1)

    def pointwise(self, signs: Tensor) -> Tensor:
        """log p(z_n | w_n, phi) of every object: signs (C, N) -> (C, N)."""
        return _select(self.table, signs)

    def best(self, log_prior: Tensor) -> Tensor:
        """The most probable sign of every object, (C, N)."""
        return proposal_logits(log_prior, self.table).argmax(-1)


@dataclass(frozen=True, eq=False)
class Belief(TableAnswers):
    """The belief of an agent about K signs after a redraw of phi."""

    parameters: Any  # phi, a NamedTuple of the mixture
    log_density: Tensor  # (C,) log p(phi)
    evidence: Tensor  # (C,) log p(z | signs), phi integrated out

    @property
    def stackable(self) -> bool:
        """Whether `stack` may join this belief with others. Tables of mixed types would be converted."""
        return self.table.dtype == torch.float64

    @staticmethod
    def stack(beliefs: Sequence[Belief]) -> TableAnswers:
        """The answers of G agents in one call; draws need a GeneratorStack. The results are those of single calls."""
        return TableAnswers(torch.stack([belief.table for belief in beliefs]))


def _select(table: Tensor, signs: Tensor) -> Tensor:
    """table[..., n, signs[..., n]]."""
    return table.gather(-1, signs.unsqueeze(-1)).squeeze(-1)
