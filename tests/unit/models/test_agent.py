"""The agent as a Pyro program: its sites, its density against the fast table, its learning by dataset index."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO

from mhng.models.agent import Agent
from mhng.models.mixtures.gaussians import Components, covariance_factor, gaussian_log_prob, quadratic_features
from mhng.models.registry import FAMILIES, NETWORKS, REQUIRED_ATTRIBUTES, load_variant
from mhng.models.rng import seeded_global_rng, stream

SHAPE = (1, 7, 6)


def agent(name="A", **changes):
    options = {"signs": 3, "latent": 2, "network": "mlp", "generator": stream(0, f"{name}/init")}
    return Agent(SHAPE, **(options | changes))


def pixels(count=11, seed=0):
    return torch.rand(count, *SHAPE, generator=stream(seed, "x"))


def components(one, seed=0):
    return one.mixture.draw(stream(seed, "phi"), one.mixture.posterior(one.mixture.empty_statistics(3)))


def test_unconditioned_it_simulates_every_site():
    one = agent()
    with seeded_global_rng(stream(0, "simulate")):
        trace = poutine.trace(one.model).get_trace(objects=5)
    sizes = {name: tuple(trace.nodes[name]["value"].shape) for name in ("Lambda", "mu", "w", "z", "x")}
    assert sizes == {"Lambda": (3, 2, 2), "mu": (3, 2), "w": (5,), "z": (5, 2), "x": (5, *SHAPE)}


def test_the_fast_table_is_the_models_density_by_enumeration():
    one, z = agent(), torch.randn(5, 2, dtype=torch.float64, generator=stream(1, "z"))
    one.log_pi = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    phi = components(one)
    model = poutine.condition(pyro.infer.config_enumerate(one.model), data={"z": z})
    trace = poutine.trace(poutine.enum(model, first_available_dim=-2)).get_trace(objects=5, components=phi)
    trace.compute_log_prob()
    torch.testing.assert_close(
        trace.nodes["z"]["log_prob"].T, gaussian_log_prob(quadratic_features(z), phi), rtol=1e-12, atol=1e-12
    )
    expected = one.log_pi.unsqueeze(1).expand(3, 5)
    torch.testing.assert_close(trace.nodes["w"]["log_prob"], expected)


def test_the_models_component_prior_is_the_mixtures():
    one = agent()
    with seeded_global_rng(stream(0, "simulate")):
        trace = poutine.trace(one.model).get_trace(objects=4)
    trace.compute_log_prob()
    precision = trace.nodes["Lambda"]["value"]
    phi = Components(trace.nodes["mu"]["value"], covariance_factor(precision))
    torch.testing.assert_close(phi.scale_tril @ phi.scale_tril.mT, torch.linalg.inv(precision))
    expected = trace.nodes["Lambda"]["log_prob_sum"] + trace.nodes["mu"]["log_prob_sum"]
    torch.testing.assert_close(one.mixture.log_density(phi), expected, rtol=1e-8, atol=1e-8)


def test_the_prior_of_an_object_is_that_of_its_own_sign_whatever_the_batch():
    """Public case 2: per-object state goes by dataset index."""
    one, x = agent(), pixels()
    signs, phi = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2, 1, 1, 0]), components(one)
    for index in (torch.tensor([7, 2, 10, 4]), torch.arange(11).flip(0)):
        with seeded_global_rng(stream(0, "draw")):
            trace = poutine.trace(one.model).get_trace(x[index], objects=11, index=index, signs=signs, components=phi)
        assert torch.equal(trace.nodes["z"]["fn"].loc, phi.mu[signs[index]])
        assert trace.nodes["x"]["scale"] == pytest.approx(11 / len(index))


def test_grey_pixels_are_taken_and_other_sites_stay_validated():
    """Public case 3."""
    one, x = agent(), pixels()
    phi = components(one)
    signs = torch.zeros(11, dtype=torch.int64)
    loss = TraceMeanField_ELBO()(one.model, one.guide)(x, objects=11, signs=signs, components=phi)
    assert loss.isfinite()
    with pytest.raises(ValueError, match="scale_tril"):
        one.model(x, objects=11, signs=signs, components=phi._replace(scale_tril=-phi.scale_tril))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 5), (1, 1, 2)])
def test_networks_give_back_the_shape_they_were_given(name, shape):
    if name == "patches" and shape == (3, 9, 5):
        shape = (3, 5, 20)
    encoder, decoder = load_variant(NETWORKS[name])(shape, 4)
    loc, scale = encoder(torch.rand(3, *shape))
    assert loc.shape == scale.shape == (3, 4) and (scale > 0).all()
    assert decoder(loc).shape == (3, *shape)


def test_an_encoders_scale_stays_within_bounds():
    """Public case 35."""
    encoder, _ = load_variant(NETWORKS["mlp"])((5,), 2)
    for value in (1e6, -1e6):
        torch.nn.init.constant_(encoder.head.bias, value)
        scale = encoder(torch.zeros(1, 5))[1]
        assert scale.isfinite().all() and (scale > 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_of_the_registry_is_found(family):
    for variant in FAMILIES[family].values():
        assert callable(load_variant(variant)) and variant.description
        assert all(hasattr(load_variant(variant), need) for need in REQUIRED_ATTRIBUTES[family])


def test_perceiving_is_a_draw_or_the_mean_and_needs_no_batch():
    one, x = agent(), pixels(2050)
    mean = one.perceive(x, None).z
    torch.testing.assert_close(mean[2040:], one.perceive(x[2040:], None).z)
    drawn = one.perceive(x, stream(0, "perceive")).z
    assert torch.equal(drawn, one.perceive(x, stream(0, "perceive")).z)
    scale = one.encoder(x)[1].detach().double()
    unit = (drawn - mean) / scale
    assert float(unit.std()) == pytest.approx(1, abs=0.05) and float(unit.mean()) == pytest.approx(0, abs=0.05)
    assert float((scale - 1).abs().mean()) > 0.01, "a scale of 1 would hide a squared one"


def test_without_a_vae_the_percept_is_the_observation():
    one = Agent((2,), signs=3, latent=2, likelihood="identity", generator=stream(0, "A/init"))
    x = torch.randn(4, 2)
    assert torch.equal(one.perceive(x, stream(0, "perceive")).z, x.double())
    assert not list(one.parameters())
    with pytest.raises(ValueError, match="the latent dimension is 5"):
        Agent((2,), signs=3, latent=5, likelihood="identity", generator=stream(0, "A/init"))


def test_building_an_agent_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = agent()
    assert torch.equal(torch.rand(3), expected)
    second = agent("B")
    assert not torch.equal(first.encoder.head.weight, second.encoder.head.weight)
    assert not pyro.get_param_store().keys()
