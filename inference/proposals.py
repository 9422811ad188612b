"""Proposals and acceptance of the naming game, as pure functions: no randomness, no state.

Notation (object n, speaker Sp, listener Li):

    w* ~ P(w | z^Sp_n, phi^Sp)   proportional to pi_w N(z^Sp_n; w)
    r  = N(z^Li_n; w*) / N(z^Li_n; w_cur)

With fixed parameters this is an independence Metropolis-Hastings chain with the stationary law
P(w | z^Sp, z^Li), proportional to pi_w N(z^Sp; w) N(z^Li; w): the speaker's factor and pi stand in the proposal
and cancel, and only the listener's likelihood ratio is left (Taniguchi et al. 2023, section 3.2).

The acceptance rules take log r and the tables they may look at; each returns log of an acceptance probability.

    mh            min(1, r)
    tempered:T    min(1, r^(1/T))            T > 1 accepts more
    constant:P    P                           whatever was proposed
    numerator     N(z^Li; w*) / sum_w N(z^Li; w)
    subtraction   (1 + p(w*) - p(w_cur)) / 2, p the listener's normalised likelihood
    binary        1 if r >= 1, else 0

All but `mh` are tempering and the alternatives that Okumura et al. (2023) compare people's behaviour against. Of
them only `numerator` keeps the joint posterior of three or more signs as well (with two, `subtraction` does too); it
accepts less often than `mh`, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference import RULES


class Offer(NamedTuple):
    """What a listener knows when it decides, for each object: all of its own making but the sign proposed."""

    log_ratio: Tensor  # (..., N) log r
    table: Tensor  # (..., N, K) log N(z; w)
    proposed: Tensor  # (..., N)
    current: Tensor  # (..., N)

    def log_share(self, signs: Tensor) -> Tensor:
        """log of N(z; w) / sum_w N(z; w) for signs (..., N)."""
        return _at(self.table, signs) - self.table.logsumexp(-1)


Rule = Callable[[Offer], Tensor]


def proposal_logits(log_prior: Tensor, speaker_table: Tensor) -> Tensor:
    """log of pi_w N(z^Sp; w), not normalised: log_prior (K,) or (..., 1, K), speaker_table (..., N, K).

    A percept that every sign finds impossible says nothing: its proposal is the prior.
    """
    known = (speaker_table > -math.inf).any(-1, keepdim=True)
    return log_prior + torch.where(known, speaker_table, 0.0)


def joint_logits(log_prior: Tensor, tables: list[Tensor]) -> Tensor:
    """log of pi_w prod_m N(z^m; w), not normalised: what `gibbs` draws from."""
    return proposal_logits(log_prior, torch.stack(tables).sum(0))


def offer(listener_table: Tensor, proposed: Tensor, current: Tensor) -> Offer:
    """The listener's side: its table (..., N, K), the signs proposed and current (..., N).

    log r of two impossible signs is -inf - (-inf) = NaN. It stays NaN here, to be counted.
    """
    log_ratio = _at(listener_table, proposed) - _at(listener_table, current)
    return Offer(log_ratio, listener_table, proposed, current)


def acceptance_rule(name: str) -> Rule:
    """The rule called `name`, such as "mh" or "tempered:2". ValueError says what a name must be."""
    kind, _, text = name.partition(":")
    rules: dict[str, Rule] = {
        "mh": lambda o: o.log_ratio.clamp_max(0),
        "numerator": lambda o: o.log_share(o.proposed),
        "subtraction": lambda o: ((1 + o.log_share(o.proposed).exp() - o.log_share(o.current).exp()) / 2).log(),
        "binary": lambda o: torch.where(o.log_ratio >= 0, 0.0, -math.inf),
    }
    if name in rules:
        return rules[name]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if kind == "tempered" and value > 0 and math.isfinite(value):
        return lambda o: (o.log_ratio / value).clamp_max(0)
    if kind == "constant" and 0 <= value <= 1:
        log_p = math.log(value) if value > 0 else -math.inf
        return lambda o: torch.full_like(o.log_ratio, log_p)
    raise ValueError(f"must be one of {', '.join(RULES)} (T > 0, 0 <= P <= 1); it is {name!r}")


def _at(table: Tensor, signs: Tensor) -> Tensor:
    """table[..., n, signs[..., n]]."""
    return table.gather(-1, signs.unsqueeze(-1)).squeeze(-1)
