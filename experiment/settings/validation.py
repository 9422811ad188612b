"""Which settings go together: what excludes what, as `UsageError`s of one line that name the flags."""

from __future__ import annotations

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import check_ahead
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.graph_spec import later
from mhng.experiment.settings.schema import FIELDS, Config, flag
from mhng.experiment.util.text import short_number

# Names that one proposal of the recursive game may take: more are hours for a sweep of a thousand objects.
_MOST_NAMES = 10**5


def check(config: Config) -> None:
    """UsageError if the settings, each of which may be as it is, do not fit together."""
    if len(config.views) != config.agents:
        raise UsageError(f"--views must have one entry per agent, {config.agents}; it has {len(config.views)}")
    per_agent.check(config)
    _check_community(config)
    _check_engine(config)
    _check_data(config)
    if config.mode == "variational" and config.weights != "uniform":
        raise UsageError(f"--mode variational is for --weights uniform; it is {config.weights}")
    if config.burn_in >= config.sweeps:
        raise UsageError(
            f"--burn-in must be less than --sweeps = {config.sweeps}, so that draws are left; it is {config.burn_in}"
        )
    if config.split_merge:
        if config.mode != "gibbs" and (config.mode, config.listener_state) != ("com", "shared"):
            raise UsageError(
                f"--split-merge {config.split_merge} needs one sign for all agents: --mode gibbs, or --mode com with "
                f"--listener-state shared; the mode is {config.mode}, the state {config.listener_state}"
            )
        if config.signs < 3:
            raise UsageError(f"--split-merge {config.split_merge} needs --signs 3 or more; there are {config.signs}")


def _check_data(config: Config) -> None:
    """Flags that belong to other data sets than the one that is given."""
    if (config.dataset in custom_dataset.KINDS) != bool(config.data):
        raise UsageError(
            f"--data goes with --dataset {', '.join(custom_dataset.KINDS)}, and they with it; "
            f"--dataset is {config.dataset}, "
            f"--data is {'not given' if not config.data else custom_dataset.as_typed(config.data)}"
        )
    for kind, names in (("csv", ("label_column", "header")), ("folder", ("image_size", "channels"))):
        for name in names:
            if config.dataset != kind and getattr(config, name) != FIELDS[name].default:
                raise UsageError(f"{flag(name)} is for --dataset {kind}; --dataset is {config.dataset}")
    check_ahead(config.dataset, config.views)
    if config.channels == 2:
        raise UsageError("--channels must be 1 or 3; it is 2")


def check_new(config: Config) -> None:
    """UsageError for what a new run never comes to; one that is stopped may be ended before."""
    if config.meet_later is not None and (last := later(config.meet_later)[-1][0]) > config.rounds:
        raise UsageError(f"--meet-later {config.meet_later}: round {last} is after the last one, {config.rounds}")


def _check_community(config: Config) -> None:
    """What many agents can play, and what would take them forever."""
    default = {name: FIELDS[name].default for name in ("meet", "recursion")}
    all_at_once = config.meet == default["meet"]
    if config.synchronous and all_at_once:
        raise UsageError("--synchronous is for agents that meet in pairs: give --meet too")
    if config.meet_later is not None:
        if all_at_once:
            raise UsageError("--meet-later is for agents that meet in pairs: give --meet too")
        if config.mode == "gibbs" or (config.mode in ("com", "all") and config.listener_state == "shared"):
            shared = "--mode gibbs" if config.mode == "gibbs" else "--listener-state shared"
            raise UsageError(f"--meet-later is not for {shared}, where all hold one sign")
        if config.weights.partition(":")[0] == "sticks":
            raise UsageError("--meet-later is not for --weights sticks, whose mergers all agents would make together")
    if config.newcomers != FIELDS["newcomers"].default:
        if config.meet_later is None:
            raise UsageError(f"--newcomers {config.newcomers} is for agents that meet others later: give --meet-later")
        if config.mode not in ("com", "all"):
            raise UsageError(f"--newcomers {config.newcomers} is for --mode com; --mode is {config.mode}")
    if config.recursion != default["recursion"] and not all_at_once:
        raise UsageError(f"--recursion {config.recursion} is for agents that meet together; --meet is {config.meet}")
    rules = {own.acceptance for _, own in per_agent.each(config)}
    if config.recursion == "exact" and rules != {"mh"} and config.mode == "com":
        raise UsageError("--recursion exact needs --acceptance mh of every agent, by which all between accept")
    if config.agents == 2 or not all_at_once or config.mode in ("no-com", "gibbs", "variational"):
        return
    if config.listener_state == "speaker-sample":
        raise UsageError("--listener-state speaker-sample is a rule for two, or for pairs: give --meet too")
    if config.recursion.startswith("ll:"):
        names = int(config.recursion[3:]) ** (config.agents - 2)
        if names > _MOST_NAMES:
            raise UsageError(
                f"--recursion {config.recursion} of {config.agents} agents takes {short_number(names)} names of the "
                f"first speaker for each proposal, more than {_MOST_NAMES}; give a smaller T, or os"
            )


def _check_engine(config: Config) -> None:
    """What agents that are in processes of their own cannot play."""
    if config.engine == "local":
        if config.address is not None:
            raise UsageError("--address is of a Ray cluster: give --engine ray too")
        return
    refused = {
        "mode": {
            "gibbs": "who draws for all agents would need their likelihoods",
            "variational": "its agents are played in one process",
        },
        "start": {"split": "its steps need all agents in one process"},
        "recursion": {"exact": "who ends it would need all agents' tables"},
    }
    for name, values in refused.items():
        if (value := getattr(config, name)) in values:
            raise UsageError(f"--engine ray is not for {flag(name)} {value}: {values[value]}")
    if config.split_merge:
        raise UsageError(f"--engine ray is not for --split-merge {config.split_merge}: its steps need one process")
    if config.weights != "uniform":
        raise UsageError(f"--engine ray is not for --weights {config.weights}: they are drawn in one process")
