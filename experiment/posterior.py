"""The trace of a game -> ArviZ, and what may be read off it without knowing what a sign means.

Shapes: C chains, T sweeps, M agents, N objects, K signs. ArviZ takes the two leading axes for (chain, draw),
always: every array here has them, also with one chain.

A permutation of the sign numbers leaves the posterior unchanged, so R-hat of "sign 3" compares nothing with
nothing. Everything diagnosed here is invariant to it: the log joint, the collapsed log evidence, the shares
of objects per sign in descending order, whether two given objects share a sign, ARI between successive draws,
acceptance, kappa. It all holds within one round, where the percepts stand still; from round to round the
target itself moves.

Two lines of ArviZ are served: 0.23 (Python 3.11; InferenceData) and 1.x (3.12 and later; xarray's DataTree).
They differ in `_container`, `_write` and `load_posterior`, and nowhere else. ArviZ is imported on first use:
it takes over a second.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiment import scores
from experiment.environment import environment
from experiment.errors import UsageError
from experiment.store import atomic_path, reserve, to_plain

# The pairs of objects whose co-assignment is followed: the same ones in every run with as many objects.
_PAIRS_SEED = 20230101

# R-hat and ESS split each chain in two and need two draws of each half.
_MIN_DRAWS = 4

# Headers, names and coordinates of a file, in bytes; generous.
_HDF5_OVERHEAD = 400_000


@dataclass(frozen=True, eq=False)
class Trace:
    """One round's game, as host arrays. A wrong shape is a ValueError that names the field."""

    signs: NDArray[Any]  # (C, T, M, N) each agent's sign for each object after each sweep, 0..K-1
    accepted: NDArray[Any]  # (C, T, M) proposals accepted with agent m as the listener, of N
    log_joint: NDArray[Any]  # (C, T)
    log_evidence: NDArray[Any]  # (C, T)
    agent_names: tuple[str, ...]
    signs_count: int  # K
    mode: str
    alone: NDArray[Any] | None = None  # (C, T, M, N) each agent's own best sign, where signs are shared

    @property
    def spoken(self) -> NDArray[Any]:
        """(C, T, M, N) what kappa compares: the signs, or where they are one, what each says alone."""
        return self.signs if self.alone is None else self.alone

    def accepted_by_direction(self, chain: int, sweep: int) -> dict[str, int]:
        """Proposals accepted in one sweep, by direction ("A->B")."""
        listeners, directions = _directions(self.agent_names)
        counts = self.accepted[chain, sweep, listeners].tolist()
        return dict(zip(directions, counts, strict=True))

    def __post_init__(self) -> None:
        if self.signs.ndim != 4 or 0 in self.signs.shape[2:]:
            raise ValueError(f"signs must be (chains, sweeps, agents, objects); its shape is {self.signs.shape}")
        C, T, M, _ = self.signs.shape
        expected = {"accepted": (C, T, M), "log_joint": (C, T), "log_evidence": (C, T)}
        for field, shape in expected.items():
            if getattr(self, field).shape != shape:
                raise ValueError(f"{field} must have the shape {shape}; it is {getattr(self, field).shape}")
        if len(set(self.agent_names)) != M or len(self.agent_names) != M:
            raise ValueError(f"agent_names must be {M} different names; they are {self.agent_names}")
        if self.signs.size and not 0 <= self.signs.min() <= self.signs.max() < self.signs_count:
            raise ValueError(f"signs must lie in 0..{self.signs_count - 1}; some are {self.signs.max()}")


class _Variables(NamedTuple):
    """Named arrays with named axes, of either group: what both ArviZ and `summary` are made from."""

    posterior: dict[str, NDArray[Any]]
    sample_stats: dict[str, NDArray[Any]]
    dims: dict[str, list[str]]  # of each variable, after chain and draw
    coords: dict[str, list[Any]]


