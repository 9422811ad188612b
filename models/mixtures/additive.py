"""Sentences as Gaussian components: the mean of a sentence is the sum of what its parts add.

    Lambda     ~ Wishart(nu, W)
    M | Lambda ~ MatrixNormal(M0, V0, Lambda^-1)            row f of M (F, L): what feature f of a sentence adds
    z | w      ~ Normal(M^T f(w), Lambda^-1)

f(w) are the features of `mhng.models.meanings`. Given the sentences, this is Bayesian multivariate regression with a
conjugate prior (Bishop 2006, section 3.3; Rossi, Allenby and McCulloch 2005, section 2.8), so the redraw of M and
Lambda and the evidence of sentences are exact.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.distributions import BartlettWishart, sample_scale_tril
from mhng.models.languages import Sentences
from mhng.models.meanings import active_features, feature_count, mean_features
from mhng.models.mixtures.base import Family, Features, ParameterDraw
from mhng.models.mixtures.gaussians import (
    LOG_2PI,
    Components,
    ComponentsWithPrecision,
    Gaussian,
    covariance_factor,
    half_log_det,
    lower_factor,
    robust_centre,
)
from mhng.models.mixtures.normal_wishart import WishartPrior
from mhng.models.mixtures.tied import Tied
from mhng.models.rng import normal


class Parts(NamedTuple):
    """Parameters: what each feature adds, and the covariance of all sentences."""

    coefficients: Tensor  # (..., F, L) M
    scale_tril: Tensor  # (..., L, L) Cholesky factor of Lambda^-1


class PartsWithPrecision(NamedTuple):
    """Parts and the precision matrix: learning steps read them many times."""

    coefficients: Tensor
    scale_tril: Tensor
    precision: Tensor  # (L, L) Lambda


class RegressionPosterior(NamedTuple):
    """Hyperparameters of M and Lambda given the sentences of N objects."""

    number: int
    mean: Tensor  # (..., F, L) M_N
    precision: Tensor  # (..., F, F) lower Cholesky factor of V_N^-1
    nu: float
    inverse_scale: Tensor  # (..., L, L) lower Cholesky factor of Psi_N


class Additive(WishartPrior, Family):
    """Regression of latents on the features of sentences. `additive` makes the class of a language.

    Args:
        latent: L.
        m0: prior mean of every sentence, a number or (L,); or M0 (F, L).
        beta: prior strength, > 0: V0 = I / (beta A), A the features of a sentence, so that the mean of a sentence has
            about the prior covariance (beta Lambda)^-1. Or V0^-1 (F, F).
        nu, W: as in `WishartPrior`; Psi = W^-1.
        device: device of the latents.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """

    Parameters = Parts
    sentences: ClassVar[Sentences]
    meaning: ClassVar[str]

    def __init__(
        self,
        latent: int,
        m0: float | Tensor = 0.0,
        beta: float | Tensor = 1.0,
        nu: float | None = None,
        W: float | Tensor = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        matrix = isinstance(m0, Tensor) and m0.dim() == 2
        super().__init__(latent, 0.0 if matrix else m0, 1.0 if isinstance(beta, Tensor) else beta, nu, W, device)
        self.feature_count = feature_count(self.sentences, self.meaning)  # F
        active = self.active(torch.zeros((), dtype=torch.int64)).shape[-1]
        real: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.M0 = torch.as_tensor(m0, **real) if matrix else (self.m0 / active).expand(self.feature_count, latent)
        if isinstance(beta, Tensor):
            self.V0_inverse = beta.to(**real)
        else:
            self.V0_inverse = self.beta * active * torch.eye(self.feature_count, **real)
        factor, failed = torch.linalg.cholesky_ex(self.V0_inverse)
        if failed:
            raise ValueError("beta is not positive definite")
        self.V0_half_log_det = -float(half_log_det(factor))
        if matrix:
            self.m0 = mean_features(self.sentences, self.meaning).to(device) @ self.M0

    @classmethod
    def active(cls, signs: Tensor) -> Tensor:
        """The features of sentences (...) by number, each as often as it counts: (..., A)."""
        return active_features(cls.sentences, cls.meaning, signs)

    # -- the regression --------------------------------------------------------------------------------

    def posterior(self, features: Features, signs: Tensor) -> RegressionPosterior:
        """Posterior hyperparameters given sentences (C, N)."""
        active, z = self.active(signs), features.values + features.centre
        together, products = self._sums(active, z)
        lower = lower_factor(self.V0_inverse + together)
        mean = torch.cholesky_solve(self.V0_inverse @ self.M0 + products, lower)
        residual, shift = z - _rows(mean, active), mean - self.M0
        # Sums of squares: the difference of large products, which the textbook has, would lose digits.
        scatter = self.W_inverse + residual.mT @ residual + shift.mT @ self.V0_inverse @ shift
        N = signs.shape[-1]
        return RegressionPosterior(N, mean, lower, self.nu + N, lower_factor(scatter))

    def _sums(self, active: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """f'f (C, F, F) and f'z (C, F, L) for features with the numbers active (C, N, A); z is ([C,] N, L)."""
        C, F = len(active), self.feature_count
        chain = F * torch.arange(C, device=z.device).view(C, 1)
        together, products = z.new_zeros(C * F * F), z.new_zeros(C * F, self.latent)
        columns = active.unbind(-1)
        for row in columns:
            products.index_add_(0, (chain + row).flatten(), z.expand(C, *z.shape[-2:]).reshape(-1, self.latent))
            for column in columns:
                entry = ((chain + row) * F + column).flatten()
                together.index_add_(0, entry, torch.ones_like(entry, dtype=z.dtype))
        return together.view(C, F, F), products.view(C, F, -1)

    def evidence(self, posterior: RegressionPosterior) -> Tensor:
        """log p(z | sentences), M and Lambda integrated out: (...,)."""
        L, nu = self.latent, posterior.nu
        gamma = float(torch.mvlgamma(torch.tensor(nu / 2, dtype=torch.float64), L)) - self.prior_log_gamma
        return (
            gamma
            - posterior.number * L / 2 * math.log(math.pi)
            - L * (half_log_det(posterior.precision) + self.V0_half_log_det)
            + self.nu * half_log_det(self.prior_factor)
            - nu * half_log_det(posterior.inverse_scale)
        )

    def draw(self, generator: torch.Generator, posterior: RegressionPosterior) -> Parts:
        """Draw Lambda ~ Wishart, then M given Lambda."""
        scale = posterior.inverse_scale
        scale_tril = sample_scale_tril(generator, scale.new_full(scale.shape[:-2], posterior.nu), scale)
        noise = normal(generator, posterior.mean) @ scale_tril.mT
        spread = torch.linalg.solve_triangular(posterior.precision.mT, noise, upper=True)
        return Parts(posterior.mean + spread, scale_tril)

    def best_parameters(self, features: Features, signs: Tensor) -> Parts:
        """M at its posterior mean and Lambda at its own, given sentences (C, N)."""
        posterior = self.posterior(features, signs)
        return Parts(posterior.mean, posterior.inverse_scale / math.sqrt(posterior.nu))

    # -- for the game ----------------------------------------------------------------------------------

    @property
    def feature_dim(self) -> int:
        """L: the features of a latent are its distance from the centre."""
        return self.latent

    def features(self, z: Tensor) -> Features:
        """The latents z (N, L), measured from their centre."""
        centre, far = robust_centre(z, self.m0)
        return Features(z - centre, centre, far)

    def means(self, phi: Parts | Components) -> Tensor:
        """Means of all sentences: (..., K, L)."""
        if isinstance(phi, Components):
            return phi.mu
        return self.sentence_means(phi, torch.arange(self.sentences.count, device=self.m0.device))

    def sentence_means(self, phi: Parts, signs: Tensor) -> Tensor:
        """Means of sentences (B,): (..., B, L)."""
        return self.sums(phi.coefficients, signs)

    def whitened_parts(self, features: Features, phi: Parts) -> tuple[Tensor, Tensor, Tensor] | None:
        """Latents (..., N, L) and what each word adds in each slot (..., S, V, L), whitened, and the constant (...,).

        They are the first tensors of a `WordBelief`. None if what a word adds depends on the other words.
        """
        if self.meaning == "pairs":
            return None
        S, V, L = self.sentences.words, self.sentences.vocabulary, self.latent
        whitened = _whiten(phi.scale_tril, phi.coefficients - features.centre / S).unflatten(-2, (-1, V))
        constant = -half_log_det(phi.scale_tril) - L * LOG_2PI / 2
        parts = whitened.expand(*whitened.shape[:-3], S, V, L)
        return _whiten(phi.scale_tril, features.values), parts, constant

    def sums(self, coefficients: Tensor, signs: Tensor) -> Tensor:
        """f(w) M for sentences (..., N) and M (..., F, L): (..., N, L)."""
        return _rows(coefficients, self.active(signs))

    def log_prob_table(self, features: Features, phi: Parts, signs: Tensor | None = None) -> Tensor:
        """log p(z_n | w, phi) of all sentences, or of sentences (B,): (..., N, K or B)."""
        y = _whiten(phi.scale_tril, features.values)  # (..., N, L)
        mu = self.means(phi) if signs is None else self.sentence_means(phi, signs)
        mu = _whiten(phi.scale_tril, mu - features.centre)
        squares = y.square().sum(-1).unsqueeze(-1) + mu.square().sum(-1).unsqueeze(-2)
        constant = half_log_det(phi.scale_tril) + self.latent * LOG_2PI / 2
        return y @ mu.mT - squares / 2 - constant[..., None, None]

    def redraw(
        self, generator: torch.Generator, features: Features, signs: Tensor, K: int, previous: Any
    ) -> ParameterDraw:
        """Draw M and Lambda from their posterior, independently of `previous`."""
        posterior = self.posterior(features, signs)
        return ParameterDraw(self.draw(generator, posterior), self.evidence(posterior))

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Parts:
        """Draw M and Lambda from their prior for every chain."""
        none = Features(self.m0.new_zeros(0, self.latent), self.m0.new_zeros(self.latent))
        nothing = torch.zeros(chains, 0, dtype=torch.int64, device=self.m0.device)
        return self.draw(generator, self.posterior(none, nothing))

    def log_density(self, phi: Parts) -> Tensor:
        """log p(M, Lambda): (...,)."""
        F, L = self.feature_count, self.latent
        shift = _whiten(phi.scale_tril, phi.coefficients - self.M0)
        distance = (shift * (self.V0_inverse @ shift)).sum((-2, -1))
        matrix = -F * half_log_det(phi.scale_tril) - L * self.V0_half_log_det - (F * L * LOG_2PI + distance) / 2
        return self.log_density_of_precision(phi.scale_tril) + matrix

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """log p(z | sentences), M and Lambda integrated out: (C, N) -> (C,)."""
        return self.evidence(self.posterior(features, signs))

    def merge_gain(self, features: Features, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of the log evidence when the objects of sentence `sign` (C,) get another sentence: (C, K)."""
        before = self.log_evidence(features, signs, K)
        moved = signs == sign.unsqueeze(1)
        gains = [self.log_evidence(features, torch.where(moved, k, signs), K) - before for k in range(K)]
        return torch.stack(gains, dim=1)

    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds of two Gaussian components with one covariance, whatever the words mean."""
        pair = Tied(self.latent, self.m0, self.beta, self.nu, self.W, self.m0.device)
        return pair.bipartition_logits(pair.features(features.values + features.centre), group, seeds)

    # -- for the Pyro model ----------------------------------------------------------------------------

    def sites(self, K: int, device: torch.device) -> Parts:
        """Sites "Lambda" and "M" (F L,), row by row."""
        precision = pyro.sample("Lambda", BartlettWishart(self.W.new_tensor(self.nu), covariance_matrix=self.W))
        prior = dist.MultivariateNormal(
            self.M0.flatten(), precision_matrix=torch.kron(self.V0_inverse, precision.contiguous())
        )
        coefficients: Tensor = pyro.sample("M", prior)
        return Parts(coefficients.view(self.feature_count, self.latent), covariance_factor(precision))

    def precompute(self, phi: Any) -> Any:
        """Parts with their precision, for `component_distribution`; one standard component as any Gaussian."""
        kinds: dict[type, Any] = {Components: ComponentsWithPrecision, Parts: PartsWithPrecision}
        return kinds[type(phi)](*phi, torch.cholesky_inverse(phi.scale_tril)) if type(phi) in kinds else phi

    def component_distribution(self, phi: Any, signs: Tensor) -> Any:
        """Normal(M^T f(w), Lambda^-1) for sentences (B,)."""
        phi = self.precompute(phi)
        if isinstance(phi, ComponentsWithPrecision):
            mu, scale_tril, precision = (part[signs] for part in phi)
        else:
            mu = self.sentence_means(phi, signs)
            size = (*mu.shape, self.latent)
            scale_tril, precision = phi.scale_tril.expand(size), phi.precision.expand(size)
        prior = dist.MultivariateNormal(mu, scale_tril=scale_tril)
        prior.precision_matrix = precision
        return prior

    standard_normal_prior = Gaussian.standard_normal_prior

    # -- for the pictures and the scores ---------------------------------------------------------------

    def sample_percepts(self, generator: torch.Generator, phi: Parts, signs: Tensor, temperature: float) -> Tensor:
        """Draw one latent for each of the sentences (B,); the temperature scales the spread."""
        mu = self.sentence_means(phi, signs)
        noise = torch.randn(mu.shape, dtype=mu.dtype, generator=generator)
        return mu + temperature * noise @ phi.scale_tril.mT

    def covariance(self, phi: Parts) -> Tensor:
        """Lambda^-1 for each sentence: (..., K, L, L)."""
        covariance = (phi.scale_tril @ phi.scale_tril.mT).unsqueeze(-3)
        return covariance.expand(*covariance.shape[:-3], self.sentences.count, -1, -1)

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the coefficients and of scale_tril."""
        return (self.feature_count, self.latent), (self.latent, self.latent)


