"""Laws of whole sweeps for one object with fixed parameters: products of encounter matrices, in NumPy.

A joint state holds the sign that each of M agents compares proposals with. With shared signs there are K states,
otherwise K^M. An encounter is a tuple of agents; the last one listens. See `referee.kernels` for the notation.
"""

import itertools
from typing import NamedTuple

import numpy as np

from tests.proofs.referee.kernels import posterior


def acceptance(rule, table):
    """A[w, v]: probability that a listener with log likelihoods `table` (K,) and sign w accepts the proposal v."""
    kind, _, number = rule.partition(":")
    ratio = np.exp(table[None, :] - table[:, None])
    share = np.exp(table - table.max()) / np.exp(table - table.max()).sum()
    if kind == "mh":
        return np.minimum(1, ratio)
    if kind == "tempered":
        return np.minimum(1, ratio ** (1 / float(number)))
    if kind == "constant":
        return np.full_like(ratio, float(number))
    if kind == "numerator":
        return np.tile(share, (len(table), 1))
    if kind == "subtraction":
        return (1 + share[None, :] - share[:, None]) / 2
    assert kind == "binary", rule
    return (ratio >= 1).astype(float)


class Problem(NamedTuple):
    """A game for one object. tables: (M, K). rules: one per agent. tries: T, or None for exact recursion."""

    log_pi: np.ndarray
    tables: np.ndarray
    rules: tuple
    tries: int | None = 1
    state: str = "chain"
    inner_start: str = "listener"

    @property
    def joint_states(self):
        """(S, M) the signs of all agents in every joint state."""
        M, K = self.tables.shape
        if self.state == "shared":
            return np.repeat(np.arange(K)[:, None], M, axis=1)
        return np.array(list(itertools.product(range(K), repeat=M)))


def answers(proposal, accept):
    """Kernels (S, K, K) of an agent that answers proposals, whose law is (S, K, K) given its sign."""
    moves = proposal * accept
    diagonal = np.arange(accept.shape[0])
    moves[:, diagonal, diagonal] = 0
    moves[:, diagonal, diagonal] = 1 - moves.sum(2)
    return moves


def proposal_law(problem, speakers):
    """L[s, w, v]: probability of the proposal v in joint state s to a listener that holds the sign w."""
    states, K = problem.joint_states, len(problem.log_pi)
    first, *between = speakers
    shape = (len(states), K, K)
    if problem.tries is None:
        return np.broadcast_to(posterior(problem.log_pi, problem.tables[list(speakers)]), shape)
    law = np.broadcast_to(posterior(problem.log_pi, problem.tables[[first]]), shape)
    for m in between:
        kernel = answers(law * np.ones(shape), acceptance(problem.rules[m], problem.tables[m]))
        law = np.linalg.matrix_power(kernel, problem.tries)
        if problem.inner_start == "own":
            law = np.broadcast_to(law[np.arange(len(states)), states[:, m]][:, None], shape)
    return law


def with_sign(problem, agent, law):
    """The matrix (S, S) that gives `agent`, or all if signs are shared, a new sign with probabilities law[s] (K,)."""
    states, (M, K) = problem.joint_states, problem.tables.shape
    S = len(states)
    if problem.state == "shared":
        return law
    stride = K ** (M - 1 - agent)
    P = np.zeros((S, S))
    for v in range(K):
        P[np.arange(S), np.arange(S) + (v - states[:, agent]) * stride] += law[:, v]
    return P


def encounter(problem, row):
    """(matrix of the joint state, law (S, K) of the listener's next sign) for one encounter."""
    *speakers, listener = row
    states = problem.joint_states
    here = np.arange(len(states)), states[:, listener]
    proposal = proposal_law(problem, speakers)
    sign = answers(proposal * 1.0, acceptance(problem.rules[listener], problem.tables[listener]))[here]
    if problem.state == "speaker-sample":
        return with_sign(problem, speakers[0], proposal[here]), sign
    return with_sign(problem, listener, sign), sign


def together(M):
    """Every agent listens once, to all others in a row that begins after it."""
    return [tuple((m + place) % M for place in range(M)) for m in range(M)]


def complete(M):
    """Pairs of a complete graph, in both directions."""
    return [pair for a, b in itertools.combinations(range(M), 2) for pair in ((a, b), (b, a))]


def sweep_matrix(problem, meetings):
    """Transition matrix (S, S) of one sweep."""
    P = np.eye(len(problem.joint_states))
    for row in meetings:
        P = P @ encounter(problem, row)[0]
    return P


def limit(P):
    """The joint law that endless sweeps reach from the uniform law."""
    for _ in range(40):
        squared = P @ P
        done = np.abs(squared - P).max() < 1e-14
        P = squared / squared.sum(1, keepdims=True)
        if done:
            break
    return P.mean(0)


def sign_laws(problem, meetings):
    """The law of each agent's sign after endless sweeps, (M, K)."""
    joint, (M, K) = limit(sweep_matrix(problem, meetings)), problem.tables.shape
    states = problem.joint_states
    if problem.state == "speaker-sample":
        laws = np.zeros((M, K))
        for row in meetings:
            P, sign = encounter(problem, row)
            laws[row[-1]], joint = joint @ sign, joint @ P
        return laws
    return np.array([[joint[states[:, m] == k].sum() for k in range(K)] for m in range(M)])


def powered(log_pi, tables, powers):
    """The law proportional to pi_w prod_m N(z^m; w)^power_m, (K,)."""
    return posterior(log_pi, np.asarray(powers)[:, None] * tables)
