"""Checkpoint files: tensors and plain values as bytes, read by torch's safe loader, which executes no pickle.

torch is imported inside the functions, because commands that only read a run must start quickly.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any


def checkpoint_bytes(state: dict[str, Any]) -> memoryview:
    """Serialise a checkpoint. Raises TypeError for a value that the safe loader would refuse."""
    import torch

    _check_plain(state, "state")
    # In memory, because the file writer of torch turns the OSError of a full disk into a RuntimeError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. Raises one of many errors for a damaged or foreign file."""
    import torch

    # torch does not verify the checksums in its files. A damaged bit would become a wrong network weight.
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"its member {damaged} is damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prints long explanations for a foreign file
        state = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, not a dict")
    return state


def _check_plain(value: Any, place: str) -> None:
    """Raise TypeError for the first value that `torch.load(weights_only=True)` would refuse."""
    import torch

    plain = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
    # Exact types: numpy.float64 is a subclass of float, but the loader refuses it.
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
