"""The settings of a run: one frozen dataclass, from which flags, keys of a file and their checks are all made.

A default gives way to the file of --config, and that to a flag. A key of the file is the flag's name without
its dashes (`latent-dim = 12`). Unknown names, wrong types and values out of range are `UsageError`s of one line
that name the flag or the file's key.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from experiment.data import own
from experiment.data.modalities import JOINT, modalities
from experiment.data.objects import DATASETS, check_places
from experiment.data.own_csv import HEADERS
from experiment.data.views import LANGUAGE, View, entries, entry
from experiment.engines import ENGINES
from experiment.errors import UntrustedError, UsageError
from experiment.meet_later import later
from experiment.posterior.traces import KEPT
from experiment.store import to_plain
from inference import INNER_STARTS, LISTENER_STATES, MODES, PERCEPTS, RULES, STARTS
from models import FAMILIES, FUSIONS, GUIDES, LIKELIHOODS, MIXTURES, NETWORKS
from models.plugins import is_plugin, is_well_formed

# Settings that agents have for themselves, see `experiment.individuals`: ((agent, ((field, value), ...)), ...).
Own = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]

# The public reference's numbers for the modes.
MODE_ALIASES = {"-1": "com", "0": "no-com", "1": "all"}

# Keys that may change while a run remains the same run.
MOVABLE = (
    "data",
    "data-root",
    "download",
    "device",
    "engine",
    "address",
    "cuda-graphs",
    "checkpoint-minutes",
    "tensorboard",
)

# No whole number is larger, if nothing smaller is said: beyond it lie mistypings and the limits of int64.
_MOST = 10**9

# What reads a setting that is a small language of its own. ValueError says what it must be.
_PARSERS = {
    "acceptance": "inference.proposals:acceptance_rule",
    "recursion": "inference.recursion:inner_length",
    "weights": "models.weights:sign_weights",
    "prior": "models.priors:read_prior",
}
# Characters of a value in a message
_MOST_SHOWN = 100

# Names that one proposal of the recursive game may take: more are hours for a sweep of a thousand objects.
_MOST_NAMES = 10**5


def _setting(
    default: Any,
    kind: str,
    help: str,
    *,
    group: str,
    choices: Iterable[str] | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    saved: bool = True,
) -> Any:
    """A field. kind: int, float, bool, text, views, path, paths (a list), own; a default of None allows absence.

    Not `saved`: left out of the run's config.toml, which must be usable for another run.
    """
    metadata = {
        "kind": kind,
        "help": help,
        "group": group,
        "choices": None if choices is None else tuple(choices),
        "least": least,
        "above": above,
        "below": below,
        "most": _MOST if most is None and kind == "int" else most,
        "saved": saved,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """What a run is made from. See the help text of each field; units stand there too."""

    mode: str = _setting(
        "com",
        "text",
        "com: names are proposed and accepted by Metropolis-Hastings; no-com: nobody speaks; all: every proposal is "
        "accepted; gibbs: the topline that sees all percepts; variational: agents tell how much they think of each "
        "sign, and nothing is drawn. -1, 0, 1 stand for the first three",
        group="game",
        choices=MODES,
    )
    signs: int = _setting(10, "int", "how many signs there are (K)", group="game", least=1, most=10_000)
    weights: str = _setting(
        "uniform",
        "text",
        "pi, how often each sign is used: uniform, or learned: dirichlet:ALPHA, sticks:ALPHA",
        group="game",
    )
    listener_state: str = _setting(
        "chain",
        "text",
        "what a proposal is compared with: chain: the listener's own sign; shared: one sign for all agents; "
        "speaker-sample: the reference code's rule",
        group="game",
        choices=LISTENER_STATES,
    )
    acceptance: str = _setting("mh", "text", f"acceptance rule: {', '.join(RULES)}", group="game")
    meet: str = _setting(
        "together",
        "text",
        "who meets whom: together: everyone at once; in pairs: complete, ring, star, random-pairs, small-world:P, "
        "bridges:B, or a file with two agents' names a line",
        group="game",
    )
    meet_later: str | None = _setting(
        None,
        "text",
        "who meets whom from a round on, R=GRAPH[,R=GRAPH...], after the graph of --meet: a newcomer joins, a bridge "
        "opens",
        group="game",
    )
    recursion: str = _setting(
        "os",
        "text",
        "how three or more that meet together make a proposal: os: one sample that is passed on; ll:T: by inner games "
        "of T proposals; exact: a fresh draw from what all of them know, which may take forever",
        group="game",
    )
    inner_start: str = _setting(
        "listener",
        "text",
        "where inner games of os and ll:T begin: listener: at the sign that the listener holds, which keeps the "
        "posterior; own: at each agent's own sign, which has a bias",
        group="game",
        choices=INNER_STARTS,
    )
    synchronous: bool = _setting(
        False,
        "bool",
        "all pairs of a sweep meet at the same time, and agents learn from what they heard when it is over",
        group="game",
    )
    start: str = _setting(
        "merge",
        "text",
        "where a chain begins: prior: a draw; kmeans: the first agent's clusters; merge: too many clusters, "
        "merged by evidence; split: clusters, then split-merge steps",
        group="game",
        choices=STARTS,
    )
    starts: int = _setting(
        6,
        "int",
        "starts that compete for each chain; the best log evidence is kept",
        group="game",
        least=1,
        most=10_000,
    )
    split_merge: int = _setting(
        0,
        "int",
        "steps in a sweep by which each agent proposes to split one sign and to join two others; needs signs that "
        "are shared (--listener-state shared or --mode gibbs)",
        group="game",
        least=0,
        most=1_000,
    )
    sweeps: int = _setting(50, "int", "sweeps of the last round's game (T)", group="game", least=1, most=10**7)
    burn_in: int = _setting(20, "int", "sweeps of the last game left out of its means", group="game", least=0)
    chains: int = _setting(
        1,
        "int",
        "chains of the game on the same percepts (C); agents learn from chain 0",
        group="game",
        least=1,
        most=10_000,
    )
    thin: int = _setting(
        1, "int", "every so manieth sweep after burn-in goes into posterior.nc", group="game", least=1, most=10**7
    )
    keep: str = _setting(
        "all",
        "text",
        "what is large in posterior.nc: signs: the sign of every object; components: the components' means; all: "
        "both; none: neither",
        group="game",
        choices=KEPT,
    )
    dataset: str = _setting(
        "mnist5k", "text", "the objects; `cli.py data` describes them", group="objects", choices=DATASETS
    )
    data: tuple[own.Entry, ...] | None = _setting(
        None,
        "paths",
        "data of your own, for --dataset npz, csv and folder: a file or folder, or with commas between one for each "
        "agent, of the same objects; joined by & they are modalities of one agent, as in a1.csv&a2.csv,b.csv",
        group="objects",
    )
    label_column: str | None = _setting(
        None,
        "text",
        "csv: the column of the labels, by its name or its number (1 the first, -1 the last); none: the one called "
        "label, if there is one",
        group="objects",
    )
    header: str = _setting(
        "auto",
        "text",
        "csv: whether the first row names the columns; auto: if none of it is a number, or it counts them",
        group="objects",
        choices=HEADERS,
    )
    image_size: int = _setting(
        28,
        "int",
        "folder: images are made so many pixels wide and high; black is added to keep proportions",
        group="objects",
        least=4,
        most=512,
    )
    channels: int = _setting(
        1, "int", "folder: 1: images are made grey; 3: coloured", group="objects", least=1, most=3
    )
    reduce: int | None = _setting(
        None,
        "int",
        "features: each agent keeps so many principal components of its own, whitened, if it has more features",
        group="objects",
        least=1,
        most=1_000,
    )
    data_root: Path | None = _setting(None, "path", "folder of data sets that no package ships", group="objects")
    download: bool = _setting(False, "bool", "fetch a missing data set into --data-root", group="objects")
    limit: int | None = _setting(None, "int", "use the first N objects", group="objects", least=1)
    views: tuple[View, ...] = _setting(
        (0.0, 45.0),
        "views",
        f"how each agent sees the images, one entry an agent: {LANGUAGE}; patches:G is G * G entries; joined by & "
        "they are modalities that one agent sees at once, as in 0&90,45. Of M != 2 agents, if not given, degrees from "
        "0 by steps of 100 / M",
        group="objects",
    )
    missing: float = _setting(
        0.0,
        "float",
        "of agents with several modalities: the chance that an object lacks one, for each object and modality; one of "
        "them always stays",
        group="objects",
        least=0,
        below=1,
    )
    classes: int = _setting(6, "int", "synthetic objects: how many classes", group="objects", least=3)
    ambiguity: float = _setting(
        1.0,
        "float",
        "synthetic objects: 0: every view tells all classes apart; 1: each view confuses pairs of them",
        group="objects",
        least=0,
    )
    dimension: int = _setting(
        4, "int", "synthetic objects: how many features each has", group="objects", least=1, most=1_000
    )
    agents: int = _setting(2, "int", "how many agents there are (M)", group="agents", least=2, most=1_000)
    network: str = _setting("mlp", "text", "encoder and decoder, f", group="agents", choices=NETWORKS)
    likelihood: str = _setting("bernoulli", "text", "p(x | z)", group="agents", choices=LIKELIHOODS)
    noise: float = _setting(
        0.2,
        "float",
        "--likelihood gaussian-fixed: standard deviation of what is seen around what is imagined; 0.2 of the range of "
        "pixels is near what gaussian learns of digits, and of standardised features a fifth of their spread",
        group="agents",
        above=0,
        most=1e3,
    )
    guide: str = _setting("diagonal", "text", "q(z | x)", group="agents", choices=GUIDES)
    fusion: str = _setting(
        "product",
        "text",
        "q(z | x) of an agent with several modalities, from those of each",
        group="agents",
        choices=FUSIONS,
    )
    percept: str = _setting(
        "draw",
        "text",
        "what the game is played on: draw: a draw of q(z | x) in each round; mean: its mean, which leaves out how "
        "sure an agent is of what it sees, so that the game's posterior is another one",
        group="agents",
        choices=PERCEPTS,
    )
    mixture: str = _setting("normal-wishart", "text", "p(z | w)", group="agents", choices=MIXTURES)
    prior: str = _setting(
        "",
        "text",
        "hyperparameters of the mixture, as in W=0.5,beta=0.1: what each takes stands in docs/models.md; those that "
        "are not given are its own defaults",
        group="agents",
    )
    latent_dim: int = _setting(
        12,
        "int",
        "dimensions of a percept (L); with --likelihood identity the number of features, the largest of all agents'",
        group="agents",
        least=1,
        most=1_000,
    )
    agent: Own = _setting(
        (),
        "own",
        "settings of one agent for itself, as in 'B: --network conv --latent-dim 8'; may be given many times",
        group="agents",
    )
    rounds: int = _setting(30, "int", "rounds of mutual learning after the first game (R)", group="learning", least=0)
    epochs: int = _setting(80, "int", "epochs before the first game (E)", group="learning", least=0)
    round_epochs: int = _setting(1, "int", "epochs at the beginning of each later round", group="learning", least=0)
    round_sweeps: int = _setting(
        5,
        "int",
        "sweeps of the game in each round before the last (never more than --sweeps)",
        group="learning",
        least=1,
        most=10**7,
    )
    jitter: float = _setting(
        1.0,
        "float",
        "images are moved at random while they are learned from, at strength 1 by up to 12 degrees, 10% of the size "
        "and 1/14 of the width; 0: not at all",
        group="learning",
        least=0,
        most=10,
    )
    batch_size: int = _setting(128, "int", "objects a step", group="learning", least=1)
    lr: float = _setting(1e-3, "float", "step size of Adam", group="learning", above=0)
    seed: int = _setting(0, "int", "the one seed of all random streams", group="running", least=0, most=2**63 - 1)
    device: str = _setting("auto", "text", "auto, cpu, cuda or cuda:N", group="running")
    engine: str = _setting(
        "local",
        "text",
        "local: all agents in this process; ray: each in one of its own, where they learn side by side, and which "
        "only signs leave (needs the package ray)",
        group="running",
        choices=ENGINES,
    )
    address: str | None = _setting(
        None,
        "text",
        "of --engine ray: the cluster to join, HOST:PORT or auto (default: RAY_ADDRESS, or one that is started here)",
        group="running",
    )
    cuda_graphs: bool = _setting(
        True,
        "bool",
        "on a CUDA device, replay a step of learning as one graph of kernels (parts of your own are never captured)",
        group="running",
    )
    checkpoint_minutes: float = _setting(
        10.0,
        "float",
        "save so often between epochs too, so that a run that is stopped in a long round repeats no more; 0: at the "
        "end of each round only",
        group="running",
        least=0,
        most=10**6,
    )
    tensorboard: bool = _setting(
        False, "bool", "write the metrics as scalars for TensorBoard too, to RUN/tensorboard", group="running"
    )
    run_dir: Path | None = _setting(
        None, "path", "run folder; if none is given, a new one in runs/", group="running", saved=False
    )
    overwrite: bool = _setting(False, "bool", "replace the run that --run-dir holds", group="running", saved=False)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def flag(name: str) -> str:
    """The flag of a field: latent_dim -> --latent-dim."""
    return "--" + key(name)


def key(name: str) -> str:
    """The key of a field in a file: latent_dim -> latent-dim."""
    return name.replace("_", "-")


def resolve(flags: Mapping[str, Any], file: Path | None = None, *, trust_plugins: bool = False) -> Config:
    """Defaults, then the file, then `flags` (field name -> text as typed, or a bool). Checks everything.

    trust_plugins: the file may name code of its own to run; without it that is an `UntrustedError`.
    """
    return together(({} if file is None else read_file(file, trust_plugins=trust_plugins)) | from_flags(flags))


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by field name, each checked, of flags as typed: field name -> text, or a bool."""
    return {name: checked(name, _from_text(name, typed), flag(name)) for name, typed in flags.items()}


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Settings by field name, each checked, of a TOML table by key; messages begin with `place`.

    A name of code to be imported ("module:attribute") is refused unless `trust_plugins`: whoever wrote the file could
    have anything run. On the command line the user has typed it.
    """
    values = {}
    names = {key(name): name for name in FIELDS}
    for found, value in table.items():
        if found == "agents" and isinstance(value, dict):
            values.update(_agents_of(value, place, trust_plugins))
            continue
        if found not in names or found == "agent":
            raise UsageError(f"{place}: unknown key {_shown(found)}{suggestion(found, names)}")
        name = names[found]
        where = f"{place}: {found}"
        values[name] = checked(name, _from_toml(name, value, where), where)
        if not trust_plugins:
            refuse_plugin(name, values[name], where)
    return values


def _agents_of(table: Mapping[str, Any], place: str, trust_plugins: bool) -> dict[str, Any]:
    """The settings in [agents] and [agents.NAME]."""
    from experiment import individuals

    tables = dict(table)
    count = {} if "count" not in tables else from_table({"agents": tables.pop("count")}, f"{place}, [agents]")
    return count | {"agent": individuals.from_tables(tables, place, trust_plugins=trust_plugins)}


def refuse_plugin(name: str, value: Any, place: str) -> None:
    """`UntrustedError` if the value of a field, from a file, names code to be imported."""
    if name in FAMILIES and isinstance(value, str) and is_plugin(value):
        raise UntrustedError(
            f"{place} = {value} runs code that is not of this program: give --trust-plugins if you trust that and the "
            "file"
        )


def together(values: Mapping[str, Any]) -> Config:
    """The settings, defaults where `values` (by field name, each checked) has none. Checks that they fit together."""
    values = dict(values)
    values.update(_as_many_as_the_data(values))
    if values.get("agents", 2) != 2 and "views" not in values:
        values["views"] = tuple(100 * m / values["agents"] for m in range(values["agents"]))
    config = Config(**values)
    _check_together(config)
    return config


def _as_many_as_the_data(values: dict[str, Any]) -> dict[str, Any]:
    """As many agents as there are data of their own, and views as they are, where nothing else is said."""
    kind, data = values.get("dataset"), values.get("data")
    if kind not in own.KINDS or not data or {"agents", "views"} <= values.keys():
        return {}
    count = own.agents_in(kind, data)
    found: dict[str, Any] = {} if "agents" in values or count is None or count < 2 else {"agents": count}
    if "views" not in values and (count is not None or not own.is_for_all(kind, data)):
        found["views"] = (0.0,) * (values | found).get("agents", 2)
    return found


def read_file(file: Path, *, trust_plugins: bool = False) -> dict[str, Any]:
    """The settings in a TOML file, by field name, each checked. trust_plugins: as in `from_table`."""
    return from_table(read_toml(file), f"--config {file}", trust_plugins=trust_plugins)


def read_toml(file: Path) -> dict[str, Any]:
    """The table in the TOML file of --config."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise UsageError(f"--config {file}: not valid TOML: {error}") from error


