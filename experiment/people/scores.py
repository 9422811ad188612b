"""How well rules predict: leave-one-out scores, differences between rules, calibration, and the linear fit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from mhng.experiment.people.hierarchy import COORDINATES, PARAMETERS, Floats, Table, node_weights
from mhng.experiment.people.ratios import Offers
from mhng.experiment.runs.posterior import import_arviz, to_arviz_groups

LEVEL = 0.95
# A rule is better than another if the one-sided 95% interval of the difference is above 0.
ONE_SIDED = 0.95
MAX_PARETO_K = 0.7
DECILES = 10


def leave_one_out(log_prob: Floats) -> dict[str, Any]:
    """PSIS-LOO by ArviZ of log likelihoods (chains, draws, n). pointwise: (n,) and is not for JSON."""
    az = import_arviz()
    data = to_arviz_groups({"posterior": {"lp": log_prob.sum(-1)}, "log_likelihood": {"y": log_prob}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ warns of a high Pareto k, which is counted below
        result = az.loo(data, pointwise=True)
    # ArviZ 0.23 calls it loo_i, and 1.x elpd_i.
    values = result.elpd_i if hasattr(result, "elpd_i") else result.loo_i
    pointwise = np.asarray(values, dtype=np.float64).ravel()
    k = np.asarray(result.pareto_k).ravel()
    return {
        "elpd": float(pointwise.sum()),
        "se": float(pointwise.std(ddof=1) * len(pointwise) ** 0.5) if len(pointwise) > 1 else None,
        "high_k": int((k > MAX_PARETO_K).sum()),
        "of": len(pointwise),
        "pointwise": pointwise,
    }


def by_person(values: Floats, offers: Offers) -> Floats:
    """Sums (H,) of values (n,) over the offers of each participant."""
    return np.bincount(offers.person, values, minlength=len(offers.names)).astype(np.float64)


def difference(first: Floats, second: Floats) -> dict[str, Any]:
    """The sum of first - second (H,) over participants, its 95% interval, and whether first is better."""
    gain = first - second
    H = len(gain)
    result: dict[str, Any] = {"nats": float(gain.sum()), "low": None, "high": None, "better": None}
    if H > 1:
        error = float(gain.std(ddof=1)) * H**0.5
        half = float(stdtrit(H - 1, (1 + LEVEL) / 2)) * error
        result |= {"low": result["nats"] - half, "high": result["nats"] + half}
        result["better"] = bool(result["nats"] > float(stdtrit(H - 1, ONE_SIDED)) * error)
    return result


def alone(tables: Mapping[str, Table]) -> Floats:
    """log p(y_h | rule) of each participant alone, under the prior: (rules, H)."""
    return np.stack([np.log(np.maximum(_prior_mean(table), 1e-300)) + table.log_scale for table in tables.values()])


def _prior_mean(table: Table) -> Floats:
    """The likelihood (H,), averaged over the prior of the participant's numbers."""
    values = table.values
    for name in reversed(PARAMETERS[table.rule]):
        mu, s, weight = hyper_grid(name)
        weights = node_weights(COORDINATES[name].nodes, mu, s)[0]
        values = values @ (weight @ weights)
    return values


def hyper_grid(name: str, places: int = 25, widths: int = 16) -> tuple[Floats, Floats, Floats]:
    """Nodes of mu and s on a grid of the prior's quantiles, and their prior weights: three arrays of one length."""
    from scipy.special import ndtri

    c = COORDINATES[name]
    mu = c.place + c.width * ndtri((np.arange(places) + 0.5) / places)
    s = c.spread * ndtri(0.5 + (np.arange(widths) + 0.5) / widths / 2)
    both = np.stack(np.meshgrid(mu, s, indexing="ij")).reshape(2, -1)
    return both[0], both[1], np.full(places * widths, 1 / (places * widths))


def calibration(offers: Offers, probability: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """Observed and predicted acceptance by decile of r. probability: (n,) by rule. Ties stay in one group."""
    log_r = offers.log_r
    edges = np.unique(np.quantile(log_r, np.arange(1, DECILES) / DECILES))
    group = np.searchsorted(edges, log_r, side="left")
    rows = []
    for number in np.unique(group):
        members = group == number
        taken, count = int(offers.accepted[members].sum()), int(members.sum())
        low, high = wilson(taken, count)
        rows.append(
            {
                "from": float(np.exp(log_r[members].min())),
                "to": float(np.exp(log_r[members].max())),
                "mean_log_r": float(log_r[members].mean()),
                "offers": count,
                "observed": taken / count,
                "low": low,
                "high": high,
                "predicted": {rule: float(values[members].mean()) for rule, values in probability.items()},
            }
        )
    return rows


def wilson(successes: int, count: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def slopes(offers: Offers, answers: NDArray[Any]) -> Floats:
    """Least-squares slope of answers (n,) on min(1, r), for each participant (H,); NaN where min(1, r) is constant."""
    x = np.exp(np.minimum(offers.log_r, 0.0))
    count = by_person(np.ones_like(x), offers)
    centred = x - (by_person(x, offers) / count)[offers.person]
    spread = by_person(centred**2, offers)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12, by_person(centred * answers, offers) / spread, np.nan)


def linear(offers: Offers, probability: Mapping[str, Floats]) -> dict[str, Any]:
    """The mean slope of the answers over participants, its interval, and the slope that each rule predicts."""
    known = _finite(slopes(offers, offers.accepted))
    result: dict[str, Any] = {"slope": None, "low": None, "high": None, "p": None}
    if len(known):
        result["slope"] = float(known.mean())
    if len(known) > 1 and known.std() > 0:
        error = float(known.std(ddof=1)) / len(known) ** 0.5
        half = float(stdtrit(len(known) - 1, (1 + LEVEL) / 2)) * error
        t = result["slope"] / error
        result |= {"low": result["slope"] - half, "high": result["slope"] + half}
        result["p"] = float(2 * stdtr(len(known) - 1, -abs(t)))
    means = {rule: _finite(slopes(offers, values)) for rule, values in probability.items()}
    result["predicted"] = {rule: float(values.mean()) if len(values) else None for rule, values in means.items()}
    return result


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
