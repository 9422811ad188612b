"""Notes on what the agents observe: objects that are all alike, constant features, and images with few grey levels."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mhng.experiment.data.modalities import is_present
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.scaling import varies

# Range of all pixels below which images have little contrast; unscaled 12-bit images have 0.06.
LOW_RANGE = 0.25
# Share of varying pixels below which images are nearly alike
_FEW_PIXELS = 0.01
_MOST_COLUMNS = 8
# With fewer objects, labels may be alike or all different by chance.
_LEAST_OBJECTS = 8


def view_notes(objects: Objects) -> Iterator[str]:
    """Notes on labels that cannot score, and on the unscaled views of each group of agents that share one."""
    if objects.count >= _LEAST_OBJECTS and objects.categories == 1:
        yield "all objects have the same label; scores by labels say nothing"
    elif objects.count >= _LEAST_OBJECTS and objects.categories == objects.count:
        yield f"all {objects.count} labels differ; scores by labels say nothing"
    for index, who in objects.viewers.items():
        view = objects.views[index]
        view = view[is_present(view)]
        if len(view) > 1:
            yield from _image_notes(who, view) if view.dim() == 4 else _feature_notes(who, view)


def _image_notes(who: str, view: torch.Tensor) -> Iterator[str]:
    lowest, highest = view.amin(0), view.amax(0)
    least, most = float(lowest.min()), float(highest.max()) + 0.0  # no -0
    varying, pixels = int((highest > lowest).sum()), lowest.numel()
    if varying == 0:
        yield f"{who}: all {len(view)} objects are alike" + (f"; every pixel is {most:.3g}" if least == most else "")
        return
    if varying < _FEW_PIXELS * pixels or varying == 1 < pixels:
        yield f"{who}: the objects differ in {varying} of {pixels} pixels only"
    if most - least < LOW_RANGE:
        near = " near black" if most < LOW_RANGE else " near white" if least > 1 - LOW_RANGE else " of low contrast"
        yield f"{who}: the images are{near}: the pixels lie between {least:.3g} and {most:.3g}; expected 0 to 1"


def _feature_notes(who: str, view: torch.Tensor) -> Iterator[str]:
    constant = (~varies(view)).nonzero().flatten().tolist()
    if len(constant) == view.shape[1]:
        yield f"{who}: all {len(view)} objects are alike; no feature varies"
    elif constant:
        shown = ", ".join(str(d + 1) for d in constant[:_MOST_COLUMNS]) + ", ..." * (len(constant) > _MOST_COLUMNS)
        yield f"{who}: {len(constant)} of {view.shape[1]} features do not vary: {shown}"
