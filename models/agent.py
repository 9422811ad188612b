"""The agent: one Pyro generative model, used for simulation, the game and learning.

    phi_k           ~ the mixture's prior         plate "components", K
    w_n             ~ Categorical(pi)             plate "objects", N
    z_n | w_n = k   ~ p(z | phi_k)                by default Normal(mu_k, Lambda_k^-1), phi a Normal-Wishart draw
    x_n | z_n       ~ p_theta(x | z)              the likelihood of the decoder's output

(Taniguchi et al. 2023, Inter-GMM+VAE.) Unconditioned, the model simulates. Conditioned on z, it is the target of the
game. Conditioned on w and the components, its ELBO trains the networks, with q(z | x) as guide.

Parameters are torch parameters of the agent's module. Pyro's parameter store is process-wide: two agents that
register networks there under the same names would share the tensors of the first agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from mhng.models.mixtures.base import has_sign_probabilities
from mhng.models.percepts import Percepts, expected_draws
from mhng.models.prior_scale import latent_scale
from mhng.models.registry import resolve
from mhng.models.rng import seeded_global_rng
from mhng.models.sign_prior import SignPrior, parse_sign_prior

pyro.settings.set(module_local_params=True)

# Batch size of network passes without gradients.
CHUNK = 1024


class ModalitySettings(NamedTuple):
    """Settings of a modality: registry names, and the generator of the initial network weights."""

    latent: int
    network: str
    likelihood: str
    guide: Any
    noise: float
    generator: torch.Generator

    def build(self, shape: tuple[int, ...]) -> tuple[Any, tuple[Any, Any] | None]:
        """Build the likelihood, and the encoder and decoder unless the likelihood has no network.

        Raises ValueError if the latent dimension does not fit a likelihood without a network.
        """
        kind = resolve("likelihood", self.likelihood)
        likelihood = kind(**{name: value for name, value in (("noise", self.noise),) if name in kind.options})
        if likelihood.has_network:
            with seeded_global_rng(self.generator):
                return likelihood, resolve("network", self.network)(shape, self.latent, self.guide)
        if shape != (self.latent,):
            raise ValueError(
                f"the latent dimension is {self.latent}; without a network it must match the shape {shape}"
            )
        return likelihood, None


class Agent(PyroModule):
    """One agent: an encoder, a decoder and a mixture over its latents.

    Args:
        shape: shape of one observation: (C, H, W) or (D,).
        signs: K, the number of signs.
        latent: L; D with the identity likelihood.
        network, likelihood, mixture, guide: names in `mhng.models.registry`, or "module:attribute"; the mixture may be
            a class.
        weights: the prior of pi, or its name for `mhng.models.sign_prior.parse_sign_prior`.
        prior: hyperparameters of the mixture, as keyword arguments of its constructor.
        fits_scale: whether `fit_prior_scale` will select W; `prior` has no W.
        noise: standard deviation of observations, for likelihoods with the option "noise".
        generator: random source of the initial network weights.
        device: device of parameters and latents.

    Raises:
        ValueError: a hyperparameter is out of range, the latent dimension does not fit, or the mixture does not
            support weights.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        signs: int,
        latent: int,
        network: str = "mlp",
        likelihood: str = "bernoulli",
        mixture: str | type[Any] = "normal-wishart",
        weights: str | SignPrior | None = "uniform",
        prior: Mapping[str, float] | None = None,
        fits_scale: bool = False,
        guide: str = "diagonal",
        noise: float = 0.2,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.latent = latent
        self.signs = signs
        self._guide = resolve("guide", guide)
        self._build_modalities(shape, ModalitySettings(latent, network, likelihood, self._guide, noise, generator))
        self._prior = dict(prior or {})
        family = resolve("mixture", mixture) if isinstance(mixture, str) else mixture
        self.mixture = family(latent, device=device, **self._prior)
        self.fits_scale = fits_scale
        self.prior_scale: Tensor  # W, selected by `fit_prior_scale`; 0 before
        self.register_buffer("prior_scale", torch.zeros((), dtype=torch.float64))
        self.weights = parse_sign_prior(weights) if isinstance(weights, str) else weights
        if self.weights is not None and has_sign_probabilities(type(self.mixture)):
            raise ValueError(f"weights is {weights!r}; mixture {mixture} requires 'uniform'")
        self.log_pi: Tensor  # the current log pi; the game writes its draws here
        self.register_buffer("log_pi", torch.full((signs,), 1 / signs, dtype=torch.float64).log())
        self.to(device)

    def _build_modalities(self, shape: Any, settings: ModalitySettings) -> None:
        """Build likelihood, encoder and decoder for observations of `shape`."""
        self.shape: tuple[int, ...] = shape
        self.likelihood, networks = settings.build(shape)
        if networks is not None:
            self.encoder, self.decoder = networks

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the modalities: here a single one."""
        return (self.shape,)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split observations (B, *shape) into the modalities."""
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
        """The generative model p(x, z, w, phi) as a Pyro program; the arguments given are conditioned on.

        Args:
            x: observations (B, *shape) of the objects in `index`; None simulates them.
            objects: N, the size of the plate. Log densities of a mini-batch `index` are scaled to N.
            index: (B,) dataset indices; None means all.
            signs: (N,) by dataset index. None adds a site "w" with prior pi. If the components are None too, an
                unknown pi is sampled.
            components: phi. None adds the sites of the mixture. Given with `signs`, phi may have another number of
                components than K: before round 1 the prior of z is one component.
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
        """The guide q(z | x) as a Pyro program; it has the signature of `model` and ignores signs and components."""
        distribution = self.guide_distribution(x)
        with pyro.plate("objects", objects, subsample=index, device=self.log_pi.device):
            return pyro.sample("z", distribution)

    def guide_distribution(self, x: Tensor) -> Any:
        """q(z | x) for observations x (B, *shape), as a Pyro distribution of batch shape (B,)."""
        loc, spread = self.encode(x)
        return self._guide.distribution(loc.double(), spread.double())

    def _observe(self, z: Tensor, x: Tensor | None) -> Tensor:
        """Sample site "x" given latents z (B, L)."""
        observation: Tensor = pyro.sample("x", self._observation(z), obs=x)
        return observation

    def observed(self, x: Tensor) -> list[tuple[Any, Tensor]]:
        """Pairs (owner of a decoder and likelihood, what it observes of x); one pair for each modality."""
        return [(self, x)]

    def _observation(self, z: Tensor) -> Any:
        return self.likelihood(self.decoder(z.float()) if self.likelihood.has_network else z)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """loc (B, L) and spread (see `mhng.models.guides`) of q(z | x) for observations x (B, *shape)."""
        parameters: tuple[Tensor, Tensor] = self.encoder(self.likelihood.encoder_input(x))
        return parameters

    def restore(self, weights: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Load the weights of a checkpoint, and return the components (K, ...) built from the tensors `parts`.

        Raises ValueError if the components have wrong shapes or are not finite, RuntimeError if the weights do not
        fit.
        """
        self.load_state_dict(weights)
        if self.prior_scale > 0:
            self._set_prior_scale(float(self.prior_scale))
        if parts is None:
            return None
        components = self.mixture.Parameters(*(part.to(self.log_pi.device) for part in parts))
        shapes = tuple(tuple(part.shape) for part in components)
        expected = self.mixture.shapes(self.signs)
        if shapes != expected:
            raise ValueError(f"the components have the shapes {shapes}; expected {expected}")
        if not all(bool(part.isfinite().all()) for part in components):
            raise ValueError("the components are not finite")
        return components

    # -- the prior of the mixture ----------------------------------------------------------------------

    @property
    def lacks_scale(self) -> bool:
        """Whether W of the mixture's prior is still to be selected."""
        return self.fits_scale and not self.prior_scale > 0

    def fit_prior_scale(self, x: Tensor, generator: torch.Generator) -> None:
        """Select W of the mixture's prior for one draw of the latents of all observations x (N, *shape)."""
        with torch.no_grad():
            z = self._latents(x, generator)
        # Latents that are not finite are reported by the round.
        if z.isfinite().all():
            scale = latent_scale(type(self.mixture), z, self.signs, self._prior, generator)
            self.prior_scale.fill_(scale)
            self._set_prior_scale(scale)

    def _set_prior_scale(self, scale: float) -> None:
        self.mixture = type(self.mixture)(self.latent, device=self.log_pi.device, **{**self._prior, "W": scale})

    # -- for the rest of the program -----------------------------------------------------------------

    @torch.no_grad()
    def perceive(self, x: Tensor, generator: torch.Generator | None) -> Percepts:
        """Latents of observations x (N, *shape): a draw from q(z | x), or its mean without a generator."""
        return Percepts(self._latents(x, generator), self.mixture, check=False)

    @torch.no_grad()
    def perceive_expected(self, x: Tensor, generator: torch.Generator) -> Percepts:
        """Percepts of observations x (N, *shape) with the expected features of q(z | x) (`Percepts.expected`).

        Without networks, or where the mixture has no such features, they are those of `perceive`.
        """
        draws = expected_draws(len(x), self.mixture)
        if draws == 1 or not self._has_networks:
            return self.perceive(x, generator)
        sample = self._latent_sampler(x)
        return Percepts.expected(torch.stack([sample(generator) for _ in range(draws)]), self.mixture)

    def _latents(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._latent_sampler(x)(generator) if self._has_networks else x

    @property
    def _has_networks(self) -> bool:
        return self.likelihood.has_network

    def _latent_sampler(self, x: Tensor) -> Callable[[torch.Generator | None], Tensor]:
        """Encode x (N, *shape) once; returns a function that draws from q(z | x), or returns its mean for None."""
        parts = [self.encode(chunk) for chunk in x.split(CHUNK)]
        loc = torch.cat([loc for loc, _ in parts]).double()
        spread = torch.cat([spread for _, spread in parts]).double()

        def sample(generator: torch.Generator | None) -> Tensor:
            if generator is None:
                return loc
            noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
            return self._guide.reparameterize(loc, spread, noise)

        return sample

    @torch.no_grad()
    def is_finite(self, x: Tensor) -> bool:
        """Whether the outputs of encoder and decoder for observations x (B, *shape) are finite."""
        loc, spread = self.encode(x)
        outputs = (loc, spread, self.decoder(loc))
        return all(bool(output.isfinite().all()) for output in outputs)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """The expected observation E[x | z] for latents z (B, L): (B, *shape)."""
        output = self.decoder(z.float()) if self.likelihood.has_network else z
        mean: Tensor = self.likelihood.mean(output)
        return mean
