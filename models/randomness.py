"""Named streams of random numbers, all from one seed.

Each stream is a `torch.Generator` of its own, seeded by a hash of the seed and the stream's name. What agent
B draws does not depend on whether agent A exists, and a new stream never shifts an old one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator called `name` of the run with `seed`."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator(device)
    # 63 bits: the seed of a torch generator is a signed integer.
    generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return generator


def integer(generator: torch.Generator, below: int = 2**31 - 1) -> int:
    """One integer in [0, below), to seed a library that knows no torch generator."""
    return int(torch.randint(below, (), generator=generator, device=generator.device))


def log_dirichlet(generator: torch.Generator, alpha: torch.Tensor) -> torch.Tensor:
    """log of a draw of Dirichlet(alpha), (..., K), from a generator that is given; finite however small alpha is."""
    # torch offers gamma draws from a given generator under this name only.
    gamma = torch._standard_gamma(alpha, generator=generator)
    return gamma.clamp_min(torch.finfo(gamma.dtype).tiny).log().log_softmax(-1)


@contextmanager
def global_draws_from(generator: torch.Generator) -> Iterator[None]:
    """Inside, torch's global generators are seeded from `generator`; afterwards they are as they were.

    For code that draws from the global state only: network initialisation and `Distribution.rsample`.
    """
    on_cuda = generator.device.type == "cuda"
    seed = integer(generator)
    with torch.random.fork_rng(devices=[generator.device] if on_cuda else []):
        # Not torch.manual_seed: it would seed every device, and only what is forked is put back.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(generator.device):
                torch.cuda.manual_seed(seed)
        yield


def copied(generator: torch.Generator) -> torch.Generator:
    """A generator that goes on as `generator` would, and leaves it where it is."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy
