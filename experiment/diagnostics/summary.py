"""R-hat, effective sample size and Monte Carlo error of label-invariant quantities of a game's draws.

Rank-normalised split R-hat and bulk ESS follow Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021). They are
computed by ArviZ on plain arrays, where ArviZ 0.23 and 1.x agree. They are undefined for a constant chain; the share
of constant chains is reported separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.metrics.thresholds import MIN_DRAWS
from mhng.experiment.runs.posterior import import_arviz, variables_of
from mhng.experiment.runs.trace import RoundTrace, Variables, to_variables

# Relative differences below this are rounding errors.
_ROUNDING = 1e-11

# Raw signs and permutations depend on the numbering of signs. lp is diagnosed, its parts by agent are not.
_NOT_DIAGNOSED = ("signs", "relabel", "log_p_z", "log_p_phi")

# One row per agent summarises all pairs of objects, or all coordinates of the means.
_POOLED = ("co_assignment", "mu")


def summarise_trace(trace: RoundTrace, burn_in: int, pairs: int = 200) -> dict[str, Any]:
    """Diagnose the draws after `burn_in`; returns plain values for JSON.

    {"chains", "draws", "rhat_note", "rhat_max", "ess_min", "constant_chains", "stuck_apart", "quantities"},
    where quantities maps a name such as "lp", "component_share[A, 1]" or "acceptance_rate[A->B]" to

      mean, sd         over all finite draws of all chains
      rhat             rank-normalised split R-hat; None if undefined (see `rhat` and `rhat_note`)
      ess              bulk effective sample size over all chains; None if any chain is constant
      mcse             Monte Carlo standard error of the mean; None if ess is
      constant_chains  share of constant chains; None with fewer than 4 draws, which cannot show it
      stuck_apart      1.0 if all chains are constant at different values (R-hat would be infinite), else 0.0

    "co_assignment[A]" pools all pairs of objects: the largest R-hat, the smallest ESS among pairs without a constant
    chain, and shares over pairs and chains. "mu[A]" pools all coordinates of an agent's relabelled means, without a
    mean. Raw signs are not diagnosed.
    """
    return _diagnose(to_variables(trace, burn_in, pairs=pairs))


def summarise_posterior(data: Any) -> dict[str, Any]:
    """`summarise_trace` for the draws stored in posterior.nc, as `load_posterior` returns them."""
    dims: dict[str, list[str]] = {}
    coords: dict[str, list[Any]] = {}
    arrays = {name: array for name, array in variables_of(data).items() if name not in _NOT_DIAGNOSED}
    for name, array in arrays.items():
        dims[name] = [str(dim) for dim in array.dims[2:]]
        coords |= {dim: array[dim].values.tolist() for dim in dims[name]}
    return _diagnose(Variables({"all": {name: array.values for name, array in arrays.items()}}, dims, coords))


def _diagnose(variables: Variables) -> dict[str, Any]:
    arrays = {name: values for group in variables.groups.values() for name, values in group.items()}
    C, D = arrays["lp"].shape
    quantities = {name: _row(list(scalars)) for name, scalars in _scalars(arrays, variables)}
    for name, row in quantities.items():
        if name.startswith("mu["):
            row |= {"mean": None, "sd": None}  # coordinates have no common mean
    rhats = [row["rhat"] for row in quantities.values() if row["rhat"] is not None]
    sizes = [row["ess"] for row in quantities.values() if row["ess"] is not None]
    note = None
    if C < 2:
        note = "not available with one chain"
    elif D < MIN_DRAWS:
        note = f"not available with fewer than {MIN_DRAWS} draws"
    return {
        "chains": C,
        "draws": D,
        "rhat_note": note,
        "rhat_max": max(rhats, default=None),
        "ess_min": min(sizes, default=None),
        "constant_chains": (
            None if D < MIN_DRAWS else float(np.mean([row["constant_chains"] for row in quantities.values()]))
        ),
        "stuck_apart": sorted(name for name, row in quantities.items() if row["stuck_apart"]),
        "quantities": quantities,
    }


def _scalars(arrays: Mapping[str, NDArray[Any]], variables: Variables) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Names and their scalar chains (n, C, D): n = 1, or all pairs or coordinates of a pooled quantity."""
    for name, values in arrays.items():
        if name in _NOT_DIAGNOSED:
            continue
        if values.shape[1] > 1 and np.isnan(values[:, 0]).all():
            values = values[:, 1:]  # sweep 0 has no sweep before it
        chains = np.moveaxis(np.asarray(values, dtype=np.float64), (0, 1), (-2, -1))  # (..., C, D)
        axes = variables.dims.get(name, [])
        if name in _POOLED:
            axes = axes[:1]
        for index in np.ndindex(chains.shape[: len(axes)]):
            place = ", ".join(str(variables.coords[axis][i]) for axis, i in zip(axes, index, strict=True))
            scalars = chains[index].reshape(-1, *chains.shape[-2:])
            yield f"{name}[{place}]" if place else name, np.stack([remove_rounding(chain) for chain in scalars])


