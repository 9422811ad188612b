"""What is done again and again on a CUDA device, sent there as one graph of kernels.

A step of learning and a sweep of the game are hundreds of small kernels, and a GPU is done with each of them sooner
than the host can ask for the next. So one step is captured as a CUDA graph, and every later one is that graph
replayed: the host asks once. What is captured must ask for no value, draw random numbers from known generators, and
find what it reads and writes at the same place every time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Calls that are made one kernel at a time before one is captured: libraries choose their algorithms there.
_FIRST = 3


@contextmanager
def waits_refused() -> Iterator[None]:
    """Inside, CUDA raises a RuntimeError where the host would wait for it."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode", UserWarning)
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class CannotCaptureError(RuntimeError):
    """Something asks for a value, or for memory in a way that a graph does not allow."""


def captured(work: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Callable[[], None], Any]:
    """`work` as a graph: what replays it, and the place where each replay leaves the result.

    It is not done yet when this returns. CannotCaptureError if it cannot be; random streams are then out of order.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        with torch.cuda.graph(graph):
            result = work()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CannotCaptureError(
            f"work for the GPU cannot be captured ({reason}); --no-cuda-graphs does without"
        ) from error
    return graph.replay, result


class Steps:
    """Calls `step(index)`, by a graph once some were made for index tensors of one size.

    Args:
        step: learns from the objects in `index` (B,); returns a tensor. All that it reads and writes but `index` must
            lie at the same place each time, until `forget` is called.
        generator: what step draws from, beside torch's global one.

    An index of another size is stepped from kernel by kernel; so is every one, if a step is found to wait for the
    device (`possible` is False then), as some of Pyro's and torch's distributions do.
    """

    def __init__(self, step: Callable[[Tensor], Tensor], generator: torch.Generator) -> None:
        self._step = step
        self._generator = generator
        self.possible = True
        self.forget()

    def forget(self) -> None:
        """What the step reads lies elsewhere now, or has another shape."""
        self._replay: Callable[[], None] | None = None
        self._index: Tensor | None = None
        self._made = 0

    def __call__(self, index: Tensor) -> Tensor:
        """One step."""
        if self._index is None:
            self._index = index.clone()
        if not self.possible or index.shape != self._index.shape:
            return self._step(index)
        self._index.copy_(index)
        if self._made < _FIRST:
            self._made += 1
            return self._step(self._index) if self._made < _FIRST else self._rehearse(self._index)
        if self._replay is None:
            here = self._index
            self._replay, self._told = captured(lambda: self._step(here), [self._generator])
        self._replay()
        return self._told.clone()

    def _rehearse(self, index: Tensor) -> Tensor:
        """One step, with a look whether it can be captured: one that fails while it is leaves nothing in order."""
        try:
            with waits_refused():
                return self._step(index)
        except RuntimeError:  # if it is another one, it will be raised again
            self.possible = False
            return self._step(index)


class Chain:
    """Calls `step(state, number)` -> (state, info) on its own result, by a graph after the first few calls.

    Args:
        step: all its draws come from `generators`; state and info are (nested, named) tuples of tensors, and what
            else is in info is the same for every number.

    What a call returns is overwritten by the next: see `kept`.
    """

    def __init__(self, step: Callable[[Any, int], tuple[Any, Any]], generators: Sequence[torch.Generator]) -> None:
        self._step = step
        self._generators = generators
        self._replay: Callable[[], None] | None = None
        self._made = 0

    def __call__(self, state: Any, number: int) -> tuple[Any, Any]:
        """One step on from `state`, which is what the last call returned."""
        if self._made < _FIRST:
            self._made += 1
            return self._step(state, number)
        if self._replay is None:
            here = kept(state)

            def onto_itself() -> Any:
                new, info = self._step(here, number)
                for place, tensor in zip(tensors(here), tensors(new), strict=True):
                    place.copy_(tensor)
                return info

            self._replay, self._info = captured(onto_itself, self._generators)
            self._state = here
        self._replay()
        return self._state, self._info


def tensors(tree: Any) -> list[Tensor]:
    """Those in nested tuples, in their order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [tensor for part in tree for tensor in tensors(part)] if isinstance(tree, tuple) else []


def kept(tree: Any) -> Any:
    """A copy of nested tuples with tensors of its own."""
    if isinstance(tree, Tensor):
        return tree.clone()
    if not isinstance(tree, tuple):
        return tree
    parts = [kept(part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
