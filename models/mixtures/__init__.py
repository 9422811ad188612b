"""Mixtures p(z | w, phi) of an agent's latents, one file for each kind.

`Family` is the interface and `Conjugate` the base class of mixtures with closed-form posteriors (`base.py`).
`mhng.models.registry` lists all mixtures.
"""

from mhng.models.mixtures.base import Conjugate, Family, Features, SufficientStatistics
from mhng.models.mixtures.normal_wishart import NormalWishart

__all__ = ["Conjugate", "Family", "Features", "NormalWishart", "SufficientStatistics"]
