"""What a mixture p(z | w, phi) must answer: the game, the Pyro model and the pictures ask nothing else of it.

A family holds hyperparameters, no percept and no draw. What it draws, phi, is a NamedTuple of tensors whose first
dimensions are any chains, then K signs; one of its attributes is `mu` (..., K, L), where the signs lie among percepts.

`Conjugate` derives the answers from sums over the objects of each sign: a family of which phi given percepts has a
closed form writes five methods that know no chain, no object and no game. A new family is one file, and a line in the
registry.

Notation: N objects, K signs, L latent dimensions, C chains, F features. Everything is float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mhng.models.rng import Streams

# Objects whose features a CPU adds up in one product of matrices: of ten times as many it takes thirty times as long.
_CACHED = 2**14

# No object is of no share in a sign: of a sign that has nothing at all, a gradient cannot be had.
_LEAST_SHARE = 1e-60

# Steps that two halves of a group take from their seeds.
_DIVIDING_STEPS = 8


class Drawn(NamedTuple):
    """A redraw: phi, and log p(z | signs) with phi integrated out."""

    parameters: Any
    evidence: Tensor  # (C,)


class VariationalPosterior(NamedTuple):
    """What is known of phi from objects that each belong to every sign by a share: q(phi), as far as it is asked."""

    parameters: Any  # phi in the middle of q
    table: Tensor  # (C, N, K) E_q[log p(z_n | w_n = k, phi)]
    divergence: Tensor  # (C,) KL(q(phi) || p(phi))
    evidence: Tensor  # (C,) log of p(phi) prod p(z_n | k, phi)^share, phi integrated out


class Features(NamedTuple):
    """What a family needs to know of N percepts, made once. `centre` is near them: no digits are lost far from 0.

    Of G agents at once, values are G such tensors, one by one, because a product of many matrices is not rounded as
    each by itself; centres are (G, 1, 1, L), chains stand in the second dimension of all that belongs to them, and
    draws are made by a `Choir`.
    """

    values: Any  # (N, F), or a tuple of them
    centre: Tensor  # (L,)


class SufficientStatistics(NamedTuple):
    """`Features.values` added up over the objects of a sign, with the centre that they were measured from.

    number: how many objects there are, where `values` have weights and do not tell.
    """

    values: Tensor  # (..., F)
    centre: Tensor  # (L,)
    number: Tensor | None = None  # (...,)


class Family(ABC):
    """A mixture. `latent` is L."""

    latent: int
    Parameters: ClassVar[type[Any]]  # the NamedTuple of its phi
    exact_evidence: ClassVar[bool] = True  # whether `log_evidence` is one, and no approximation
    needs_counts: ClassVar[bool] = False  # whether percepts must be counts, and so the observations themselves

    # -- for the game ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """F, how many numbers the features of one percept are."""

    @abstractmethod
    def features(self, z: Tensor) -> Features:
        """The features of percepts z (N, L)."""

    @abstractmethod
    def log_prob_table(self, features: Features, phi: Any) -> Tensor:
        """log p(z_n | w_n = k, phi) of every object and sign, or log p(z_n, w_n = k | phi) if `names` are phi's own.

        (..., N, K).
        """

    @abstractmethod
    def redraw(self, generator: torch.Generator, features: Features, signs: Tensor, K: int, before: Any) -> Drawn:
        """phi given signs (C, N), by a step that leaves p(phi | z, signs) as it is.

        before: the phi that is left behind, for families whose step begins there; None at the beginning. A sign
        without objects is a draw from the prior.
        """

    @abstractmethod
    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Any:
        """phi from its prior, for each of the chains."""

    @abstractmethod
    def log_density(self, phi: Any) -> Tensor:
        """log p(phi), over all signs: (...,)."""

    @abstractmethod
    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs), phi integrated out, or what the family puts in its place: signs (C, N) -> (C,)."""

    @abstractmethod
    def merge_gain(self, features: Features, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """Change of log evidence if the objects of sign `one` (C,) shared each other sign: signs (C, N) -> (C, K).

        The entry of `one` itself is meaningless.
        """

    @abstractmethod
    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) is of the kind of seed 1, not of seed 0; seeds (C, 2).

        Nothing is drawn: the same group and seeds give the same odds.
        """

    # -- for the Pyro model ----------------------------------------------------------------------------

    @abstractmethod
    def sites(self, K: int, device: torch.device) -> Any:
        """phi as sample sites of the Pyro model that is being run."""

    def sign_logits(self, phi: Any, log_pi: Tensor) -> Tensor:
        """log p(w | phi), (K,): log pi, where signs are the parents of percepts."""
        return log_pi

    def precompute(self, phi: Any) -> Any:
        """phi (K, ...) as `component_distribution` would take it best, many times: a tuple of tensors."""
        return phi

    @abstractmethod
    def component_distribution(self, phi: Any, signs: Tensor) -> Any:
        """p(z | w, phi) of objects with signs (B,), as a Pyro distribution of batch shape (B,).

        phi (K, ...), or what `precompute` makes of it.
        """

    @abstractmethod
    def standard_normal_prior(self, device: torch.device) -> Any:
        """phi of the one component that stands for all signs before there are any: around 0, of unit scale."""

    # -- for the pictures and the scores ---------------------------------------------------------------

    def to_mean_scale(self, z: Tensor) -> Tensor:
        """Where percepts z (N, L) lie on the scale of mu, where distances mean something."""
        return z

    @abstractmethod
    def sample_percepts(self, generator: torch.Generator, phi: Any, signs: Tensor, temperature: float) -> Tensor:
        """One percept for each of the signs (B,): phi (K, ...) -> (B, L).

        At temperature 1 a draw of p(z | w, phi); below, draws keep to what is typical, and 0 gives mu.
        """

    @abstractmethod
    def covariance(self, phi: Any) -> Tensor:
        """Of percepts given each sign: (..., K, L, L)."""

    @abstractmethod
    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of phi's tensors, for one chain."""


