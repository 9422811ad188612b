"""Named random streams derived from one seed.

Every stream is a `torch.Generator` seeded with a hash of the run's seed and the stream's name. The draws of agent B do
not depend on whether agent A exists, and an additional stream does not change existing ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Create the random generator `name` for a run with `seed`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator(device)
    # 63 bits, because the seed of a torch generator is a signed integer.
    generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return generator


def random_integer(generator: torch.Generator, below: int = 2**31 - 1) -> int:
    """Draw an integer in [0, below), for example to seed a library that does not accept torch generators."""
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
    """Log of a draw from Dirichlet(alpha), (..., K); finite for any alpha > 0."""
    drawn = gamma(generator, alpha)
    return drawn.clamp_min(torch.finfo(drawn.dtype).tiny).log().log_softmax(-1)


@contextmanager
def seeded_global_rng(generator: torch.Generator) -> Iterator[None]:
    """Seed torch's global generators from `generator` within the context, and restore them afterwards.

    Needed for code that uses global random state: network initialisation and `Distribution.rsample`.
    """
    on_cuda = generator.device.type == "cuda"
    seed = random_integer(generator)
    with torch.random.fork_rng(devices=[generator.device] if on_cuda else []):
        # torch.manual_seed would seed every device, but only forked devices are restored.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(generator.device):
                torch.cuda.manual_seed(seed)
        yield


def copy_generator(generator: torch.Generator) -> torch.Generator:
    """Copy a generator with its state, so that both produce the same numbers."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy
