"""Constraints between settings. A violation is a `UsageError` of one line that names the flags."""

from __future__ import annotations

from collections.abc import Collection

from mhng.experiment.data.combinations import has_combinations
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import check_ahead
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics.thresholds import MIN_DRAWS
from mhng.experiment.settings.per_agent import of_agent
from mhng.experiment.settings.schema import SETTINGS, WITHOUT_EFFECT, Config, flag, modality_count
from mhng.experiment.util.text import short_number
from mhng.models.languages import MOST_TABLE
from mhng.models.registry import NETWORKS

# Signs drawn for one proposal of the recursive game: more take hours for a sweep over a thousand objects.
_MOST_NAMES = 10**5

# The most single signs.
_MOST_SIGNS = 10_000

_NEEDS_GRAPH = "requires --meet with a graph of pairs, such as complete"


def check(config: Config) -> None:
    """Check constraints between settings. Raises UsageError."""
    if config.program is not None:
        _check_program(config)
        return
    if len(config.views) != config.agents:
        raise UsageError(f"--views has {len(config.views)} entries; expected one for each agent, {config.agents}")
    _check_agents(config)
    _check_sentences(config)
    _check_game(config)
    _check_graphs(config)
    _check_recursion(config)
    _check_engine(config)
    _check_data(config)


# Settings of a game of Pyro programs. The game itself decides the last row.
PROGRAM_SETTINGS = (
    "program", "sweeps", "burn_in", "chains", "thin", "keep", "seed", "threads", "run_dir", "overwrite", "mode",
    "signs", "agents", "views", "listener_state", "recursion",
)  # fmt: skip


def _check_program(config: Config) -> None:
    for name in SETTINGS:
        if name not in PROGRAM_SETTINGS and not _is_default(config, name):
            raise UsageError(
                f"a game of Pyro programs does not support {flag(name)}: FILE.py defines the agents and the game"
            )
    if config.mode != "com":
        raise UsageError(f"a game of Pyro programs requires --mode com; --mode is {config.mode}")
    if config.burn_in >= config.sweeps:
        raise UsageError(f"--burn-in is {config.burn_in}; expected less than --sweeps, {config.sweeps}")


def check_new(config: Config) -> None:
    """Check what a new run requires, and a resumed run with fewer rounds does not. Raises UsageError."""
    if config.meet_later is not None and (last := config.meet_later.stages[-1][0]) > config.rounds:
        raise UsageError(f"--meet-later has round {last}; expected at most --rounds, {config.rounds}")


def notes(config: Config) -> list[str]:
    """Notes on settings that are allowed, but seldom meant."""
    result = [f"--mode {config.mode} ignores {text}" for text in _ignored_by_mode(config)]
    if config.agents == 2 and config.mode in ("com", "all") and not _is_default(config, "recursion"):
        result.append(f"with two agents --recursion {config.recursion} has no effect")
    draws = len(range(config.burn_in, config.sweeps, config.thin))
    if draws >= MIN_DRAWS or config.mode == "variational":
        return result
    return [
        *result,
        f"--sweeps {config.sweeps}, --burn-in {config.burn_in} and --thin {config.thin} leave {draws} "
        f"{'draw' if draws == 1 else 'draws'} per chain; R-hat and ESS need at least {MIN_DRAWS}",
    ]


def _ignored_by_mode(config: Config) -> list[str]:
    """Settings of the game, with their values, that the mode does not use."""
    names = {"com": (), "all": ("acceptance",)}.get(config.mode, ("acceptance", "listener_state", "recursion"))
    given = [(name, getattr(settings, name)) for name in names for settings in config.per_agent.values()]
    return [f"{flag(name)} {value}" for name, value in dict.fromkeys(given) if value != SETTINGS[name].default]


def _is_default(config: Config, name: str) -> bool:
    return getattr(config, name) in (SETTINGS[name].default, WITHOUT_EFFECT.get(name, SETTINGS[name].default))


