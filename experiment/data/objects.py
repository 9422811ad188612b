"""The objects of a run, as each of M agents sees them.

    objects = load("mnist5k", data_root=None, download=False, limit=1000, views=(0.0, 45.0), seed=0)
    objects.views[1]        # agent B's 1,000 digits, turned by 45 degrees: (1000, 1, 28, 28)

Importing this module imports neither torch nor the libraries that bring the data: the command line needs the
names of the data sets to parse its flags.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mhng.experiment.data.modalities import Modality, pack_views

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Objects:
    """N objects as M agents see them. Read-only: agents with equal views share one tensor.

    name: the data set. views: one tensor an agent, float32, (N, C, H, W) in [0, 1] for images and (N, D) for
    features. labels: int64 (N,), indices into class_names, or None. indices: int64 (N,), where each object
    stands in its source. paired: each agent has data of its own, which no view of another's would give. senses: of
    each agent its modalities; where it has several, `views` has a tensor for each until they are `packed`, and then
    one of (N, D), NaN where a modality is missing. files: the name of each object, if objects are files. checksum:
    SHA-256, in hexadecimal, of the views and labels; to be given where what is made of them may differ in the last
    digit from machine to machine.
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

    def __post_init__(self) -> None:
        if not self.modalities:
            alone = tuple((Modality("", tuple(view.shape[1:])),) for view in self.views)
            object.__setattr__(self, "modalities", alone)
        if not self.checksum:
            object.__setattr__(self, "checksum", _checksum(self.views, self.labels))

    @property
    def count(self) -> int:
        """The number of objects, N."""
        return len(self.indices)

    @property
    def view_agents(self) -> list[int]:
        """Before they are packed: whose each of the views is, the agent's number."""
        return [m for m, own in enumerate(self.modalities) for _ in own]

    def shapes(self, m: int) -> tuple[tuple[int, ...], ...]:
        """The shape of each modality of agent number m."""
        return tuple(sense.shape for sense in self.modalities[m])

    def packed(self) -> Objects:
        """With one view an agent."""
        counts = [len(own) for own in self.modalities]
        shapes = iter(tuple(view.shape[1:]) for view in self.views)
        senses = tuple(tuple(sense._replace(shape=next(shapes)) for sense in own) for own in self.modalities)
        return replace(self, views=pack_views(self.views, counts), modalities=senses, checksum=self.checksum)

    @property
    def categories(self) -> int | None:
        """The number of different labels among the objects, or None without labels."""
        return None if self.labels is None else len(np.unique(self.labels))


def _checksum(views: tuple[torch.Tensor, ...], labels: np.ndarray | None) -> str:
    digest = hashlib.sha256()
    for array in (*(view.cpu().numpy() for view in views), *(() if labels is None else (labels,))):
        # The shape too: the same bytes as other images are other data.
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
