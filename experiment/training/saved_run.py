"""Read a run folder: settings, results, posterior draws and, on demand, the trained agents.

Opening a run reads manifest.json and config.toml. Every other file is read on first access and then kept. torch and
ArviZ are imported on first use. Nothing is written. A missing, damaged or unsuitable file is a `UsageError` of one
line that names it. To see the progress of a run that is still running, open it again.

Agents are restored on the CPU from the checkpoint of the round that the results come from. Their component parameters
are those of chain 0 at the end of the last learning round's game. signs.npz is later: it holds the end of the longer
final game. Files of different rounds are refused.

Notation: M agents, N objects, K signs, L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.signs import FinalSigns, read_signs
from mhng.experiment.settings.config import plain, resolve
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.output import print_note
from mhng.experiment.util.paths import typed_path
from mhng.models.torch_defaults import torch_defaults

if TYPE_CHECKING:
    from mhng.experiment.data.objects import Objects
    from mhng.experiment.training.agent_spec import AgentSpec
    from mhng.experiment.training.prepare import Prepared
    from mhng.models.agent import Agent

Ints = NDArray[np.int64]

# Settings by which the posterior.nc of another run is recognised.
_IDENTITY = ("mode", "seed", "dataset", "agents", "signs", "words")


class SavedRun:
    """A run folder, read only. The run may be finished or not.

    folder: the open `RunFolder`. path: its path. status: "done", "running", "killed", "failed" or "interrupted".
    config: the settings. settings: the same by key, as in config.toml ("latent-dim"). trust_plugins: as given.
    agents: the agents' names.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        data_root: str | Path | None = None,
        data: str | None = None,
        trust_plugins: bool = False,
    ) -> None:
        """Open the run in the folder `path`.

        data_root, data: new places of the data set, as --data-root and --data take them, if the data have moved.
        trust_plugins: allow the run's MODULE:NAME settings to import code that is not part of this program.
        Raises UsageError if the folder is not a run.
        """
        given = {"data_root": data_root, "data": data}
        self._moved = moved = {name: str(value) for name, value in given.items() if value is not None}
        with RunFolder.open(typed_path(path, "the run folder"), lock=False) as folder:
            self.folder = folder
            file = folder.file(run_folder.CONFIG)
            self.config = resolve(moved, file, trust_plugins=trust_plugins, place=str(file))
            self.status: str = folder.status
        self.trust_plugins = trust_plugins
        self.path = folder.path
        self.settings: dict[str, Any] = plain(self.config)
        self._rounds: dict[str, int] = {}  # the round of each file that was read
        named = self.manifest.get("agents") if self.config.program else None
        self.agents = tuple(named if isinstance(named, list) else agent_names(self.config.agents))

    @property
    def inputs(self) -> list[Path]:
        """The files of the run, and those that it was made from. No output may replace them."""
        config = self.config
        data = [path for entry in config.data or () for path in custom_dataset.paths(entry)]
        program = [] if config.program is None else [Path(config.program.rpartition(":")[0])]
        return [*run_folder.files_of(self.path), *data, *program]

    # -- results -------------------------------------------------------------------------------------

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json: command, versions, machine, data checksum."""
        manifest, config = self.folder.read_manifest(), self.config
        if config.program is None and manifest.get("seed", config.seed) != config.seed:
            file = self.folder.file(run_folder.MANIFEST)
            raise UsageError(f"{file} belongs to another run: its seed is not that of {run_folder.CONFIG}")
        return manifest

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json: scores of the final draw and their means over the sweeps after burn-in."""
        self.folder.result(run_folder.SUMMARY)
        summary = self.folder.read_json(run_folder.SUMMARY)
        self._check_round(run_folder.SUMMARY, summary.get("rounds"))
        return summary

    def require_scores(self, *names: str, of_agents: Sequence[str] = ()) -> None:
        """Raise UsageError if summary.json lacks one of the scores `names`, or an agent one of `of_agents`."""
        rows = self.summary.get("agents") if of_agents else {}
        complete = isinstance(rows, dict) and all(
            isinstance(row, dict) and set(of_agents) <= set(row) for row in rows.values()
        )
        if not complete or not set(names) <= set(self.summary):
            raise UsageError(f"{self.folder.file(run_folder.SUMMARY)} is damaged: it lacks scores")

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, for every epoch and sweep; also for an unfinished run."""
        return self.folder.read_metrics()

    @property
    def signs(self) -> dict[str, Ints]:
        """Final signs by agent, from chain 0: (N,), values 0..K-1."""
        return self._final.signs

    @property
    def words(self) -> dict[str, Ints]:
        """Final sentences by agent, word by word: (N, S); one word if signs are single."""
        language = self.config.sentences
        if language is None:
            return {name: signs[:, None] for name, signs in self.signs.items()}
        slots = range(language.words)
        return {
            name: np.stack([language.word(signs, slot) for slot in slots], axis=1)
            for name, signs in self.signs.items()
        }

    @property
    def labels(self) -> Ints | None:
        """Class labels (N,), indices of `objects.class_names`; None without labels. Agents never see them."""
        return self._final.labels

    @property
    def index(self) -> Ints:
        """Position of each object in its data set: (N,)."""
        return self._final.index

    @cached_property
    def posterior(self) -> Any:
        """The last round's draws: InferenceData (ArviZ 0.23) or DataTree (ArviZ 1.x)."""
        from mhng.experiment.runs.posterior import load_posterior, round_of, settings_of

        file = self.folder.result(run_folder.POSTERIOR)
        posterior = load_posterior(file)
        self._check_round(run_folder.POSTERIOR, round_of(posterior))
        with suppress(KeyError, ValueError, TypeError):  # `diagnose` refuses a file without settings
            theirs, ours = settings_of(posterior), self.settings
            for name in _IDENTITY:
                if theirs.get(name, ours[name]) != ours[name]:
                    raise UsageError(f"{file} belongs to another run: its {name} is {theirs[name]}, not {ours[name]}")
        return posterior

    def draws(self, variable: str) -> NDArray[Any] | None:
        """Draws (chain, draw, ...) of a variable in any group; None if posterior.nc does not hold it."""
        from mhng.experiment.runs.posterior import variables_of

        array = variables_of(self.posterior).get(variable)
        return None if array is None else array.values

    # -- objects and agents --------------------------------------------------------------------------

    @cached_property
    def objects(self) -> Objects:
        """The objects of the run: `views` (one tensor per agent, (N, *shape)), `labels`, `class_names`, `indices`.

        Raises UsageError if the run has no results, the data set is missing, or its checksum has changed.
        """
        return self._prepared.objects

    @cached_property
    @torch_defaults()
    def _prepared(self) -> Prepared:
        from mhng.experiment.training.prepare import load_objects

        if self.config.program:
            raise UsageError(f"{self.path} is a run of Pyro programs; its folder holds no observations and latents")
        count = len(self.index)
        prepared = load_objects(self.config, download=False)
        objects = prepared.objects
        if objects.checksum != self.manifest.get("checksum"):
            raise UsageError(f"the objects of {self.config.dataset} are not those of the run in {self.path}")
        if count != objects.count:
            file = self.folder.file(run_folder.SIGNS)
            raise UsageError(f"{file} is damaged: it holds signs for {count} objects; the run has {objects.count}")
        return prepared

    @property
    def specs(self) -> Sequence[AgentSpec]:
        """The specification of each agent."""
        return self._prepared.agents

    @property
    def models(self) -> dict[str, Agent]:
        """The trained agents by name, on the CPU."""
        return self._restored[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The component parameters of each agent by name, from chain 0: K components in L dimensions."""
        return self._restored[1]

    @property
    def round(self) -> int:
        """The last round that the agents have learned in; round 0 is the first."""
        return self._restored[2]

    # -- internals -----------------------------------------------------------------------------------

    @cached_property
    def _final(self) -> FinalSigns:
        final = read_signs(self.folder, self.agents, self.config.signs)
        self._check_round(run_folder.SIGNS, final.round)
        return final

    def _check_round(self, name: str, round: Any) -> None:
        """Note the round of a file. Raises UsageError if a file that was read before is of another round.

        round: None for a file of an older version, which does not state it.
        """
        if type(round) is not int:
            return
        for other, known in self._rounds.items():
            if known != round:
                raise UsageError(
                    f"{self.path}: {name} is from round {round}, {other} from round {known}; the status of the run is "
                    f"{self.status!r}; run train --resume {self.path}"
                )
        self._rounds[name] = round

    @cached_property
    @torch_defaults()
    def _restored(self) -> tuple[dict[str, Agent], dict[str, Any], int]:
        import torch

        from mhng.experiment.training.build import build_agent
        from mhng.experiment.training.checkpoint import identity_of, load_agents
        from mhng.models.rng import stream

        agents = self._prepared.agents
        name, state = self._checkpoint()
        file = self.folder.file(name)
        models = {
            spec.name: build_agent(spec, stream(self.config.seed, f"{spec.name}/init"), torch.device("cpu"))
            for spec in agents
        }
        identity = identity_of(plain(self.config), self._prepared.objects.checksum)
        parameters = load_agents(models, state, str(file), identity)
        for agent in models.values():
            agent.requires_grad_(False)
        done = state.get("done")
        if type(done) is not int:
            raise UsageError(f"{file} does not say how many rounds are done")
        self._check_round(name, done - 1)
        if self.status != "done":
            print_note(
                f"note: the status of {self.path} is {self.status!r}; its agents and signs are those of round "
                f"{done - 1} of {self.config.rounds}"
            )
        return models, dict(zip(models, parameters, strict=True)), done - 1

    def _checkpoint(self) -> tuple[str, dict[str, Any]]:
        """The checkpoint of the round that the results come from, by file name; else the newest."""
        newest = self.folder.load_checkpoint()
        wanted = self._final.round
        if wanted is None:  # signs.npz of an older version
            with suppress(UsageError):
                wanted = self.summary.get("rounds")
        if wanted is not None and newest.get("done") != wanted + 1:
            finished = self.folder.load_finished()
            if finished is not None and finished.get("done") == wanted + 1:
                return run_folder.FINISHED, finished
        return run_folder.CHECKPOINT, newest