def _check_agents(config: Config) -> None:
    names = list(config.per_agent)
    for name, _ in config.agent:
        if name not in names:
            raise UsageError(f"--agent names {name!r}; expected one of the agents {names[0]} to {names[-1]}")
    if config.reduce is not None and all(own.likelihood == "multinomial" for own in config.per_agent.values()):
        raise UsageError(
            f"--reduce {config.reduce} does not support --likelihood multinomial: principal components are not counts"
        )
    counts = {name: modality_count(config, m) for m, name in enumerate(names)}
    if max(counts.values()) == 1:
        for field in ("missing", "fusion"):
            if not _is_default(config, field):
                raise UsageError(
                    f"{flag(field)} {getattr(config, field)} requires an agent with several modalities, joined by & "
                    "in --views or --data"
                )
    overrides = dict(config.agent)
    for name, settings in config.per_agent.items():
        overridden = dict(overrides.get(name, ())).keys()
        # Where agents differ, a setting of the run may be meant for other agents.
        given = overridden if config.agent else SETTINGS.keys()
        _check_parts(settings, {field for field in given if not _is_default(settings, field)}, of_agent(config, name))
        if counts[name] > 1 and settings.likelihood == "identity":
            raise UsageError(
                f"--likelihood identity{of_agent(config, name)} does not support several modalities; agent {name} "
                f"has {counts[name]}"
            )
        if counts[name] == 1 and "fusion" in overridden:
            raise UsageError(f"--agent {name!r}: --fusion requires several modalities; the agent has one")


def _check_parts(settings: Config, given: Collection[str], suffix: str) -> None:
    """Check the parts of one agent. given: settings that the user changed for it; suffix: names the agent."""
    if settings.likelihood == "identity":
        for field in ("network", "guide", "percept"):
            if field in given:
                raise UsageError(
                    f"--likelihood identity{suffix} does not support {flag(field)} {getattr(settings, field)}: the "
                    "latent is the observation, without a network"
                )
    if settings.likelihood != "gaussian-fixed" and "noise" in given:
        raise UsageError(
            f"--noise requires --likelihood gaussian-fixed; --likelihood{suffix} is "
            f"{settings.likelihood or 'not given'}"
        )
    if settings.likelihood == "multinomial" and "network" in given and settings.network in NETWORKS:
        raise UsageError(
            f"--likelihood multinomial{suffix} does not support --network {settings.network}: counts are not images"
        )


def _check_game(config: Config) -> None:
    if config.mode == "variational" and config.weights != "uniform":
        raise UsageError(f"--mode variational requires --weights uniform; --weights is {config.weights}")
    if config.burn_in >= config.sweeps:
        raise UsageError(f"--burn-in is {config.burn_in}; expected less than --sweeps, {config.sweeps}")
    if config.split_merge:
        if config.mode != "gibbs" and (config.mode, config.listener_state) != ("com", "shared"):
            raise UsageError(
                f"--split-merge {config.split_merge} requires --mode gibbs, or --mode com with --listener-state "
                f"shared; --mode is {config.mode}, --listener-state is {config.listener_state}"
            )
        if config.signs < 3:
            raise UsageError(
                f"--split-merge {config.split_merge} requires --signs 3 or more; --signs is {config.signs}"
            )


def _check_sentences(config: Config) -> None:
    """Check what sentences of several words support. Raises UsageError."""
    if config.words == 1:
        for name in ("vocabulary", "meaning", "grammar", "turns"):
            if not _is_default(config, name):
                instead = "; pass --signs for single signs" if name == "vocabulary" else ""
                raise UsageError(f"{flag(name)} {getattr(config, name)} requires --words 2 or more{instead}")
        if config.start == "slots":
            raise UsageError("--start slots requires --words 2 or more; --start merge is for single signs")
        if config.signs > _MOST_SIGNS:
            raise UsageError(f"--signs is {config.signs}; expected 1 to {_MOST_SIGNS} with --words 1")
        return
    place = f"--words {config.words} does not support"
    refused: dict[str, tuple[str, ...]] = {
        "mode": ("variational",),
        "listener_state": ("speaker-sample",),
        "start": ("split",),
        "engine": ("ray",),
    }
    for name, values in refused.items():
        if getattr(config, name) in values:
            raise UsageError(f"{place} {flag(name)} {getattr(config, name)}; expected {_other_choices(name, values)}")
    for name in ("weights", "split_merge"):
        if not _is_default(config, name):
            raise UsageError(f"{place} {flag(name)} {getattr(config, name)}; expected {SETTINGS[name].default}")
    assert config.sentences is not None
    if not config.sentences.fits_table:
        refused = {
            "meaning": ("pairs", "holistic"),
            "grammar": ("markov",),
            "turns": ("sentence",),
            "start": ("prior", "split"),
        }
        for name, values in refused.items():
            if getattr(config, name) in values:
                raise UsageError(
                    f"{flag(name)} {getattr(config, name)} requires at most {MOST_TABLE:,} sentences; --words "
                    f"{config.words} and --vocabulary {config.vocabulary} give {config.signs:,}; expected "
                    f"{_other_choices(name, values)}"
                )
    for name, settings in config.per_agent.items():
        if not _is_default(settings, "mixture"):
            raise UsageError(f"{place} --mixture {settings.mixture}{of_agent(config, name)}; pass --meaning instead")


