"""The agents of a run that is over: what `name` and `recall` load of its folder.

Read are config.toml, manifest.json, checkpoint.pt and signs.npz, and the objects from where they came from, because
they say what shape an observation has and what the signs are names of. The agents live on the CPU, wherever they
learned: to look at ten thousand images takes them a second.

The components are those of the checkpoint, chain 0: each agent's belief at the end of the last round's game, before
it was played on for looking at. `signs` are those of signs.npz, the end of the game that was played on.

Notation: M agents, N objects, K signs, L latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.signs import read_signs
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.build import build_agent
from mhng.experiment.training.checkpoint import load_agents
from mhng.experiment.training.prepare import load_objects
from mhng.experiment.util.agent_names import agent_names
from mhng.models.agent import Agent
from mhng.models.rng import stream

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Trained:
    """A run's agents by name, with each one's components of chain 0, and what they learned from."""

    folder: RunFolder
    config: Config
    objects: Objects
    agents: dict[str, Agent]
    components: tuple[Any, ...]  # phi of each agent
    signs: NDArray[np.int64]  # (M, N)
    round: int

    def mind(self, name: str) -> Any:
        """The components of the agent called `name`: (K, L)."""
        return self.components[list(self.agents).index(name)]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what agent A sees by its first modality, and of every modality unless some have data of their own."""
        return self.objects.senses[0][0].shape

    def check_images(self, fault: str) -> None:
        """UsageError, beginning with the run and its `fault`, if its observations are no images."""
        for name, senses in zip(self.agents, self.objects.senses, strict=True):
            for sense in senses:
                if len(sense.shape) == 3:
                    continue
                alike = all(one.shape == sense.shape for own in self.objects.senses for one in own)
                if len(senses) > 1:
                    what = f"agent {name} looks by {sense.title!r}"
                else:
                    what = "its agents look" if alike else f"agent {name} looks"
                raise UsageError(
                    f"{self.folder.path} {fault}: {what} at feature vectors of {self.config.dataset}, "
                    f"{sense.shape[0]} numbers each"
                )

    def check_one_image(self, fault: str) -> None:
        """The same, also if one image cannot be what all agents look at."""
        if self.sees_one_image:
            return
        self.check_images(fault)
        for name, senses in zip(self.agents, self.objects.senses, strict=True):
            if self.objects.paired and len(senses) > 1:
                raise UsageError(
                    f"{self.folder.path} {fault}: agent {name} perceives {len(senses)} modalities of data of their "
                    f"own, {' & '.join(sense.title for sense in senses)}, and a new image would be but one of them"
                )
        raise UsageError(
            f"{self.folder.path} {fault}: each of its agents has data of its own in {self.config.dataset}, and a new "
            "image would be that of one alone"
        )

    @property
    def sees_one_image(self) -> bool:
        """Whether one image can be what all agents look at."""
        return not self.objects.paired and all(len(one.shape) == 3 for own in self.objects.senses for one in own)

    @property
    def classes(self) -> int:
        """How many classes the labels tell apart."""
        return len(self.objects.class_names)


def load_trained(
    path: Path, *, data_root: Path | None = None, data: str | None = None, trust_plugins: bool = False
) -> Trained:
    """The run in `path`. A `UsageError` names what is absent or unfit.

    data_root: of a data set that has moved. data: of the user's own that has, as --data takes it. trust_plugins: the
    run may have parts of agents imported that are not of this program.
    """
    with RunFolder.open(path, lock=False) as folder:
        file = folder.file(run_folder.CONFIG)
        given = {"data_root": None if data_root is None else str(data_root), "data": data}
        moved = {name: value for name, value in given.items() if value is not None}
        config = resolve(moved, file, trust_plugins=trust_plugins)
        final = read_signs(folder, agent_names(config.agents), config.signs)
        state = folder.load_checkpoint()
        objects, config = objects_of(folder, config)
        if len(final.index) != objects.count:
            file = folder.file(run_folder.SIGNS)
            raise UsageError(f"{file} is damaged: it tells of {len(final.index)} objects, the run of {objects.count}")
        agents = {
            name: build_agent(own, objects.shapes(m), stream(config.seed, f"{name}/init"), _CPU)
            for m, (name, own) in enumerate(per_agent.each(config))
        }
        checkpoint = str(folder.file(run_folder.CHECKPOINT))
        components = load_agents(agents, state, checkpoint)
        for agent in agents.values():
            agent.requires_grad_(False)
        done = state.get("done")
        if type(done) is not int:
            raise UsageError(f"{checkpoint} does not say how many rounds are done")
        signs = np.stack(list(final.signs.values()))
        return Trained(folder, config, objects, agents, components, signs, done - 1)


def objects_of(folder: RunFolder, config: Config) -> tuple[Objects, Config]:
    """The objects of an opened run, and its settings made to fit them. UsageError if they are others than it saw.

    The network is not used, though the run may have been allowed to.
    """
    objects, config = load_objects(replace(config, download=False))
    if objects.checksum != folder.read_manifest().get("checksum"):
        raise UsageError(f"the objects of {config.dataset} are not those of the run in {folder.path}")
    return objects, config
