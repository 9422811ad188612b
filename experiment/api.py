"""A run folder as one object, for notebooks and scripts.

    from mhng import load_run

    run = load_run("runs/com-mnist5k-seed0")
    run.signs["A"]                     # what A called each object at the end
    run.name(images).joint             # what both together call images that they have not seen

Loading reads the manifest and the settings. All else is read when it is asked for, and then kept; torch and ArviZ
wait until then too. Nothing is written. What a run does not hold, or no longer fits it, is a `UsageError` of one
line that names the file. A run that goes on is seen as it was when its parts were read: load it again to see more.

Shapes: N objects, K signs, L latent dimensions, *shape of an observation: (C, H, W), or (D,) for feature vectors. Of
an agent with several modalities it is (D,), all of them side by side, NaN where one is missing; `LoadedRun.modalities`
takes it apart.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.metrics_table import History, history_of
from mhng.experiment.runs.signs import FinalSigns, read_signs
from mhng.experiment.settings import config as settings
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.text import decimal

if TYPE_CHECKING:
    from mhng.experiment.data.objects import Objects
    from mhng.experiment.evaluation.new_objects import Unseen
    from mhng.experiment.training.restore import Trained

Ints = NDArray[np.int64]


class Recalled(NamedTuple):
    """What an agent means by a sign: expected observations, pixels in [0, 1] for images of a Bernoulli likelihood."""

    mean: NDArray[np.float32]  # (*shape), at the component's mean
    draws: NDArray[np.float32]  # (draws, *shape), around it


class Named(NamedTuple):
    """What the agents of a run call B images: the most probable signs, and their probabilities."""

    signs: dict[str, Ints]  # of each agent, alone: (B,)
    probability: dict[str, NDArray[np.float64]]  # of each agent: (B,)
    joint: Ints  # (B,), from all agents' percepts at once; in mode no-com it means nothing
    joint_probability: NDArray[np.float64]  # (B,)


def load_run(
    path: str | Path, *, data_root: str | Path | None = None, data: str | None = None, trust_plugins: bool = False
) -> LoadedRun:
    """The run in the folder `path`, finished or not.

    data_root: for a data set that has moved. data: for data of one's own that has, as --data takes it.

    trust_plugins: the run may have parts of agents imported that are not of this program.

    `UsageError` if there is no such folder, or it is not a run.
    """
    return LoadedRun(Path(path), None if data_root is None else Path(data_root), data, trust_plugins)


class LoadedRun:
    """A run, read only. Made by `load_run`.

    path: its folder. status: "done", "running", "killed", "failed" or "interrupted". agents: their names.
    settings: the resolved settings by key, as in config.toml ("latent-dim", not latent_dim).
    """

    def __init__(
        self, path: Path, data_root: Path | None = None, data: str | None = None, trust_plugins: bool = False
    ) -> None:
        with RunFolder.open(path, lock=False) as folder:
            self._folder = folder
            self._config = settings.resolve({}, folder.file(run_folder.CONFIG), trust_plugins=trust_plugins)
            self.status: str = folder.status
        self._data_root = data_root
        self._data = data
        self._trust_plugins = trust_plugins
        self.path = folder.path
        self.settings = settings.plain(self._config)
        self.agents = tuple(agent_names(self._config.agents))

    def __repr__(self) -> str:
        config = self._config
        known = [f"run {self.path}: {self.status}", f"mode {config.mode}", config.dataset, f"{config.signs} signs"]
        try:
            found = self.scores
            aris = [f"{name} {decimal(own['ari'])}" for name, own in found["agents"].items()]
            known += [
                f"{found['objects']} objects", f"round {found['rounds']} of {config.rounds}",
                f"ARI {' '.join(aris)}", f"kappa {decimal(found['kappa'])}",
            ]  # fmt: skip
        except (UsageError, KeyError, TypeError, AttributeError):
            known.append("no results yet" if self.status != "done" else f"no whole {run_folder.SUMMARY}")
        return f"<{', '.join(known)}>"

    # -- read from files -----------------------------------------------------------------------------

    @property
    def signs(self) -> dict[str, Ints]:
        """Each agent's sign for every object in the final draw (of chain 0): (N,), 0..K-1."""
        return self._final.signs

    @property
    def labels(self) -> Ints | None:
        """(N,) indices of `objects.class_names`, which no agent has seen; None if there are none."""
        return self._final.labels

    @property
    def index(self) -> Ints:
        """(N,) where each object stands in its data set."""
        return self._final.index

    @cached_property
    def scores(self) -> dict[str, Any]:
        """summary.json: ARI, NMI and accuracy of each agent, kappa, acceptance, log evidence (nats), and more."""
        self._folder.result(run_folder.SUMMARY)
        return self._folder.read_json(run_folder.SUMMARY)

    @cached_property
    def history(self) -> History:
        """metrics.jsonl as two tables, `epochs` and `sweeps`: columns by name; also of a run that is not finished."""
        return history_of(self._folder.read_metrics())

    @cached_property
    def posterior(self) -> Any:
        """The last round's draws for ArviZ: InferenceData (ArviZ 0.23) or DataTree (1.x)."""
        from mhng.experiment.runs.posterior import load_posterior

        return load_posterior(self._folder.result(run_folder.POSTERIOR))

    # -- the objects and the agents ------------------------------------------------------------------

    @property
    def objects(self) -> Objects:
        """What the agents looked at: `views` (a tensor an agent, (N, *shape)), `labels`, `class_names`, `indices`.

        `UsageError` if the data set is not here, or is not the one of the run.
        """
        return self._trained.objects

    def modalities(self, agent: str, observations: ArrayLike) -> dict[str, NDArray[np.float32]]:
        """An agent's observations (B, *shape), seen or imagined, by modality: title -> (B, *shape of the modality)."""
        import torch

        self._check_agent(agent)
        senses = self.objects.senses[self.agents.index(agent)]
        array = np.asarray(observations, dtype=np.float32)
        wanted = tuple(self.objects.views[self.agents.index(agent)].shape[1:])
        if array.shape[1:] != wanted:
            raise UsageError(f"observations of agent {agent} must be (B, *{wanted}); their shape is {array.shape}")
        parts = self._trained.agents[agent].split(torch.from_numpy(array))
        return {sense.title: part.numpy() for sense, part in zip(senses, parts, strict=True)}

    def latents(self, agent: str) -> NDArray[np.float64]:
        """The agent's percepts of all objects, (N, L): the means of q(z | x)."""
        self._check_agent(agent)
        view = self.objects.views[self.agents.index(agent)]
        return self._trained.agents[agent].perceive(view, None).z.numpy()

    def components(self, agent: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the agent's signs lie among its percepts: means (K, L) and covariances (K, L, L), of chain 0."""
        self._check_agent(agent)
        mind = self._trained.mind(agent)
        mixture = self._trained.agents[agent].mixture
        return mind.mu.numpy().copy(), mixture.covariance(mind).numpy()

    def recall(self, sign: int, *, draws: int = 8, temperature: float = 1.0) -> dict[str, Recalled]:
        """What each agent means by `sign`, 0..K-1; the draws are those of `cli.py recall`, the same each time.

        temperature: how far draws lie from the mean: 1 as the agent believes, 0 the mean alone.
        """
        from mhng.experiment.evaluation.imagination import check_temperature, meant

        k, K = operator.index(sign), self._config.signs
        if not 0 <= k < K:
            raise UsageError(f"sign must be 0 to {K - 1}; it is {k}")
        if draws < 0:
            raise UsageError(f"draws must be 0 or more; it is {draws}")
        check_temperature("temperature", temperature)
        found = {}
        for name in self.agents:
            images = np.stack(
                [
                    chunk[k - part.start].numpy()
                    for chunks in meant(self._trained, name, draws, temperature)
                    for part, chunk in chunks
                    if part.start <= k < part.stop
                ]
            )
            found[name] = Recalled(images[0], images[1:])
        return found

    def imagine(
        self, speaker: str, listener: str, *, objects: Sequence[int] | None = None, temperature: float = 0.0
    ) -> NDArray[np.float32]:
        """What `listener`, who does not look, imagines when `speaker` sees objects and says its sign: (B, *shape).

        objects: which, by their places 0..N-1 (default: all). temperature: 0, its mean of the sign; 1, a draw.
        """
        from mhng.experiment.evaluation.imagination import check_temperature, heard

        for name in (speaker, listener):
            self._check_agent(name)
        check_temperature("temperature", temperature)
        picked = np.atleast_1d(np.arange(self.objects.count) if objects is None else objects)
        try:
            wanted = np.arange(self.objects.count)[picked if picked.size else picked.astype(np.intp)]
        except IndexError as error:
            raise UsageError(f"objects must be places from 0 to {self.objects.count - 1}: {error}") from error
        spoken = self._spoken[self.agents.index(speaker)]
        shape = self.objects.views[self.agents.index(listener)].shape[1:]
        found = np.empty((len(wanted), *shape), dtype=np.float32)
        for part, chunk in heard(self._trained, speaker, listener, spoken, temperature):
            here = (wanted >= part.start) & (wanted < part.stop)
            found[here] = chunk[wanted[here] - part.start].numpy()
        return found

    def name(self, images: ArrayLike) -> Named:
        """What the agents call images, which each sees turned by its own view; as `cli.py name`.

        images: upright and bright on black, (B, H, W), (B, C, H, W) or (B, H, W, C) with C = 1 or 3, uint8 or floats
        in [0, 1]; other sizes and colours are changed to the run's, and a line on stderr says so. `UsageError` naming
        the index of an unfit image.
        """
        from mhng.experiment.evaluation.naming import note
        from mhng.experiment.evaluation.new_objects import of_array

        self._trained.check_one_image("cannot name images")
        try:
            array = np.asarray(images)
        except ValueError as error:
            raise UsageError("run.name: images must be one array, all of one size") from error
        return self._named(of_array(self._trained, array, note))

    def name_new(self, data: str | Path) -> Named:
        """What the agents call other objects in files, laid out as the run's own --data; as `cli.py name --new`.

        data: a path, or several with commas between, typed as --data is. Features are scaled by what those of the run
        were. `UsageError` naming what is not as the run has it.
        """
        from mhng.experiment.evaluation.naming import note
        from mhng.experiment.evaluation.new_objects import of_others

        return self._named(of_others(self._trained, str(data), None, note))

    # -- within --------------------------------------------------------------------------------------

    def _named(self, objects: Unseen) -> Named:
        from mhng.experiment.evaluation.naming import look

        said = look(self._trained, objects)
        signs, probability = (dict(zip(self.agents, part, strict=True)) for part in (said.signs, said.probability))
        return Named(signs, probability, said.joint, said.joint_probability)

    @cached_property
    def _final(self) -> FinalSigns:
        return read_signs(self._folder, self.agents, self._config.signs)

    @cached_property
    def _trained(self) -> Trained:
        from mhng.experiment.training.restore import load_trained

        return load_trained(self.path, data_root=self._data_root, data=self._data, trust_plugins=self._trust_plugins)

    @cached_property
    def _spoken(self) -> Any:
        """(M, N) the most probable sign of each agent for each object of the run."""
        import torch

        from mhng.experiment.evaluation.naming import say

        trained = self._trained
        return torch.from_numpy(say(list(trained.agents.values()), trained.components, trained.objects.views).signs)

    def _check_agent(self, name: str) -> None:
        if name not in self.agents:
            raise UsageError(f"there is no agent {name!r}; the run's are {', '.join(self.agents)}")
