"""Acceptance rules of the naming game, as pure functions.

Notation (object n, speaker Sp, listener Li, sign prior pi):

    w* ~ P(w | z^Sp_n, phi^Sp)   proportional to pi_w N(z^Sp_n; w)
    r  = N(z^Li_n; w*) / N(z^Li_n; w_cur)

With fixed parameters and rule `mh` this is an independence Metropolis-Hastings chain with stationary law
P(w | z^Sp, z^Li), proportional to pi_w N(z^Sp; w) N(z^Li; w). The speaker's factor and pi are in the proposal and
cancel; the listener's likelihood ratio remains (Taniguchi et al. 2023, section 3.2).

A rule maps an `Offer` to the log acceptance probability:

    mh            min(1, r)
    tempered:T    min(1, r^(1/T))            T > 1 accepts more
    constant:P    P                           for every proposal
    numerator     N(z^Li; w*) / sum_w N(z^Li; w)
    subtraction   (1 + p(w*) - p(w_cur)) / 2, p the listener's normalised likelihood
    binary        1 if r >= 1, else 0

The rules other than `mh` are tempering and the alternatives to which Okumura et al. (2023) compare human behaviour.
Among them, `numerator` keeps the joint posterior too, and accepts less often than `mh`; `subtraction` keeps it for
K = 2 only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mhng.inference import RULES
from mhng.models.belief import Offer, Rule, proposal_logits

__all__ = ["Offer", "Rule", "acceptance_rule", "joint_logits"]


def joint_logits(log_prior: Tensor, tables: list[Tensor]) -> Tensor:
    """Unnormalised log of pi_w prod_m N(z^m; w): the law from which `gibbs` draws."""
    return proposal_logits(log_prior, torch.stack(tables).sum(0))


def acceptance_rule(name: str) -> Rule:
    """The rule with this name, such as "mh" or "tempered:2". Raises ValueError for another name."""
    kind, _, text = name.partition(":")
    rules: dict[str, Rule] = {
        "mh": lambda o: o.log_ratio.clamp_max(0),
        "numerator": lambda o: o.log_normalised(o.proposed),
        "subtraction": lambda o: (
            (1 + o.log_normalised(o.proposed).exp() - o.log_normalised(o.current).exp()) / 2
        ).log(),
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
