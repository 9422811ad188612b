"""The bytes of a checkpoint: tensors and plain values, read by the safe loader, which executes no pickle.

torch is imported by what needs it: commands that read a run must start quickly.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any


def checkpoint_bytes(state: dict[str, Any]) -> memoryview:
    """The bytes of a checkpoint."""
    import torch

    _check_plain(state, "state")
    # In memory: on a full disk torch's own writer hides the OSError behind a RuntimeError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def read_checkpoint(file: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, read by the safe loader, which executes no pickle."""
    import torch

    # torch does not look at the checksums in its files: a bit that is wrong on the disk would be a wrong weight.
    with zipfile.ZipFile(file) as archive:
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"{wrong} in it is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch explains at length what a foreign file is not
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, not a dict")
    return state


def _check_plain(value: Any, place: str) -> None:
    """Raise TypeError at the first value that `torch.load(weights_only=True)` would refuse."""
    import torch

    plain = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
    # Exact types: numpy.float64 is a float to isinstance, and refused by the loader.
    if type(value) in plain or isinstance(value, torch.Tensor):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_plain(key, f"a key of {place}")
            _check_plain(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple, set):
        for index, item in enumerate(value):
            _check_plain(item, f"{place}[{index}]")
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{place} is a {kind}: a checkpoint holds tensors and plain values only")
