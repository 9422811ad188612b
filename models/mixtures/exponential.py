"""Base class for a user's mixture: an exponential family with one tensor theta for each sign.

    theta_k ~ p(theta)                              conjugate prior
    z | w=k ~ p(z | theta_k)                        with sufficient statistics T(z)

A subclass defines `component`, `parameter_posterior` and `log_likelihood`, and `statistics` unless T(z) = z.
`examples/your_own_mixture.py` is one. All that the game, the Pyro model, the pictures and the scores need follows.
The evidence of n objects follows from Bayes' rule at any theta:

    log p(z_1..n) = log p(z_1..n | theta) + log p(theta) - log p(theta | z_1..n)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from mhng.models.mixtures.base import Conjugate, Features, SufficientStatistics
from mhng.models.rng import seeded_global_rng


class Components(NamedTuple):
    """Parameters of K components."""

    theta: Tensor  # (..., K, *shape)
    mu: Tensor  # (..., K, L) the means of the components


class Totals(NamedTuple):
    """The objects of each sign: their number, and the sum of their sufficient statistics."""

    number: Tensor  # (...,)
    total: Tensor  # (..., F)


class ExponentialFamily(Conjugate):
    """A conjugate mixture over L latent dimensions with one tensor theta for each sign.

    A subclass with hyperparameters has them as arguments of `__init__(self, latent, ..., device="cpu")`, which calls
    `super().__init__(latent, device)`. A bad value is a ValueError that names it.
    """

    Parameters = Components

    # -- implemented by each mixture -------------------------------------------------------------------

    def statistics(self, z: Tensor) -> Tensor:
        """Sufficient statistics T(z): latents (N, L) -> (N, F)."""
        return z

    @abstractmethod
    def log_likelihood(self, number: Tensor, total: Tensor, theta: Tensor) -> Tensor:
        """log p(z_1, ..., z_n | theta) of n objects: number (..., 1), total (..., F), theta (..., *shape) -> (...,).

        number: n, which need not be whole. total: the sum of T(z) over them. The leading dimensions broadcast.
        """

    @abstractmethod
    def parameter_posterior(self, number: Tensor, total: Tensor) -> Any:
        """p(theta | z_1, ..., z_n), a Pyro distribution: number (..., 1), total (..., F). The prior is that of zeros.

        Dimensions of the batch beyond those of `number` are taken as independent.
        """

    @abstractmethod
    def component(self, theta: Tensor) -> Any:
        """p(z | theta), a Pyro distribution over (L,): theta (..., *shape). Needs `mean` and `variance`."""

    # -- derived from them -----------------------------------------------------------------------------

    @property
    def feature_dim(self) -> int:
        """F + 1: the features are 1 and T(z)."""
        return 1 + self.statistics(self._zeros(1, self.latent)).shape[-1]

    def features(self, z: Tensor) -> Features:
        """The features [1, T(z)]."""
        return Features(torch.cat([torch.ones_like(z[:, :1]), self.statistics(z)], dim=1), torch.zeros_like(z[0]))

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log p(z_n | theta_k): (..., N, K)."""
        values, dims = features.values.unsqueeze(-2), len(self._prior.event_shape)
        return self.log_likelihood(values[..., :1], values[..., 1:], phi.theta.unsqueeze(-2 - dims))

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """Sufficient statistics of zero objects."""
        return SufficientStatistics(self._zeros(*shape, self.feature_dim), self._zeros(self.latent))

    def posterior(self, statistics: SufficientStatistics) -> Totals:
        """The number and the total, which determine p(theta | z)."""
        return Totals(statistics.values[..., 0], statistics.values[..., 1:])

    def evidence(self, posterior: Totals) -> Tensor:
        """Log evidence of the objects of each sign by Bayes' rule at the posterior mean."""
        law = self._posterior(posterior)
        return self.evidence_at(law.mean.detach(), posterior)

    def evidence_at(self, theta: Tensor, posterior: Totals) -> Tensor:
        """Log evidence by Bayes' rule at theta, which does not change it."""
        likelihood = self.log_likelihood(posterior.number.unsqueeze(-1), posterior.total, theta)
        return likelihood + self._prior.log_prob(theta) - self._posterior(posterior).log_prob(theta)

    def draw(self, generator: torch.Generator, posterior: Totals) -> Components:
        """Draw theta from its posterior."""
        with seeded_global_rng(generator):
            return self._components(self._posterior(posterior).sample())

    def posterior_mean(self, posterior: Totals) -> Components:
        """E[theta]."""
        return self._components(self._posterior(posterior).mean)

    def log_density(self, phi: Components) -> Tensor:
        """log p(theta) under the prior, summed over signs."""
        return self._prior.log_prob(phi.theta).sum(-1)

    def sites(self, K: int, device: torch.device) -> Components:
        """Site "theta" in a plate "components"."""
        with pyro.plate("components", K, device=device):
            return self._components(pyro.sample("theta", self._prior))

    def component_distribution(self, phi: Components, signs: Tensor) -> Any:
        """p(z | theta_w) for signs (B,)."""
        return self._component(phi.theta[signs])

    def standard_normal_prior(self, device: torch.device) -> Components:
        """No such component. Raises NotImplementedError."""
        raise NotImplementedError(
            f"{type(self).__name__} requires --likelihood identity; for an agent with a network, define "
            "standard_normal_prior(device), the Components of one sign that are nearest to Normal(0, I)"
        )

    def to_mean_scale(self, z: Tensor) -> Tensor:
        """Map angles to [-pi, pi]; other latents stay."""
        return torch.atan2(z.sin(), z.cos()) if self.input_support == "angles" else z

    def sample_percepts(
        self, generator: torch.Generator, phi: Components, signs: Tensor, temperature: float
    ) -> Tensor:
        """mu_w plus the deviation of a draw, times the temperature."""
        with seeded_global_rng(generator):
            drawn = self._component(phi.theta[signs]).sample()
        return phi.mu[signs] + temperature * self.to_mean_scale(drawn - phi.mu[signs])

    def covariance(self, phi: Components) -> Tensor:
        """The covariance, or the variances on a diagonal; for angles twice the circular variance."""
        law = self._component(phi.theta)
        full: Tensor = law.covariance_matrix if hasattr(law, "covariance_matrix") else law.variance.diag_embed()
        return 2 * full if self.input_support == "angles" else full

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of theta and mu."""
        return (K, *self._prior.event_shape), (K, self.latent)

    # -- internals -------------------------------------------------------------------------------------

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.float64, device=self.device)

    @property
    def _prior(self) -> Any:
        return self._posterior(self.posterior(self.empty_statistics()))

    def _posterior(self, posterior: Totals) -> Any:
        law = self.parameter_posterior(posterior.number.unsqueeze(-1), posterior.total)
        return _joined("parameter_posterior", law, posterior.number.dim())

    def _component(self, theta: Tensor) -> Any:
        return _joined("component", self.component(theta), theta.dim() - len(self._prior.event_shape))

    def _components(self, theta: Tensor) -> Components:
        return Components(theta, self._component(theta).mean)


def _joined(method: str, law: Any, batch: int) -> Any:
    """The distribution with `batch` dimensions of its batch; the others belong to the event."""
    if not hasattr(law, "to_event"):
        raise ValueError(f"{method} returns a {type(law).__name__}; expected a distribution of pyro.distributions")
    extra = len(law.batch_shape) - batch
    return law.to_event(extra) if extra > 0 else law
