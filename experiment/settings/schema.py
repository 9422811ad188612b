"""The settings of a run: one frozen dataclass. Flags, keys of a file and checks of values are derived from it.

Values of `--views`, `--prior`, `--meet` and `--meet-later` are parsed once, into objects whose `text` is what
config.toml holds. Other values with a syntax stay text, which is checked (`parsing.py`) and read where it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom.csv_table import HEADERS
from mhng.experiment.data.registry import DATASETS
from mhng.experiment.data.views import View, parse_view
from mhng.experiment.runs.trace import KEPT
from mhng.experiment.settings.graph_spec import TOGETHER, GraphSpec, LaterGraphs
from mhng.experiment.util.agent_names import agent_names
from mhng.inference import INNER_STARTS, LISTENER_STATES, MODES, NEWCOMERS, PERCEPTS, STARTS
from mhng.models.languages import GRAMMARS, MEANINGS, MOST_TABLE, TURNS, Sentences
from mhng.models.registry import FUSIONS, GUIDES, LIKELIHOODS, MIXTURES, NETWORKS

ENGINES = ("local", "ray")
# The most sentences: some vectors have an entry for each.
MOST_SENTENCES = 10**6


@dataclass(frozen=True)
class Prior:
    """Hyperparameters of a mixture, parsed from text such as "W=0.5,beta=0.1"."""

    text: str = ""
    values: Mapping[str, float] = dataclasses.field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.text


Views = tuple[View, ...]
Data = tuple[custom_dataset.Entry, ...]
# Settings of single agents: ((agent, ((field, value), ...)), ...), see `mhng.experiment.settings.per_agent`.
Overrides = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]


class Limits(NamedTuple):
    """Limits of a number; `above` and `below` are excluded."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None


class Choices(tuple[str, ...]):
    """The names that a setting may have."""


# The largest whole number where no smaller limit is given: larger values are typing errors, or exceed int64.
_MOST = 10**9
# Whole numbers
Natural = Annotated[int, Limits(0, _MOST)]
Positive = Annotated[int, Limits(1, _MOST)]