def _other_choices(name: str, refused: Collection[str]) -> str:
    """The choices of a setting that are not refused, as in "com, no-com or gibbs"."""
    *others, last = (value for value in SETTINGS[name].choices or () if value not in refused)
    return f"{', '.join(others)} or {last}" if others else last


def _check_graphs(config: Config) -> None:
    together = config.meet.kind == "together"
    if config.synchronous and together:
        raise UsageError(f"--synchronous {_NEEDS_GRAPH}")
    if config.meet_later is not None:
        if together:
            raise UsageError(f"--meet-later {_NEEDS_GRAPH}")
        if config.mode == "gibbs":
            raise UsageError("--meet-later does not support --mode gibbs: all agents share one sign")
        if config.mode in ("com", "all") and config.listener_state == "shared":
            raise UsageError("--meet-later does not support --listener-state shared: all agents share one sign")
        if config.weights.partition(":")[0] == "sticks":
            raise UsageError("--meet-later does not support --weights sticks: its mergers involve all agents")
    if not _is_default(config, "newcomers"):
        if config.meet_later is None:
            raise UsageError(f"--newcomers {config.newcomers} requires --meet-later")
        if config.mode not in ("com", "all"):
            raise UsageError(f"--newcomers {config.newcomers} requires --mode com or all; --mode is {config.mode}")


def _check_recursion(config: Config) -> None:
    together = config.meet.kind == "together"
    if not together and not _is_default(config, "recursion"):
        raise UsageError(f"--recursion {config.recursion} requires --meet together; --meet is {config.meet}")
    rules = {settings.acceptance for settings in config.per_agent.values()}
    if config.recursion == "exact" and rules != {"mh"} and config.mode == "com":
        raise UsageError("--recursion exact requires --acceptance mh for all agents")
    if config.agents == 2 or not together or config.mode in ("no-com", "gibbs", "variational"):
        return
    if config.listener_state == "speaker-sample":
        raise UsageError(f"--listener-state speaker-sample with {config.agents} agents {_NEEDS_GRAPH}")
    if config.recursion.startswith("ll:"):
        names = int(config.recursion[3:]) ** (config.agents - 2)
        if names > _MOST_NAMES:
            raise UsageError(
                f"--recursion {config.recursion} with {config.agents} agents draws {short_number(names)} signs for "
                f"each proposal; expected at most {_MOST_NAMES}; pass a smaller T, or os"
            )


def _check_engine(config: Config) -> None:
    """Check what agents in separate processes support. Raises UsageError."""
    if config.engine == "local":
        if config.address is not None:
            raise UsageError("--address requires --engine ray")
        return
    refused = {
        "mode": {
            "gibbs": "its sampler needs the likelihoods of all agents",
            "variational": "its agents need one process",
        },
        "start": {"split": "its split-merge steps need one process"},
        "recursion": {"exact": "its rejection step needs the likelihoods of all agents"},
    }
    for name, values in refused.items():
        if (value := getattr(config, name)) in values:
            raise UsageError(f"--engine ray does not support {flag(name)} {value}: {values[value]}")
    if config.split_merge:
        raise UsageError(f"--engine ray does not support --split-merge {config.split_merge}: it needs one process")
    if config.weights != "uniform":
        raise UsageError(f"--engine ray does not support --weights {config.weights}: it needs one process")


def _check_data(config: Config) -> None:
    """Check that settings of a data set belong to the one that is used. Raises UsageError."""
    kinds = ", ".join(custom_dataset.KINDS)
    if config.data and config.dataset not in custom_dataset.KINDS:
        raise UsageError(f"--data requires --dataset {kinds}; --dataset is {config.dataset}")
    if config.dataset in custom_dataset.KINDS and not config.data:
        raise UsageError(f"--dataset {config.dataset} requires --data")
    belong = {
        "csv": ("label_column", "header"),
        "folder": ("image_size", "channels"),
        "synthetic": ("classes", "ambiguity", "dimension"),
    }
    for kind, names in belong.items():
        for name in names:
            if config.dataset != kind and not _is_default(config, name):
                raise UsageError(f"{flag(name)} requires --dataset {kind}; --dataset is {config.dataset}")
    if config.hold_out is not None and not has_combinations(config.dataset):
        raise UsageError(
            f"--hold-out requires objects with several attributes, such as numbers; --dataset is {config.dataset}"
        )
    check_ahead(config.dataset, config.views)
    if config.channels == 2:
        raise UsageError("--channels is 2; expected 1 or 3")
