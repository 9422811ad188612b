"""What the statistical tests share: one failure rate for the suite, and the tests of fit that use it.

Every statistical check draws from a fixed seed and fails if its p-value is below ALPHA. The suite makes fewer than
a hundred such checks, so correct code fails at a new set of seeds with probability below 1 in 100; wrong kernels
are kept as specimens to show that the checks reject.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping

import numpy as np
from scipy import stats
from torch import Tensor

from mhng import models
from mhng.models.registry import Variant, load_variant

ALPHA = 1e-4


def chi_square(counts: np.ndarray, law: np.ndarray) -> float:
    """p-value of counts (K,) against probabilities (K,); cells that expect fewer than 5 are put together."""
    expected = counts.sum() * law
    small = expected < 5
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
    if expected[-1] == 0:
        assert counts[-1] == 0, "what is impossible was drawn"
        counts, expected = counts[:-1], expected[:-1]
    return float(stats.chisquare(counts, expected).pvalue)


def z_test(draws: np.ndarray, mean: np.ndarray) -> float:
    """Smallest p-value, Bonferroni over entries, of the means of draws (S, ...) against `mean` (...)."""
    error = draws.std(0) / np.sqrt(len(draws))
    z = (draws.mean(0) - mean) / np.where(error > 0, error, np.inf)
    return float(min(1.0, 2 * stats.norm.sf(np.abs(z)).min() * z.size))


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    """Half the summed difference of two laws."""
    return float(np.abs(a - b).sum() / 2)


def detailed_balance_gap(matrix: Tensor, law: Tensor) -> float:
    """The largest |law_i P_ij - law_j P_ji|; 0 if the matrix is reversible with respect to `law`."""
    flow = law.unsqueeze(1) * matrix
    return float((flow - flow.T).abs().max())


def registered(variants: Mapping[str, Variant]) -> set[type]:
    """The classes in a table of the registry."""
    return {load_variant(variant) for variant in variants.values()}


def defined(base: type) -> set[type]:
    """The concrete subclasses of `base` that are defined anywhere in `mhng.models`."""
    for module in pkgutil.walk_packages(models.__path__, "mhng.models."):
        importlib.import_module(module.name)
    found: set[type] = set()
    pending = [base]
    while pending:
        subclasses = pending.pop().__subclasses__()
        pending += subclasses
        found |= {
            kind for kind in subclasses if kind.__module__.startswith("mhng.models.") and not inspect.isabstract(kind)
        }
    return found