def to_arviz(
    trace: Trace,
    *,
    burn_in: int,
    settings: Mapping[str, Any],
    thin: int = 1,
    pairs: int = 200,
    keep_signs: bool = True,
) -> Any:
    """The trace without its first `burn_in` sweeps, every `thin`-th draw, as InferenceData or DataTree.

    Group posterior: log_joint, log_evidence (chain, draw); component_share (chain, draw, agent, rank), the
    share of objects per sign in descending order, rank 1 being the largest; co_assignment (chain, draw,
    agent, pair), 1 where the agent has one sign for both objects of a pair such as "12-873" (`pairs` of them,
    the same in every run with N objects; absent if N = 1); signs (chain, draw, agent, object), unless
    `keep_signs` is False.

    Group sample_stats: acceptance (chain, draw, direction), the share of proposals accepted; kappa (chain,
    draw), of raw signs (`Trace.spoken`), mean over pairs of agents, absent with one agent; successive_ari
    (chain, draw, agent), each draw against the sweep before it, kept or not (NaN at sweep 0).

    The coordinate `draw` is the sweep, from 0. `settings` is one JSON text in the attributes of the file and
    of the posterior, because netCDF attributes know neither None nor booleans; `settings_of` reads it back.
    """
    variables = _variables(trace, burn_in, thin, pairs)
    if keep_signs:
        small = np.int8 if trace.signs_count <= 127 else np.int16
        variables.posterior["signs"] = trace.signs[:, burn_in::thin].astype(small)
        variables.dims["signs"] = ["agent", "object"]
        variables.coords["object"] = list(range(trace.signs.shape[-1]))
    attributes = {
        "settings": json.dumps(to_plain(settings), ensure_ascii=True, allow_nan=False),
        "mode": trace.mode,
        "burn_in": burn_in,
        "thin": thin,
    }
    return _container(variables, attributes)


def save_posterior(
    path: Path,
    trace: Trace,
    *,
    burn_in: int,
    settings: Mapping[str, Any],
    thin: int = 1,
    pairs: int = 200,
    keep_signs: bool = True,
) -> Any:
    """Write `to_arviz` of the same arguments to `path` (netCDF) and return it. Nothing stays open."""
    data = to_arviz(trace, burn_in=burn_in, settings=settings, thin=thin, pairs=pairs, keep_signs=keep_signs)
    groups = [data[group] for group in ("posterior", "sample_stats")]
    size = sum(array.nbytes for group in groups for array in group.data_vars.values())
    with atomic_path(path) as beside:
        reserve(beside, size + _HDF5_OVERHEAD)
        try:
            _write(data, beside)
        except RuntimeError as error:  # what h5py makes of a disk that fills up all the same
            raise OSError(str(error).splitlines()[0]) from error
    return data


def load_posterior(path: Path) -> Any:
    """The file at `path`, read into memory and closed, so that it may be overwritten.

    `UsageError` naming the file if it is absent, damaged or another program's.
    """
    az = _arviz()
    if not Path(path).is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        if _is_old(az):
            with az.rc_context({"data.load": "eager"}):
                data = az.from_netcdf(str(path))
        else:
            with az.from_netcdf(str(path), engine="h5netcdf") as lazy:
                data = lazy.load()
        if not {"posterior", "sample_stats"} <= _groups(data):
            raise ValueError("it lacks the groups posterior and sample_stats")
    except (OSError, ValueError, KeyError, RuntimeError) as error:  # what h5py raises for a cut file varies
        reason = str(error).split("\n")[0][:120]
        raise UsageError(f"{path} cannot be read as a posterior: {reason}") from error
    return data


def settings_of(data: Any) -> dict[str, Any]:
    """The settings that `to_arviz` put into the attributes, None and booleans included."""
    return json.loads(data["posterior"].attrs["settings"])


