"""An agent of several modalities: exact experts give the evidence, what is missing counts nothing, both learn."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from mhng.inference.svi import Learner, PartsELBO, elbo
from mhng.models.fusion import Experts, MixtureOfExperts, ProductOfExperts, UniformMixture
from mhng.models.guides import Diagonal, Full
from mhng.models.mixtures.gaussians import gaussian_log_prob, quadratic_features
from mhng.models.multimodal import Multimodal
from mhng.models.registry import FUSIONS, GUIDES, load_variant
from mhng.models.rng import seeded_global_rng, stream
from tests.checks import ALPHA, z_test

NOISE = 0.6
SIZES, L, N = (4, 3), 2, 12
SHAPES = ((1, 5, 4), (1, 4, 4))


def draw(*shape, name="draw"):
    return torch.randn(*shape, generator=stream(0, name), dtype=torch.float64)


def lacking(x, sizes):
    """x with NaN for the first modality of every third object from 0, the second of every third from 1."""
    x = x.clone()
    x[0::3, : sizes[0]] = math.nan
    x[1::3, sizes[0] :] = math.nan
    return x


# -- exact experts -----------------------------------------------------------------------------------


class ExactEncoder(nn.Module):
    """The expert that is proportional to p(x | z) = N(x; A z, NOISE^2 I), as a function of z."""

    def __init__(self, A, diagonal):
        super().__init__()
        self.A, self.diagonal = A, diagonal

    def forward(self, x):
        covariance = NOISE**2 * torch.linalg.inv(self.A.T @ self.A)
        loc = x.double() @ self.A @ covariance / NOISE**2
        spread = covariance.diagonal().sqrt() if self.diagonal else torch.linalg.cholesky(covariance)
        return loc, spread.expand(len(x), *spread.shape)


class LinearDecoder(nn.Module):
    def __init__(self, A):
        super().__init__()
        self.A = A

    def forward(self, z):
        return z.double() @ self.A.T


def loadings(diagonal):
    """(D_m, L) of each modality; with orthogonal columns an expert's dimensions are independent."""
    found = [draw(D, L, name=f"A{D}") for D in SIZES]
    return [torch.linalg.qr(A)[0] * torch.tensor([1.3, 0.6]).double() for A in found] if diagonal else found


def linear(guide, kind=Multimodal):
    """An agent whose experts are exact, and its observations, some lacking a modality."""
    shapes = tuple((D,) for D in SIZES)
    one = kind(
        shapes, signs=3, latent=L, likelihood="gaussian-fixed", noise=NOISE, guide=guide, generator=stream(0, "A/init")
    )
    loads = loadings(guide == "diagonal")
    for eye, A in zip(one.eyes, loads, strict=True):
        eye.encoder, eye.decoder = ExactEncoder(A, guide == "diagonal"), LinearDecoder(A)
    z = draw(N, L, name="z")
    x = torch.cat([z @ A.T for A in loads], dim=1)
    return one, lacking(x + NOISE * draw(*x.shape, name="x"), SIZES), torch.cat(loads)


def evidence(x, A):
    """log p(x) of every object: of what it has, N(0, A A^T + NOISE^2 I)."""
    found = []
    for own in x:
        there = ~own.isnan()
        covariance = A[there] @ A[there].T + NOISE**2 * torch.eye(int(there.sum())).double()
        law = torch.distributions.MultivariateNormal(torch.zeros(len(covariance)).double(), covariance)
        found.append(law.log_prob(own[there]))
    return torch.stack(found)