def remove_rounding(chains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make draws (C, D) equal that differ only in their last digits.

    The evidence of one partition under two numberings differs by rounding. R-hat and ESS use ranks, so two constant
    chains with the same partition would otherwise count as different.
    """
    finite = np.abs(chains[np.isfinite(chains)])
    if not finite.size or finite.max() == 0:
        return chains
    step = 2.0 ** np.ceil(np.log2(finite.max() * _ROUNDING))
    rounded: NDArray[np.float64] = np.round(chains / step) * step
    return rounded


def _row(scalars: list[NDArray[np.float64]]) -> dict[str, float | None]:
    """Mean, sd and diagnostics of scalar chains (C, D): worst R-hat, worst ESS, mean shares."""
    values = np.concatenate([chains.ravel() for chains in scalars])
    finite = values[np.isfinite(values)]
    enough = scalars[0].shape[1] >= MIN_DRAWS
    still = [constant(chains) for chains in scalars]
    apart = [all(flags) and len(np.unique(chains)) > 1 for flags, chains in zip(still, scalars, strict=True)]
    rhats = [rhat(chains) for chains in scalars]
    sizes = [ess(chains) for chains in scalars]
    return {
        "mean": float(finite.mean()) if finite.size else None,
        "sd": float(finite.std()) if finite.size else None,
        "rhat": max((value for value in rhats if value is not None), default=None),
        "ess": min((value for value in sizes if value is not None), default=None),
        "mcse": mcse(scalars[0]) if len(scalars) == 1 else None,
        "constant_chains": float(np.mean(np.concatenate(still))) if enough else None,
        "stuck_apart": float(np.mean(apart)) if enough else 0.0,
    }


def rhat(chains: NDArray[np.float64]) -> float | None:
    """Rank-normalised split R-hat of one scalar (C, D) (Vehtari et al. 2021).

    None for a single chain, fewer than 4 draws, non-finite values, or if every chain is constant.
    """
    C, D = chains.shape
    if C < 2 or D < MIN_DRAWS or not np.isfinite(chains).all() or constant(chains).all():
        return None
    with np.errstate(all="ignore"):  # folding can make a two-valued scalar constant: 0/0
        value = float(import_arviz().rhat(chains))
    return value if np.isfinite(value) else None


def ess(chains: NDArray[np.float64]) -> float | None:
    """Bulk effective sample size of one scalar (C, D) over all chains (Vehtari et al. 2021).

    None for fewer than 4 draws, non-finite values, or if any chain is constant: the value would describe the other
    chains only.
    """
    if chains.shape[1] < MIN_DRAWS or not np.isfinite(chains).all() or constant(chains).any():
        return None
    with np.errstate(all="ignore"):
        value = float(import_arviz().ess(chains, method="bulk"))
    return value if np.isfinite(value) else None


def mcse(chains: NDArray[np.float64]) -> float | None:
    """Monte Carlo standard error of the mean of one scalar (C, D); None without an ESS."""
    if ess(chains) is None:
        return None
    with np.errstate(all="ignore"):
        value = float(import_arviz().mcse(chains, method="mean"))
    return value if np.isfinite(value) else None


def constant(chains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each of the chains (C, D) is constant: (C,)."""
    return (chains == chains[:, :1]).all(axis=1)
