"""CUDA graphs: capture a learning step once, then replay it.

A step consists of hundreds of small kernels, and a GPU finishes each before the host has launched the next. A captured
step is launched once. It must not read values on the host, must draw from known generators, and must read and write
the same addresses each time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Calls before a capture: libraries choose their algorithms in them.
WARM_UP = 3


@contextmanager
def forbid_host_waits() -> Iterator[None]:
    """Inside, CUDA raises a RuntimeError if the host would wait for the device."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class CannotCaptureError(RuntimeError):
    """The work reads a value on the host, or uses memory in a way that a graph does not allow."""


def capture(work: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Callable[[], None], Any]:
    """Capture `work` as a graph. Returns its replay function, and the result, which each replay overwrites.

    The work is not executed during the capture.

    Raises:
        CannotCaptureError: the capture failed; the generators' states are then undefined.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        with torch.cuda.graph(graph):
            result = work()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CannotCaptureError(f"work for the GPU cannot be captured ({reason}); use --no-cuda-graphs") from error
    return graph.replay, result


class ReplayedStep:
    """A function `step(index)` that is captured after a few calls and then replayed.

    An index of another size, and every index if the step waits for the device (`possible` is False then, as with some
    distributions of Pyro and torch), is a plain call.

    Args:
        step: learns from the objects in `index` (B,) and returns a tensor. Except `index`, all tensors that it reads
            or writes must keep their addresses until `forget` is called.
        generator: the generator of its draws, besides torch's global one.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        self._step = step
        self._generator = generator
        self.possible = True
        self.forget()

    def forget(self) -> None:
        """Drop the capture, because addresses or shapes changed."""
        self._replay: Callable[[], None] | None = None
        self._index: Tensor | None = None
        self._calls = 0

    def __call__(self, index: Tensor) -> Tensor:
        """Make one step."""
        if self._index is None:
            self._index = index.clone()
        if not self.possible or index.shape != self._index.shape:
            return self._step(index)
        self._index.copy_(index)
        if self._calls < WARM_UP:
            self._calls += 1
            return self._step(self._index) if self._calls < WARM_UP else self._rehearse(self._index)
        if self._replay is None:
            fixed = self._index
            self._replay, self._result = capture(lambda: self._step(fixed), [self._generator])
        self._replay()
        return self._result.clone()

    def _rehearse(self, index: Tensor) -> Tensor:
        """Make one step and find out whether it waits: a failed capture would leave generators undefined."""
        try:
            with forbid_host_waits():
                return self._step(index)
        except RuntimeError:  # another error is raised again by the plain call
            self.possible = False
            return self._step(index)