class Conjugate(Family):
    """A family whose phi is drawn in closed form, given sums of features over the objects of each sign.

    `evidence` is differentiable, and `posterior` takes sums of any weights: the density of each object to that power.
    """

    # -- what a family writes --------------------------------------------------------------------------

    @abstractmethod
    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """The sums of no object at all: values (*shape, F)."""

    @abstractmethod
    def posterior(self, sums: SufficientStatistics) -> Any:
        """Hyperparameters given sums (..., K, F): a NamedTuple of tensors (..., K, ...)."""

    @abstractmethod
    def evidence(self, posterior: Any) -> Tensor:
        """log p(the percepts of each sign), phi integrated out: (..., K)."""

    @abstractmethod
    def draw(self, generator: Streams, posterior: Any) -> Any:
        """phi given the posterior."""

    @abstractmethod
    def posterior_mean(self, posterior: Any) -> Any:
        """phi in the middle of the posterior, without chance."""

    # -- what follows from it --------------------------------------------------------------------------

    def sufficient_statistics(self, features: Features, signs: Tensor, K: int) -> SufficientStatistics:
        """The features of the objects of each sign, added up: signs (..., N) -> (..., K, F)."""
        if isinstance(features.values, tuple):
            each = zip(features.values, signs, strict=True)
            alone = [
                self.sufficient_statistics(Features(own, features.centre), theirs, K).values for own, theirs in each
            ]
            return SufficientStatistics(torch.stack(alone), features.centre)
        values, together = features.values, _together(features.values)
        parts = zip(signs.split(together, dim=-1), values.split(together, dim=-2), strict=True)
        return _added_up((one_hot(own, K, values.dtype).mT @ seen for own, seen in parts), features.centre)

    def redraw(self, generator: Streams, features: Features, signs: Tensor, K: int, before: Any) -> Drawn:
        """An independent draw, whatever was before."""
        posterior = self.posterior(self.sufficient_statistics(features, signs, K))
        return Drawn(self.draw(generator, posterior), self.evidence(posterior).sum(-1))

    def expected_log_prob(self, features: Features, shares: Tensor) -> VariationalPosterior:
        """The best q(phi) where object n belongs to sign k by its share: shares (C, N, K).

        Its expected log densities are the gradient of the log evidence by the shares, as they are of every conjugate
        family: d/ds log int p(phi) prod p(z | phi)^s = E_q[log p(z | phi)].
        """
        with torch.enable_grad():
            shares = shares.detach().clamp_min(_LEAST_SHARE).requires_grad_()
            together = _together(features.values)
            parts = zip(shares.split(together, dim=-2), features.values.split(together), strict=True)
            posterior = self.posterior(_added_up((own.mT @ seen for own, seen in parts), features.centre))
            evidence = self.evidence(posterior).sum(-1)
            (table,) = torch.autograd.grad(evidence.sum(), shares)
        evidence, shares = evidence.detach(), shares.detach()
        middle = self.posterior_mean(type(posterior)(*(part.detach() for part in posterior)))
        return VariationalPosterior(middle, table, (shares * table).sum((-2, -1)) - evidence, evidence)

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Any:
        """phi from its prior, for each of the chains."""
        return self.draw(generator, self.posterior(self.empty_statistics(chains, K)))

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs), phi integrated out: signs (C, N) -> (C,)."""
        return self.evidence(self.posterior(self.sufficient_statistics(features, signs, K))).sum(-1)

    def merge_gain(self, features: Features, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """Sums add up, so a merger needs no second look at the objects."""
        sums = self.sufficient_statistics(features, signs, K)
        alone = self.evidence(self.posterior(sums))
        chains = torch.arange(len(signs), device=signs.device)
        together = self.evidence(self.posterior(_added(sums, chains, one)))
        return together - alone - alone[chains, one].unsqueeze(1)

    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """Two components, first around the two seeds, follow their objects by expectation and maximisation.

        Each component also has a weight, its share of the group.
        """
        inside = group.to(features.values.dtype)
        table = self.log_prob_table(features, self.bipartition_start(features, inside, seeds))
        for _ in range(_DIVIDING_STEPS):
            share = table.softmax(-1) * inside.unsqueeze(-1)
            halves = self.posterior(SufficientStatistics(share.mT @ features.values, features.centre))
            table = self.log_prob_table(features, self.posterior_mean(halves)) + (1 + halves.number).log().unsqueeze(
                -2
            )
        return table[..., 1] - table[..., 0]

    def bipartition_start(self, features: Features, inside: Tensor, seeds: Tensor) -> Any:
        """Two components to begin a division from: what is expected after the seed (C, 2) alone."""
        return self.posterior_mean(self.posterior(SufficientStatistics(features.values[seeds], features.centre)))


def products(features: Features, coefficients: Tensor) -> Tensor:
    """A number for each object and sign, linear in its features: coefficients (..., K, F) -> (..., N, K)."""
    if isinstance(features.values, tuple):
        each = zip(features.values, coefficients, strict=True)
        # Where a number lies in memory decides how it is rounded: as it would lie for one agent.
        return torch.stack([own @ theirs.clone().mT for own, theirs in each])
    return features.values @ coefficients.mT


def one_hot(signs: Tensor, K: int, dtype: torch.dtype) -> Tensor:
    """signs (..., N) -> (..., N, K)."""
    found = torch.zeros(*signs.shape, K, dtype=dtype, device=signs.device)
    return found.scatter_(-1, signs.unsqueeze(-1), 1.0)


def _together(values: Tensor) -> int:
    """How many objects are added up at a time."""
    return _CACHED if values.device.type == "cpu" else values.shape[-2]


def _added_up(parts: Iterable[Tensor], centre: Tensor) -> SufficientStatistics:
    """The sums of all objects from those of some of them."""
    added = list(parts)
    return SufficientStatistics(added[0] if len(added) == 1 else torch.stack(added).sum(0), centre)


def _added(sums: SufficientStatistics, chains: Tensor, one: Tensor) -> SufficientStatistics:
    """Each sign's sums with those of sign `one` (C,) added to them."""
    number = sums.number
    if number is not None:
        number = number + number[chains, one].unsqueeze(1)
    return SufficientStatistics(sums.values + sums.values[chains, one].unsqueeze(1), sums.centre, number)
