"""The sampled posterior of signs held against the enumerated one, for runs small enough to list.

With a uniform prior of signs the posterior stays the same when signs are renumbered, and a chain seldom visits more
than one numbering in its life. So what is compared are laws of *partitions*: every assignment is renumbered in the
order of first occurrence, which no numbering changes, and probabilities of one partition are added up.

The total variation TV = 1/2 sum |sampled - exact| of S draws is not 0 even if they are perfect. Beside it stands what
independent draws of the exact law would give in the mean: 1/2 sum E|n_i / S - p_i|, n_i binomial, in closed form (De
Moivre's mean absolute deviation). Draws of one chain depend on each other, so the truth lies between the value for
all draws and that for as many draws as there are chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mhng.experiment.errors import UsageError

# K^N assignments that are enumerated at most.
MOST = 2**20


def check_size(N: int, K: int) -> None:
    """UsageError if K signs for N objects are too many assignments to list."""
    if N * np.log2(max(K, 2)) > np.log2(MOST):
        raise UsageError(
            f"--exact lists all K^N assignments of signs and can list 2^20; {K} signs for {N} objects are about "
            f"10^{N * np.log10(K):.0f}: train with fewer --signs or a smaller --limit"
        )


def canonical(signs: NDArray[Any]) -> NDArray[np.intp]:
    """Rows (S, N) renumbered in the order of first occurrence: equal rows are equal partitions."""
    S, N = signs.shape
    result = np.full((S, N), -1, dtype=np.intp)
    used = np.zeros(S, dtype=np.intp)
    for n in range(N):
        new = result[:, n] < 0
        found = np.where(new, used, result[:, n])
        same = signs == signs[:, n : n + 1]
        result = np.where(same & (result < 0), found[:, None], result)
        used += new
    return result


def codes(signs: NDArray[Any], K: int) -> NDArray[np.intp]:
    """The number of each row's partition, (S, N) -> (S,): the row of `canonical` read in base K."""
    N = signs.shape[1]
    return canonical(signs) @ (K ** np.arange(N - 1, -1, -1, dtype=np.intp))


def partition_law(assignments: NDArray[Any], law: NDArray[np.float64], K: int) -> NDArray[np.float64]:
    """Probabilities of assignments (S, N) added up by partition: an array indexed by `codes`, (K^N,)."""
    cells = K ** assignments.shape[1]
    return np.bincount(codes(assignments, K), weights=law, minlength=cells).astype(np.float64)


def expected_distance(law: NDArray[np.float64], draws: int) -> float:
    """The mean total variation of `draws` independent draws of `law` from it."""
    p = law[law > 0]
    m = np.floor(draws * p) + 1
    # E|n - Sp| = 2 m (1 - p) P(n = m), m = floor(Sp) + 1 (Diaconis and Zabell 1991)
    deviation = 2 * m * (1 - p) * stats.binom.pmf(m, draws, p)
    return float(deviation.sum() / draws / 2)


def distance(
    draws: NDArray[Any], assignments: NDArray[Any], law: NDArray[np.float64], K: int
) -> dict[str, float | int]:
    """One agent's draws (C, D, N) against the exact law of all assignments (K^N, N), (K^N,)."""
    C, D, N = draws.shape
    exact = partition_law(assignments, law, K)
    rows = draws.reshape(-1, N)
    sampled = np.bincount(codes(rows, K), minlength=len(exact)) / len(rows)
    first, second = np.triu_indices(N, 1)
    together = (rows[:, first] == rows[:, second]).mean(0)
    expected = law @ (assignments[:, first] == assignments[:, second]) if len(first) else together
    gaps = np.abs(together - expected)
    return {
        "total_variation": float(np.abs(sampled - exact).sum() / 2),
        "noise_of_all_draws": expected_distance(exact, C * D),
        "noise_of_one_draw_a_chain": expected_distance(exact, C),
        "partitions": int((exact > 0).sum()),
        "co_assignment_mean_gap": float(gaps.mean()) if len(first) else 0.0,
        "co_assignment_largest_gap": float(gaps.max()) if len(first) else 0.0,
    }


def against_the_truth(
    run: Any, signs: NDArray[Any], K: int, names: Sequence[str], *, trust_plugins: bool = False
) -> dict[str, Any]:
    """`distance` for each agent of an opened `store.RunFolder`: signs (C, D, M, N), names of the M agents.

    UsageError where the run's percepts are not its observations, or the problem is too large to list.
    """
    from mhng.experiment.runs import folder as run_folder
    from mhng.experiment.settings import per_agent
    from mhng.experiment.settings.config import resolve
    from mhng.experiment.training.compatibility import parts_of

    config = resolve({}, run.file(run_folder.CONFIG), trust_plugins=trust_plugins)
    for name, own in per_agent.each(config):
        who = per_agent.who(config, name)
        if own.likelihood != "identity":
            raise UsageError(
                f"--exact needs the percepts, and a run keeps none; with --likelihood {own.likelihood}{who} they are "
                "draws of a network: train with --likelihood identity, where they are the observations"
            )
        if not parts_of(own, who)["mixture"].exact_evidence:
            raise UsageError(
                f"--exact needs the evidence of signs, which --mixture {own.mixture}{who} has not in closed form"
            )
    if config.mode == "variational":
        raise UsageError("--exact compares draws with their law, and --mode variational draws nothing")
    if config.weights != "uniform":
        raise UsageError(f"--exact is for signs of known weights; the run has --weights {config.weights}")
    check_size(signs.shape[-1], K)

    import torch

    from mhng.experiment.training.build import build_members, game_of
    from mhng.experiment.training.restore import objects_of
    from mhng.inference.enumeration import all_signs, joint_posterior

    objects, config = objects_of(run, config)
    cpu = torch.device("cpu")
    judges = [one.agent.perceive(one.x, None) for one in build_members(config, objects, cpu)]
    log_prior = game_of(config, cpu).log_prior
    assignments = all_signs(objects.count, K).numpy()
    alone = config.mode == "no-com"
    laws = [
        joint_posterior([judge] if alone else judges, log_prior, objects.count).numpy()
        for judge in (judges if alone else judges[:1])
    ]
    return {
        "target": "each agent's own posterior" if alone else "the joint posterior of all agents",
        "assignments": len(assignments),
        "draws": int(signs.shape[0] * signs.shape[1]),
        "chains": int(signs.shape[0]),
        "agents": {
            name: distance(signs[:, :, m], assignments, laws[m if alone else 0], K) for m, name in enumerate(names)
        },
    }
