"""An agent: one Pyro generative model, used three ways.

    phi_k           ~ the mixture's prior         plate "components", K
    w_n             ~ Categorical(pi)             plate "objects", N
    z_n | w_n = k   ~ p(z | phi_k)                by default Normal(mu_k, Lambda_k^-1), phi a Normal-Wishart draw
    x_n | z_n       ~ p_theta(x | z)              the likelihood of the decoder's output

(Taniguchi et al. 2023, Inter-GMM+VAE.) Unconditioned it simulates; conditioned on z it is the game's target;
conditioned on w and the components it is the model whose ELBO teaches the networks, with q(z | x) as guide.

Parameters are plain torch parameters of this module. Pyro's parameter store is process-wide: two agents that
register networks there under equal names share the first one's tensors, and the second never learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from mhng.models.percepts import Percepts
from mhng.models.registry import resolve
from mhng.models.rng import seeded_global_rng
from mhng.models.sign_prior import parse_sign_prior

pyro.settings.set(module_local_params=True)

# Objects that go through a network at once when nothing is learned.
CHUNK = 1024


class Parts(NamedTuple):
    """What a modality is made from: names in the registry, and the stream that initial weights are drawn from."""

    latent: int
    network: str
    likelihood: str
    guide: Any
    noise: float
    generator: torch.Generator

    def made(self, shape: tuple[int, ...]) -> tuple[Any, tuple[Any, Any] | None]:
        """The likelihood of observations of `shape`, and encoder and decoder, if there are any."""
        kind = resolve("likelihood", self.likelihood)
        likelihood = kind(**{name: value for name, value in (("noise", self.noise),) if name in kind.options})
        if likelihood.has_network:
            with seeded_global_rng(self.generator):
                return likelihood, resolve("network", self.network)(shape, self.latent, self.guide)
        if shape != (self.latent,):
            raise ValueError(f"z is the observation itself: L must be its length {shape}; it is {self.latent}")
        return likelihood, None


class Agent(PyroModule):
    """One agent with its own eyes (encoder), imagination (decoder) and beliefs about signs (mixture).

    Args:
        shape: of one observation: (C, H, W) or (D,).
        signs: K, how many signs there are.
        latent: L; with the identity likelihood it must be D.
        network, likelihood, mixture, guide: names in the registry of `models`, or "module:attribute".
        weights: the prior of the signs' weights, as `mhng.models.sign_prior` reads it.
        prior: hyperparameters of the mixture, by the names of its constructor; a ValueError of the family names one
            that is out of its range.
        noise: standard deviation of observations, for the likelihoods that take it from outside.
        generator: initial weights are drawn from it.
        device: where the agent lives.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        signs: int,
        latent: int,
        network: str = "mlp",
        likelihood: str = "bernoulli",
        mixture: str = "normal-wishart",
        weights: str = "uniform",
        prior: Mapping[str, float] | None = None,
        guide: str = "diagonal",
        noise: float = 0.2,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.latent = latent
        self.signs = signs
        self._guide = resolve("guide", guide)
        self._open(shape, Parts(latent, network, likelihood, self._guide, noise, generator))
        self.mixture = resolve("mixture", mixture)(latent, device=device, **(prior or {}))
        self.weights = parse_sign_prior(weights)
        self.log_pi: Tensor  # what the agent believes of them; the game writes here what it drew
        self.register_buffer("log_pi", torch.full((signs,), 1 / signs, dtype=torch.float64).log())
        self.to(device)

    def _open(self, shape: Any, parts: Parts) -> None:
        """Make what sees and imagines observations of `shape`."""
        self.shape: tuple[int, ...] = shape
        self.likelihood, networks = parts.made(shape)
        if networks is not None:
            self.encoder, self.decoder = networks

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each modality; of this agent there is one."""
        return (self.shape,)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Observations (B, *shape) as those of each modality, (B, *its shape)."""
        return (x,)

    def model(
        self,
        x: Tensor | None = None,
        *,
        objects: int,
        index: Tensor | None = None,
        signs: Tensor | None = None,
        components: Any = None,
    ) -> Tensor:
        """p(x, z, w, components), or part of it given the rest.

        Args:
            x: observations (B, *shape) of the objects in `index`; None simulates them.
            objects: N, the size of the plate. With fewer in `index`, densities are scaled up to N.
            index: (B,) dataset indices; None is all of them.
            signs: (N,) by dataset index, or None: a site "w" with prior pi; pi has sites of its own if it is
                unknown and the components are not given either.
            components: phi, given, or None: sites of the mixture's. More or fewer than K are allowed if `signs`
                are given too: before there are signs, the prior of z is one component.
        """
        log_pi = self.log_pi
        if components is None and signs is None and self.weights is not None:
            log_pi = self.weights.site(self.signs, self.log_pi)
        if components is None:
            components = self.mixture.sites(self.signs, self.log_pi.device)
        with pyro.plate("objects", objects, subsample=index, device=self.log_pi.device) as ids:
            if signs is None:
                w = pyro.sample("w", dist.Categorical(logits=self.mixture.sign_logits(components, log_pi)))
            else:
                w = signs[ids]
            z = pyro.sample("z", self.mixture.component_distribution(components, w))
            return self._observe(z, x)

    def guide(
        self,
        x: Tensor,
        *,
        objects: int,
        index: Tensor | None = None,
        signs: Tensor | None = None,
        components: Any = None,
    ) -> Tensor:
        """q(z | x), with the signature of `model`; what is held fixed there is not needed here."""
        law = self.guide_distribution(x)
        with pyro.plate("objects", objects, subsample=index, device=self.log_pi.device):
            return pyro.sample("z", law)

    def guide_distribution(self, x: Tensor) -> Any:
        """The Pyro distribution q(z | x) of observations x (B, *shape)."""
        loc, spread = self.encode(x)
        return self._guide.distribution(loc.double(), spread.double())

    def _observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """The site of the observation, given percepts z (B, L)."""
        found: Tensor = pyro.sample("x", self._observation(z), obs=x)
        return found

    def _observation(self, z: Tensor) -> Any:
        return self.likelihood(self.decoder(z.float()) if self.likelihood.has_network else z)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's loc (B, L) and spread (see `mhng.models.guides`) for observations x (B, *shape)."""
        found: tuple[Tensor, Tensor] = self.encoder(self.likelihood.encoder_input(x))
        return found

    def restore(self, weights: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Take over the weights of a checkpoint; returns components (K, ...) made from their tensors `parts`, if any.

        ValueError says what is wrong with the components; weights that do not fit raise a RuntimeError.
        """
        self.load_state_dict(weights)
        if parts is None:
            return None
        own = self.mixture.Parameters(*(part.to(self.log_pi.device) for part in parts))
        shapes = tuple(tuple(part.shape) for part in own)
        if shapes != self.mixture.shapes(self.signs):
            raise ValueError(f"the components have the shapes {shapes}")
        if not all(bool(part.isfinite().all()) for part in own):
            raise ValueError("the components are not finite")
        return own

    # -- what the rest of the program asks -----------------------------------------------------------

    @torch.no_grad()
    def perceive(self, x: Tensor, generator: torch.Generator | None) -> Percepts:
        """Percepts of all observations x (N, *shape): a draw from q(z | x), or its mean if no generator."""
        return Percepts(self._percepts(x, generator), self.mixture)

    def _percepts(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.likelihood.has_network:
            return x
        parts = [self.encode(chunk) for chunk in x.split(CHUNK)]
        z = torch.cat([loc for loc, _ in parts]).double()
        if generator is not None:
            spread = torch.cat([spread for _, spread in parts]).double()
            noise = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
            z = self._guide.reparameterize(z, spread, noise)
        return z

    @torch.no_grad()
    def is_finite(self, x: Tensor) -> bool:
        """Whether the networks' outputs for observations x (B, *shape) are numbers at all."""
        loc, spread = self.encode(x)
        outputs = (loc, spread, self.decoder(loc))
        return all(bool(output.isfinite().all()) for output in outputs)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The expected observation for each percept: z (B, L) -> (B, *shape)."""
        output = self.decoder(z.float()) if self.likelihood.has_network else z
        mean: Tensor = self.likelihood.mean(output)
        return mean
