"""An agent's percepts in the naming game: the part of the agent that the game may ask, and all it may ask.

`Percepts` is what `mhng.inference.types.Player` describes. It holds z and the mixture, answers with
log-probabilities of signs, and never hands out z to another agent.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mhng.models.mixtures.base import Conjugate, Family, Features
from mhng.models.rng import Choir


class Belief(NamedTuple):
    """What an agent holds about K signs after a redraw, for each of C chains."""

    table: Tensor  # (C, N, K) log p(z_n | w_n = k, phi)
    parameters: Any  # phi, of the mixture's family
    log_density: Tensor  # (C,) log p(phi)
    evidence: Tensor  # (C,) log p(z | signs), phi integrated out


class Percepts:
    """One agent's percepts z (N, L) of all N objects, under its mixture."""

    def __init__(self, z: Tensor, mixture: Family) -> None:
        self.z = z.to(torch.float64)
        self.mixture = mixture
        self._features = mixture.features(self.z)
        # On the host, where it is compared later without waiting for a GPU.
        hyperparameters = {name: _plain(value) for name, value in vars(mixture).items()}
        self._kind = type(mixture), hyperparameters, self.z.shape, self.z.device

    def is_like(self, other: Percepts) -> bool:
        """Whether both are redrawn by the same formulas, of the same size: other percepts, and nothing else."""
        return type(self) is type(other) and self._kind == other._kind

    @property
    def count(self) -> int:
        """N."""
        return len(self.z)

    @property
    def places(self) -> Tensor:
        """(N, L) where the percepts lie on the scale of the mixture's mu."""
        return self.mixture.to_mean_scale(self.z)

    def is_finite(self) -> bool:
        """Whether all percepts are numbers."""
        return bool(self.z.isfinite().all())

    def clusters(self, generator: torch.Generator, chains: int, K: int) -> Tensor:
        """K clusters of the percepts by k-means, found anew for each chain: (chains, N)."""
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        points = self.places.cpu().numpy()
        seeds = torch.randint(2**31 - 1, (chains,), generator=generator, device=generator.device).tolist()
        found = []
        for seed in seeds:
            with warnings.catch_warnings():
                # More clusters than points, or than different ones, are allowed here: the signs left over have no
                # object.
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted = KMeans(min(K, len(points)), n_init=1, random_state=seed).fit(points)
            found.append(torch.as_tensor(fitted.labels_, dtype=torch.int64, device=self.z.device))
        return torch.stack(found)

    def judge(self, phi: Any) -> Tensor:
        """log p(z_n | w_n = k, phi) of every object, by parameters that are given: (..., N, K)."""
        return self.mixture.log_prob_table(self._features, phi)

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int, before: Any = None) -> Belief:
        """Draw phi given signs (C, N), and judge every object by it.

        before: what the agent held until now, as `parameters` of its last belief; None at the beginning.
        """
        phi, evidence = self.mixture.redraw(generator, self._features, signs, K, before)
        return Belief(self.judge(phi), phi, self.mixture.log_density(phi), evidence)

    def expect(self, shares: Tensor) -> Belief:
        """What is believed of phi if object n belongs to sign k by its share: shares (C, N, K). Nothing is drawn.

        `table` is expected then, `parameters` are in the middle of q(phi), and in the place of log p(phi) stands
        -KL(q(phi) || p(phi)). The mixture must be Conjugate.
        """
        assert isinstance(self.mixture, Conjugate)
        middle, table, divergence, evidence = self.mixture.expected_log_prob(self._features, shares)
        return Belief(table, middle, -divergence, evidence)

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Belief:
        """A belief that has heard no sign yet: phi from its prior. Its evidence is that of no percept, 0."""
        phi = self.mixture.from_prior(generator, chains, K)
        table = self.judge(phi)
        return Belief(table, phi, self.mixture.log_density(phi), torch.zeros_like(table[:, 0, 0]))

    @staticmethod
    def redraw_all(
        percepts: Sequence[Percepts], generators: Sequence[torch.Generator], signs: Sequence[Tensor], K: int
    ) -> list[Belief]:
        """What `redraw` is for each of G agents who are alike, in one computation, by a mixture that is Conjugate.

        signs: (C, N) of each. No agent's numbers enter another's: they only lie side by side.
        """
        mixture, each = percepts[0].mixture, [one._features for one in percepts]
        assert isinstance(mixture, Conjugate)
        centres = torch.stack([one.centre for one in each])[:, None, None]
        features = Features(tuple(one.values for one in each), centres)
        phi, evidence = mixture.redraw(Choir(generators), features, torch.stack(list(signs)), K, None)
        table, density = mixture.log_prob_table(features, phi), mixture.log_density(phi)
        parts = zip(*(part.unbind(0) for part in phi), strict=True)
        return [
            Belief(own, type(phi)(*parameters), *numbers)
            for own, parameters, *numbers in zip(
                table.unbind(0), parts, density.unbind(0), evidence.unbind(0), strict=True
            )
        ]

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs) with phi integrated out: signs (C, N) -> (C,)."""
        return self.mixture.log_evidence(self._features, signs, K)

    def merge_gain(self, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """Change of log evidence if the objects of sign `one` (C,) shared each other sign: signs (C, N) -> (C, K)."""
        return self.mixture.merge_gain(self._features, signs, K, one)

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) is of the kind of seed 1, not of seed 0; seeds (C, 2)."""
        return self.mixture.bipartition_logits(self._features, group, seeds)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.shape, value.cpu().numpy().tobytes()
    # Of what may be anything only the thing itself is known to be equal.
    return value if isinstance(value, int | float | str | None) else id(value)