def summary(trace: Trace, burn_in: int, pairs: int = 200) -> dict[str, Any]:
    """Diagnostics of the draws after `burn_in`, as plain values for JSON.

    {"chains", "draws", "rhat_note", "rhat_max", "ess_min", "constant_chains", "stuck_apart", "quantities"},
    where quantities maps a name such as "log_joint", "component_share[A, 1]" or "acceptance[A->B]" to

      mean, sd         over all finite draws of all chains
      rhat             rank-normalised split R-hat; None as `rhat_note` says, and where `rhat` has none
      ess              bulk effective sample size over all chains; None if any chain is constant
      constant_chains  the share of chains that stand still
      stuck_apart      1.0 if all stand still, not at the same value (R-hat would be infinite), else 0.0

    "co_assignment[A]" stands for all pairs of objects: the largest R-hat, the smallest ESS among pairs where
    no chain is constant, and shares over pairs and chains. Signs themselves are never diagnosed.
    """
    return _diagnose(_variables(trace, burn_in, 1, pairs))


def summary_of(data: Any) -> dict[str, Any]:
    """`summary` of what `load_posterior` returned (of the draws that were kept)."""
    groups = []
    dims: dict[str, list[str]] = {}
    coords: dict[str, list[Any]] = {}
    for group in ("posterior", "sample_stats"):
        arrays = {}
        for name in data[group].data_vars:
            if name == "signs":
                continue
            array = data[group][name]
            arrays[name] = array.values
            dims[name] = [str(dim) for dim in array.dims[2:]]
            coords |= {dim: array[dim].values.tolist() for dim in dims[name]}
        groups.append(arrays)
    return _diagnose(_Variables(groups[0], groups[1], dims, coords))


# -- from the trace to named arrays ----------------------------------------------------------------


def _variables(trace: Trace, burn_in: int, thin: int, pairs: int) -> _Variables:
    C, T, M, N = trace.signs.shape
    if not 0 <= burn_in < T:
        raise UsageError(
            f"--burn-in must be from 0 to --sweeps - 1 = {T - 1}, so that draws are left; it is {burn_in}"
        )
    if thin < 1:
        raise UsageError(f"thin must be 1 or more; it is {thin}")
    sweeps = np.arange(T)[burn_in::thin]
    kept = trace.signs[:, sweeps]
    spoken = trace.spoken[:, sweeps]
    listeners, directions = _directions(trace.agent_names)
    first, second = object_pairs(N, pairs)

    posterior: dict[str, NDArray[Any]] = {
        "log_joint": np.asarray(trace.log_joint[:, sweeps], dtype=np.float64),
        "log_evidence": np.asarray(trace.log_evidence[:, sweeps], dtype=np.float64),
        "component_share": _component_share(kept, trace.signs_count),
    }
    dims = {"component_share": ["agent", "rank"]}
    if len(first):
        posterior["co_assignment"] = (kept[..., first] == kept[..., second]).astype(np.int8)
        dims["co_assignment"] = ["agent", "pair"]
    sample_stats: dict[str, NDArray[Any]] = {
        "acceptance": trace.accepted[:, sweeps][..., listeners] / N,
        "successive_ari": _successive_ari(trace.signs, sweeps),
    }
    dims |= {"acceptance": ["direction"], "successive_ari": ["agent"]}
    if M > 1:
        sample_stats["kappa"] = np.array([[scores.mean_pairwise_kappa(draw) for draw in chain] for chain in spoken])
    coords: dict[str, list[Any]] = {
        "chain": list(range(C)),
        "draw": sweeps.tolist(),
        "agent": list(trace.agent_names),
        "rank": list(range(1, trace.signs_count + 1)),
        "direction": directions,
        "pair": [f"{i}-{j}" for i, j in zip(first, second, strict=True)],
    }
    return _Variables(posterior, sample_stats, dims, coords)


def _directions(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Listeners in the order of their turns, and their names: of two agents the other one speaks."""
    if len(names) == 2:
        return [1, 0], [f"{names[0]}->{names[1]}", f"{names[1]}->{names[0]}"]
    return list(range(len(names))), [f"others->{name}" for name in names]


def object_pairs(objects: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`count` different pairs i < j of `objects` objects, or all there are: the same at every call."""
    total = objects * (objects - 1) // 2
    if total <= count:
        code = np.arange(total)
    else:
        code = np.sort(np.random.default_rng(_PAIRS_SEED).choice(total, count, replace=False))
    # pairs in the order (0,1), (0,2), (1,2), (0,3), ...: pair (i, j) has the code j (j - 1) / 2 + i
    j = np.floor((1 + np.sqrt(1 + 8.0 * code)) / 2).astype(np.intp)
    j -= j * (j - 1) // 2 > code  # where the root was rounded up
    return code - j * (j - 1) // 2, j


def _component_share(signs: NDArray[Any], K: int) -> NDArray[np.float64]:
    """Share of objects per sign, descending: signs (C, T, M, N) -> (C, T, M, K)."""
    *leading, N = signs.shape
    counts = np.array([np.bincount(row, minlength=K) for row in signs.reshape(-1, N)])
    return np.sort(counts, axis=1)[:, ::-1].reshape(*leading, K) / N


def _successive_ari(signs: NDArray[Any], sweeps: NDArray[np.intp]) -> NDArray[np.float64]:
    """ARI of each kept sweep against the sweep before it: signs (C, T, M, N) -> (C, kept, M)."""
    C, _, M, _ = signs.shape
    result = np.full((C, len(sweeps), M), np.nan)
    for c in range(C):
        for m in range(M):
            for draw, t in enumerate(sweeps):
                if t > 0:
                    result[c, draw, m] = scores.successive_ari(signs[c, t - 1 : t + 1, m])[0]
    return result


# -- the two ArviZ ---------------------------------------------------------------------------------


def _arviz() -> Any:
    """The module. 0.23 imports pyplot, and announces its successor once a day, noted in a cache folder."""
    with warnings.catch_warnings(), environment(MPLBACKEND=None):
        warnings.simplefilter("ignore", FutureWarning)
        try:
            import arviz
        except OSError:
            with tempfile.TemporaryDirectory() as folder, environment(XDG_CACHE_HOME=folder):
                import arviz
    return arviz


def _is_old(az: Any) -> bool:
    return az.__version__.startswith("0.")


def _container(variables: _Variables, attributes: dict[str, Any]) -> Any:
    az = _arviz()
    groups = {"posterior": variables.posterior, "sample_stats": variables.sample_stats}
    axes = {"coords": variables.coords, "dims": variables.dims}
    if _is_old(az):
        with warnings.catch_warnings():
            # It suspects swapped axes in eight chains of five draws; ours are never swapped.
            warnings.filterwarnings("ignore", "More chains", UserWarning)
            data = az.from_dict(**groups, **axes)
    else:
        data = az.from_dict(groups, check_conventions=False, **axes)
    data.attrs = dict(data.attrs or {}) | attributes
    data["posterior"].attrs.update(attributes)
    return data


def _write(data: Any, path: Path) -> None:
    az = _arviz()
    if _is_old(az):
        data.to_netcdf(str(path))
    else:
        packed = {f"/{group}": {name: {"zlib": True} for name in data[group].data_vars} for group in _groups(data)}
        data.to_netcdf(str(path), engine="h5netcdf", encoding=packed)


def _groups(data: Any) -> set[str]:
    """Names of the groups: a method on one line, a property of paths on the other."""
    groups = data.groups() if callable(data.groups) else data.groups
    return {group.strip("/") for group in groups} - {""}


# -- diagnostics -----------------------------------------------------------------------------------


def _diagnose(variables: _Variables) -> dict[str, Any]:
    C, D = variables.posterior["log_joint"].shape
    quantities = {name: _row(list(scalars)) for name, scalars in _scalars(variables)}
    rhats = [row["rhat"] for row in quantities.values() if row["rhat"] is not None]
    sizes = [row["ess"] for row in quantities.values() if row["ess"] is not None]
    note = None
    if C < 2:
        note = "not available with one chain"
    elif D < _MIN_DRAWS:
        note = f"not available with fewer than {_MIN_DRAWS} draws"
    return {
        "chains": C,
        "draws": D,
        "rhat_note": note,
        "rhat_max": max(rhats, default=None),
        "ess_min": min(sizes, default=None),
        "constant_chains": float(np.mean([row["constant_chains"] for row in quantities.values()])),
        "stuck_apart": sorted(name for name, row in quantities.items() if row["stuck_apart"]),
        "quantities": quantities,
    }


def _scalars(variables: _Variables) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Names and their scalar chains (number, C, D): one a name, but all pairs together for co_assignment."""
    for name, values in (variables.posterior | variables.sample_stats).items():
        if values.shape[1] > 1 and np.isnan(values[:, 0]).all():
            values = values[:, 1:]  # nothing comes before sweep 0
        chains = np.moveaxis(np.asarray(values, dtype=np.float64), (0, 1), (-2, -1))  # (..., C, D)
        axes = variables.dims.get(name, [])
        if name == "co_assignment":
            axes = axes[:1]
        for index in np.ndindex(chains.shape[: len(axes)]):
            place = ", ".join(str(variables.coords[axis][i]) for axis, i in zip(axes, index, strict=True))
            yield f"{name}[{place}]" if place else name, chains[index].reshape(-1, *chains.shape[-2:])


def _row(scalars: list[NDArray[np.float64]]) -> dict[str, float | None]:
    """Mean, sd and diagnostics of scalar chains, each (C, D): worst R-hat, worst ESS, mean shares."""
    values = np.concatenate([chains.ravel() for chains in scalars])
    finite = values[np.isfinite(values)]
    still = [_constant(chains) for chains in scalars]
    apart = [all(each) and len(np.unique(chains)) > 1 for each, chains in zip(still, scalars, strict=True)]
    rhats = [rhat(chains) for chains in scalars]
    sizes = [ess(chains) for chains in scalars]
    return {
        "mean": float(finite.mean()) if finite.size else None,
        "sd": float(finite.std()) if finite.size else None,
        "rhat": max((value for value in rhats if value is not None), default=None),
        "ess": min((value for value in sizes if value is not None), default=None),
        "constant_chains": float(np.mean(np.concatenate(still))),
        "stuck_apart": float(np.mean(apart)),
    }


def rhat(chains: NDArray[np.float64]) -> float | None:
    """Rank-normalised split R-hat of one scalar (C, D) (Vehtari et al. 2021).

    None with one chain, fewer than 4 draws, values that are not finite, or if every chain is constant.
    """
    C, D = chains.shape
    if C < 2 or D < _MIN_DRAWS or not np.isfinite(chains).all() or _constant(chains).all():
        return None
    with np.errstate(all="ignore"):  # folding a two-valued scalar can leave it constant: 0/0, not the maximum
        value = float(_arviz().rhat(chains))
    return value if np.isfinite(value) else None


def ess(chains: NDArray[np.float64]) -> float | None:
    """Bulk effective sample size of one scalar (C, D), all chains together (Vehtari et al. 2021).

    None with fewer than 4 draws, values that are not finite, or if any chain is constant: the number would be
    made of the others alone.
    """
    if chains.shape[1] < _MIN_DRAWS or not np.isfinite(chains).all() or _constant(chains).any():
        return None
    with np.errstate(all="ignore"):
        value = float(_arviz().ess(chains, method="bulk"))
    return value if np.isfinite(value) else None


def _constant(chains: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the chains (C, D) stand still."""
    return (chains == chains[:, :1]).all(axis=1)
