"""Thresholds of Cohen's kappa and of the share of a sign, and the fewest draws for a diagnosis."""

from __future__ import annotations

# Landis and Koch (1977): above 0.8 "almost perfect", above 0.6 "substantial" agreement.
KAPPA = 0.8
KAPPA_PARTLY = 0.6

# Mean kappa from which on a community has agreed. Our choice.
KAPPA_AGREED = 0.9

# A sign that covers a larger share of the objects makes agreement trivial, and has most likely collapsed. Our choice.
MAX_SHARE = 0.95

# R-hat and ESS split each chain into halves and need two draws in each half.
MIN_DRAWS = 4
