"""Import the packages that a run needs at its end before it starts, so that a broken one costs no training."""

from __future__ import annotations

from importlib import import_module

from mhng.experiment.errors import UsageError
from mhng.experiment.runs.posterior import import_arviz
from mhng.experiment.runs.tensorboard import check_tensorboard
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.ray_cluster import check_ray
from mhng.experiment.util.files import error_line

_FOR_RESULTS = ("h5netcdf", "scipy.optimize", "sklearn.metrics")


def check_packages(config: Config) -> None:
    """Import what the results and optional settings need. Raises UsageError naming a package that is broken."""
    if config.tensorboard:
        check_tensorboard()
    if config.engine == "ray":
        check_ray("--engine ray")
    import_arviz()
    for name in _FOR_RESULTS:
        try:
            import_module(name)
        except Exception as error:  # a broken installation raises any error
            package = name.split(".")[0]
            raise UsageError(f"the package {package} cannot be imported: {error_line(error)}; reinstall it") from error
