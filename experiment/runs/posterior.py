"""posterior.nc: write and read posterior draws as netCDF with ArviZ.

Supports both versions of ArviZ: 0.23 (Python 3.11, InferenceData) and 1.x (Python 3.12 and later, xarray's DataTree).
They differ in `to_arviz_groups`, `_dataset`, `_container`, `_write` and `load_posterior` only. ArviZ is imported on
first use, which takes over a second. `arviz.from_netcdf` opens the file directly.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.runs.trace import RoundTrace, Variables, to_variables
from mhng.experiment.util.files import atomic_path, error_line, reserve
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.memory import check_fits
from mhng.experiment.util.process import defer_interrupt, has_home, quiet_imports, temporary_folders

# Version of the groups and names in the file. Files of other versions are refused.
_LAYOUT = 2

# Upper bound for headers, names and coordinates of a file, in bytes.
_HDF5_OVERHEAD = 400_000


def to_arviz(
    trace: RoundTrace,
    *,
    burn_in: int,
    settings: Mapping[str, Any],
    round: int | None = None,
    thin: int = 1,
    pairs: int = 200,
    keep: str = "all",
    objects: Mapping[str, Any] | None = None,
) -> Any:
    """Convert the trace of `round` to InferenceData or DataTree; arguments as for `to_variables`.

    The attributes of the file and of the posterior hold `settings` as one JSON text, because netCDF attributes support
    neither None nor booleans (`settings_of` reads it), the round, and the pivot for relabelling (pivot_chain,
    pivot_draw).
    """
    variables = to_variables(trace, burn_in, thin=thin, pairs=pairs, keep=keep, objects=objects)
    assert variables.pivot is not None
    attributes = {
        "settings": json.dumps(to_plain(settings), ensure_ascii=True, allow_nan=False),
        "layout": _LAYOUT,
        "mode": trace.mode,
        **({} if round is None else {"round": round}),
        "burn_in": burn_in,
        "thin": thin,
        "pivot_chain": variables.pivot[0],
        "pivot_draw": variables.pivot[1],
    }
    return _container(variables, attributes)


def save_posterior(path: Path, trace: RoundTrace, **options: Any) -> Any:
    """Convert a trace by `to_arviz`, which takes the options; write it to `path` (netCDF) and return it.

    Leaves no file open.
    """
    data = to_arviz(trace, **options)
    size = sum(array.nbytes for group in _groups(data) for array in data[group].data_vars.values())
    with atomic_path(path) as beside:
        reserve(beside, size + _HDF5_OVERHEAD)
        try:
            with defer_interrupt():
                _write(data, beside)
            if not is_posterior(beside, options.get("round")):
                raise OSError("the file does not hold what was written")
        except RuntimeError as error:  # from h5py, if the disk fills up nevertheless
            raise OSError(str(error).splitlines()[0]) from error
    return data


def load_posterior(path: Path) -> Any:
    """Read posterior.nc into memory and close it, so that it can be overwritten.

    Raises UsageError naming the file if it is missing, damaged or from another program.
    """
    az = import_arviz()
    if not Path(path).is_file():
        raise UsageError(f"{path}: file not found")
    try:
        _check_size(Path(path))
        if _is_old(az):
            with az.rc_context({"data.load": "eager"}):
                data = az.from_netcdf(str(path.absolute()))
        else:
            import xarray

            with az.from_netcdf(str(path.absolute()), engine="h5netcdf") as lazy:
                # DataTree.load leaves groups in the file with some versions of xarray.
                groups = {node.path: node.to_dataset(inherit=False).load() for node in lazy.subtree}
            data = xarray.DataTree.from_dict(groups)
        if not {"posterior", "sample_stats"} <= _groups(data):
            raise ValueError("the groups posterior and sample_stats are missing")
        if data["posterior"].attrs.get("layout") != _LAYOUT:
            raise UsageError(f"{path} has the layout of another version of this program; train the run again")
    except UsageError:
        raise
    except Exception as error:  # h5py and xarray raise varying errors for a damaged file
        reason = str(error).split("\n")[0][:120]
        raise UsageError(f"{path} cannot be read as a posterior: {reason}") from error
    return data


def _check_size(path: Path) -> None:
    """Check that the data fit into memory. Raises ValueError for data stored in another file."""
    import h5py

    size = 0

    def add(name: str, item: Any) -> None:
        nonlocal size
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name} is stored in another file")
            size += item.size * item.dtype.itemsize if item.size else 0

    with h5py.File(path, "r") as file:
        file.visititems(add)
    check_fits(str(path), size)


def variables_of(data: Any) -> dict[str, Any]:
    """The variables with draws, (chain, draw, ...), of all groups by name: xarray arrays."""
    groups = ("posterior", "sample_stats", "components", "signs")
    return {str(name): array for group in groups if group in _groups(data) for name, array in data[group].items()}


def settings_of(data: Any) -> dict[str, Any]:
    """Settings from the attributes that `to_arviz` wrote."""
    return json.loads(data["posterior"].attrs["settings"])


def round_of(data: Any) -> int | None:
    """The round whose draws these are; None in files of older versions."""
    round = data["posterior"].attrs.get("round")
    return None if round is None else int(round)


def is_posterior(path: Path, round: int | None) -> bool:
    """Whether the file is a posterior and does not state another round than `round`. Reads no draws."""
    import h5py
    import numpy as np

    try:
        with h5py.File(path, "r") as file:
            stated = file["posterior"].attrs.get("round", round)
            known = file["posterior"].attrs.get("layout") == _LAYOUT
            return bool(known and "sample_stats" in file and np.all(stated == round))
    except (OSError, RuntimeError, KeyError, AttributeError):  # damaged
        return False


# -- differences between ArviZ versions ------------------------------------------------------------


def import_arviz() -> Any:
    """Import ArviZ. Raises UsageError if it cannot be imported.

    0.23 imports pyplot, reads an arvizrc of the user, and prints a notice once a day, recorded in a cache folder. If
    there is no home folder, or the import fails, it is imported with temporary folders in place of the user's.
    """
    if "arviz" in sys.modules:
        return sys.modules["arviz"]
    with quiet_imports():
        if has_home():
            with suppress(Exception):  # a bad arvizrc or an unwritable cache raise any error
                return import_module("arviz")
        with temporary_folders():
            try:
                return import_module("arviz")
            except Exception as error:
                raise UsageError(f"the package arviz cannot be imported: {error_line(error)}; reinstall it") from error


def to_arviz_groups(groups: Mapping[str, Mapping[str, Any]]) -> Any:
    """InferenceData or DataTree of groups of arrays (chain, draw, ...)."""
    az = import_arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "More chains", UserWarning)
        return az.from_dict(**groups) if _is_old(az) else az.from_dict(groups)


def save_groups(path: Path, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Write groups of arrays (chain, draw, ...) to `path` (netCDF)."""
    with atomic_path(path) as beside, defer_interrupt():
        _write(to_arviz_groups(groups), beside)


