"""The default scale W of a mixture's prior: the formula for features, and the choice by evidence for latents."""

import numpy as np
import pytest
import torch

from mhng.models.mixtures.head_to_head import HeadToHead
from mhng.models.mixtures.normal_gamma import NormalGamma
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.mixtures.student_t import StudentT
from mhng.models.mixtures.tied import Tied
from mhng.models.percepts import Percepts
from mhng.models.prior_scale import SCALES, feature_scale, latent_scale
from tests.proofs.referee.mixtures import wishart_evidence


def clusters(spread: float, count: int = 30) -> torch.Tensor:
    """(3 count, 2) latents in three clusters with standard deviation `spread`."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]], dtype=torch.float64)
    noise = torch.randn(3 * count, 2, generator=generator, dtype=torch.float64)
    return centres.repeat_interleave(count, 0) + spread * noise


@pytest.mark.parametrize(
    ("family", "latent", "signs", "prior", "precision"),
    [
        (NormalWishart, 2, 4, {}, 12.0),
        (Tied, 4, 16, {}, 12.0),
        (StudentT, 1, 3, {"nu": 5.0}, 27.0),
        (HeadToHead, 2, 1, {}, 3.0),
        (NormalGamma, 2, 9, {}, 27.0),
    ],
)
def test_features_have_a_prior_precision_of_three_times_k_to_the_2_over_l(family, latent, signs, prior, precision):
    nu = prior.get("nu", 4.0 if family is NormalGamma else latent)
    assert nu * feature_scale(family, latent, signs, prior) == pytest.approx(precision)


@pytest.mark.parametrize("spread", [0.003, 0.05, 0.3])
def test_the_scale_of_latents_has_the_largest_evidence_of_an_independent_formula(spread):
    z, prior = clusters(spread), {"beta": 0.5, "nu": 3.5}
    signs = Percepts(z, NormalWishart(2)).clusters(torch.Generator().manual_seed(1), 1, 3)[0].numpy()
    evidences = [wishart_evidence(z.numpy(), signs, 3, np.zeros(2), 0.5, 3.5, scale * np.eye(2)) for scale in SCALES]
    chosen = latent_scale(NormalWishart, z, 3, prior, torch.Generator().manual_seed(1))
    assert chosen == SCALES[int(np.argmax(evidences))]


def test_tighter_latents_have_a_larger_scale_and_every_mixture_gets_one():
    for family in (NormalWishart, NormalGamma, Tied, StudentT, HeadToHead):
        scales = [latent_scale(family, clusters(s), 3, {}, torch.Generator().manual_seed(1)) for s in (0.01, 0.3)]
        assert scales[0] > scales[1]


@pytest.mark.parametrize("z", [torch.zeros(1, 3), torch.zeros(5, 3), torch.full((2, 1), 7.0)])
def test_a_single_object_and_equal_objects_have_a_scale(z):
    assert latent_scale(NormalWishart, z.double(), 4, {}, torch.Generator().manual_seed(0)) in SCALES