def _setting(default: Any, group: str, help: str, *, default_help: str | None = None, saved: bool = True) -> Any:
    """A field of `Config`.

    default_help: the default in the help text, if it is not the value. saved: config.toml holds the setting; False for
    settings that another run with the same file must not share.
    """
    metadata = {"group": group, "help": help, "default_help": default_help, "saved": saved}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """The settings of a run, parsed and checked. `mhng train --help` describes them."""

    mode: Annotated[str, Choices(MODES)] = _setting(
        "com",
        "game",
        "exchange of signs between agents. com: Metropolis-Hastings naming game, the listener accepts or rejects each "
        "proposal; no-com: no exchange; all: the listener accepts each proposal; gibbs: centralised sampler with "
        "access to the latents of all agents, an upper bound; variational: agents exchange sign probabilities instead "
        "of samples. Aliases: -1 is com, 0 is no-com, 1 is all",
    )
    program: str | None = _setting(
        None,
        "game",
        "game between Pyro programs instead of agents that learn from images: FILE.py:NAME, a NamingGame or a "
        "function that returns one (docs/programs.md); the command `play` takes it, too",
        default_help="none",
    )
    signs: Annotated[int, Limits(1, MOST_SENTENCES)] = _setting(10, "game", "number of signs K")
    words: Annotated[int, Limits(1, 12)] = _setting(
        1, "game", "words of a sentence, S; with 2 or more, agents exchange sentences instead of single signs"
    )
    vocabulary: Annotated[int, Limits(2, 1000)] | None = _setting(
        None,
        "game",
        f"number of words V; requires --words 2 or more. --signs is then V^S, at most {MOST_SENTENCES:,}",
        default_help="10 with --words 2 or more",
    )
    meaning: Annotated[str, Choices(MEANINGS)] = _setting(
        "positions",
        "game",
        "mean of a sentence's component. positions: sum of what each word adds in its slot; bag: sum of what each "
        "word adds in any slot; pairs: positions, and what each pair of words adds; holistic: no parts",
    )
    grammar: Annotated[str, Choices(GRAMMARS)] = _setting(
        "none",
        "game",
        "prior of sentences. none: all are equally probable; markov: a word depends on the word before it, with "
        "learned probabilities",
    )
    turns: Annotated[str, Choices(TURNS)] = _setting(
        "both",
        "game",
        "proposals about an object in an encounter. sentence: a whole sentence; word: each word in turn, given the "
        f"listener's other words; both: a sentence, then each word (above {MOST_TABLE:,} sentences: words only)",
    )
    weights: str = _setting(
        "uniform",
        "game",
        "prior of the sign frequencies pi. uniform: fixed at 1 / K; dirichlet:ALPHA: learned; sticks:ALPHA: learned "
        "by stick-breaking, --signs is the largest number of signs",
    )
    listener_state: Annotated[str, Choices(LISTENER_STATES)] = _setting(
        "chain",
        "game",
        "sign that the listener compares with a proposal. chain: current sign of the listener; shared: one current "
        "sign for all agents; speaker-sample: rule of the public reference code, which does not sample the posterior",
    )
    acceptance: str = _setting(
        "mh",
        "game",
        "acceptance probability of a proposal, r is its likelihood ratio to the current sign. mh: min(1, r); "
        "tempered:T: min(1, r^(1/T)); constant:P: P; numerator: p(proposal); subtraction: (1 + p(proposal) - "
        "p(current)) / 2, p is the likelihood normalised over signs; binary: 1 if r >= 1, else 0",
    )
    meet: GraphSpec = _setting(
        TOGETHER,
        "game",
        "graph of the agents that play with each other. together: one game of all agents; complete, ring, star: games "
        "of pairs; random-pairs: new pairs in each sweep; small-world:P: ring rewired with probability P; bridges:B: "
        "two complete groups joined by B edges; FILE: two agent names per line",
    )
    meet_later: LaterGraphs | None = _setting(
        None,
        "game",
        "later graphs R=GRAPH[,R=GRAPH...], GRAPH replaces the graph of --meet from round R on; requires --meet",
        default_help="none",
    )
    newcomers: Annotated[str, Choices(NEWCOMERS)] = _setting(
        "keep",
        "game",
        "first response of agents that --meet-later connects for the first time. keep: compare the proposal with the "
        "current sign; take: accept the proposal",
    )
    recursion: str = _setting(
        "os",
        "game",
        "proposal in a game of three or more agents. os: one sample passed from agent to agent; ll:T: inner games of "
        "T proposals; exact: sample of the joint posterior of the speakers by rejection; ll:16 for objects that "
        "would take more than a million draws",
    )
    inner_start: Annotated[str, Choices(INNER_STARTS)] = _setting(
        "listener",
        "game",
        "initial sign of the inner games of --recursion os and ll:T. listener: current sign of the listener, which "
        "preserves the posterior; own: current sign of each agent, which is biased",
    )
    synchronous: bool = _setting(
        False, "game", "simultaneous games of all pairs in a sweep; agents update their parameters after the sweep"
    )
    start: Annotated[str, Choices(STARTS)] = _setting(
        "merge",
        "game",
        "initialisation of a chain. prior: sample from the prior; kmeans: clusters of one agent; merge: too many "
        "clusters; pairs are merged by log evidence, then clusters move to other signs while it rises; split: "
        "clusters, changed by split-merge steps; slots: for sentences, "
        "kmeans and a short game in an independent subspace for each slot",
    )
    starts: Annotated[int, Limits(1, 10_000)] = _setting(
        6,
        "game",
        "initialisations per chain; the one with the largest log evidence minus entropy of the signs is "
        "kept (of sentences: log evidence)",
    )
    split_merge: Annotated[int, Limits(0, 1_000)] = _setting(
        0,
        "game",
        "split-merge proposals per agent and sweep; requires --mode gibbs or --listener-state shared",
    )
    sweeps: Annotated[int, Limits(1, 10**7)] = _setting(50, "game", "sweeps of the game in the last round, T")
    burn_in: Natural = _setting(
        20,
        "game",
        "first sweeps of the last round, excluded from means and from posterior.nc; less than --sweeps",
        default_help="20, or two fifths of --sweeps if that is less",
    )
    chains: Annotated[int, Limits(1, 10_000)] = _setting(
        4,
        "game",
        "Markov chains on the same latents, C; agents learn from chain 0, whose start has the largest score",
    )
    thin: Annotated[int, Limits(1, 10**7)] = _setting(
        1, "game", "thinning interval of posterior.nc, in sweeps after burn-in"
    )
    keep: Annotated[str, Choices(KEPT)] = _setting(
        "all",
        "game",
        "large arrays in posterior.nc. signs: sign of each object; components: component means; all: both, the "
        "latents of the last round and their log likelihoods; none: none of them",
    )
    dataset: Annotated[str, Choices(DATASETS)] = _setting(
        "mnist5k", "objects", "data set; the command `data` describes them"
    )
    data: Data | None = _setting(
        None,
        "objects",
        "files or folders of --dataset npz, csv and folder: one for all agents, or one per agent, separated by "
        "commas; & joins the modalities of an agent, as in a1.csv&a2.csv,b.csv; or a TOML list of paths",
        default_help="none",
    )
    label_column: str | None = _setting(
        None,
        "objects",
        "label column of --dataset csv: its name, its number (1 is the first, -1 the last), or none",
        default_help="the column named label, if there is one",
    )
    header: Annotated[str, Choices(HEADERS)] = _setting(
        "auto",
        "objects",
        "header row of --dataset csv. yes; no; auto: yes if the first row has no numbers, or is 0, 1, 2, ...",
    )
    image_size: Annotated[int, Limits(4, 512)] | None = _setting(
        None,
        "objects",
        "width and height of the images of --dataset folder, in pixels; black borders preserve the proportions",
        default_help="the longest side, at most 32",
    )
    channels: Annotated[int, Limits(1, 3)] | None = _setting(
        None,
        "objects",
        "colour channels of the images of --dataset folder. 1: grey; 3: colour",
        default_help="3 if any image has colour, else 1",
    )
    standardise: Annotated[str, Choices(("yes", "no"))] | None = _setting(
        None,
        "objects",
        "features with mean 0 and standard deviation 1. yes; no: the values of the data",
        default_help="yes; no for features that are all 0 or 1, and for mixtures of counts, angles or simplex rows",
    )
    reduce: Annotated[int, Limits(1, 1_000)] | None = _setting(
        None,
        "objects",
        "principal components that replace the features of each agent, whitened",
        default_help="features as they are",
    )
    data_root: Path | None = _setting(
        None, "objects", "folder of the data sets that no Python package contains", default_help="./data"
    )
    download: bool = _setting(False, "objects", "download of a missing data set into --data-root")
    limit: Positive | None = _setting(
        None, "objects", "number of objects, from the first on", default_help="all objects"
    )
    views: Views = _setting(
        (parse_view(0.0), parse_view(45.0)),
        "objects",
        "image transformation of each agent, separated by commas: degrees of rotation; patch:R.C/G: cell in row R, "
        "column C of a G x G grid; crop:S: central share S, enlarged; blur:S and noise:S: standard deviation S; "
        "occlude:S: black square of share S; grey; invert; ahead:J: J-th next picture of the same thing (--dataset "
        "folder). + applies one after another, patches:G gives each of G * G agents a cell, & joins the modalities "
        "of an agent, as in 0&90,45",
        default_help="0,45; more agents: rotations by multiples of 100 / M degrees",
    )
    missing: Annotated[float, Limits(0, below=1)] = _setting(
        0.0,
        "objects",
        "probability that an object lacks a modality, for agents with several modalities; at least one remains",
    )
    classes: Annotated[int, Limits(3, 1_000)] = _setting(6, "objects", "number of classes of --dataset synthetic")
    ambiguity: Annotated[float, Limits(0, 1)] = _setting(
        1.0,
        "objects",
        "ambiguity of --dataset synthetic. 0: each view separates all classes; 1: each view confuses pairs of classes",
    )
    dimension: Annotated[int, Limits(1, 1_000)] = _setting(
        4, "objects", "number of features per object and view of --dataset synthetic"
    )
    hold_out: str | None = _setting(
        None,
        "objects",
        "combinations of attributes that the agents never observe, for the command `language`. F: a share, such as "
        "0.2; egg: the two hold-outs of EGG; requires objects with several attributes, such as numbers",
        default_help="none",
    )
    agents: Annotated[int, Limits(2, 1_000)] = _setting(2, "agents", "number of agents M")
    network: Annotated[str, Choices(NETWORKS)] | None = _setting(
        None, "agents", "encoder and decoder network f", default_help="mlp"
    )
    likelihood: Annotated[str, Choices(LIKELIHOODS)] | None = _setting(
        None,
        "agents",
        "likelihood p(x | z) of an observation x given its latent z",
        default_help="from the data. features: identity, or gaussian if there are more than 64 of them, several "
        "modalities, or a setting of the VAE; images: bernoulli if they are grey and most pixels near 0 or 1, else "
        "gaussian",
    )
    noise: Annotated[float, Limits(above=0, most=1e3)] = _setting(
        0.2,
        "agents",
        "standard deviation of --likelihood gaussian-fixed; pixels range from 0 to 1, features have variance 1",
    )
    guide: Annotated[str, Choices(GUIDES)] = _setting(
        "diagonal", "agents", "approximate posterior q(z | x) of a latent given its observation"
    )
    fusion: Annotated[str, Choices(FUSIONS)] = _setting(
        "product", "agents", "combination of the posteriors q(z | x) of several modalities"
    )
    percept: Annotated[str, Choices(PERCEPTS)] = _setting(
        "draw",
        "agents",
        "latents in the game. draw: one sample of q(z | x) per round; mean: the mean of q(z | x), which ignores its "
        "uncertainty and changes the posterior of signs",
    )
    mixture: Annotated[str, Choices(MIXTURES)] = _setting(
        "normal-wishart", "agents", "mixture component p(z | w) of a sign w"
    )
    prior: Prior = _setting(
        Prior(),
        "agents",
        "hyperparameters of the mixture, as in W=0.5,beta=0.1; docs/models.md lists them",
        default_help="those of the mixture",
    )
    latent_dim: Annotated[int, Limits(1, 1_000)] | None = _setting(
        None,
        "agents",
        "number of latent dimensions L; --likelihood identity takes the number of features",
        default_help="12",
    )
    agent: Overrides = _setting(
        (),
        "agents",
        "settings of a single agent, as in 'B: --network conv --latent-dim 8'; may be repeated",
        default_help="all agents alike",
    )
    rounds: Natural = _setting(
        40,
        "learning",
        "number of rounds after round 0; a round is learning, then a game",
    )
    epochs: Natural | None = _setting(
        None,
        "learning",
        "epochs of learning in round 0, before the first game",
        default_help="as many as 3,200 gradient steps take, or 1,000 for colour images; from 80 to 250",
    )
    round_epochs: Natural | None = _setting(
        None,
        "learning",
        "epochs of learning in each later round",
        default_help="as many as 40 gradient steps take",
    )
    round_sweeps: Annotated[int, Limits(1, 10**7)] = _setting(
        5, "learning", "sweeps of the game in each round but the last, at most --sweeps"
    )
    jitter: Annotated[float, Limits(0, 10)] = _setting(
        1.0,
        "learning",
        "strength of random image augmentation during learning. 0: none; 1: rotation up to 12 degrees, scale and "
        "shear up to 10%, shift up to 1/14 of the width",
    )
    batch_size: Positive | None = _setting(
        None,
        "learning",
        "objects per gradient step",
        default_help="a power of two near N / 40, from 16 to 128, for N objects",
    )
    lr: Annotated[float, Limits(above=0)] = _setting(1e-3, "learning", "learning rate of Adam")
    seed: Annotated[int, Limits(0, 2**63 - 1)] = _setting(0, "running", "seed of all random streams")
    device: str = _setting(
        "auto", "running", "device. auto: first CUDA device, if there is one, else cpu; cpu; cuda; cuda:N"
    )
    engine: Annotated[str, Choices(ENGINES)] = _setting(
        "local",
        "running",
        "processes. local: one process, with copies of it during learning and large starts; ray: one Ray process per "
        "agent, which exchange only signs (requires the package ray)",
    )
    address: str | None = _setting(
        None,
        "running",
        "Ray cluster of --engine ray, HOST:PORT or auto",
        default_help="RAY_ADDRESS, or a new cluster on this machine",
    )
    threads: str = _setting(
        "auto",
        "running",
        "threads on the CPU. auto: one for small networks and games, more where they gain; N: N threads; never more "
        "than the cores that the process may use",
    )
    cuda_graphs: bool = _setting(
        True, "running", "CUDA graphs for the steps of learning on a CUDA device, not for MODULE:NAME parts"
    )
    checkpoint_minutes: Annotated[float, Limits(0, 10**6)] = _setting(
        10.0, "running", "minutes between checkpoints during a round; 0: checkpoints at the end of rounds only"
    )
    tensorboard: bool = _setting(False, "running", "metrics as TensorBoard scalars in RUN/tensorboard")
    run_dir: Path | None = _setting(None, "running", "run folder", default_help="a new folder in runs/", saved=False)
    overwrite: bool = _setting(False, "running", "replacement of the run in --run-dir", saved=False)
    # Names of the settings that a user gave, also at their defaults. Not a setting.
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)

    @cached_property
    def per_agent(self) -> Mapping[str, Config]:
        """The settings of each agent by name: those of the run, with the overrides of `agent`."""
        overrides = dict(self.agent)
        return {name: replace(self, agent=(), **dict(overrides.get(name, ()))) for name in agent_names(self.agents)}

    @property
    def sentences(self) -> Sentences | None:
        """The language, if signs are sentences of several words."""
        return None if self.words == 1 or self.vocabulary is None else Sentences(self.words, self.vocabulary)

    @property
    def table_width(self) -> int:
        """The largest number of signs that a proposal compares for an object."""
        return self.signs if self.sentences is None else self.sentences.table_width

    @property
    def graphs(self) -> tuple[tuple[int, GraphSpec], ...]:
        """The graphs of the run, each with the first round that uses it."""
        return ((0, self.meet), *(self.meet_later.stages if self.meet_later else ()))


