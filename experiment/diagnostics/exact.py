"""Compare the draws of signs with the enumerated posterior, for runs small enough to enumerate.

With a uniform sign prior the posterior is invariant to renumbering the signs, and a chain seldom visits more than one
numbering. The laws of *partitions* are therefore compared: each assignment is renumbered in the order of first
occurrence, and the probabilities of equal partitions are added.

The total variation TV = 1/2 sum |sampled - exact| of S draws is positive even for exact sampling. Its expectation for
independent draws is reported too: 1/2 sum E|n_i / S - p_i| with n_i binomial, in closed form (De Moivre's mean
absolute deviation). Draws of one chain are correlated, so the sampling noise lies between the expectation for all
draws and the expectation for one draw per chain.

Shapes: C chains, D draws, M agents, N objects, K signs, S rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.saved_run import SavedRun

# The largest number of assignments, K^N, to enumerate
MAX_ASSIGNMENTS = 2**20


def check_size(N: int, K: int) -> None:
    """Raise UsageError if there are too many assignments of K signs to N objects."""
    if N * np.log2(max(K, 2)) > np.log2(MAX_ASSIGNMENTS):
        raise UsageError(
            f"--exact enumerates at most 2^20 assignments; {K} signs for {N} objects have about "
            f"10^{N * np.log10(K):.0f}; train with fewer --signs or a smaller --limit"
        )


def canonical_partitions(signs: NDArray[Any]) -> NDArray[np.intp]:
    """Renumber rows (S, N) in the order of first occurrence: rows with equal partitions become equal."""
    S, N = signs.shape
    result = np.full((S, N), -1, dtype=np.intp)
    used = np.zeros(S, dtype=np.intp)
    for n in range(N):
        is_new = result[:, n] < 0
        numbers = np.where(is_new, used, result[:, n])
        same = signs == signs[:, n : n + 1]
        result = np.where(same & (result < 0), numbers[:, None], result)
        used += is_new
    return result


def partition_codes(signs: NDArray[Any], K: int) -> NDArray[np.intp]:
    """A number for each row's partition, (S, N) -> (S,): the row of `canonical_partitions` read in base K."""
    N = signs.shape[1]
    return canonical_partitions(signs) @ (K ** np.arange(N - 1, -1, -1, dtype=np.intp))


def partition_law(assignments: NDArray[Any], law: NDArray[np.float64], K: int) -> NDArray[np.float64]:
    """Sum the probabilities (S,) of assignments (S, N) by partition: an array indexed by partition code, (K^N,)."""
    cells = K ** assignments.shape[1]
    return np.bincount(partition_codes(assignments, K), weights=law, minlength=cells).astype(np.float64)


def expected_distance(law: NDArray[np.float64], draws: int) -> float:
    """The expected total variation between `law` and the frequencies of that many independent draws."""
    p = law[law > 0]
    m = np.floor(draws * p) + 1
    # E|n - Sp| = 2 m (1 - p) P(n = m), m = floor(Sp) + 1 (Diaconis and Zabell 1991)
    deviation = 2 * m * (1 - p) * stats.binom.pmf(m, draws, p)
    return float(deviation.sum() / draws / 2)


def compare_draws(
    draws: NDArray[Any], assignments: NDArray[Any], law: NDArray[np.float64], K: int
) -> dict[str, float | int]:
    """Compare one agent's draws (C, D, N) with the exact law (K^N,) of all assignments (K^N, N)."""
    C, D, N = draws.shape
    exact = partition_law(assignments, law, K)
    rows = draws.reshape(-1, N)
    sampled = np.bincount(partition_codes(rows, K), minlength=len(exact)) / len(rows)
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


def compare_with_exact(run: SavedRun, signs: NDArray[Any]) -> dict[str, Any]:
    """Compare the draws (C, D, M, N) of each agent with its exact posterior: `compare_draws` by agent.

    Raises UsageError if the latents are not the observations, or the posterior cannot be enumerated.
    """
    config, K = run.config, run.config.signs
    _check_exact(config)
    check_size(signs.shape[-1], K)

    import torch

    from mhng.experiment.training.build import build_members, game_of
    from mhng.inference.enumeration import all_signs, joint_posterior

    objects, cpu = run.objects, torch.device("cpu")
    beliefs = [member.agent.perceive(member.x, None) for member in build_members(run.specs, objects, cpu)]
    log_prior = game_of(config, cpu).log_prior
    assignments = all_signs(objects.count, K).numpy()
    private = config.mode == "no-com"
    groups = [[belief] for belief in beliefs] if private else [beliefs]
    laws = [joint_posterior(group, log_prior, objects.count).numpy() for group in groups]
    return {
        "target": "each agent's own posterior" if private else "the joint posterior of all agents",
        "assignments": len(assignments),
        "draws": int(signs.shape[0] * signs.shape[1]),
        "chains": int(signs.shape[0]),
        "agents": {
            name: compare_draws(signs[:, :, m], assignments, laws[m if private else 0], K)
            for m, name in enumerate(run.agents)
        },
    }


def _check_exact(config: Config) -> None:
    """Raise UsageError unless the settings have a posterior that can be enumerated from the observations."""
    from mhng.experiment.training.agent_spec import agent_specs

    for spec in agent_specs(config):
        settings, agent = spec.settings, spec.suffix
        if settings.likelihood != "identity":
            raise UsageError(
                f"--exact requires --likelihood identity{agent}; with {settings.likelihood} the latents are sampled "
                "and not stored"
            )
        if not spec.parts.mixture.exact_evidence:
            raise UsageError(f"--exact does not support --mixture {settings.mixture}{agent} (no closed-form evidence)")
    if config.mode == "variational":
        raise UsageError("--exact does not support --mode variational, which draws no samples")
    if config.weights != "uniform":
        raise UsageError(f"--exact requires --weights uniform; the run has --weights {config.weights}")