def to_toml(config: Config) -> str:
    """The settings as a file for --config; what is absent stands there as a comment."""
    lines = ["# The settings of this run, resolved. Use it again: python cli.py train --config THIS_FILE", ""]
    group = None
    for name, field in FIELDS.items():
        if not field.metadata["saved"]:
            continue
        if field.metadata["group"] != group:
            lines += [""] * (group is not None)
            group = field.metadata["group"]
            lines.append(f"# {group}")
        if name == "agent" or (name == "agents" and config.agent):
            continue
        value = getattr(config, name)
        lines.append(f"# {key(name)} =" if value is None else f"{key(name)} = {toml_value(value)}")
    if config.agent:
        from experiment import individuals

        lines += ["", "[agents]", f"count = {config.agents}"]
        for name, own in individuals.to_tables(config.agent).items():
            lines += ["", f"[agents.{name}]", *(f"{field} = {toml_value(value)}" for field, value in own.items())]
    return "\n".join(lines) + "\n"


def plain(config: Config) -> dict[str, Any]:
    """The settings by key, as JSON knows them."""
    from experiment import individuals

    found = {key(name): _plain(getattr(config, name)) for name, field in FIELDS.items() if field.metadata["saved"]}
    return found | {"agent": individuals.to_tables(config.agent)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return str(value) if isinstance(value, Path) else value


def to_flags(config: Config) -> list[str]:
    """The flags of `train` that make these settings: those that differ from the defaults."""
    from experiment import individuals

    values = {name: getattr(config, name) for name in FIELDS if name != "agent"}
    changed = {name: value for name, value in values.items() if value != FIELDS[name].default}
    return words_of(changed) + individuals.to_flags(config)


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Flags that make these settings, by field name."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else "--no-" + key(name))
        else:
            # In one word, because a value may begin with a dash.
            text = ",".join(map(_word, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{flag(name)}={text}")
    return words


def _word(item: Any) -> str:
    return JOINT.join(map(str, item)) if isinstance(item, tuple) else str(item)


def changes(config: Config, made: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where `config` differs from settings in a manifest, by key: (that of config, that of the manifest)."""
    # A setting that the manifest's version did not know yet was what it is by default.
    made = to_plain(plain(Config())) | made
    return {name: (value, made[name]) for name, value in to_plain(plain(config)).items() if made[name] != value}


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """ "; did you mean ...?" for the nearest of `right`, or nothing."""
    near = difflib.get_close_matches(wrong, list(right), n=1)
    return f"; did you mean {near[0]}?" if near else ""


# -- one value -----------------------------------------------------------------------------------------


def _from_text(name: str, typed: Any) -> Any:
    kind = FIELDS[name].metadata["kind"]
    if kind == "bool":  # the flags --x and --no-x carry no text
        return typed
    if kind == "path":
        return _absolute(name, typed, flag(name))
    if kind == "paths":
        return _all_absolute(name, [_joined(one) for one in typed.split(",")], flag(name))
    if kind == "views":
        return _views([typed], flag(name))
    if kind == "own":
        from experiment import individuals

        return individuals.from_flags(typed)
    try:
        if kind == "int":
            return int(typed)
        if kind == "float":
            return float(typed)
    except (ValueError, OverflowError):
        what = {"int": "a whole number", "float": "a number"}[kind]
        raise UsageError(f"{flag(name)} must be {what}; it is {_shown(typed)}") from None
    return typed


def _from_toml(name: str, value: Any, place: str) -> Any:
    kind = FIELDS[name].metadata["kind"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits, what = {
        "int": (number and isinstance(value, int), "a whole number"),
        "float": (number, "a number"),
        "bool": (isinstance(value, bool), "true or false"),
        "text": (isinstance(value, str), "text in quotes"),
        "path": (isinstance(value, str), "a path in quotes"),
        "paths": (
            isinstance(value, str) or (isinstance(value, list) and all(map(_is_entry, value))),
            "a path in quotes, or a list of them, in which a list stands for the modalities of one agent",
        ),
        "views": (
            isinstance(value, str)
            or (
                isinstance(value, list)
                and all(isinstance(v, int | float | str) and not isinstance(v, bool) for v in value)
            ),
            "a list of numbers or texts",
        ),
    }[kind]
    # The reference's -1, 0, 1 are numbers, also in a file.
    if name == "mode" and number:
        return str(value)
    if not fits:
        raise UsageError(f"{place} must be {what}; it is {_shown(value)}")
    try:
        if kind == "float":
            return float(value)
        if kind == "views":
            return _views([value] if isinstance(value, str) else value, place)
    except OverflowError:
        raise UsageError(f"{place} is too large") from None
    if kind == "paths":
        return _all_absolute(name, [value] if isinstance(value, str) else value, place)
    return _absolute(name, value, place) if kind == "path" else value


def _views(given: list[float | str], place: str) -> tuple[View, ...]:
    try:
        found: list[View] = []
        for one in given:
            found += entries(one) if isinstance(one, str) else [entry(float(one))]
        if not found:
            raise ValueError("must have an entry for each agent; there is none")
        return tuple(found)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None


def _is_entry(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _joined(typed: str) -> str | list[str]:
    """The modalities that an entry of --data joins; a file may have the sign in its own name."""
    return typed.split(JOINT) if JOINT in typed and not _exists(typed) else typed


def _exists(typed: str) -> bool:
    try:
        return Path(typed).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _all_absolute(name: str, typed: Sequence[str | list[str]], place: str) -> tuple[own.Entry, ...]:
    found: list[own.Entry] = []
    for number, one in enumerate(typed, 1):
        if isinstance(one, str) and one:
            found.append(_absolute(name, one, place))
        elif not one:
            break
        elif "" in one:
            raise UsageError(
                f"{place}: modality {one.index('') + 1} of entry {number} is empty; the entry is "
                f"{_shown(JOINT.join(one))}"
            )
        else:
            paths = tuple(_absolute(name, part.strip(), place) for part in one)
            found.append(paths if len(paths) > 1 else paths[0])
    if not typed or len(found) < len(typed):
        raise UsageError(
            f"{place} must be a path, or paths with commas between; it is {_shown(','.join(map(str, typed)))}"
        )
    return tuple(found)


def _absolute(name: str, typed: str, place: str) -> Path:
    """A path that is saved with a run must mean the same from every folder."""
    if "\0" in typed:
        raise UsageError(f"{place} must be a path without null bytes; it is {_shown(typed)}")
    return Path(typed).absolute() if FIELDS[name].metadata["saved"] else Path(typed)


def checked(name: str, value: Any, place: str) -> Any:
    """The value of a field, if it may have it; messages begin with `place`."""
    rule = FIELDS[name].metadata
    if name == "mode":
        value = MODE_ALIASES.get(value, value)
    if name in FAMILIES and is_plugin(value):
        if not is_well_formed(value):
            raise UsageError(f"{place} {value!r} must be MODULE:NAME, such as my_module:MyClass")
    elif rule["choices"] is not None and value not in rule["choices"]:
        own = ", or MODULE:NAME of your own" if name in FAMILIES else ""
        raise UsageError(
            f"{place} must be one of {', '.join(rule['choices'])}{own}; it is {_shown(value)}"
            f"{suggestion(value, rule['choices'])}"
        )
    numbers = [value] if rule["kind"] in ("int", "float") else []
    if rule["most"] is not None and value > rule["most"]:
        raise UsageError(f"{place} must be {rule['most']} or less; it is {_shortened(value)}")
    if rule["least"] is not None and value < rule["least"]:
        raise UsageError(f"{place} must be {rule['least']} or more; it is {_shortened(value)}")
    if not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"{place} must be finite; it is {value!r}")
    if rule["below"] is not None and value >= rule["below"]:
        raise UsageError(f"{place} must be less than {rule['below']}; it is {value}")
    if rule["above"] is not None and value <= rule["above"]:
        raise UsageError(f"{place} must be more than {rule['above']}; it is {value}")
    if name in _PARSERS and value != FIELDS[name].default:  # a default need not wait for torch
        module, _, parser = _PARSERS[name].partition(":")
        try:
            getattr(import_module(module), parser)(value)
        except ValueError as error:
            raise UsageError(f"{place} {error}") from None
    return value


def _shown(value: Any) -> str:
    """For a message of one line, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _shortened(number: float) -> str:
    if abs(number) < 10**20:
        return str(number)
    return f"{'-' if number < 0 else ''}10**{int(math.log10(abs(number)))} or so"


def _check_together(config: Config) -> None:
    if len(config.views) != config.agents:
        raise UsageError(f"--views must have one entry per agent, {config.agents}; it has {len(config.views)}")
    _check_community(config)
    _check_engine(config)
    _check_data(config)
    from experiment import individuals

    individuals.check(config)
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
    if (config.dataset in own.KINDS) != bool(config.data):
        raise UsageError(
            f"--data goes with --dataset {', '.join(own.KINDS)}, and they with it; --dataset is {config.dataset}, "
            f"--data is {'not given' if not config.data else own.told(config.data)}"
        )
    for kind, names in (("csv", ("label_column", "header")), ("folder", ("image_size", "channels"))):
        for name in names:
            if config.dataset != kind and getattr(config, name) != FIELDS[name].default:
                raise UsageError(f"{flag(name)} is for --dataset {kind}; --dataset is {config.dataset}")
    check_places(config.dataset, config.views)
    if config.channels == 2:
        raise UsageError("--channels must be 1 or 3; it is 2")


def modalities_of(config: Config, agent: int) -> int:
    """How many modalities the agent of that number has."""
    data = config.data or ()
    files = len(own.paths(data[agent if len(data) > 1 else 0])) if len(data) in (1, config.agents) else 1
    return max(files, len(modalities(config.views[agent])))


def _check_community(config: Config) -> None:
    """What many agents can play, and what would take them forever."""
    default = {name: FIELDS[name].default for name in ("meet", "recursion")}
    all_at_once = config.meet == default["meet"]
    if config.synchronous and all_at_once:
        raise UsageError("--synchronous is for agents that meet in pairs: give --meet too")
    if config.meet_later is not None:
        if all_at_once:
            raise UsageError("--meet-later is for agents that meet in pairs: give --meet too")
        if config.listener_state == "shared" or config.mode == "gibbs":
            shared = "--mode gibbs" if config.mode == "gibbs" else "--listener-state shared"
            raise UsageError(f"--meet-later is not for {shared}, where all hold one sign")
        if config.weights.partition(":")[0] == "sticks":
            raise UsageError("--meet-later is not for --weights sticks, whose mergers all agents would make together")
        if (last := later(config.meet_later)[-1][0]) > config.rounds:
            raise UsageError(f"--meet-later {config.meet_later}: round {last} is after the last one, {config.rounds}")
    if config.recursion != default["recursion"] and not all_at_once:
        raise UsageError(f"--recursion {config.recursion} is for agents that meet together; --meet is {config.meet}")
    if config.agents == 2 or not all_at_once or config.mode in ("no-com", "gibbs", "variational"):
        return
    if config.listener_state == "speaker-sample":
        raise UsageError("--listener-state speaker-sample is a rule for two, or for pairs: give --meet too")
    if config.recursion == "exact" and config.acceptance != "mh":
        raise UsageError("--recursion exact needs --acceptance mh, by which all agents between accept")
    if config.recursion.startswith("ll:"):
        names = int(config.recursion[3:]) ** (config.agents - 2)
        if names > _MOST_NAMES:
            raise UsageError(
                f"--recursion {config.recursion} of {config.agents} agents takes {_shortened(names)} names of the "
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


def toml_value(value: Any) -> str:
    """A setting as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str | Path):
        # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
