"""Mixtures p(z | w, phi) of an agent's latents, one file for each kind.

`Family` is the interface and `Conjugate` the base class of mixtures with closed-form posteriors (`base.py`).
`ExponentialFamily` derives almost all of a user's mixture (`exponential.py`); `check.py` checks it.
`mhng.models.registry` lists all mixtures.
"""

from mhng.models.mixtures.base import Conjugate, Family, Features, SufficientStatistics
from mhng.models.mixtures.exponential import ExponentialFamily
from mhng.models.mixtures.normal_wishart import NormalWishart

__all__ = ["Conjugate", "ExponentialFamily", "Family", "Features", "NormalWishart", "SufficientStatistics"]