def weights(one, x, seed=0):
    """log p(x, z) - log q(z | x) of every object at a draw of q: the evidence, whatever z is, if q is exact."""
    given = {
        "objects": len(x),
        "signs": torch.zeros(len(x), dtype=torch.int64),
        "components": one.mixture.standard_normal_prior("cpu"),
    }
    with seeded_global_rng(stream(seed, "q")):
        guide = poutine.trace(one.guide).get_trace(x, **given)
        model = poutine.trace(poutine.replay(one.model, guide)).get_trace(x, **given)
    guide.compute_log_prob()
    model.compute_log_prob()
    return sum(model.nodes[site]["log_prob"] for site in ("z", "x_1", "x_2")) - guide.nodes["z"]["log_prob"]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_product_of_exact_experts_gives_the_evidence_at_every_draw(guide):
    one, x, A = linear(guide)
    for seed in range(3):
        torch.testing.assert_close(weights(one, x, seed), evidence(x, A), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_bound_of_exact_experts_is_the_evidence(guide):
    one, x, A = linear(guide)
    many = x.repeat(20, 1)
    signs = torch.zeros(len(many), dtype=torch.int64)
    prior = one.mixture.standard_normal_prior("cpu")
    found = np.array([[-elbo(one, many, stream(seed, "bound"), signs, prior).total] for seed in range(100)])
    expected = float(evidence(x, A).mean())
    assert z_test(found, np.array([expected])) > ALPHA
    # As if both were always there.
    assert z_test(found, np.array([float(evidence(x.nan_to_num(0.0), A).mean())])) < ALPHA


class Counting(Multimodal):
    """Wrong: what is missing is counted, as if zeros had been seen."""

    def _present(self, x):
        return [(torch.ones_like(there), part) for there, part in super()._present(x)]


class Guessing(Multimodal):
    """Wrong: what is missing is left out of q, but is explained."""

    def _observe(self, z, x):
        return Counting._observe(self, z, x.nan_to_num(0.0))


@pytest.mark.parametrize("wrong", [Counting, Guessing])
def test_a_missing_modality_that_counts_is_seen(wrong):
    one, x, A = linear("full", wrong)
    off = (weights(one, x) - evidence(x, A)).abs()
    whole = ~x.isnan().any(1)
    assert off[~whole].min() > 0.05 and off[whole].max() < 1e-4


def test_a_product_without_the_prior_expert_is_seen(monkeypatch):
    def fused(self, experts):
        precisions = experts.present.unsqueeze(-1) * experts.spread**-2
        return (precisions * experts.loc).sum(1) / precisions.sum(1), precisions.sum(1) ** -0.5

    monkeypatch.setattr(ProductOfExperts, "combine", fused)
    one, x, A = linear("diagonal")
    assert (weights(one, x) - evidence(x, A)).abs().max() > 0.1


# -- the product -------------------------------------------------------------------------------------


def experts(full=False):
    spread = draw(5, 3, L, name="s").exp()
    if full:
        spread = spread.diag_embed() + draw(5, 3, L, L, name="T").tril(-1)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    return Experts(draw(5, 3, L, name="loc"), spread, present)


@pytest.mark.parametrize("full", [False, True])
def test_the_product_is_proportional_to_the_densities_of_the_experts_and_the_prior(full):
    guide = Full if full else Diagonal
    given = experts(full)
    law = ProductOfExperts(guide).distribution(given)
    points = draw(40, 1, L, name="points")
    own = guide.distribution(given.loc, given.spread).log_prob(points.unsqueeze(2))  # (40, 5, 3)
    prior = torch.distributions.Normal(0, 1).log_prob(points).sum(-1)
    off = law.log_prob(points) - (own * given.present).sum(-1) - prior
    assert off.std(0).max() < 1e-9, "they differ by a constant of the object"
    assert (off + prior).std(0).min() > 0.1, "the check would not see a product without the prior"


def test_the_product_is_known_of_gaussian_guides_alone():
    with pytest.raises(ValueError, match="Gaussian"):
        ProductOfExperts(object())


@pytest.mark.parametrize("guide", GUIDES)
def test_the_kl_is_the_closed_form_of_what_is_there(guide):
    one = Multimodal(SHAPES, signs=3, latent=3, guide=guide, generator=stream(0, "A/init"))
    x = pixels()
    phi = one.mixture.draw(stream(0, "phi"), one.mixture.posterior(one.mixture.empty_statistics(3)))
    signs = torch.randint(3, (N,), generator=stream(0, "signs"))
    found = elbo(one, x, stream(0, "bound"), signs, phi).kl
    loc, spread = one.fusion.combine(one.experts(x))
    spread = spread if guide == "full" else spread.diag_embed()
    q = torch.distributions.MultivariateNormal(loc, scale_tril=spread)
    p = torch.distributions.MultivariateNormal(phi.mu[signs], scale_tril=phi.scale_tril[signs])
    expected = torch.distributions.kl_divergence(q, p)
    assert found == pytest.approx(float(expected.mean().detach()), rel=1e-5)
    z = q.sample((20_000,))
    sampled = (q.log_prob(z) - p.log_prob(z)).detach().numpy()
    assert z_test(sampled, expected.detach().numpy()) > ALPHA


# -- the mixture -------------------------------------------------------------------------------------


def test_the_density_of_the_mixture_is_that_of_all_present_experts_and_its_draws_are_of_it():
    given = experts()
    law = MixtureOfExperts(Diagonal).distribution(given)
    weights_ = given.present / given.present.sum(1, keepdim=True)
    own = torch.distributions.Independent(torch.distributions.Normal(given.loc, given.spread), 1)
    expected = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights_), own)
    points = draw(7, 5, L, name="points")
    by_hand = (weights_ * own.log_prob(points.unsqueeze(2)).exp()).sum(-1).log()
    torch.testing.assert_close(law.log_prob(points), by_hand)
    with seeded_global_rng(stream(0, "rsample")):
        z = law.rsample((40_000,))
    many = Experts(*(part.repeat(40_000, *[1] * (part.dim() - 1)) for part in given))
    for draws in (z, MixtureOfExperts(Diagonal).sample(stream(0, "drawn"), many).view(40_000, 5, L)):
        both = torch.cat([draws, draws**2], dim=-1).numpy()
        moments = torch.cat([expected.mean, expected.variance + expected.mean**2], dim=-1).numpy()
        assert z_test(both, moments) > ALPHA
        # As if the missing ones were there.
        every = given.loc.mean(1).numpy()
        assert z_test(draws.numpy(), every) < ALPHA
    torch.testing.assert_close(MixtureOfExperts(Diagonal).mean(given), expected.mean)
    assert law.expand((4, 5)).log_prob(points[:4]).shape == (4, 5)


