"""A run, from files to pictures: settings, data, run folder, scores and diagnostics.

    from mhng.experiment import load_run

is for notebooks and scripts (`mhng.experiment.api`). It is found when it is asked for: to import a part of this package
must stay quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mhng.experiment.api import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mhng.experiment import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
