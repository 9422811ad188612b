"""The settings of a run: one frozen dataclass, from which flags, keys of a file and their checks are all made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom.csv_table import HEADERS
from mhng.experiment.data.modalities import split_view
from mhng.experiment.data.registry import DATASETS
from mhng.experiment.data.views import LANGUAGE, View
from mhng.experiment.runs.trace import KEPT
from mhng.inference import INNER_STARTS, LISTENER_STATES, MODES, NEWCOMERS, PERCEPTS, RULES, STARTS
from mhng.models.registry import FUSIONS, GUIDES, LIKELIHOODS, MIXTURES, NETWORKS

# Settings that agents have for themselves, see `mhng.experiment.settings.per_agent`: ((agent, ((field, value),
# ...)), ...).
Own = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]

ENGINES = ("local", "ray")

# No whole number is larger, if nothing smaller is said: beyond it lie mistypings and the limits of int64.
_MOST = 10**9


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
    newcomers: str = _setting(
        "keep",
        "text",
        "what an agent that met nobody so far does when --meet-later lets it meet others: keep: compares their names "
        "with its own; take: takes over the names that it hears first, as a child does that has none",
        group="game",
        choices=NEWCOMERS,
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
        "where a chain begins: prior: a draw; kmeans: one agent's clusters; merge: too many clusters, "
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
    data: tuple[custom_dataset.Entry, ...] | None = _setting(
        None,
        "paths",
        "data of your own, for --dataset npz, csv and folder: a file or folder, or with commas between one for each "
        "agent, of the same objects; joined by & they are modalities of one agent, as in a1.csv&a2.csv,b.csv",
        group="objects",
    )
    label_column: str | None = _setting(
        None,
        "text",
        "csv: the column of the labels, by its name or its number (1 the first, -1 the last), or none, if there is "
        "none; if this is absent, the one called label, if there is one",
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


def modalities_of(config: Config, agent: int) -> int:
    """How many modalities the agent of that number has."""
    data = config.data or ()
    files = len(custom_dataset.paths(data[agent if len(data) > 1 else 0])) if len(data) in (1, config.agents) else 1
    return max(files, len(split_view(config.views[agent])))