def one_dimensional(fusion="mixture"):
    """An agent with L = 1, two modalities and one object that has both; and its components."""
    one = Multimodal(
        ((2,), (3,)), signs=2, latent=1, likelihood="gaussian-fixed", noise=1.0, fusion=fusion,
        generator=stream(0, "A/init"),
    )  # fmt: skip
    with torch.no_grad():
        for eye, shift in zip(one.eyes, (-0.8, 1.1), strict=True):
            eye.encoder.head.bias.copy_(torch.tensor([shift, -0.4]))
    x = torch.randn(1, 5, generator=stream(3, "x"))
    phi = one.mixture.standard_normal_prior("cpu")
    return one, x, {"objects": 1, "signs": torch.zeros(1, dtype=torch.int64), "components": phi}


def bound_by_quadrature(one, x):
    """The integral of q(z) [log p(x, z) - log q(z)] over a fine grid."""
    z = torch.linspace(-12, 12, 24_001, dtype=torch.float64)
    law = one.guide_distribution(x)
    log_q = law.log_prob(z.view(-1, 1, 1)).squeeze(1)
    log_p = torch.distributions.Normal(0, 1).log_prob(z)
    for eye, part in zip(one.eyes, one.split(x), strict=True):
        log_p = log_p + eye.likelihood(eye.decoder(z.float().unsqueeze(1))).log_prob(part)
    return torch.trapezoid(log_q.exp() * (log_p - log_q), z)


def draws_of_the_bound(one, x, given, draws=150, copies=40):
    """The bound and its gradient with respect to the first expert's own loc and scale: means over copies of x."""
    found = []
    x = x.repeat(copies, 1)
    given = given | {"objects": copies, "signs": torch.zeros(copies, dtype=torch.int64)}
    parts = PartsELBO()(one.model, one.guide)
    bias = one.eyes[0].encoder.head.bias
    with seeded_global_rng(stream(0, "q")):
        for _ in range(draws):
            value = -parts(x, **given) / copies
            (slope,) = torch.autograd.grad(value, bias)
            found.append([float(value.detach()), *slope.tolist()])
    return np.array(found)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_bound_and_gradient_are_unbiased(fusion):
    one, x, given = one_dimensional(fusion)
    exact = bound_by_quadrature(one, x)
    (slope,) = torch.autograd.grad(exact, one.eyes[0].encoder.head.bias)
    expected = np.array([float(exact.detach()), *slope.tolist()])
    found = draws_of_the_bound(one, x, given)
    assert np.abs(expected).min() > 0.003, "a zero would hide a sign"
    assert z_test(found, expected) > ALPHA


def test_the_density_of_the_drawn_expert_alone_is_seen(monkeypatch):
    """The wrong bound: log q of the expert that was drawn, or of the nearest, in the place of the mixture's."""

    def nearest(self, value):
        return self.experts.log_prob(value.unsqueeze(-2)).amax(-1)

    one, x, given = one_dimensional()
    exact = float(bound_by_quadrature(one, x).detach())
    monkeypatch.setattr(UniformMixture, "log_prob", nearest)
    assert z_test(draws_of_the_bound(one, x, given)[:, :1], np.array([exact])) < ALPHA


# -- the agent ---------------------------------------------------------------------------------------


def pixels(count=N):
    size = [math.prod(shape) for shape in SHAPES]
    return lacking(torch.rand(count, sum(size), generator=stream(0, "pixels")), size)


def agent(**changes):
    return Multimodal(SHAPES, **{"signs": 3, "latent": 2, "generator": stream(0, "A/init")} | changes)