def _is_old(az: Any) -> bool:
    return az.__version__.startswith("0.")


def _container(variables: Variables, attributes: dict[str, Any]) -> Any:
    az = import_arviz()
    with warnings.catch_warnings():
        # ArviZ suspects swapped axes if there are more chains than draws.
        warnings.filterwarnings("ignore", "More chains", UserWarning)
        groups = {name: _dataset(az, name, variables) for name in variables.groups}
    if _is_old(az):
        data = az.InferenceData(**groups)
    else:
        import xarray

        data = xarray.DataTree.from_dict(groups)
    data.attrs = dict(data.attrs or {}) | attributes
    data["posterior"].attrs.update(attributes)
    return data


def _dataset(az: Any, group: str, variables: Variables) -> Any:
    """One group as an xarray dataset."""
    data, dims = variables.groups[group], variables.dims
    leading = [] if group.endswith("_data") else ["chain", "draw"]
    if group == "observed_data":
        dims = dims | {"z": ["agent", "object", "latent"]}
    if _is_old(az):
        return az.dict_to_dataset(data, coords=variables.coords, dims=dims, default_dims=leading)
    return az.dict_to_dataset(
        data, coords=variables.coords, dims=dims, sample_dims=leading, skip_event_dims=True, check_conventions=False
    )


def _write(data: Any, path: Path) -> None:
    az = import_arviz()
    path = path.absolute()  # ArviZ would take a relative path that begins with ~ for the home folder
    if _is_old(az):
        data.to_netcdf(str(path))
    else:
        compressed = {f"/{group}": {name: {"zlib": True} for name in data[group].data_vars} for group in _groups(data)}
        data.to_netcdf(str(path), engine="h5netcdf", encoding=compressed)


def _groups(data: Any) -> set[str]:
    """Names of the groups: from a method in ArviZ 0.23, from a property in 1.x."""
    groups = data.groups() if callable(data.groups) else data.groups
    return {group.strip("/") for group in groups} - {""}
