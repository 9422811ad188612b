"""An agent in the naming game: latents z of all objects under the agent's mixture.

`Percepts` implements `mhng.inference.types.Player`. The game gets beliefs and log evidences, never z.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mhng.models.belief import Belief
from mhng.models.mixtures.base import Conjugate, Family, StackedFeatures
from mhng.models.rng import GeneratorStack

__all__ = ["Belief", "Percepts"]


class Percepts:
    """One agent's latents z (N, L) of all N objects, and its mixture. C chains, K signs."""

    def __init__(self, z: Tensor, mixture: Family) -> None:
        self.z = z.to(torch.float64)
        self.mixture = mixture
        self._features = mixture.features(self.z)
        # Copied to the host here, so that a comparison does not wait for a GPU.
        hyperparameters = {name: _comparable(value) for name, value in vars(mixture).items()}
        self._key = type(mixture), hyperparameters, self.z.shape, self.z.device

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
        """Cluster the latents by k-means, once for each chain: (chains, N)."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        points = self.places.cpu().numpy()
        seeds = torch.randint(2**31 - 1, (chains,), generator=generator, device=generator.device).tolist()
        labels = []
        for seed in seeds:
            with warnings.catch_warnings():
                # Fewer distinct points than clusters are allowed: some signs then have no object.
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted = KMeans(min(K, len(points)), n_init=1, random_state=seed).fit(points)
            labels.append(torch.as_tensor(fitted.labels_, dtype=torch.int64, device=self.z.device))
        return torch.stack(labels)

    def log_prob_table(self, phi: Any) -> Tensor:
        """log p(z_n | w_n = k, phi) for given parameters: (..., N, K)."""
        return self.mixture.log_prob_table(self._features, phi)

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int, previous: Belief | None = None) -> Belief:
        """Draw phi from p(phi | z, signs), or by one step of a kernel that keeps it: signs (C, N).

        previous: the agent's last belief, where such a step starts; None at the beginning.
        """
        before = None if previous is None else previous.parameters
        phi, evidence = self.mixture.redraw(generator, self._features, signs, K, before)
        return Belief(self.log_prob_table(phi), phi, self.mixture.log_density(phi), evidence)

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
        table = self.log_prob_table(phi)
        return Belief(table, phi, self.mixture.log_density(phi), torch.zeros_like(table[:, 0, 0]))

    @property
    def batch_key(self) -> Any:
        """Players with equal keys redraw in one call of `redraw_batch`; None: not in a batch.

        The key has the mixture's type, its hyperparameters, the shape of z and the device.
        """
        # A subclass may redraw differently.
        return self._key if type(self) is Percepts and self.mixture.batched else None

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


def _comparable(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.cpu().numpy().tobytes()
    # Values of other types are compared by identity.
    return value if isinstance(value, int | float | str | None) else id(value)