@dataclass(frozen=True)
class Setting:
    """One setting: a field of `Config`, with what its annotation and its metadata say.

    type: the type without None and annotations. choices: the allowed names, if limited.
    """

    name: str
    type: Any
    default: Any
    group: str
    help: str
    choices: tuple[str, ...] | None
    limits: Limits
    default_help: str | None
    saved: bool


def _settings() -> Iterable[Setting]:
    hints = get_type_hints(Config, include_extras=True)
    for field in dataclasses.fields(Config):
        if not field.metadata:  # not made by `_setting`
            continue
        hint: Any = hints[field.name]
        notes: list[Any] = []
        if NoneType in get_args(hint):
            (hint,) = (part for part in get_args(hint) if part is not NoneType)
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
        limits = [note for note in notes if isinstance(note, Limits)]
        choices = [note for note in notes if isinstance(note, Choices)]
        yield Setting(
            field.name,
            hint,
            field.default,
            choices=choices[0] if choices else None,
            limits=limits[0] if limits else Limits(),
            **field.metadata,
        )


SETTINGS = {setting.name: setting for setting in _settings()}

# Settings that are chosen from the data where they are not given (`mhng.experiment.training.defaults`).
CHOSEN = (
    "likelihood", "network", "latent_dim", "image_size", "channels", "batch_size", "epochs", "round_epochs",
)  # fmt: skip
# The values of config.toml for settings that have no effect on a run. They count as not given.
WITHOUT_EFFECT: Mapping[str, Any] = {"network": "mlp", "image_size": 28, "channels": 1}


# Settings that the command `play` may change, for finished agents.
PLAY_SETTINGS = (
    "mode", "listener_state", "acceptance", "meet", "recursion", "inner_start", "synchronous", "start", "starts",
    "split_merge", "turns", "sweeps", "burn_in", "chains", "thin", "keep", "device", "threads",
)  # fmt: skip


def flag(name: str) -> str:
    """The flag of a setting: latent_dim -> --latent-dim."""
    return "--" + key(name)


def key(name: str) -> str:
    """The key of a setting in a file: latent_dim -> latent-dim."""
    return name.replace("_", "-")


def modality_count(config: Config, agent: int) -> int:
    """The number of modalities of an agent, given by its index."""
    data = config.data or ()
    files = len(custom_dataset.paths(data[agent if len(data) > 1 else 0])) if len(data) in (1, config.agents) else 1
    return max(files, len(config.views[agent].modalities))