def test_unconditioned_it_simulates_every_modality():
    one = agent()
    with seeded_global_rng(stream(0, "simulate")):
        trace = poutine.trace(one.model).get_trace(objects=5)
    sizes = {name: tuple(trace.nodes[name]["value"].shape) for name in ("mu", "w", "z", "x_1", "x_2", "_RETURN")}
    assert sizes == {
        "mu": (3, 2),
        "w": (5,),
        "z": (5, 2),
        "x_1": (5, 1, 5, 4),
        "x_2": (5, 1, 4, 4),
        "_RETURN": (5, 36),
    }


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_table_of_the_game_is_the_density_of_the_model(fusion):
    one = agent(fusion=fusion)
    x = pixels()
    phi = one.mixture.draw(stream(0, "phi"), one.mixture.posterior(one.mixture.empty_statistics(3)))
    player = one.perceive(x, stream(0, "perceive"))
    model = poutine.condition(pyro.infer.config_enumerate(one.model), data={"z": player.z})
    trace = poutine.trace(poutine.enum(model, first_available_dim=-2)).get_trace(x, objects=N, components=phi)
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["z"]["log_prob"].T, player.log_prob_table(phi), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(player.log_prob_table(phi), gaussian_log_prob(quadratic_features(player.z), phi))


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_missing_changes_neither_percept_nor_gradient_of_its_eye(fusion, guide):
    one = agent(fusion=fusion, guide=guide, likelihood="gaussian")
    x = pixels()
    x[:, 20:] = math.nan
    x[:, :20] = torch.rand(N, 20, generator=stream(1, "first"))
    signs = torch.zeros(N, dtype=torch.int64)
    before = one.perceive(x, stream(0, "perceive")).z
    with seeded_global_rng(stream(0, "q")):
        PartsELBO()(one.model, one.guide)(
            x, objects=N, signs=signs, components=one.mixture.standard_normal_prior("cpu")
        ).backward()
    for name, value in one.eyes[0].named_parameters():
        assert value.grad is not None and value.grad.isfinite().all() and value.grad.any(), name
    for name, value in one.eyes[1].named_parameters():
        assert value.grad is None or not value.grad.any(), name
    with torch.no_grad():
        for value in one.eyes[1].parameters():
            value.add_(1.0)
    assert torch.equal(one.perceive(x, stream(0, "perceive")).z, before)


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_it_learns_from_what_is_there_and_every_tensor_moves(fusion, likelihood):
    one = agent(fusion=fusion, likelihood=likelihood, network="conv")
    before = {name: value.clone() for name, value in one.named_parameters()}
    told = []
    Learner(one, pixels(60), stream(0, "A/learn"), batch_size=20, lr=3e-3, jitter=1.0).learn(
        8, on_epoch=lambda epoch, loss: told.append(loss)
    )
    assert all(not torch.equal(before[name], value) for name, value in one.named_parameters())
    assert told[-1].total < told[0].total and all(math.isfinite(loss.total) for loss in told)
    assert {name.split(".")[0] for name in before} == {"eyes"} and not pyro.get_param_store().keys()


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_percepts_are_draws_of_q_and_need_no_batch(fusion, guide):
    one = agent(fusion=fusion, guide=guide)
    x = pixels(9)
    mean = one.perceive(x.repeat(150, 1), None).z  # more than a chunk
    torch.testing.assert_close(mean, one.perceive(x, None).z.repeat(150, 1))
    many = 4000
    z = one.perceive(x.repeat(many, 1), stream(0, "perceive")).z.view(many, 9, 2).numpy()
    assert z_test(z, mean[:9].numpy()) > ALPHA
    with seeded_global_rng(stream(0, "law")), torch.no_grad():
        law = one.guide_distribution(x).rsample((many,)).numpy()
    pooled = np.concatenate([z, z**2], -1) - np.concatenate([law, law**2], -1)
    assert z_test(pooled, np.zeros((9, 4))) > ALPHA


def test_imagining_is_of_every_modality_side_by_side():
    one = agent()
    z = draw(4, 2, name="z")
    first, second = one.split(one.decode(z))
    assert first.shape == (4, 1, 5, 4) and second.shape == (4, 1, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(second, torch.sigmoid(one.eyes[1].decoder(z.float())))


def test_counts_and_vectors_of_unequal_length():
    one = Multimodal(((4,), (6,)), signs=2, latent=2, likelihood="multinomial", generator=stream(0, "A/init"))
    x = lacking(torch.randint(9, (6, 10), generator=stream(0, "counts")).float(), (4, 6))
    loss = elbo(
        one, x, stream(0, "bound"), torch.zeros(6, dtype=torch.int64), one.mixture.standard_normal_prior("cpu")
    )
    assert math.isfinite(loss.total) and loss.reconstruction < 0


def test_without_networks_there_can_be_but_one_modality():
    with pytest.raises(ValueError, match="one modality"):
        Multimodal(((2,), (2,)), signs=2, latent=2, likelihood="identity", generator=stream(0, "A/init"))
    with pytest.raises(TypeError, match="experts"):
        agent().encode(pixels())


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_is_found(name):
    assert callable(load_variant(FUSIONS[name])) and FUSIONS[name].symbol and FUSIONS[name].source
