"""The hierarchical model of acceptance, one rule for all participants.

    y_t ~ Bernoulli((1 - l_h) rho(r_t) + l_h b_h)          answer of participant h to offer t
    logit l_h ~ Normal(mu, s), b_h ~ Uniform(0, 1)         lapse, and its rate of taking
    a_h ~ Normal(mu, s), log T_h ~ Normal(mu, s)           bias and temperature of the rule tempered
    logit c_h ~ Normal(mu, s)                              rate of the rule constant, which has no lapse
    mu ~ Normal(place, width), s ~ HalfNormal(spread)      `Coordinate`

Given mu and s the participants are independent, so each is integrated out, and NUTS samples mu and log s alone: six
numbers at the most, without a funnel. The likelihood of a participant is tabulated on a grid of (a, log T, logit l),
with b integrated out, and interpolated linearly between the nodes. Its integral against Normal(mu, s) is a weighted
sum of the nodes, with weights in closed form, also as s goes to 0 (`node_weights`). Beyond the first and last node
the likelihood is constant.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from mhng.experiment.people.ratios import Offers
from mhng.experiment.people.rules import RULES, probability

_FAR = 50.0  # a trial step of NUTS may go further; its density is as good as 0

Floats = NDArray[np.float64]


class Coordinate(NamedTuple):
    """A number that each participant has. nodes: of the grid, increasing. The others: of the prior of mu and s."""

    nodes: Floats
    place: float
    width: float
    spread: float


def _nodes(step: float, near: int, far: tuple[float, ...]) -> Floats:
    """Nodes around 0: `near` steps to each side, then the places `far`."""
    positive = [*(step * np.arange(1, near + 1)), *far]
    return np.array([*(-value for value in reversed(positive)), 0.0, *positive])


_BIASES = np.array([-4, -3.4, -2.8, -2.3, -1.9, -1.6, -1.3, *(0.15 * np.arange(-7, 8)), 1.35, 1.8, 2.6, 4])
_LAPSES = np.array([-6, -5, -4.2, -3.6, -3, -2.5, -2, -1.5, -1, -0.5, 0, 0.7, 1.5, 3])
COORDINATES = {
    "bias": Coordinate(_BIASES, 0.0, 1.0, 1.0),
    "log_temperature": Coordinate(_nodes(0.15, 7, (1.35, 1.8, 2.6)), 0.0, 1.0, 1.0),
    "logit_lapse": Coordinate(_LAPSES, -2.2, 0.8, 0.6),
    "logit_rate": Coordinate(_nodes(0.1, 15, (1.7, 1.9, 2.2, 2.6, 3.0, 3.5, 4.0, 5.0, 6.0)), 0.0, 1.5, 1.0),
}
PARAMETERS: dict[str, tuple[str, ...]] = dict.fromkeys(RULES, ("logit_lapse",)) | {
    "constant": ("logit_rate",),
    "tempered": ("bias", "log_temperature", "logit_lapse"),
}
# Gauss-Legendre nodes and weights for b on (0, 1).
B_NODES = (np.polynomial.legendre.leggauss(10)[0] + 1) / 2
LOG_B_WEIGHTS = torch.as_tensor(np.polynomial.legendre.leggauss(10)[1] / 2).log()
# Probabilities that are multiplied before a logarithm. None is below the least lapse times the least b, 3e-5.
_PRODUCT = 60


class Table(NamedTuple):
    """Likelihood of H participants on the grid of a rule.

    values: (H, G1, ..., GD), with 1 as the largest of each participant. log_scale: (H,) what it was divided by.
    by_last: the same values (GD, H G1 ...), for products with the weights of the last coordinate.
    """

    rule: str
    values: Floats
    log_scale: Floats
    by_last: Floats

    @property
    def coordinates(self) -> list[Coordinate]:
        return [COORDINATES[name] for name in PARAMETERS[self.rule]]


def rho(rule: str, parameters: dict[str, Tensor], log_offered: Tensor, log_current: Tensor) -> Tensor:
    """Probability of taking an offer without lapses, for parameters that broadcast with the offers."""
    own: dict[str, Tensor] = {}
    if rule == "constant":
        own = {"rate": parameters["logit_rate"].sigmoid()}
    elif rule == "tempered":
        own = {"bias": parameters["bias"], "temperature": parameters["log_temperature"].exp()}
    return probability(rule, log_offered, log_current, **own)


def tabulate(offers: Offers, rule: str) -> Table:
    """The likelihood of every participant on the grid of `rule`."""
    padded = _by_person(offers)
    # All participants at once where the grid is small.
    groups = padded.split(1) if rule == "tempered" else [padded]
    values = torch.cat([_log_likelihood(group, rule) for group in groups]).numpy()
    axes = tuple(range(1, values.ndim))
    largest = values.max(axes, keepdims=True)
    values = np.exp(values - largest)
    by_last = np.ascontiguousarray(values.reshape(-1, values.shape[-1]).T)
    return Table(rule, values, largest.reshape(-1), by_last)


def _by_person(offers: Offers) -> Tensor:
    """log q(w'), log q(w) and the answer of each participant: (H, 3, most offers), padded with NaN."""
    counts = np.bincount(offers.person, minlength=len(offers.names))
    place = np.arange(len(offers.person)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((len(counts), 3, int(counts.max())), np.nan)
    for row, values in enumerate((offers.log_offered, offers.log_current, offers.accepted)):
        padded[offers.person, row, place] = values
    return torch.as_tensor(padded)


def _log_likelihood(padded: Tensor, rule: str) -> Tensor:
    """Log likelihood of participants (H, 3, T) at the nodes of the grid, b integrated out: (H, G1, ...)."""
    *names, last = PARAMETERS[rule]
    share = torch.as_tensor(COORDINATES[last].nodes).sigmoid()
    answers = padded[:, 2]
    known = ~answers.isnan()
    if rule == "constant":
        taken = (answers == 1).sum(1, keepdim=True)
        return taken * share.log() + (known.sum(1, keepdim=True) - taken) * (1 - share).log()
    axes = (
        torch.meshgrid(*(torch.as_tensor(COORDINATES[name].nodes) for name in names), indexing="ij") if names else ()
    )
    own = {name: axis.unsqueeze(-1) for name, axis in zip(names, axes, strict=True)}
    # (H, 1, ..., T), to broadcast with the grid.
    log_offered, log_current, answers, known = (
        values.reshape(len(padded), *[1] * len(names), -1) for values in (padded[:, 0], padded[:, 1], answers, known)
    )
    p = rho(rule, own, log_offered.nan_to_num(0), log_current.nan_to_num(0))
    p = torch.where(answers == 1, p, 1 - p)
    padding = not known.all()
    by_lapse = []
    for lapse in share:
        by_b = []
        for b in B_NODES:
            answer = torch.lerp(p, torch.where(answers == 1, b, 1 - b).to(p.dtype), lapse)
            answer = torch.where(known, answer, 1) if padding else answer
            by_b.append(torch.stack([part.prod(-1).log() for part in answer.split(_PRODUCT, dim=-1)]).sum(0))
        by_lapse.append(torch.logsumexp(torch.stack(by_b, -1) + LOG_B_WEIGHTS, -1))
    return torch.stack(by_lapse, -1)


def node_weights(nodes: Floats, mu: Any, s: Any) -> tuple[Floats, Floats, Floats]:
    """Expected weight of each node under Normal(mu, s), and its derivatives by mu and s: (..., G) for mu, s (...).

    The weights of a number are those of linear interpolation; a number beyond the ends has the weight of the end.
    """
    mu, s = np.asarray(mu)[..., None], np.asarray(s)[..., None]
    z = (nodes - mu) / s
    below, density = ndtr(z), np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    inverse_step = 1 / (nodes[1:] - nodes[:-1])
    # E[(node - x)_+] is (node - mu) Phi(z) + s phi(z), and a weight is its second divided difference.
    weights = _second_difference((nodes - mu) * below + s * density, inverse_step, 1.0)
    by_mu, by_s = (_second_difference(values, inverse_step, 0.0) for values in (-below, density))
    return weights.clip(0), by_mu, by_s


def _second_difference(values: Floats, inverse_step: Floats, end: float) -> Floats:
    """Differences of slopes between nodes (..., G), with slope 0 before the first node and `end` after the last."""
    slopes = (values[..., 1:] - values[..., :-1]) * inverse_step
    result = np.empty_like(values)
    result[..., 0] = slopes[..., 0]
    result[..., 1:-1] = slopes[..., 1:] - slopes[..., :-1]
    result[..., -1] = end - slopes[..., -1]
    return result


def marginal(table: Table, mu: Floats, log_s: Floats) -> tuple[Floats, Floats]:
    """log p(y_h | mu, s): (H,), and its derivatives by mu and log s: (H, 2 D)."""
    s = np.exp(log_s)
    three = []
    for coordinate, place, width in zip(table.coordinates, mu, s, strict=True):
        weights, by_mu, by_s = node_weights(coordinate.nodes, place, width)
        three.append(np.stack([weights, by_mu, by_s * width]))
    # Row 0 is the sum over the coordinates so far; two more rows for each of them are its derivatives.
    rows = three[-1] @ table.by_last
    for weights in reversed(three[:-1]):
        rows = rows.reshape(len(rows), -1, weights.shape[1])
        rows = np.concatenate([(rows[0] @ weights.T).T, rows[1:] @ weights[0]])
    p = np.maximum(rows[0], 1e-300)
    return np.log(p) + table.log_scale, (np.concatenate([rows[1::2], rows[2::2]]) / p).T


def log_prior(table: Table, mu: Floats, log_s: Floats) -> tuple[float, Floats]:
    """Log density of (mu, log s) up to a constant, and its gradient (2 D,)."""
    place, width, spread = (np.array([getattr(c, name) for c in table.coordinates]) for name in Coordinate._fields[1:])
    z, share = (mu - place) / width, np.exp(2 * log_s) / spread**2
    value = float((-z * z / 2 - share / 2 + log_s).sum())
    return value, np.concatenate([-z / width, 1 - share])


class _Potential(torch.autograd.Function):
    """The negative log posterior of theta = (mu, u), s = |u|, with its gradient in closed form.

    The sign of u means nothing, but the law of u has no long tail near s = 0, as that of log s has.
    """

    @staticmethod
    def forward(ctx: Any, theta: Tensor, table: Table) -> Tensor:
        mu, u = np.split(theta.detach().numpy().clip(-_FAR, _FAR), 2)
        s = np.maximum(np.abs(u), 1e-6)
        log_s = np.log(s)
        prior, prior_slope = log_prior(table, mu, log_s)
        people, slopes = marginal(table, mu, log_s)
        slope = prior_slope + slopes.sum(0)
        slope[len(mu) :] = (slope[len(mu) :] - 1) * np.sign(u) / s
        ctx.slope = torch.as_tensor(-slope)
        return theta.new_tensor(-(prior - log_s.sum() + people.sum()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.slope, None


class Draws(NamedTuple):
    """Posterior draws: mu and s (chains, draws, D), and how often a chain diverged."""

    mu: Floats
    s: Floats
    divergent: int


def sample(table: Table, *, chains: int = 4, draws: int = 500, warmup: int = 300, seed: int = 0) -> Draws:
    """Sample mu and s by NUTS."""
    import pyro
    from pyro.infer import MCMC, NUTS

    D = len(table.coordinates)
    results, divergent = [], 0
    for chain in range(chains):
        with torch.random.fork_rng(devices=[]):
            pyro.set_rng_seed((seed * 1000 + chain) % 2**32)
            place = torch.tensor([c.place for c in table.coordinates], dtype=torch.float64)
            start = torch.cat([place + torch.randn(D) / 2, (-1 + torch.randn(D) / 2).exp()]).double()
            kernel = NUTS(
                potential_fn=lambda site: _Potential.apply(site["theta"], table),
                full_mass=True,
            )
            mcmc = MCMC(
                kernel, num_samples=draws, warmup_steps=warmup, initial_params={"theta": start}, disable_progbar=True
            )
            mcmc.run()
        results.append(mcmc.get_samples()["theta"].numpy())
        divergent += len(mcmc.diagnostics()["divergences"]["chain 0"])
    theta = np.stack(results)
    return Draws(theta[..., :D], np.abs(theta[..., D:]), divergent)
