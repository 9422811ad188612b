"""The default scale W of a mixture's prior, which follows the data.

The prior of a precision has the mean nu W. With few objects per sign, a W far below the precision of the classes makes
the evidence prefer too few signs. So a fixed W does not fit both thousands of images and a table of 200 rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mhng.models.hyperparameters import hyperparameter_names
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.percepts import Percepts

# Values among which the evidence selects.
SCALES = tuple(10 ** (half / 2) for half in range(-4, 7))


def feature_scale(family: type[Any], latent: int, signs: int, prior: Mapping[str, float]) -> float:
    """W for standardised features: the prior precision nu W is 3 K^(2/L).

    K components that share the volume of the data equally have standard deviations of about K^(-1/L). The factor 3
    leaves gaps between them; docs/notes.md has the comparison. prior: the other hyperparameters.
    """
    nu = prior.get("nu", inspect.signature(family).parameters["nu"].default)
    return float(3 * signs ** (2 / latent) / (latent if nu is None else nu))


def latent_scale(
    family: type[Any], z: Tensor, signs: int, prior: Mapping[str, float], generator: torch.Generator
) -> float:
    """W for the latents z (N, L) of one agent: the value in SCALES with the largest log evidence.

    The evidence is that of the agent's own k-means clusters, so no other agent and no label is involved. A mixture
    without a closed-form evidence uses that of Normal-Wishart components, whose W has the same meaning.
    """
    if not family.exact_evidence:
        family = NormalWishart
    prior = {name: value for name, value in prior.items() if name in hyperparameter_names(family)}
    mixtures = [family(z.shape[1], W=W, device=z.device, **prior) for W in SCALES]
    clusters = Percepts(z, mixtures[0]).clusters(generator, 1, signs)
    features = mixtures[0].features(z)  # the same for every W
    evidences = [float(mixture.log_evidence(features, clusters, signs)) for mixture in mixtures]
    return SCALES[evidences.index(max(evidences))]
