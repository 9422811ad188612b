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


# With a smaller shape, a Gamma draw can underflow: its logarithm has a standard deviation of about 1 / shape.
SMALL_SHAPE = 0.1


class GeneratorStack:
    """The generators of several agents that draw in one call.

    The first dimension of a draw is the agent; each agent's numbers are those that its generator gives alone.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators


Generators = torch.Generator | GeneratorStack


def uniform(generator: Generators | None, like: torch.Tensor) -> torch.Tensor:
    """Uniform draws in [0, 1) with the shape of `like`; None is torch's global generator."""
    return _draw(generator, like, lambda g, part: torch.rand(part.shape, generator=g, **_real(part)))


def normal(generator: Generators | None, like: torch.Tensor) -> torch.Tensor:
    """Standard normal draws with the shape of `like`."""
    return _draw(generator, like, lambda g, part: torch.randn(part.shape, generator=g, **_real(part)))


def gamma(generator: Generators | None, shape: torch.Tensor) -> torch.Tensor:
    """Draws from Gamma(shape, 1), one for each entry of `shape`."""
    # Only this private function of torch takes a generator.
    return _draw(generator, shape, lambda g, part: torch._standard_gamma(part, generator=g))


def categorical(generator: Generators | None, logits: torch.Tensor) -> torch.Tensor:
    """Categorical draws by inversion: unnormalised logits (..., K) -> (...,). One uniform number per row.

    None is torch's global generator.
    """
    cumulated = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1)
    total = cumulated[..., -1]
    u = uniform(generator, total)
    # Strictly below the total, even if the product is rounded up: an index with probability 0 is never drawn.
    level = u * (1 - torch.finfo(total.dtype).eps) * total
    return (cumulated <= level.unsqueeze(-1)).sum(-1)


def _real(like: torch.Tensor) -> dict[str, Any]:
    return {"dtype": like.dtype, "device": like.device}


def _draw(
    generator: Generators | None,
    like: torch.Tensor,
    draw: Callable[[torch.Generator | None, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    if isinstance(generator, GeneratorStack):
        return torch.stack([draw(g, part) for g, part in zip(generator.generators, like, strict=True)])
    return draw(generator, like)


def log_gamma(generator: Generators | None, shape: torch.Tensor, least: float) -> torch.Tensor:
    """Log of draws from Gamma(shape, 1); finite where the draw itself underflows.

    least: a lower bound of `shape`. It decides whether more numbers are drawn, so the host need not wait for a device.
    """
    if least >= SMALL_SHAPE:
        return gamma(generator, shape).clamp_min(torch.finfo(shape.dtype).tiny).log()
    # G(a) has the law of G(a + 1) U^(1 / a) (Marsaglia and Tsang 2000, section 6), here in logs.
    small = shape < SMALL_SHAPE
    drawn = gamma(generator, torch.where(small, shape + 1, shape)).log()
    power = torch.log1p(-uniform(generator, shape)) / shape
    return drawn + torch.where(small, power, 0.0).clamp_min(torch.finfo(shape.dtype).min)


def log_dirichlet(generator: Generators | None, alpha: torch.Tensor, least: float) -> torch.Tensor:
    """Log of a draw from Dirichlet(alpha), (..., K). least: a lower bound of `alpha`, as in `log_gamma`."""
    return log_gamma(generator, alpha, least).log_softmax(-1)


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


def spawn(generator: Any, count: int) -> list[Any]:
    """`count` independent generators, seeded from `generator`; a handle of a generator elsewhere makes handles."""
    if not isinstance(generator, torch.Generator):
        spawned: list[Any] = generator.spawn(count)
        return spawned
    seeds = torch.randint(2**63 - 1, (count,), generator=generator, device=generator.device).tolist()
    return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]


def copy_generator(generator: torch.Generator) -> torch.Generator:
    """Copy a generator with its state, so that both produce the same numbers."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy
