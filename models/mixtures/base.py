"""Base classes of the mixtures p(z | w, phi): `Family` and `Conjugate`.

The game, the Pyro model, the pictures and the scores use a mixture through `Family` only. A mixture holds
hyperparameters; it stores no latents and no draws. Its parameters phi are a NamedTuple of tensors. Their leading
dimensions are any chain dimensions, then K signs. `Family.means` returns the component means (..., K, L); by default
phi has them as `mu`.

`Conjugate` derives what the game needs from sufficient statistics and a closed-form posterior of phi: five methods of
`Conjugate` and ten of `Family` remain. `ExponentialFamily` (`exponential.py`) derives all but three. A new mixture is
one file and one line in the registry.

Notation: N objects, K signs, L latent dimensions, C chains, F features. All tensors are float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

# Values that a mixture takes: real numbers, whole numbers >= 0, angles in radians, or rows >= 0 that sum to 1.
InputSupport = Literal["real", "counts", "angles", "simplex"]
INPUT_SUPPORTS: tuple[InputSupport, ...] = get_args(InputSupport)

# Chunk size on a CPU: one product over ten times as many objects takes thirty times as long.
_CPU_CHUNK = 2**14

# Number of objects from which sums by index are faster on a CPU than a product with one-hot signs: four times, for
# 10,000 objects. Fewer objects may have thousands of chains, each a call of its own.
_LEAST_INDEXED = 512

# Lower bound for responsibilities; the gradient is undefined at zero total weight.
_MIN_RESPONSIBILITY = 1e-30

# Iterations of expectation-maximisation in `Conjugate.bipartition_logits`.
_BIPARTITION_STEPS = 8


class ParameterDraw(NamedTuple):
    """Result of `Family.redraw`: phi, and log p(z | signs) with phi integrated out."""

    parameters: Any
    evidence: Tensor  # (C,)


class VariationalPosterior(NamedTuple):
    """Result of `Conjugate.expected_log_prob`: the best q(phi) given responsibilities."""

    parameters: Any  # mean of q(phi)
    table: Tensor  # (C, N, K) E_q[log p(z_n | w_n = k, phi)]
    divergence: Tensor  # (C,) KL(q(phi) || p(phi))
    evidence: Tensor  # (C,) log of the integral of p(phi) prod p(z_n | k, phi)^responsibility


class SufficientStatistics(NamedTuple):
    """Sum of `Features.values` over the objects of each sign, and the centre that the features are measured from.

    number: count of objects, given only if `values` are weighted sums.
    """

    values: Tensor  # (..., F)
    centre: Tensor  # (L,)
    number: Tensor | None = None  # (...,)


class Features(NamedTuple):
    """Features of N latents, computed once, measured from a centre near them, which keeps digits far from 0.

    far: mask of the objects that are far from the others, without influence on the centre; None if there are none.
    """

    values: Any  # (N, F)
    centre: Tensor  # (L,)
    far: Tensor | None = None  # (N,)

    def linear(self, coefficients: Tensor) -> Tensor:
        """A linear form of the features for each object and sign: coefficients (..., K, F) -> (..., N, K)."""
        return _products(self.values, coefficients)

    def sums(self, signs: Tensor, K: int) -> SufficientStatistics:
        """Sum the features over the objects of each sign: signs (..., N) -> (..., K, F)."""
        values, size = self.values, _chunk_size(self.values)
        if values.device.type == "cpu" and values.dim() == 2 and len(values) >= _LEAST_INDEXED:
            return SufficientStatistics(_sums_by_index(values, signs, K), self.centre)
        chunks = zip(signs.split(size, dim=-1), values.split(size, dim=-2), strict=True)
        return _total((one_hot(sign, K, values.dtype).mT @ value for sign, value in chunks), self.centre)


class StackedFeatures(Features):
    """Features of G agents: `values` has G tensors (N, F), centres (G, 1, 1, L); results have a first dimension G.

    Products are computed agent by agent, because a batched product is rounded differently.
    """

    @staticmethod
    def stack(features: Sequence[Features]) -> StackedFeatures:
        """Stack the features of agents with equal N and F."""
        centres = torch.stack([agent.centre for agent in features])[:, None, None]
        return StackedFeatures(tuple(agent.values for agent in features), centres)

    def linear(self, coefficients: Tensor) -> Tensor:
        """(G, ..., K, F) -> (G, ..., N, K)."""
        pairs = zip(self.values, coefficients, strict=True)
        # The memory layout decides the rounding: a clone has the layout of a single agent's coefficients.
        return torch.stack([_products(values, agent.clone()) for values, agent in pairs])

    def sums(self, signs: Tensor, K: int) -> SufficientStatistics:
        """(G, ..., N) -> (G, ..., K, F)."""
        pairs = zip(self.values, signs, strict=True)
        totals = [Features(values, self.centre).sums(agent, K).values for values, agent in pairs]
        return SufficientStatistics(torch.stack(totals), self.centre)


class Family(ABC):
    """Interface of a mixture over L latent dimensions (`latent`).

    batched: `class Mine(Conjugate, batched=True)` declares that one call may update several agents. Such a class draws
    by the functions of `mhng.models.rng` only, and reads features by `Features.linear` and `Features.sums` only. So
    initial signs can be found on features that are averages over draws of z (`Percepts.expected`). A subclass does not
    inherit the declaration.
    """

    latent: int
    batched: ClassVar[bool] = False
    Parameters: ClassVar[type[Any]]  # the NamedTuple of phi
    exact_evidence: ClassVar[bool] = True  # False if `log_evidence` is an approximation
    input_support: ClassVar[InputSupport] = "real"  # other than "real": observed features, used as they are

    def __init_subclass__(cls, *, batched: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.batched = batched

    def __init__(self, latent: int, device: torch.device | str = "cpu") -> None:
        self.latent = latent
        self.device = device

    # -- for the game ----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def feature_dim(self) -> int:
        """F, the number of features of one latent."""

    @abstractmethod
    def features(self, z: Tensor) -> Features:
        """Features of the latents z (N, L)."""

    @abstractmethod
    def log_prob_table(self, features: Features, phi: Any) -> Tensor:
        """log p(z_n | w_n = k, phi) for all objects and signs: (..., N, K).

        A mixture that overrides `sign_logits` returns log p(z_n, w_n = k | phi).
        """

    def log_prob(self, z: Tensor, phi: Any) -> Tensor:
        """`log_prob_table` of latents z (B, L) that do not affect each other: (..., B, K).

        A mixture overrides it if its features of a latent depend on other latents.
        """
        return self.log_prob_table(self.features(z), phi)

    @abstractmethod
    def redraw(
        self, generator: torch.Generator, features: Features, signs: Tensor, K: int, previous: Any
    ) -> ParameterDraw:
        """Draw phi given signs (C, N), by a step that leaves p(phi | z, signs) invariant.

        previous: the current phi, where a Gibbs step starts; None in the first sweep. A sign without objects is
        drawn from the prior.
        """

    @abstractmethod
    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Any:
        """Draw phi from its prior for every chain."""

    @abstractmethod
    def log_density(self, phi: Any) -> Tensor:
        """log p(phi), summed over signs: (...,)."""

    @abstractmethod
    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs) with phi integrated out, or its approximation: signs (C, N) -> (C,)."""

    @abstractmethod
    def merge_gain(self, features: Features, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of the log evidence when the objects of `sign` (C,) join another sign: signs (C, N) -> (C, K).

        Entry k is the gain of joining sign k. The entry of `sign` itself has no meaning.
        """

    @abstractmethod
    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object belongs with seed 1 and not with seed 0, for a split-merge proposal.

        group (C, N) is the mask of the objects to split; seeds (C, 2) are object indices. Deterministic.
        """

    # -- for the Pyro model ----------------------------------------------------------------------------

    @abstractmethod
    def sites(self, K: int, device: torch.device) -> Any:
        """Sample phi at Pyro sample sites."""

    def sign_logits(self, phi: Any, log_pi: Tensor) -> Tensor:
        """log p(w | phi) (K,): log pi, unless the graph has an edge from phi to w."""
        return log_pi

    def precompute(self, phi: Any) -> Any:
        """Convert phi (K, ...) to the form that speeds up repeated calls of `component_distribution`."""
        return phi

    @abstractmethod
    def component_distribution(self, phi: Any, signs: Tensor) -> Any:
        """p(z | w, phi) for signs (B,), a Pyro distribution of batch shape (B,).

        phi (K, ...), or the result of `precompute`. In Pyro's parallel enumeration the signs are (K, 1).
        """

    @abstractmethod
    def standard_normal_prior(self, device: torch.device) -> Any:
        """phi of one standard component, the prior of z before round 1."""

    # -- for the pictures and the scores ---------------------------------------------------------------

    def means(self, phi: Any) -> Tensor:
        """Means of all components: (..., K, L)."""
        mu: Tensor = phi.mu
        return mu

    def to_mean_scale(self, z: Tensor) -> Tensor:
        """Map latents z (N, L) to the scale of `mu`, on which distances are meaningful."""
        return z

    @abstractmethod
    def sample_percepts(self, generator: torch.Generator, phi: Any, signs: Tensor, temperature: float) -> Tensor:
        """Draw one latent for each of the signs (B,): phi (K, ...) -> (B, L).

        Temperature 1 samples p(z | w, phi). Lower temperatures shrink the spread, and 0 returns mu.
        """

    @abstractmethod
    def covariance(self, phi: Any) -> Tensor:
        """Covariance of z given each sign: (..., K, L, L)."""

    @abstractmethod
    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors of phi, without chain dimensions."""


class Conjugate(Family):
    """A mixture with a closed-form posterior of phi given sufficient statistics.

    `evidence` must be differentiable. `posterior` must accept weighted statistics, where the weight of an object is
    the power of its density.
    """

    # -- implemented by each mixture -------------------------------------------------------------------

    @abstractmethod
    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """Sufficient statistics of zero objects: values (*shape, F)."""

    @abstractmethod
    def posterior(self, statistics: SufficientStatistics) -> Any:
        """Posterior hyperparameters given statistics (..., K, F): a NamedTuple of tensors (..., K, ...)."""

    @abstractmethod
    def evidence(self, posterior: Any) -> Tensor:
        """Log evidence of the latents of each sign, phi integrated out: (..., K)."""

    @abstractmethod
    def draw(self, generator: torch.Generator, posterior: Any) -> Any:
        """Draw phi from the posterior."""

    @abstractmethod
    def posterior_mean(self, posterior: Any) -> Any:
        """A point estimate of phi: the posterior mean."""

    # -- derived from them -----------------------------------------------------------------------------

    def sufficient_statistics(self, features: Features, signs: Tensor, K: int) -> SufficientStatistics:
        """Sum the features over the objects of each sign: signs (..., N) -> (..., K, F)."""
        return features.sums(signs, K)

    def redraw(
        self, generator: torch.Generator, features: Features, signs: Tensor, K: int, previous: Any
    ) -> ParameterDraw:
        """Draw phi from its posterior, independently of `previous`."""
        posterior = self.posterior(self.sufficient_statistics(features, signs, K))
        return ParameterDraw(self.draw(generator, posterior), self.evidence(posterior).sum(-1))

    def expected_log_prob(self, features: Features, responsibilities: Tensor) -> VariationalPosterior:
        """The best q(phi) given responsibilities (C, N, K), and the expected log densities under it.

        They are the gradient of the log evidence with respect to the responsibilities r, as in any conjugate
        model: d/dr log of the integral of p(phi) prod p(z | phi)^r = E_q[log p(z | phi)].
        """
        with torch.enable_grad():
            weights = responsibilities.detach().clamp_min(_MIN_RESPONSIBILITY).requires_grad_()
            size = _chunk_size(features.values)
            chunks = zip(weights.split(size, dim=-2), features.values.split(size), strict=True)
            posterior = self.posterior(_total((weight.mT @ values for weight, values in chunks), features.centre))
            evidence = self.evidence(posterior).sum(-1)
            (table,) = torch.autograd.grad(evidence.sum(), weights)
        evidence, weights = evidence.detach(), weights.detach()
        mean = self.posterior_mean(type(posterior)(*(part.detach() for part in posterior)))
        return VariationalPosterior(mean, table, (weights * table).sum((-2, -1)) - evidence, evidence)

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Any:
        """Draw phi from its prior for every chain."""
        return self.draw(generator, self.posterior(self.empty_statistics(chains, K)))

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs) with phi integrated out: signs (C, N) -> (C,)."""
        return self.evidence(self.posterior(self.sufficient_statistics(features, signs, K))).sum(-1)

    def merge_gain(self, features: Features, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of the log evidence when `sign` (C,) is merged with each sign: (C, K).

        The statistics of a merged sign are a sum, so no second pass over the objects is needed.
        """
        statistics = self.sufficient_statistics(features, signs, K)
        separate = self.evidence(self.posterior(statistics))
        chains = torch.arange(len(signs), device=signs.device)
        merged = self.evidence(self.posterior(_merged(statistics, chains, sign)))
        return merged - separate - separate[chains, sign].unsqueeze(1)

    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """Fit two components to the group by expectation-maximisation, starting from the two seeds.

        A component's mixing weight is its share of the group.
        """
        members = group.to(features.values.dtype)
        table = self.log_prob_table(features, self.bipartition_start(features, members, seeds))
        for _ in range(_BIPARTITION_STEPS):
            responsibilities = table.softmax(-1) * members.unsqueeze(-1)
            statistics = SufficientStatistics(responsibilities.mT @ features.values, features.centre)
            halves = self.posterior(statistics)
            table = self.log_prob_table(features, self.posterior_mean(halves)) + (1 + halves.number).log().unsqueeze(
                -2
            )
        return table[..., 1] - table[..., 0]

    def bipartition_start(self, features: Features, members: Tensor, seeds: Tensor) -> Any:
        """Two initial components for `bipartition_logits`: the posterior mean given one seed (C, 2) each."""
        return self.posterior_mean(self.posterior(SufficientStatistics(features.values[seeds], features.centre)))


def has_sign_probabilities(mixture: Any) -> bool:
    """Whether p(w | phi) comes from phi instead of pi: the class of mixtures overrides `Family.sign_logits`."""
    return getattr(mixture, "sign_logits", Family.sign_logits) is not Family.sign_logits


def one_hot(signs: Tensor, K: int, dtype: torch.dtype) -> Tensor:
    """One-hot encoding: signs (..., N) -> (..., N, K)."""
    encoding = torch.zeros(*signs.shape, K, dtype=dtype, device=signs.device)
    return encoding.scatter_(-1, signs.unsqueeze(-1), 1.0)


def _products(values: Any, coefficients: Tensor) -> Tensor:
    """values (N, F), coefficients (..., K, F) -> (..., N, K)."""
    product: Tensor
    if values.device.type != "cpu" or values.dim() != 2:
        product = values @ coefficients.mT
        return product
    # Long rows of objects: the other order takes twice the time, and three times with four chains.
    product = coefficients.reshape(-1, values.shape[1]) @ values.mT
    return product.view(*coefficients.shape[:-1], len(values)).mT.contiguous()


def _sums_by_index(values: Tensor, signs: Tensor, K: int) -> Tensor:
    """Sum the rows of values (N, F) by sign: signs (..., N) -> (..., K, F)."""
    sums = values.new_zeros(signs[..., 0].numel(), K, values.shape[1])
    for chain, own in zip(sums, signs.reshape(-1, len(values)), strict=True):
        chain.index_add_(0, own, values)
    return sums.view(*signs.shape[:-1], K, -1)


def _chunk_size(values: Tensor) -> int:
    """Number of objects in one matrix product."""
    return _CPU_CHUNK if values.device.type == "cpu" else values.shape[-2]


def _total(chunks: Iterable[Tensor], centre: Tensor) -> SufficientStatistics:
    """Sum the statistics of chunks of objects."""
    values = list(chunks)
    return SufficientStatistics(values[0] if len(values) == 1 else torch.stack(values).sum(0), centre)


def _merged(statistics: SufficientStatistics, chains: Tensor, sign: Tensor) -> SufficientStatistics:
    """The statistics of every sign after the objects of `sign` (C,) were added to it."""
    number = statistics.number
    if number is not None:
        number = number + number[chains, sign].unsqueeze(1)
    values = statistics.values + statistics.values[chains, sign].unsqueeze(1)
    return SufficientStatistics(values, statistics.centre, number)
