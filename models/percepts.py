"""An agent in the naming game: latents z of all objects under the agent's mixture.

`Percepts` implements `mhng.inference.types.Player`. The game gets beliefs and log evidences, never z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from mhng.models.belief import Belief
from mhng.models.clustering import kmeans
from mhng.models.mixtures.additive import Additive
from mhng.models.mixtures.base import Conjugate, Family, Features, StackedFeatures
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.rng import GeneratorStack
from mhng.models.word_belief import WordBelief
from mhng.models.word_clusters import divide, independent_subspaces, word_clusters

__all__ = ["Belief", "Percepts", "expected_draws"]

# Draws of the latents for expected features, and the most bytes of all their features.
_DRAWS, _DRAWN_BYTES = 20, 2**28

# The square of a latent must be a finite number.
_LARGEST = 1e150


class Percepts:
    """One agent's latents z (N, L) of all N objects, and its mixture. C chains, K signs.

    Args:
        z: (N, L) finite floats; whole numbers too, for a mixture of counts.
        mixture: the mixture of the latents.
        check: whether to check z. A run checks its latents itself, to name the round and the agent.

    Raises:
        ValueError: z is unsuitable; the message names the object.
    """

    def __init__(self, z: Tensor, mixture: Family, *, check: bool = True) -> None:
        if check:
            _check(z, mixture)
        self.z = z.to(torch.float64)
        self._draws = self.z.unsqueeze(0)
        self.mixture = mixture
        # Copied to the host here, so that a comparison does not wait for a GPU.
        hyperparameters = {name: _comparable(value) for name, value in vars(mixture).items()}
        self._key = type(mixture), hyperparameters, self.z.shape, self.z.device

    @staticmethod
    def expected(draws: Tensor, mixture: Family) -> Percepts:
        """Percepts with the expected features of the latents, from draws (D, N, L) of them.

        Where log densities are linear in the features, the game's densities and evidences are then those of the
        expected sufficient statistics: no sign can fit the noise of one draw. Other mixtures, and draws with far
        objects, give the percepts of the first draw; those of sentences keep the draws for `slots`.
        """
        percepts = Percepts(draws[0], mixture, check=False)
        if isinstance(mixture, Additive):
            percepts._draws = draws.double()
            return percepts
        if len(draws) > 1 and (features := mixture.features(draws.double().flatten(0, 1))).far is None:
            percepts.z = draws.double().mean(0)
            percepts._features = Features(features.values.unflatten(0, draws.shape[:2]).mean(0), features.centre)
        return percepts

    @cached_property
    def _features(self) -> Features:
        return self.mixture.features(self.z)

    @property
    def count(self) -> int:
        """N."""
        return len(self.z)

    @property
    def places(self) -> Tensor:
        """(N, L) the latents on the scale of the mixture's mu."""
        return self.mixture.to_mean_scale(self.z)

    def is_finite(self) -> bool:
        """Whether all latents are finite."""
        return bool(self.z.isfinite().all())

    def clusters(self, generator: torch.Generator, chains: int, K: int) -> Tensor:
        """Cluster the latents by k-means, once for each chain: (chains, N). Sentences are found word by word."""
        seeds = torch.randint(2**31 - 1, (chains,), generator=generator, device=generator.device).tolist()
        if isinstance(self.mixture, Additive):
            return word_clusters(self.mixture, self._features, self.places, seeds)
        return torch.stack([kmeans(self.places, K, seed, self._features.far) for seed in seeds])

    def slots(self, generator: torch.Generator) -> list[Percepts] | None:
        """Expected latents in an independent subspace for each slot of a sentence, in any order; None without them.

        The mixture is `NormalWishart` with its default prior: each word has a covariance. The subspaces are those of
        the mean latents, whitened (`mhng.models.word_clusters.independent_subspaces`).
        """
        assert isinstance(self.mixture, Additive)
        seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
        mean = self._draws.mean(0)
        parts = independent_subspaces(mean, self.mixture.sentences.words, seed)
        if parts is None:
            return None
        centre = mean.mean(0)
        axes = torch.linalg.lstsq(mean - centre, torch.cat(parts, dim=1)).solution
        draws = ((self._draws - centre) @ axes).split([part.shape[1] for part in parts], dim=-1)
        return [Percepts.expected(part, NormalWishart(part.shape[-1], device=part.device)) for part in draws]

    def explained(self, signs: Tensor) -> float:
        """The share of the variance of the latents that the means of signs (N,) explain."""
        centred = self.z - self.z.mean(0)
        onehot = torch.nn.functional.one_hot(signs).to(self.z.dtype)
        sums = onehot.mT @ centred
        between = (sums.square() / onehot.sum(0).clamp_min(1).unsqueeze(1)).sum()
        return float(between / centred.square().sum())

    @property
    def has_words(self) -> bool:
        """Whether signs are sentences whose words have meanings."""
        return isinstance(self.mixture, Additive)

    def word_sides(self, signs: Tensor, group: Tensor) -> Tensor:
        """Split the objects of `group` (C, N) by what their sentences (C, N) leave unexplained: (C, N) bool."""
        assert isinstance(self.mixture, Additive)
        return divide(self.mixture, self._features, signs, group)

    def log_prob_table(self, phi: Any) -> Tensor:
        """log p(z_n | w_n = k, phi) for given parameters: (..., N, K)."""
        return self.mixture.log_prob_table(self._features, phi)

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int, previous: Belief | None = None) -> Belief:
        """Draw phi from p(phi | z, signs), or by one step of a kernel that keeps it: signs (C, N).

        previous: the agent's last belief, where such a step starts; None at the beginning.
        """
        before = None if previous is None else previous.parameters
        phi, evidence = self.mixture.redraw(generator, self._features, signs, K, before)
        return self.belief(phi, evidence)

    def belief(self, phi: Any, evidence: Tensor | None = None) -> Any:
        """The belief with parameters phi (C, ...). evidence: (C,) of signs; None: 0, without objects."""
        mixture, density = self.mixture, self.mixture.log_density(phi)
        evidence = torch.zeros_like(density) if evidence is None else evidence
        if isinstance(mixture, Additive) and (parts := mixture.whitened_parts(self._features, phi)) is not None:
            return WordBelief(mixture.sentences, *parts, phi, density, evidence)
        return Belief(self.log_prob_table(phi), phi, density, evidence)

    def variational_belief(self, responsibilities: Tensor) -> Belief:
        """The variational posterior q(phi) given responsibilities (C, N, K). Requires a Conjugate mixture.

        In the belief, `table` is E_q[log p(z_n | k, phi)], `parameters` are the posterior means, and `log_density` is
        -KL(q(phi) || p(phi)).
        """
        assert isinstance(self.mixture, Conjugate)
        mean, table, divergence, evidence = self.mixture.expected_log_prob(self._features, responsibilities)
        return Belief(table, mean, -divergence, evidence)

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Belief:
        """A belief with phi from its prior. Its evidence is 0, because it has no objects."""
        phi = self.mixture.from_prior(generator, chains, K)
        return self.belief(phi)

    @property
    def batch_key(self) -> Any:
        """Players with equal keys redraw in one call of `redraw_batch`; None: not in a batch.

        The key has the mixture's type, its hyperparameters, the shape of z and the device.
        """
        # A subclass may redraw differently. Far objects need computations of their own.
        batched = type(self) is Percepts and self.mixture.batched and self._features.far is None
        return self._key if batched else None

    @staticmethod
    def redraw_batch(
        players: Sequence[Percepts], generators: Sequence[torch.Generator], signs: Sequence[Tensor], K: int
    ) -> list[Belief]:
        """`redraw` for G players with one `batch_key` in one computation: signs (C, N) for each."""
        mixture = players[0].mixture
        features = StackedFeatures.stack([player._features for player in players])
        # A batched mixture draws by the functions of `rng` only, which take a stack too.
        generator = cast(torch.Generator, GeneratorStack(generators))
        phi, evidence = mixture.redraw(generator, features, torch.stack(list(signs)), K, None)
        table, density = mixture.log_prob_table(features, phi), mixture.log_density(phi)
        parameters = zip(*(part.unbind(0) for part in phi), strict=True)
        parts = zip(table.unbind(0), parameters, density.unbind(0), evidence.unbind(0), strict=True)
        return [Belief(table, type(phi)(*tensors), *numbers) for table, tensors, *numbers in parts]

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs) with phi integrated out: signs (C, N) -> (C,)."""
        return self.mixture.log_evidence(self._features, signs, K)

    def merge_gain(self, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of log evidence if `sign` (C,) were merged with each other sign: signs (C, N) -> (C, K)."""
        return self.mixture.merge_gain(self._features, signs, K, sign)

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) belongs with seed 1 rather than seed 0; seeds (C, 2)."""
        return self.mixture.bipartition_logits(self._features, group, seeds)


def expected_draws(N: int, mixture: Family) -> int:
    """D, the number of draws for `Percepts.expected`. It is 1 for mixtures that cannot use more."""
    if isinstance(mixture, Additive):
        size = mixture.latent**2  # at most as many features of `NormalWishart` in the slots
    elif mixture.batched:  # log densities are linear in the features
        size = mixture.feature_dim
    else:
        return 1
    return max(1, min(_DRAWS, _DRAWN_BYTES // (8 * N * size)))


def _check(z: Any, mixture: Family) -> None:
    """Raise ValueError unless z holds finite numbers (N, L) that the mixture takes."""
    if not isinstance(z, Tensor):
        raise ValueError(f"percepts are of type {type(z).__name__}; expected a torch tensor")
    if z.dim() != 2 or not len(z) or z.shape[1] != mixture.latent:
        raise ValueError(
            f"percepts have the shape {tuple(z.shape)}; expected (N, {mixture.latent}), a row for each of N objects"
        )
    if not z.is_floating_point() and (mixture.input_support != "counts" or z.is_complex() or z.dtype == torch.bool):
        raise ValueError(f"percepts have the type {z.dtype}; expected real numbers such as torch.float64")
    unsuitable = (~(z.to(torch.float64).abs() <= _LARGEST)).nonzero()  # True for NaN
    if len(unsuitable):
        n, dimension = unsuitable[0].tolist()
        raise ValueError(
            f"the percept of object {n} is {z[n, dimension].item()} in dimension {dimension}; expected a finite "
            f"number up to {_LARGEST:g}"
        )


def _comparable(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.cpu().numpy().tobytes()
    # Values of other types are compared by identity.
    return value if isinstance(value, int | float | str | None) else id(value)
