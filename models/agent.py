"""An agent: one Pyro generative model, used three ways.

    Lambda_k, mu_k  ~ Normal-Wishart              plate "components", K
    w_n             ~ Categorical(pi)             plate "objects", N
    z_n | w_n = k   ~ Normal(mu_k, Lambda_k^-1)
    x_n | z_n       ~ p_theta(x | z)              the likelihood of the decoder's output

(Taniguchi et al. 2023, Inter-GMM+VAE.) Unconditioned it simulates; conditioned on z it is the game's target;
conditioned on w and the components it is the model whose ELBO teaches the networks, with q(z | x) as guide.

Parameters are plain torch parameters of this module. Pyro's parameter store is process-wide: two agents that
register networks there under equal names share the first one's tensors, and the second never learns.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor

from models import chosen
from models.mixtures import Components
from models.percepts import Percepts
from models.randomness import global_draws_from

pyro.settings.set(module_local_params=True)

# Objects that go through a network at once when nothing is learned.
_CHUNK = 1024


class Agent(PyroModule):
    """One agent with its own eyes (encoder), imagination (decoder) and beliefs about signs (mixture).

    Args:
        shape: of one observation: (C, H, W) or (D,).
        signs: K, how many signs there are.
        latent: L; with the identity likelihood it must be D.
        network, likelihood, mixture, guide: names in the registry of `models`, or "module:attribute".
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
        guide: str = "diagonal",
        noise: float = 0.2,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.shape = shape
        self.latent = latent
        self.signs = signs
        kind = chosen("likelihood", likelihood)
        self.likelihood = kind(**{name: value for name, value in (("noise", noise),) if name in kind.takes})
        self._guide = chosen("guide", guide)
        if self.likelihood.has_network:
            with global_draws_from(generator):
                self.encoder, self.decoder = chosen("network", network)(shape, latent, self._guide)
        elif shape != (latent,):
            raise ValueError(f"z is the observation itself: L must be its length {shape}; it is {latent}")
        self.mixture = chosen("mixture", mixture)(latent, device=device)
        self.log_pi: Tensor
        self.register_buffer("log_pi", torch.full((signs,), 1 / signs, dtype=torch.float64).log())
        self.to(device)

    def model(
        self,
        x: Tensor | None = None,
        *,
        objects: int,
        index: Tensor | None = None,
        signs: Tensor | None = None,
        components: Components | None = None,
    ) -> Tensor:
        """p(x, z, w, components), or part of it given the rest.

        Args:
            x: observations (B, *shape) of the objects in `index`; None simulates them.
            objects: N, the size of the plate. With fewer in `index`, densities are scaled up to N.
            index: (B,) dataset indices; None is all of them.
            signs: (N,) by dataset index, or None: a site "w" with prior pi.
            components: given, or None: sites "Lambda" and "mu". More or fewer than K are allowed if `signs`
                are given too: before there are signs, the prior of z is one component.
        """
        if components is None:
            components = self._component_sites()
        with pyro.plate("objects", objects, subsample=index, device=self.log_pi.device) as ids:
            if signs is None:
                w = pyro.sample("w", dist.Categorical(logits=self.log_pi))
            else:
                w = signs[ids]
            prior = dist.MultivariateNormal(components.mu[w], scale_tril=components.scale_tril[w])
            # The KL asks for it: inverted once for each sign, not for each object.
            prior.precision_matrix = torch.cholesky_inverse(components.scale_tril)[w]
            z = pyro.sample("z", prior)
            return pyro.sample("x", self._observation(z), obs=x)

    def guide(
        self,
        x: Tensor,
        *,
        objects: int,
        index: Tensor | None = None,
        signs: Tensor | None = None,
        components: Components | None = None,
    ) -> Tensor:
        """q(z | x), with the signature of `model`; what is held fixed there is not needed here."""
        loc, spread = self.encode(x)
        with pyro.plate("objects", objects, subsample=index, device=self.log_pi.device):
            return pyro.sample("z", self._guide.law(loc.double(), spread.double()))

    def _component_sites(self) -> Components:
        with pyro.plate("components", self.signs, device=self.log_pi.device):
            precision = pyro.sample("Lambda", self.mixture.precision_prior(self.signs))
            prior = dist.MultivariateNormal(
                self.mixture.m0.expand(self.signs, -1), precision_matrix=self.mixture.beta * precision
            )
            mu = pyro.sample("mu", prior)
        return Components(mu, _covariance_factor(precision))

    def _observation(self, z: Tensor) -> Any:
        return self.likelihood(self.decoder(z.float()) if self.likelihood.has_network else z)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's loc (B, L) and spread (see `models.guides`) for observations x (B, *shape)."""
        found: tuple[Tensor, Tensor] = self.encoder(self.likelihood.encoded(x))
        return found

    # -- what the rest of the program asks -----------------------------------------------------------

    @torch.no_grad()
    def perceive(self, x: Tensor, generator: torch.Generator | None) -> Percepts:
        """Percepts of all observations x (N, *shape): a draw from q(z | x), or its mean if no generator."""
        if not self.likelihood.has_network:
            return Percepts(x, self.mixture)
        parts = [self.encode(chunk) for chunk in x.split(_CHUNK)]
        z = torch.cat([loc for loc, _ in parts]).double()
        if generator is not None:
            spread = torch.cat([spread for _, spread in parts]).double()
            noise = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
            z = self._guide.moved(z, spread, noise)
        return Percepts(z, self.mixture)

    @torch.no_grad()
    def imagine(self, z: Tensor) -> Tensor:
        """The expected observation for each percept: z (B, L) -> (B, *shape)."""
        output = self.decoder(z.float()) if self.likelihood.has_network else z
        mean: Tensor = self.likelihood.mean(output)
        return mean


def _covariance_factor(precision: Tensor) -> Tensor:
    """Lower Cholesky factor of precision^-1, without forming the inverse: (..., L, L).

    The flipped matrix P = J Lambda J has a lower factor F; J F^-T J is lower and the factor sought.
    """
    flipped = torch.linalg.cholesky(precision.flip(-2, -1))
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(flipped.mT, eye.expand_as(flipped), upper=True).flip(-2, -1)
