"""An agent with several modalities, some of which an object may lack.

    z_n | w_n = k   ~ p(z | phi_k)            as in `mhng.models.agent`
    x_m | z_n       ~ p_theta_m(x_m | z)      independent given z; every m has a decoder and a likelihood
    q(z | x)        = fusion of q(z | x_m)    every m has an encoder (`mhng.models.fusion`)

(Wu and Goodman 2018, arXiv 1802.05335; Shi et al. 2019, arXiv 1911.03393; the prior given signs: Taniguchi et al.
2023.)

The observation is one tensor (B, D): the modalities, flattened and side by side. A missing modality is NaN throughout.
Missing modalities are masked in the likelihood (sites "x_1", "x_2", ...) and in q(z | x). Learning, rounds and
checkpoints are those of any agent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from mhng.models.agent import CHUNK, Agent, ModalitySettings
from mhng.models.fusion import Experts
from mhng.models.registry import resolve


class Modality(nn.Module):
    """Encoder, decoder and likelihood of one modality."""

    # Type checkers see attributes of a module as Tensor or Module, which are not callable.
    likelihood: Any
    encoder: Any
    decoder: Any

    def __init__(self, shape: tuple[int, ...], settings: ModalitySettings) -> None:
        super().__init__()
        self.likelihood, networks = settings.build(shape)
        if networks is None:
            raise ValueError("a likelihood without a network supports one modality only")
        self.encoder, self.decoder = networks


class Multimodal(Agent):
    """An agent with an encoder and a decoder for each modality.

    Args:
        shapes: observation shapes of the modalities, (C, H, W) or (D,); two or more.
        fusion: a name in `mhng.models.registry`, or "module:attribute".
        options: those of `Agent`; network, likelihood, guide and noise apply to every modality.

    Raises:
        ValueError: the likelihood has no network (identity).
    """

    def __init__(self, shapes: tuple[tuple[int, ...], ...], *, fusion: str = "product", **options: Any) -> None:
        super().__init__(shapes, **options)  # type: ignore[arg-type]  # read by _build_modalities only
        self.fusion = resolve("fusion", fusion)(self._guide)

    def _build_modalities(self, shape: Any, settings: ModalitySettings) -> None:
        self._shapes = tuple(tuple(sizes) for sizes in shape)
        self._sizes = [math.prod(sizes) for sizes in self._shapes]
        self.shape = (sum(self._sizes),)
        # "eyes" is part of the parameter names in checkpoints.
        self.eyes: Any = nn.ModuleList(Modality(sizes, settings) for sizes in self._shapes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the modalities."""
        return self._shapes

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split observations (B, D) into the modalities, (B, *shape of the modality)."""
        parts = x.split(self._sizes, dim=1)
        return tuple(part.reshape(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True))

    def _present(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each modality, a mask (B,) of the objects that have it, and its observations, 0 where missing."""
        modalities = []
        for part in self.split(x):
            present = ~part.flatten(1).isnan().all(1)
            # 0 is valid for every likelihood. The result is masked, but the gradient through NaN would be NaN.
            modalities.append((present, part.where(present.reshape(-1, *[1] * (part.dim() - 1)), 0.0)))
        return modalities

    def observed(self, x: Tensor) -> list[tuple[Any, Tensor]]:
        """Pairs (modality, what it observes of x)."""
        return [(modality, part) for modality, (_, part) in zip(self.eyes, self._present(x), strict=True)]

    def experts(self, x: Tensor) -> Experts:
        """q(z | x_m) of every modality m of x (B, D)."""
        modalities = self._present(x)
        encoded = [
            modality.encoder(modality.likelihood.encoder_input(part))
            for modality, (_, part) in zip(self.eyes, modalities, strict=True)
        ]
        loc, spread = (torch.stack(parts, dim=1).double() for parts in zip(*encoded, strict=True))
        return Experts(loc, spread, torch.stack([present for present, _ in modalities], dim=1))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Not supported: raises TypeError. Use `experts`."""
        raise TypeError("an agent with several modalities has several encoders; use experts(x)")

    def guide_distribution(self, x: Tensor) -> Any:
        """q(z | x) for observations x (B, D), as a Pyro distribution of batch shape (B,)."""
        return self.fusion.distribution(self.experts(x))

    def _observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """Sample the sites "x_1", "x_2", ..., and return them side by side (B, D)."""
        modalities = [(True, None)] * len(self.eyes) if x is None else self._present(x)
        observations = []
        for number, (modality, (present, part)) in enumerate(zip(self.eyes, modalities, strict=True), 1):
            with poutine.mask(mask=present):
                value = pyro.sample(f"x_{number}", modality.likelihood(modality.decoder(z.float())), obs=part)
            observations.append(value.flatten(1))
        return torch.cat(observations, dim=1)

    @property
    def _has_networks(self) -> bool:
        return True

    def _latent_sampler(self, x: Tensor) -> Callable[[torch.Generator | None], Tensor]:
        chunks = [self.experts(chunk) for chunk in x.split(CHUNK)]
        experts = Experts(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))

        def sample(generator: torch.Generator | None) -> Tensor:
            z: Tensor = self.fusion.mean(experts) if generator is None else self.fusion.sample(generator, experts)
            return z

        return sample

    @torch.no_grad()
    def is_finite(self, x: Tensor) -> bool:
        """Whether the outputs of all encoders and decoders for observations x (B, D) are finite."""
        experts = self.experts(x)
        z = self.fusion.mean(experts).float()
        outputs = (experts.loc, experts.spread, z, *(modality.decoder(z) for modality in self.eyes))
        return all(bool(output.isfinite().all()) for output in outputs)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The expected observations of all modalities for latents z (B, L), side by side: (B, D)."""
        means = [modality.likelihood.mean(modality.decoder(z.float())) for modality in self.eyes]
        return torch.cat([mean.flatten(1) for mean in means], dim=1)
