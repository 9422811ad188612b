"""Objects of a run: the observations of every agent, the labels and a checksum.

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mhng.experiment.data.modalities import Modality, pack_views
from mhng.experiment.util.agent_names import agent_names

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Objects:
    """N objects as observed by M agents. Immutable; agents with equal views share one tensor.

    name: the data set.
    views: tensors, (N, C, H, W) in [0, 1] for images, (N, D) for features; one per modality of every agent. After
        `packed` there is one per agent. A missing modality is a row of NaN. Images are float32; features are float64
        where their source is, and float32 once they are scaled.
    labels: int64 (N,), indices into class_names, or None.
    indices: int64 (N,), positions of the objects in their source.
    paired: True if the agents have separate data, so that no view of another agent's data gives theirs.
    modalities: the modalities of every agent.
    files: the file name of every object, or None.
    checksum: SHA-256 of views and labels, in hexadecimal. Pass it where views may differ in the last digit between
        machines.
    notes: sentences about the data that a user should read before training.
    """

    name: str
    views: tuple[torch.Tensor, ...]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    indices: np.ndarray
    paired: bool = False
    modalities: tuple[tuple[Modality, ...], ...] = ()
    files: tuple[str, ...] | None = None
    checksum: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.modalities:
            single = tuple((Modality("", tuple(view.shape[1:])),) for view in self.views)
            object.__setattr__(self, "modalities", single)
        if not self.checksum:
            object.__setattr__(self, "checksum", _checksum(self.views, self.labels))

    @property
    def count(self) -> int:
        """The number of objects, N."""
        return len(self.indices)

    @property
    def view_agents(self) -> list[int]:
        """The agent number of every view, before `packed`."""
        return [m for m, group in enumerate(self.modalities) for _ in group]

    @property
    def viewers(self) -> dict[int, str]:
        """The index of every different view, and the agents that share it as text, such as "agents A, C"."""
        groups: dict[int, tuple[int, list[int]]] = {}
        for index, (m, view) in enumerate(zip(self.view_agents, self.views, strict=True)):
            groups.setdefault(id(view), (index, []))[1].append(m)
        return {index: self._named(index, agents) for index, agents in groups.values()}

    def _named(self, index: int, agents: list[int]) -> str:
        M, m = len(self.modalities), self.view_agents[index]
        names = [agent_names(M)[agent] for agent in agents]
        who = "all agents" if len(agents) == M > 1 else f"agent{'s' if len(agents) > 1 else ''} {', '.join(names)}"
        if len(self.modalities[m]) == 1:
            return who
        number = index - self.view_agents.index(m)
        return f"{who}, modality {self.modalities[m][number].title}"

    def shapes(self, m: int) -> tuple[tuple[int, ...], ...]:
        """The shape of each modality of agent number m."""
        return tuple(modality.shape for modality in self.modalities[m])

    def packed(self) -> Objects:
        """The same objects with one view per agent: its modalities flattened and side by side."""
        counts = [len(group) for group in self.modalities]
        shapes = iter(tuple(view.shape[1:]) for view in self.views)
        modalities = tuple(
            tuple(modality._replace(shape=next(shapes)) for modality in group) for group in self.modalities
        )
        return replace(self, views=pack_views(self.views, counts), modalities=modalities, checksum=self.checksum)

    @property
    def categories(self) -> int | None:
        """The number of different labels among the objects, or None without labels."""
        return None if self.labels is None else len(np.unique(self.labels))


def _checksum(views: tuple[torch.Tensor, ...], labels: np.ndarray | None) -> str:
    digest = hashlib.sha256()
    for array in (*(view.cpu().numpy() for view in views), *(() if labels is None else (labels,))):
        # With the shape: equal bytes in another shape are other data.
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
