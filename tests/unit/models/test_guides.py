"""q(z | x): diagonal as it always was, full with its covariance; both bounded."""

import numpy as np
import pytest
import torch
from torch import nn

from mhng.models.agent import Agent
from mhng.models.guides import LOG_SCALE_BOUNDS, Diagonal, Full
from mhng.models.networks import mlp
from mhng.models.registry import GUIDES, load_variant
from mhng.models.rng import seeded_global_rng, stream
from tests.checks import ALPHA, z_test


def test_the_diagonal_guide_has_the_names_the_weights_and_the_draws_of_a_plain_layer():
    one = Agent((1, 7, 6), signs=3, latent=4, generator=stream(0, "A/init"))
    names = [name for name, _ in one.named_parameters() if name.startswith("encoder")]
    assert names == [f"encoder.{part}" for part in (
        "body.1.weight", "body.1.bias", "body.3.weight", "body.3.bias", "head.weight", "head.bias",
    )]  # fmt: skip
    assert set(one.state_dict()) == {"log_pi", "prior_scale", *(name for name, _ in one.named_parameters())}
    with seeded_global_rng(stream(0, "A/init")):
        body = nn.Sequential(
            nn.Flatten(), nn.Linear(42, 512), nn.LeakyReLU(0.1), nn.Linear(512, 512), nn.LeakyReLU(0.1)
        )
        [nn.Linear(*sizes) for sizes in ((4, 512), (512, 512), (512, 42))]  # the decoder's, which come between
        head = nn.Linear(512, 8)
    x = torch.rand(20, 1, 7, 6, generator=stream(0, "x"))
    loc, log_scale = head(body(x)).double().chunk(2, dim=-1)
    noise = torch.randn(20, 4, generator=stream(0, "perceive"), dtype=torch.float64)
    expected = loc + log_scale.float().exp().double() * noise
    assert torch.equal(one.perceive(x, stream(0, "perceive")).z, expected)


@pytest.mark.parametrize("name", GUIDES)
def test_a_draw_moved_from_noise_is_a_draw_of_the_law(name):
    kind = load_variant(GUIDES[name])
    with seeded_global_rng(stream(0, "head")):
        head = kind(6, 3)
        loc, spread = (part.double().detach() for part in head(5 * torch.randn(1, 6)))
    law = kind.distribution(loc, spread)
    noise = torch.randn(40_000, 3, generator=stream(0, "noise"), dtype=torch.float64)
    z = kind.reparameterize(loc.expand(40_000, -1), spread.expand(40_000, *spread.shape[1:]), noise)
    centred = z - law.mean
    products = (centred.unsqueeze(-1) * centred.unsqueeze(-2)).flatten(1).numpy()
    covariance = law.covariance_matrix[0] if name == "full" else law.variance[0].diag()
    assert z_test(products, covariance.flatten().numpy()) > ALPHA
    assert z_test(products, covariance.mT.flip(0, 1).flatten().numpy()) < ALPHA, "the check would not see another law"
    assert law.event_shape == (3,) and law.batch_shape == (1,)


def test_the_full_guides_factor_is_lower_triangular_and_fills_every_place():
    head = Full(6, 4)
    _, factor = head(torch.randn(5, 6, generator=stream(0, "features")))
    below = torch.tril(torch.ones(4, 4), -1).bool()
    assert (factor.triu(1) == 0).all() and (factor.diagonal(dim1=1, dim2=2) > 0).all()
    assert len(factor[0][below].unique()) == 6
    assert not [name for name in head.state_dict() if name not in ("weight", "bias")]


@pytest.mark.parametrize("kind", [Diagonal, Full])
@pytest.mark.parametrize("value", [1e6, -1e6])
def test_a_guides_scale_stays_within_bounds(kind, value):
    head = kind(5, 3)
    torch.nn.init.constant_(head.bias, 0.0)
    with torch.no_grad():
        head.bias[3:6] = value
    _, spread = head(torch.zeros(1, 5))
    scale = spread.diagonal(dim1=-2, dim2=-1) if kind is Full else spread
    np.testing.assert_allclose(scale.detach(), np.exp(LOG_SCALE_BOUNDS[int(value > 0)]), rtol=1e-6)


def test_an_agent_of_one_dimension_has_a_full_guide_too():
    one = Agent((4,), signs=2, latent=1, likelihood="gaussian", guide="full", generator=stream(0, "A/init"))
    loc, spread = one.encode(torch.randn(7, 4))
    assert loc.shape == (7, 1) and spread.shape == (7, 1, 1)


def test_a_networks_encoder_ends_in_the_guides_layer():
    encoder, _ = mlp((5,), 3, Full)
    assert encoder(torch.zeros(2, 5))[1].shape == (2, 3, 3)