@cache
def additive(sentences: Sentences, meaning: str) -> type[Any]:
    """The class of mixtures of sentences with a meaning; `holistic` is `Tied`, without parts."""
    if meaning == "holistic":
        return Tied

    class Language(Additive):
        __doc__ = Additive.__doc__

    Language.sentences, Language.meaning = sentences, meaning
    return Language


def _rows(coefficients: Tensor, active: Tensor) -> Tensor:
    """f M for features with the numbers `active` (..., N, A) and M (..., F, L): (..., N, L)."""
    shape = torch.broadcast_shapes(coefficients.shape[:-2], active.shape[:-2])
    F, L = coefficients.shape[-2:]
    chains = coefficients.expand(*shape, F, L).reshape(-1, L)
    first = F * torch.arange(len(chains) // F, device=active.device).view(*shape, 1)
    parts = [chains.index_select(0, (numbers + first).flatten()) for numbers in active.unbind(-1)]
    return torch.stack(parts).sum(0).view(*shape, active.shape[-2], L)


def _whiten(scale_tril: Tensor, rows: Tensor) -> Tensor:
    """Rows (..., N, L) times the inverse factor of the covariance: (..., N, L)."""
    return torch.linalg.solve_triangular(scale_tril, rows.mT.expand(*scale_tril.shape[:-2], -1, -1), upper=False).mT
