"""An agent that perceives an object by several modalities at once, of which an object may lack some.

    z_n | w_n = k   ~ p(z | phi_k)            as of any agent
    x_m | z_n       ~ p_theta_m(x_m | z)      independent given z; each m with its own decoder and likelihood
    q(z | x)        = fusion of q(z | x_m)    each m with its own encoder (`mhng.models.fusion`)

(Wu and Goodman 2018, arXiv 1802.05335; Shi et al. 2019, arXiv 1911.03393; the signs' prior: Taniguchi et al. 2023.)

The observation is one tensor (B, D), the modalities flattened and side by side, D the sum of their sizes, and NaN in
the whole of one that is missing. Its site "x_1", "x_2", ... is masked then: it adds nothing to the likelihood and
nothing to q. So learning, rounds and checkpoints are those of any agent.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from mhng.models.agent import CHUNK, Agent, Parts
from mhng.models.fusion import Experts
from mhng.models.registry import resolve


class Eye(nn.Module):
    """A modality: encoder, decoder and likelihood."""

    # What a module holds is a Tensor or a Module to type checkers, which neither call nor read it.
    likelihood: Any
    encoder: Any
    decoder: Any

    def __init__(self, shape: tuple[int, ...], parts: Parts) -> None:
        super().__init__()
        self.likelihood, networks = parts.made(shape)
        if networks is None:
            raise ValueError("without networks the percept is the observation, so there can be but one modality")
        self.encoder, self.decoder = networks


class Multimodal(Agent):
    """An agent with an eye for each modality.

    Args:
        shapes: of each modality's observation, (C, H, W) or (D,); two or more.
        fusion: a name in the registry of `models`, or "module:attribute".
        options: those of `Agent`; network, likelihood, guide and noise are of every modality. Not the identity
            likelihood: ValueError.
    """

    def __init__(self, shapes: tuple[tuple[int, ...], ...], *, fusion: str = "product", **options: Any) -> None:
        super().__init__(shapes, **options)  # type: ignore[arg-type]  # read by _open alone
        self.fusion = resolve("fusion", fusion)(self._guide)

    def _open(self, shape: Any, parts: Parts) -> None:
        self._shapes = tuple(tuple(one) for one in shape)
        self._sizes = [math.prod(one) for one in self._shapes]
        self.shape = (sum(self._sizes),)
        self.eyes: Any = nn.ModuleList(Eye(one, parts) for one in self._shapes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each modality."""
        return self._shapes

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Observations (B, D) as those of each modality, (B, *its shape)."""
        parts = x.split(self._sizes, dim=1)
        return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True))

    def _seen(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each modality: which objects have it, (B,) bool; and its observations, 0 where there is none."""
        found = []
        for part in self.split(x):
            there = ~part.flatten(1).isnan().all(1)
            # A number that every likelihood takes: what comes of it is masked, and so must its gradient be, which
            # of a NaN would be NaN.
            found.append((there, part.where(there.reshape(-1, *[1] * (part.dim() - 1)), 0.0)))
        return found

    def experts(self, x: Tensor) -> Experts:
        """What each modality of x (B, D) says of z."""
        seen = self._seen(x)
        said = [
            eye.encoder(eye.likelihood.encoder_input(part)) for eye, (_, part) in zip(self.eyes, seen, strict=True)
        ]
        loc, spread = (torch.stack(parts, dim=1).double() for parts in zip(*said, strict=True))
        return Experts(loc, spread, torch.stack([there for there, _ in seen], dim=1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """TypeError: there is not one encoder but several, see `experts`."""
        raise TypeError("an agent with several modalities has no one encoder: ask for its experts")

    def guide_distribution(self, x: Tensor) -> Any:
        """The Pyro distribution q(z | x) of observations x (B, D)."""
        return self.fusion.distribution(self.experts(x))

    def _observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """Sites "x_1", "x_2", ...; together (B, D)."""
        seen = [(True, None)] * len(self.eyes) if x is None else self._seen(x)
        found = []
        for number, (eye, (there, part)) in enumerate(zip(self.eyes, seen, strict=True), 1):
            with poutine.mask(mask=there):
                value = pyro.sample(f"x_{number}", eye.likelihood(eye.decoder(z.float())), obs=part)
            found.append(value.flatten(1))
        return torch.cat(found, dim=1)

    def _percepts(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        chunks = [self.experts(chunk) for chunk in x.split(CHUNK)]
        experts = Experts(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))
        z: Tensor = self.fusion.mean(experts) if generator is None else self.fusion.sample(generator, experts)
        return z

    @torch.no_grad()
    def is_finite(self, x: Tensor) -> bool:
        """Whether the networks' outputs for observations x (B, D) are numbers at all."""
        experts = self.experts(x)
        z = self.fusion.mean(experts).float()
        outputs = (experts.loc, experts.spread, z, *(eye.decoder(z) for eye in self.eyes))
        return all(bool(output.isfinite().all()) for output in outputs)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The expected observation of every modality for each percept, side by side: z (B, L) -> (B, D)."""
        means = [eye.likelihood.mean(eye.decoder(z.float())) for eye in self.eyes]
        return torch.cat([mean.flatten(1) for mean in means], dim=1)
