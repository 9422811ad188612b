"""posterior.nc, in both lines of ArviZ: a trace -> InferenceData or DataTree -> netCDF, and back.

Two lines are served: 0.23 (Python 3.11; InferenceData) and 1.x (3.12 and later; xarray's DataTree). They differ
in `_container`, `_write` and `load_posterior`, and nowhere else. ArviZ is imported on first use: it takes over a
second. `arviz.from_netcdf` opens the file as it is.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.runs.trace import RoundTrace, Variables, to_variables
from mhng.experiment.util.files import atomic_path, reserve
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.memory import check_fits
from mhng.experiment.util.process import defer_interrupt, environment

# Headers, names and coordinates of a file, in bytes; generous.
_HDF5_OVERHEAD = 400_000


def to_arviz(
    trace: RoundTrace, *, burn_in: int, settings: Mapping[str, Any], thin: int = 1, pairs: int = 200, keep: str = "all"
) -> Any:
    """`traces.variables_of` the same arguments, as InferenceData or DataTree.

    `settings` is one JSON text in the attributes of the file and of the posterior, because netCDF attributes
    know neither None nor booleans; `settings_of` reads it back. pivot_chain and pivot_draw name the draw that
    relabelled quantities follow.
    """
    variables = to_variables(trace, burn_in, thin=thin, pairs=pairs, keep=keep)
    assert variables.pivot is not None
    attributes = {
        "settings": json.dumps(to_plain(settings), ensure_ascii=True, allow_nan=False),
        "mode": trace.mode,
        "burn_in": burn_in,
        "thin": thin,
        "pivot_chain": variables.pivot[0],
        "pivot_draw": variables.pivot[1],
    }
    return _container(variables, attributes)


def save_posterior(
    path: Path,
    trace: RoundTrace,
    *,
    burn_in: int,
    settings: Mapping[str, Any],
    thin: int = 1,
    pairs: int = 200,
    keep: str = "all",
) -> Any:
    """Write `to_arviz` of the same arguments to `path` (netCDF) and return it. Nothing stays open."""
    data = to_arviz(trace, burn_in=burn_in, settings=settings, thin=thin, pairs=pairs, keep=keep)
    groups = [data[group] for group in ("posterior", "sample_stats")]
    size = sum(array.nbytes for group in groups for array in group.data_vars.values())
    with atomic_path(path) as beside:
        reserve(beside, size + _HDF5_OVERHEAD)
        try:
            with defer_interrupt():
                _write(data, beside)
        except RuntimeError as error:  # what h5py makes of a disk that fills up all the same
            raise OSError(str(error).splitlines()[0]) from error
    return data


def load_posterior(path: Path) -> Any:
    """The file at `path`, read into memory and closed, so that it may be overwritten.

    `UsageError` naming the file if it is absent, damaged or another program's.
    """
    az = import_arviz()
    if not Path(path).is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        _check_size(Path(path))
        if _is_old(az):
            with az.rc_context({"data.load": "eager"}):
                data = az.from_netcdf(str(path))
        else:
            with az.from_netcdf(str(path), engine="h5netcdf") as lazy:
                data = lazy.load()
        if not {"posterior", "sample_stats"} <= _groups(data):
            raise ValueError("it lacks the groups posterior and sample_stats")
    except UsageError:
        raise
    except Exception as error:  # what h5py and its users raise for a damaged file varies
        reason = str(error).split("\n")[0][:120]
        raise UsageError(f"{path} cannot be read as a posterior: {reason}") from error
    return data


def _check_size(path: Path) -> None:
    """What the file says it holds must fit into memory before there is memory for it, and be in the file itself."""
    import h5py

    size = 0

    def add(name: str, found: Any) -> None:
        nonlocal size
        if isinstance(found, h5py.Dataset):
            if found.external or found.is_virtual:
                raise ValueError(f"{name} lies in another file")
            size += found.size * found.dtype.itemsize if found.size else 0

    with h5py.File(path, "r") as file:
        file.visititems(add)
    check_fits(str(path), size)


def settings_of(data: Any) -> dict[str, Any]:
    """The settings that `to_arviz` put into the attributes, None and booleans included."""
    return json.loads(data["posterior"].attrs["settings"])


# -- the two ArviZ ---------------------------------------------------------------------------------


def import_arviz() -> Any:
    """The module. 0.23 imports pyplot, and announces its successor once a day, noted in a cache folder."""
    with warnings.catch_warnings(), environment(MPLBACKEND=None):
        warnings.simplefilter("ignore", FutureWarning)
        try:
            import arviz as az
        except OSError:
            with tempfile.TemporaryDirectory() as folder, environment(XDG_CACHE_HOME=folder):
                import arviz as az
    return az


def _is_old(az: Any) -> bool:
    return az.__version__.startswith("0.")


def _container(variables: Variables, attributes: dict[str, Any]) -> Any:
    az = import_arviz()
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
    az = import_arviz()
    if _is_old(az):
        data.to_netcdf(str(path))
    else:
        packed = {f"/{group}": {name: {"zlib": True} for name in data[group].data_vars} for group in _groups(data)}
        data.to_netcdf(str(path), engine="h5netcdf", encoding=packed)


def _groups(data: Any) -> set[str]:
    """Names of the groups: a method on one line, a property of paths on the other."""
    groups = data.groups() if callable(data.groups) else data.groups
    return {group.strip("/") for group in groups} - {""}
