"""Simulated participants, who follow a known rule. Their data say that they are simulated.

A participant has sorted OBJECTS objects into CATEGORIES categories and begins with random signs. The partner has a
convention of its own, a sign for each of its categories, which agree with the participant's for most objects. It
offers a sign other than the participant's; the participant takes it with

    (1 - lapse) rho(r) + lapse lapse_rate

where r comes from the participant's categories and signs (`ratios.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.people.ratios import Offers, category_likelihood
from mhng.experiment.people.rules import RULES, probability, with_lapses
from mhng.experiment.people.trials import COLUMNS, Row, Trials, from_rows
from mhng.experiment.util.text import suggestion

OBJECTS, CATEGORIES, SIGNS = 20, 5, 5
MOST = 10_000  # participants, and offers to each
# How often the partner sorts an object as the participant does, and how often it offers the sign of its category.
AGREEMENT, CONVENTION = 0.8, 0.7


@dataclass(frozen=True)
class Person:
    """What B participants do. rule: one of RULES. The other fields are numbers or (B,)."""

    rule: str = "mh"
    lapse: float | Tensor = 0.1
    lapse_rate: float | Tensor = 0.5
    bias: float | Tensor = 0.0
    log_temperature: float | Tensor = 0.0
    rate: float | Tensor = 0.5

    def accept(self, log_offered: Tensor, log_current: Tensor) -> Tensor:
        """Probability of taking the offers (B,)."""
        if self.rule == "constant":
            return probability(self.rule, log_offered, log_current, rate=self.rate)
        parameters = {}
        if self.rule == "tempered":
            parameters = {"bias": self.bias, "temperature": torch.as_tensor(self.log_temperature).exp()}
        taken = probability(self.rule, log_offered, log_current, **parameters)
        return with_lapses(taken, self.lapse, self.lapse_rate)


class Played(NamedTuple):
    """Record of B participants and T offers: arrays (B, T), and the categories and first signs (B, objects)."""

    categories: NDArray[np.int64]
    first: NDArray[np.int64]
    object: NDArray[np.int64]
    sign: NDArray[np.int64]
    offered: NDArray[np.int64]
    accepted: NDArray[np.int64]
    log_offered: NDArray[np.float64]
    log_current: NDArray[np.float64]

    def offers(self, people: slice = slice(None)) -> Offers:
        """The offers of some participants, with the ratios that they had in mind."""
        log_offered, log_current = self.log_offered[people], self.log_current[people]
        accepted = self.accepted[people]
        B, T = accepted.shape
        person = np.repeat(np.arange(B), T)
        names = [f"simulated-{number:03d}" for number in range(B)]
        rows = np.arange(B * T)
        return Offers(names, person, log_offered.ravel(), log_current.ravel(), accepted.ravel(), rows, {})


def simulate(person: Person, people: int, offers: int, seed: int) -> Played:
    """Let B = `people` participants answer T = `offers` offers."""
    generator = torch.Generator().manual_seed(seed)
    B, N, C, K = people, OBJECTS, CATEGORIES, SIGNS
    everyone = torch.arange(B)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    categories = uniform(B, N).argsort(1) % C
    partner = torch.where(uniform(B, N) < AGREEMENT, categories, integers(C, B, N))
    convention = uniform(B, K).argsort(1)[:, torch.arange(C) % K]
    signs = first = integers(K, B, N)
    signs = signs.clone()
    order = torch.cat([uniform(B, N).argsort(1) for _ in range(-(-offers // N))], 1)[:, :offers]
    kept: dict[str, list[Tensor]] = {name: [] for name in Played._fields[2:]}
    one_hot = torch.nn.functional.one_hot
    for item in order.T:
        category, sign = categories[everyone, item], signs[everyone, item]
        others = torch.ones(B, N, dtype=torch.int64)
        others[everyone, item] = 0
        held = one_hot(signs, K) * others[..., None]  # (B, N, K)
        together = (held * (categories == category[:, None])[..., None]).sum(1)
        likelihood = category_likelihood(together.double(), held.sum(1).double(), C)
        log_q = torch.log_softmax(likelihood.log(), 1)
        says = CONVENTION * one_hot(convention[everyone, partner[everyone, item]], K) + (1 - CONVENTION) / K
        says = says.double() * (1 - one_hot(sign, K))
        offered = torch.multinomial(says, 1, generator=generator)[:, 0]
        log_offered, log_current = log_q[everyone, offered], log_q[everyone, sign]
        accepted = (uniform(B) < person.accept(log_offered, log_current)).long()
        signs[everyone, item] = torch.where(accepted == 1, offered, sign)
        values = (item, sign, offered, accepted, log_offered, log_current)
        for name, value in zip(kept, values, strict=True):
            kept[name].append(value)
    return Played(categories.numpy(), first.numpy(), *(torch.stack(value, 1).numpy() for value in kept.values()))


def to_trials(played: Played, rule: str, name: str = "simulated participants") -> Trials:
    """The table of trials that these participants leave."""
    rows = []
    for b in range(len(played.object)):
        person = {"participant": f"simulated-{b:03d}", "condition": "simulated", "partner": rule, "block": 0}
        for n in range(OBJECTS):
            sort = {"object": n, "category": played.categories[b, n], "sign_after": played.first[b, n]}
            rows.append(person | {"trial_index": n, "trial_type": "sort"} | sort)
        for t in range(played.object.shape[1]):
            offer = {column: getattr(played, column)[b, t] for column in ("object", "sign", "offered", "accepted")}
            offer["category"] = played.categories[b, offer["object"]]
            offer["sign_after"] = offer["offered" if offer["accepted"] else "sign"]
            rows.append(person | {"trial_index": OBJECTS + t, "trial_type": "offer"} | offer)
    return from_rows(
        (Row(f"row {number}", {column: row.get(column) for column in COLUMNS}) for number, row in enumerate(rows, 2)),
        name=name,
        simulated=True,
        signs=SIGNS,
        categories=CATEGORIES,
    )


def simulated(rule: str, participants: int, offers: int, *, lapse: float = 0.1, seed: int = 0) -> Trials:
    """The table of trials of simulated participants who follow `rule`. Raises UsageError."""
    for name, value in (("participants", participants), ("offers", offers)):
        if not 1 <= value <= MOST:
            raise UsageError(f"--{name} is {value}; expected 1 to {MOST:,}")
    if not 0 <= lapse <= 1:
        raise UsageError(f"--lapse is {lapse}; expected 0 to 1")
    if rule not in RULES:
        raise UsageError(f"--rule is {rule}; expected one of {', '.join(RULES)}{suggestion(rule, RULES)}")
    return to_trials(simulate(Person(rule, lapse=lapse), participants, offers, seed), rule)
