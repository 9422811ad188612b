"""What a person knew of an offer: log L(w) of every sign w, from the trials before it.

Two ways to model what a person perceives of object n. Both use the signs that the person gave to the OTHER objects
before trial t, and nothing later:

    categories   the person's own sorting: L(w) = (n_cw + 1 / C) / (n_w + 1) with c the category of the object, n_cw
                 the other objects of category c with sign w, n_w those with sign w: the Dirichlet prior of the C
                 categories of a sign counts as one object
    features     the objects' features x: L(w) = t(x_n; the other objects with sign w), the predictive density of a
                 Normal-Wishart component

q(w) = L(w) / sum_k L(k), and r = q(offered) / q(current).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.people.trials import MISSING, Trials
from mhng.models.mixtures.base import SufficientStatistics
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.prior_scale import feature_scale

PERCEPTS = ("categories", "features")
# These trials change what a person knows; a quiz or a practice trial has objects of its own.
_PLAYED = ("sort", "offer", "proposal")


class Offers(NamedTuple):
    """Offers of signs other than the person's current one. n offers, H participants.

    names: of the participants. person: (n,) 0 to H-1, increasing. log_offered, log_current: (n,) log q(w') and
    log q(w). accepted: (n,) 0 or 1. row: (n,) in the table of trials. skipped: offers left out, by reason.
    """

    names: list[str]
    person: NDArray[np.int64]
    log_offered: NDArray[np.float64]
    log_current: NDArray[np.float64]
    accepted: NDArray[np.int64]
    row: NDArray[np.int64]
    skipped: dict[str, int]

    @property
    def log_r(self) -> NDArray[np.float64]:
        return self.log_offered - self.log_current


def category_likelihood(together: Tensor, alone: Tensor, categories: int) -> Tensor:
    """L(w) from counts: objects of the category with sign w, objects with sign w; any shape."""
    return (together + 1 / categories) / (alone + 1)


def offers(trials: Trials, perception: str = "categories") -> Offers:
    """The offers of a table with the ratio of each. Raises UsageError if the table lacks what `perception` needs."""
    if perception not in PERCEPTS:
        raise UsageError(f"--perception is {perception}; expected one of {', '.join(PERCEPTS)}")
    log_likelihood = _by_categories(trials) if perception == "categories" else _by_features(trials)
    names, people = trials.participants, trials["participant"]
    taken: list[tuple[int, float, float, int]] = []
    skipped = {"offers of the current sign": 0, "offers of an object without a category": 0}
    for number, name in enumerate(names):
        held: dict[int, tuple[int, int]] = {}  # object: category, sign
        for row in np.flatnonzero(people == name):
            kind = trials["trial_type"][row]
            if kind not in _PLAYED:
                continue
            item, category, sign = (int(trials[column][row]) for column in ("object", "category", "sign"))
            if category == MISSING:
                category = held.get(item, (MISSING, MISSING))[0]
            if kind == "offer":
                offered = int(trials["offered"][row])
                if offered == sign:
                    skipped["offers of the current sign"] += 1
                elif perception == "categories" and category == MISSING:
                    skipped["offers of an object without a category"] += 1
                else:
                    others = [(n, *both) for n, both in held.items() if n != item and both[1] != MISSING]
                    log_q = torch.log_softmax(log_likelihood(item, category, others), 0)
                    taken.append((number, float(log_q[offered]), float(log_q[sign]), int(row)))
            after = int(trials["sign_after"][row])
            if after == MISSING and kind == "offer":
                after = int(trials["offered" if trials["accepted"][row] else "sign"][row])
            held[item] = (category, next((w for w in (after, sign) if w != MISSING), held.get(item, (0, MISSING))[1]))
    if not taken:
        reasons = ", ".join(f"{number} {reason}" for reason, number in skipped.items())
        raise UsageError(f"{trials.name} has no offer of another sign than the current one ({reasons})")
    person, log_offered, log_current, rows = (np.array(values) for values in zip(*taken, strict=True))
    present = np.unique(person)
    return Offers(
        [names[number] for number in present],
        np.searchsorted(present, person),
        log_offered,
        log_current,
        trials["accepted"][rows],
        rows,
        skipped,
    )


Others = list[tuple[int, int, int]]  # object, category, sign


def _by_categories(trials: Trials) -> Callable[[int, int, Others], Tensor]:
    K = trials.signs

    def log_likelihood(item: int, category: int, others: Others) -> Tensor:
        signs = np.array([sign for _, kind, sign in others if kind != MISSING], dtype=np.int64)
        same = np.array([kind == category for _, kind, _ in others if kind != MISSING], dtype=bool)
        together, alone = (torch.as_tensor(np.bincount(w, minlength=K)).double() for w in (signs[same], signs))
        return category_likelihood(together, alone, trials.categories).log()

    return log_likelihood


def _by_features(trials: Trials) -> Callable[[int, int, Others], Tensor]:
    place, x = _standardised(trials)
    L, K = x.shape[1], trials.signs
    mixture = NormalWishart(L, W=feature_scale(NormalWishart, L, K, {}))
    features = mixture.features(x)

    def log_likelihood(item: int, category: int, others: Others) -> Tensor:
        members = x.new_zeros(K, len(x))
        for n, _, sign in others:
            members[sign, place[n]] = 1
        posterior = mixture.posterior(SufficientStatistics(members @ features.values, features.centre))
        freedom = posterior.nu - L + 1
        scale = ((posterior.beta + 1) / (posterior.beta * freedom)).sqrt()[:, None, None]
        predictive = dist.MultivariateStudentT(
            freedom, posterior.mean, scale * posterior.inverse_scale, validate_args=False
        )
        return predictive.log_prob(x[place[item]])

    return log_likelihood


def _standardised(trials: Trials) -> tuple[dict[int, int], Tensor]:
    """Row of each object, and the standardised features (N, L) of all objects with features."""
    if trials.stimuli is None:
        raise UsageError(
            f"--perception features requires data/stimuli-*_data.csv with object, x0, x1, ...; {trials.name} has none"
        )
    known = np.isfinite(trials.stimuli).sum(1) == trials.stimuli.shape[1]
    played = np.unique(trials["object"][np.isin(trials["trial_type"], _PLAYED)])
    for item in played:
        if item >= len(known) or not known[item]:
            raise UsageError(
                f"--perception features: object {item} of {trials.name} has no row in data/stimuli-*_data.csv"
            )
    x = torch.as_tensor(trials.stimuli[known], dtype=torch.float64)
    x = (x - x.mean(0)) / x.std(0, correction=0).clamp_min(1e-12)
    return {int(n): row for row, n in enumerate(np.flatnonzero(known))}, x
