"""An agent's percepts in the naming game: the part of the agent that the game may ask, and all it may ask.

`Percepts` is what `inference.types.Player` describes. It holds z and the mixture, answers with
log-probabilities of signs, and never hands out z to another agent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.mixtures import Components, NormalWishart, Posterior, Sums, features, log_table

# Steps that two halves of a group take from their seeds.
_DIVIDING_STEPS = 8


class Belief(NamedTuple):
    """What an agent holds about K signs after a redraw, for each of C chains."""

    table: Tensor  # (C, N, K) log p(z_n | w_n = k, phi)
    parameters: Components
    log_density: Tensor  # (C,) log p(phi)
    evidence: Tensor  # (C,) log p(z | signs), phi integrated out


class Percepts:
    """One agent's percepts z (N, L) of all N objects, under its mixture."""

    def __init__(self, z: Tensor, mixture: NormalWishart) -> None:
        self.z = z.to(torch.float64)
        self.mixture = mixture
        self._features = features(self.z)

    @property
    def count(self) -> int:
        """N."""
        return len(self.z)

    def judge(self, components: Components) -> Tensor:
        """log p(z_n | w_n = k, phi) of every object, by components that are given: mu (..., K, L) -> (..., N, K)."""
        return log_table(self._features, components)

    def redraw(self, generator: torch.Generator, signs: Tensor, K: int) -> Belief:
        """Draw phi given signs (C, N), and judge every object by it. A sign without objects is a prior draw."""
        posterior = self.mixture.posterior(self.mixture.sums(self._features, signs, K))
        components = self.mixture.draw(generator, posterior)
        return Belief(
            table=self.judge(components),
            parameters=components,
            log_density=self.mixture.log_density(components),
            evidence=self.mixture.evidence(posterior).sum(-1),
        )

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Belief:
        """A belief that has heard no sign yet: phi from its prior. Its evidence is that of no percept, 0."""
        components = self.mixture.draw(generator, self.mixture.posterior(self.mixture.nothing(chains, K)))
        table = self.judge(components)
        return Belief(table, components, self.mixture.log_density(components), torch.zeros_like(table[:, 0, 0]))

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """log p(z | signs) with phi integrated out: signs (C, N) -> (C,)."""
        sums = self.mixture.sums(self._features, signs, K)
        return self.mixture.evidence(self.mixture.posterior(sums)).sum(-1)

    def merge_gain(self, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """Change of log evidence if the objects of sign `one` (C,) shared each other sign: signs (C, N) -> (C, K).

        Sums add up, so a merger needs no second look at the objects. The entry of `one` itself is meaningless.
        """
        mixture = self.mixture
        sums = mixture.sums(self._features, signs, K)
        alone = mixture.evidence(mixture.posterior(sums))
        chains = torch.arange(len(signs), device=signs.device)
        pairs = sums._replace(values=sums.values + sums.values[chains, one].unsqueeze(1))
        together = mixture.evidence(mixture.posterior(pairs))
        return together - alone - alone[chains, one].unsqueeze(1)

    def divide(self, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) is of the kind of seed 1, not of seed 0; seeds (C, 2).

        Two components, first around the two seeds with the group's own covariance, follow their objects for a few
        steps of expectation and maximisation. Nothing is drawn: the same group and seeds give the same odds.
        """
        mixture, values = self.mixture, self._features.values
        inside = group.to(values.dtype)
        whole = mixture.posterior(Sums(inside @ values, self._features.centre))
        spread = _expected(whole).scale_tril.unsqueeze(1).expand(-1, 2, -1, -1)
        table = log_table(self._features, Components(self.z[seeds], spread))
        for _ in range(_DIVIDING_STEPS):
            share = table.softmax(-1) * inside.unsqueeze(-1)
            halves = mixture.posterior(Sums(share.mT @ values, self._features.centre))
            table = log_table(self._features, _expected(halves)) + (1 + halves.number).log().unsqueeze(-2)
        return table[..., 1] - table[..., 0]


def _expected(posterior: Posterior) -> Components:
    """The components at the posterior's mean and expected precision."""
    scale = posterior.inverse_scale / posterior.nu.sqrt()[..., None, None]
    return Components(posterior.mean, scale)
