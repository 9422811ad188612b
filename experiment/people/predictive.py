"""Draws of the participants' own numbers, and what each draw predicts for each offer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr, ndtri

from mhng.experiment.people.hierarchy import B_NODES, LOG_B_WEIGHTS, PARAMETERS, Floats, Table, node_weights, rho
from mhng.experiment.people.ratios import Offers
from mhng.experiment.people.rules import with_lapses

_TRIES = 60  # of rejection; a try succeeds with probability 1/2 or more


class Predictions(NamedTuple):
    """S draws: numbers of the participants (S, H, D), probability (S, n) of taking, log_prob (S, n) of answers."""

    people: Floats
    probability: Floats
    log_prob: Floats


def predict(table: Table, offers: Offers, mu: Floats, s: Floats, seed: int = 0) -> Predictions:
    """Draw every participant given each draw of mu and s (S, D), and predict the offers."""
    generator = np.random.default_rng(seed)
    people = draw_people(table, mu, s, generator)
    probability = np.empty((len(mu), len(offers.person)))
    names = PARAMETERS[table.rule]
    for person in range(len(offers.names)):
        mine = offers.person == person
        log_offered, log_current = (torch.as_tensor(v[mine]) for v in (offers.log_offered, offers.log_current))
        own = {name: torch.as_tensor(people[:, person, d])[:, None] for d, name in enumerate(names)}
        taken = rho(table.rule, own, log_offered, log_current)
        if "logit_lapse" in own:
            answers = torch.as_tensor(offers.accepted[mine]) == 1
            taken = _with_lapse_rate(taken, own["logit_lapse"].sigmoid(), answers, generator)
        probability[:, mine] = taken.numpy()
    answer = np.where(offers.accepted == 1, probability, 1 - probability)
    return Predictions(people, probability, np.log(np.maximum(answer, 1e-12)))


def _with_lapse_rate(
    taken: torch.Tensor, lapse: torch.Tensor, answers: torch.Tensor, generator: np.random.Generator
) -> torch.Tensor:
    """Draw b from its posterior at the nodes, for every draw; returns the probabilities with lapses."""
    mixed = torch.stack([with_lapses(taken, lapse, float(b)) for b in B_NODES])
    log_prob = torch.where(answers, mixed, 1 - mixed).clamp_min(1e-12).log().sum(-1) + LOG_B_WEIGHTS[:, None]
    # The largest of log probabilities plus Gumbel noise is a draw.
    chosen = (log_prob + torch.as_tensor(generator.gumbel(size=tuple(log_prob.shape)))).argmax(0)
    return mixed[chosen, torch.arange(mixed.shape[1])]


def draw_people(table: Table, mu: Floats, s: Floats, generator: np.random.Generator) -> Floats:
    """Draw the participants' numbers from their conditional law given mu and s (S, D): (S, H, D)."""
    coordinates = table.coordinates
    weights = [node_weights(c.nodes, mu[:, d], s[:, d])[0] for d, c in enumerate(coordinates)]
    S, H, D = len(mu), len(table.values), len(coordinates)
    draws = np.arange(S)
    nodes = np.empty((S, H, D), dtype=np.int64)
    for h in range(H):
        # later[d]: the likelihood at the first d nodes, summed over the others: (G1, ..., Gd, S).
        later = [table.values[h]]
        for d in reversed(range(1, D)):
            one = later[0] @ weights[d].T if d == D - 1 else (later[0] * weights[d].T).sum(-2)
            later.insert(0, one)
        for d in range(D):
            at = tuple(nodes[:, h, :d].T)
            if d == D - 1:
                row = later[d][at]  # (S, G), or (G,) with one coordinate
            else:
                row = np.moveaxis(later[d], -1, d)[(*at, draws)]  # (S, G)
            p = np.broadcast_to(row, weights[d].shape) * weights[d]
            total = p.cumsum(-1)
            nodes[:, h, d] = (total < generator.random((S, 1)) * total[:, -1:]).sum(-1)
    people = np.empty((S, H, D))
    for d, coordinate in enumerate(coordinates):
        people[..., d] = _near_node(coordinate.nodes, nodes[..., d], mu[:, d, None], s[:, d, None], generator)
    return people


def _near_node(nodes: Floats, chosen: np.ndarray, mu: Floats, s: Floats, generator: np.random.Generator) -> Floats:
    """Draw x from Normal(mu, s) times the hat of the chosen node: 1 at the node, 0 at its neighbours."""
    edges = np.concatenate([[-np.inf], nodes, [np.inf]])
    low, node, high = edges[chosen], nodes[chosen], edges[chosen + 2]
    # In the upper tail the mirrored law has more digits.
    flip = np.where((low + high) / 2 > mu, -1.0, 1.0)
    flip = np.where(np.isinf(low), 1.0, np.where(np.isinf(high), -1.0, flip))
    ends = np.stack([flip * (low - mu) / s, flip * (high - mu) / s])
    lower, upper = ndtr(ends.min(0)), ndtr(ends.max(0))
    result, open_ = node.astype(float), np.ones(node.shape, dtype=bool)
    for _ in range(_TRIES):
        z = ndtri(lower + (upper - lower) * generator.random(node.shape))
        x = np.broadcast_to(mu + flip * s * z, node.shape)
        x = np.where(np.isfinite(x), np.clip(x, low, high), node)
        with np.errstate(invalid="ignore"):
            hat = np.where(x < node, (x - low) / (node - low), (high - x) / (high - node))
        hat = np.where(np.isfinite(hat), hat, 1.0)
        taken = open_ & (generator.random(node.shape) < hat)
        result[taken] = x[taken]
        open_ &= ~taken
        if not open_.any():
            break
    return result
