"""Thresholds of Cohen's kappa."""

from __future__ import annotations

# Landis and Koch (1977): above 0.8 "almost perfect", above 0.6 "substantial" agreement.
KAPPA = 0.8
KAPPA_PARTLY = 0.6
