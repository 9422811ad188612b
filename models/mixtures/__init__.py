"""p(z | w, phi): what an agent believes each sign sounds like in its own percepts. One file a family.

`family.py` says what a family must answer; `gaussians.py` holds what Gaussian ones share.
"""

from mhng.models.distributions import BartlettWishart
from mhng.models.mixtures.base import Conjugate, Family, Features, SufficientStatistics
from mhng.models.mixtures.gaussians import Components, features, gaussian_log_prob, standard_normal
from mhng.models.mixtures.normal_wishart import NormalWishart

__all__ = [
    "BartlettWishart",
    "Components",
    "Conjugate",
    "Family",
    "Features",
    "NormalWishart",
    "SufficientStatistics",
    "features",
    "gaussian_log_prob",
    "standard_normal",
]
