"""The parts of agents that the settings name; those of the user's own are asked whether they can take part."""

from __future__ import annotations

from typing import Any

from experiment.config import Config, flag
from experiment.errors import UsageError
from models import FAMILIES, chosen
from models.plugins import PluginError, is_plugin


def parts_of(config: Config) -> dict[str, Any]:
    """The builder of each family. `UsageError` naming the flag of one that cannot be had.

    A name of the form "module:attribute" is imported here, before anything else of a run happens.
    """
    found = {}
    for name in FAMILIES:
        given = getattr(config, name)
        try:
            found[name] = chosen(name, given)
        except PluginError as error:
            raise UsageError(f"{flag(name)} {given}: {error}") from error
    likelihood = config.likelihood
    if is_plugin(likelihood):
        _check_likelihood(found["likelihood"], f"{flag('likelihood')} {likelihood}")
    return found


def _check_likelihood(kind: Any, place: str) -> None:
    from models.likelihoods import Likelihood

    missing = [name for name in ("forward", "mean") if getattr(kind, name) is getattr(Likelihood, name)]
    if missing:
        raise UsageError(f"{place}: it has no {' and no '.join(missing)} of its own")
    if not kind.has_network:
        raise UsageError(f"{place}: has_network is False, and only --likelihood identity can do without networks")
    unknown = [name for name in kind.takes if name != "noise"]
    if unknown:
        raise UsageError(f"{place}: it takes {', '.join(map(repr, unknown))}; only 'noise' can be given")
