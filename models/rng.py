"""Named streams of random numbers, all from one seed.

Each stream is a `torch.Generator` of its own, seeded by a hash of the seed and the stream's name. What agent
B draws does not depend on whether agent A exists, and a new stream never shifts an old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator called `name` of the run with `seed`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator(device)
    # 63 bits: the seed of a torch generator is a signed integer.
    generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return generator


def random_integer(generator: torch.Generator, below: int = 2**31 - 1) -> int:
    """One integer in [0, below), to seed a library that knows no torch generator."""
    return int(torch.randint(below, (), generator=generator, device=generator.device))


class Choir:
    """Streams of several agents, who draw at the same time: the first dimension of a draw is theirs.

    Each draws from its own what it would have drawn alone.
    """

    def __init__(self, streams: Sequence[torch.Generator]) -> None:
        self.streams = streams


Streams = torch.Generator | Choir


def uniform(streams: Streams | None, like: torch.Tensor) -> torch.Tensor:
    """Numbers in [0, 1) of the shape of `like`; from torch's global generator if there is no stream."""
    return _each(streams, like, lambda generator, own: torch.rand(own.shape, generator=generator, **_real(own)))


def normal(streams: Streams | None, like: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers of the shape of `like`."""
    return _each(streams, like, lambda generator, own: torch.randn(own.shape, generator=generator, **_real(own)))


def gamma(streams: Streams | None, shape: torch.Tensor) -> torch.Tensor:
    """Draws of Gamma(shape, 1), one for each entry of `shape`."""
    # torch offers gamma draws from a given generator under this name only.
    return _each(streams, shape, lambda generator, own: torch._standard_gamma(own, generator=generator))


def _real(like: torch.Tensor) -> dict[str, Any]:
    return {"dtype": like.dtype, "device": like.device}


def _each(
    streams: Streams | None,
    like: torch.Tensor,
    one: Callable[[torch.Generator | None, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    if isinstance(streams, Choir):
        return torch.stack([one(generator, own) for generator, own in zip(streams.streams, like, strict=True)])
    return one(streams, like)


def log_dirichlet(generator: Streams, alpha: torch.Tensor) -> torch.Tensor:
    """log of a draw of Dirichlet(alpha), (..., K), from a generator that is given; finite however small alpha is."""
    drawn = gamma(generator, alpha)
    return drawn.clamp_min(torch.finfo(drawn.dtype).tiny).log().log_softmax(-1)


@contextmanager
def seeded_global_rng(generator: torch.Generator) -> Iterator[None]:
    """Inside, torch's global generators are seeded from `generator`; afterwards they are as they were.

    For code that draws from the global state only: network initialisation and `Distribution.rsample`.
    """
    on_cuda = generator.device.type == "cuda"
    seed = random_integer(generator)
    with torch.random.fork_rng(devices=[generator.device] if on_cuda else []):
        # Not torch.manual_seed: it would seed every device, and only what is forked is put back.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(generator.device):
                torch.cuda.manual_seed(seed)
        yield


def copy_generator(generator: torch.Generator) -> torch.Generator:
    """A generator that goes on as `generator` would, and leaves it where it is."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy
