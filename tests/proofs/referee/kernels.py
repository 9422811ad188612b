"""Transition matrices of the game for one object with fixed parameters, in NumPy, written down from the definitions.

`log_pi` (K,) is the log prior of signs; `tables` holds log N(z^m; w) of each agent, (K,) each. A matrix P has
P[w, v] = probability that the listener's sign w becomes v.
"""

import itertools

import numpy as np


def posterior(log_pi, tables):
    """P(w | z^1 .. z^M), proportional to pi_w prod_m N(z^m; w): (K,)."""
    logits = log_pi + np.sum(tables, axis=0)
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def mh(ratio):
    """Metropolis-Hastings acceptance of a likelihood ratio."""
    return min(1.0, ratio)


def answered(proposal, table, accept=mh):
    """Matrix of one answer: `proposal` (K, K) is the law of the proposal, given the sign that is held."""
    K = len(table)
    P = np.zeros((K, K))
    for w, v in itertools.product(range(K), repeat=2):
        if v != w:
            P[w, v] = proposal[w, v] * accept(np.exp(table[v] - table[w]))
    P[np.arange(K), np.arange(K)] += 1 - P.sum(1)
    return P


def proposals(log_pi, tables, tries):
    """Law of what speakers 1..m propose to the agent after them, given the sign that this agent holds: (K, K).

    The first speaker draws from its own posterior. Every further speaker plays `tries` answers. It begins at the
    sign of the agent after it, and in each answer the speakers before it begin at the sign that it holds then.
    """
    K = len(log_pi)
    law = np.tile(posterior(log_pi, tables[:1]), (K, 1))
    for table in tables[1:]:
        law = np.linalg.matrix_power(answered(law, table), tries)
    return law


def recursive(log_pi, tables, tries, accept=mh):
    """Matrix of one proposal of agents 1..M-1 to agent M."""
    return answered(proposals(log_pi, tables[:-1], tries), tables[-1], accept)


def begun_once(log_pi, tables, tries):
    """A wrong recursion: all inner games begin at the last listener's sign, and stay there when it has moved."""
    K = len(log_pi)

    def law(m, start):
        """Law (K,) of what the first m speakers propose when every inner game begins at `start`."""
        first = posterior(log_pi, tables[:1])
        if m == 1:
            return first
        inner = np.tile(law(m - 1, start), (K, 1))
        return np.linalg.matrix_power(answered(inner, tables[m - 1]), tries)[start]

    rows = [law(len(tables) - 1, w) for w in range(K)]
    return answered(np.stack(rows), tables[-1])


def imbalance(P, law):
    """Largest violation of detailed balance, |law_w P_wv - law_v P_vw|."""
    flow = law[:, None] * P
    return np.abs(flow - flow.T).max()


def stationary(P):
    """The law that P leaves unchanged, (K,)."""
    values, vectors = np.linalg.eig(P.T)
    law = np.real(vectors[:, np.argmax(np.real(values))])
    return law / law.sum()
