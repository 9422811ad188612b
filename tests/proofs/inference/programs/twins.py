"""Small games of Pyro programs whose laws are enumerated: a skewed prior of signs, agents that differ, K = 3.

Formulas here are independent of the programs: they are written with SciPy.
"""

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy import special, stats

N, K = 4, 3
PI = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64)
X_POINTS = torch.tensor([[-1.0, 0.6], [-0.8, 0.1], [1.2, -0.3], [0.9, 0.4]], dtype=torch.float64)
X_COUNTS = torch.tensor([1.0, 0.0, 4.0, 3.0], dtype=torch.float64)
X_COINS = torch.tensor([4.0, 1.0, 3.0, 0.0], dtype=torch.float64)
SCALE = 1.5  # of the prior of mu
ASSIGNMENTS = np.array(list(itertools.product(range(K), repeat=N)))


def points(x=None):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(K, 2, dtype=torch.float64), SCALE).to_event(2))
    with pyro.plate("objects", N):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(mu[w], 0.6).to_event(1), obs=x)


def counts(x=None):
    rate = pyro.sample("rate", dist.Gamma(torch.full((K,), 2.0, dtype=torch.float64), 1.0).to_event(1))
    with pyro.plate("objects", N):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("y", dist.Poisson(rate[w]), obs=x)


def coins(x=None):
    heads = pyro.sample("heads", dist.Beta(torch.full((K,), 1.5, dtype=torch.float64), 0.8).to_event(1))
    with pyro.plate("objects", N):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("z", dist.Binomial(5, heads[w]), obs=x)


def redraw_points(signs, values):
    """A conjugate draw of mu: signs["w"] (C, N) -> (C, K, 2)."""
    members = torch.nn.functional.one_hot(signs["w"], K).double()
    precision = members.sum(1) / 0.36 + 1 / SCALE**2
    mean = (members.mT @ X_POINTS / 0.36) / precision.unsqueeze(-1)
    return {"mu": mean + torch.randn_like(mean) / precision.sqrt().unsqueeze(-1)}


def redraw_counts(signs, values):
    members = torch.nn.functional.one_hot(signs["w"], K).double()
    return {"rate": dist.Gamma(2.0 + members.mT @ X_COUNTS, 1.0 + members.sum(1)).sample()}


def redraw_coins(signs, values):
    members = torch.nn.functional.one_hot(signs["w"], K).double()
    heads = members.mT @ X_COINS
    return {"heads": dist.Beta(1.5 + heads, 0.8 + 5 * members.sum(1) - heads).sample()}


PROGRAMS = {
    "A": (points, X_POINTS, redraw_points),
    "B": (counts, X_COUNTS, redraw_counts),
    "C": (coins, X_COINS, redraw_coins),
}


def evidence_points(w):
    total = 0.0
    for k in range(K):
        members = X_POINTS.numpy()[w == k]
        n = len(members)
        if n:
            normal = stats.multivariate_normal(np.zeros(n), 0.36 * np.eye(n) + SCALE**2)
            total += normal.logpdf(members.T).sum()
    return total


def evidence_counts(w):
    total = 0.0
    for k in range(K):
        x = X_COUNTS.numpy()[w == k]
        total += special.gammaln(2 + x.sum()) - (2 + x.sum()) * np.log(1 + len(x)) - special.gammaln(x + 1).sum()
    return total


def evidence_coins(w):
    total = 0.0
    for k in range(K):
        x = X_COINS.numpy()[w == k]
        total += special.betaln(1.5 + x.sum(), 0.8 + 5 * len(x) - x.sum()) - special.betaln(1.5, 0.8)
    return total


EVIDENCE = {"A": evidence_points, "B": evidence_counts, "C": evidence_coins}


def law(agents):
    """P(w | observations of these agents), beliefs integrated out, for each row of ASSIGNMENTS."""
    log_p = np.log(PI.numpy())[ASSIGNMENTS].sum(1)
    log_p += [sum(EVIDENCE[agent](w) for agent in agents) for w in ASSIGNMENTS]
    return special.softmax(log_p)


def exact_start(agents, chains, seed=0):
    """Draws (chains, ...) of signs and beliefs from the joint posterior."""
    rng = np.random.default_rng(seed)
    w = torch.as_tensor(ASSIGNMENTS[rng.choice(len(ASSIGNMENTS), chains, p=law(agents))])
    start = {"w": w}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for agent in agents:
            redraw = PROGRAMS[agent][2]
            start |= {f"{agent}.{site}": value for site, value in redraw({"w": w}, {}).items()}
    return start


def counted(w):
    """How often each row of ASSIGNMENTS is in signs (C, N)."""
    cells = (w.long().numpy() * K ** np.arange(N - 1, -1, -1)).sum(1)
    return np.bincount(cells, minlength=K**N)
