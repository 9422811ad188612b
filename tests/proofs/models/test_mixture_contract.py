"""The contract of mixtures: tests for every mixture of the registry and for the example, with uncommon priors.

To add a mixture, add its prior to `PRIORS` with values that differ from the defaults. All else follows from the
registry and from `input_support`.

Redraws are tested by simulation: phi from its prior, latents given phi and signs, then phi redrawn given the latents.
A correct redraw leaves the distribution of phi unchanged. Wrong redraws must be rejected.
"""

import functools
import importlib.util
import itertools
from pathlib import Path

import pyro
import pytest
import torch
from pyro import poutine

from mhng.models.agent import Agent
from mhng.models.mixtures import Family, Features
from mhng.models.mixtures.additive import Additive
from mhng.models.mixtures.base import has_sign_probabilities
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES, load_variant
from mhng.models.rng import seeded_global_rng, stream
from tests.checks import ALPHA, defined, registered, z_test

K, L = 3, 2
SCALE = torch.tensor([[0.8, 0.2], [0.2, 0.5]], dtype=torch.float64)
WISHART = {"m0": torch.tensor([0.3, -0.7], dtype=torch.float64), "beta": 0.6, "nu": 5.5, "W": SCALE}
PRIORS = {
    "normal-wishart": WISHART,
    "tied": WISHART,
    "student-t": WISHART | {"freedom": 3.7},
    "normal-gamma": WISHART | {"W": torch.tensor([0.4, 0.9], dtype=torch.float64)},
    "spherical": WISHART | {"W": 0.7},
    "head-to-head": WISHART | {"categories": 4, "alpha": 0.7},
    "dirichlet": {"alpha": torch.tensor([0.7, 1.9], dtype=torch.float64)},
    "your_own_mixture:VonMises": {"concentration": 7.0},
}
# How far a bound may lie below the evidence of four objects. Head-to-head has 4! equal modes and sees one.
BELOW = {"student-t": 1.2, "head-to-head": 6.5}
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


@functools.cache
def kind(name):
    """The class of a mixture: of the registry, or "module:class" of an example."""
    if name in MIXTURES:
        return load_variant(MIXTURES[name])
    file, _, attribute = name.partition(":")
    spec = importlib.util.spec_from_file_location(file, EXAMPLES / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, attribute)


FAMILIES = [*sorted(MIXTURES), "your_own_mixture:VonMises"]
EXACT = [name for name in FAMILIES if kind(name).exact_evidence]


def family(name):
    return kind(name)(L, **PRIORS[name])


def in_support(z, support):
    """Map real latents (N, L) into the support of a mixture."""
    if support == "counts":
        return z.abs().mul(3).round()
    if support == "angles":
        return torch.atan2(z.sin(), z.cos())
    return z.softmax(-1) if support == "simplex" else z


def signs_of(C, N=7):
    """(C, N); sign 2 has few objects, or none."""
    return torch.tensor([0, 1, 0, 1, 1, 0, 0][:N]).expand(C, N).clone()


def one_of(phi, c=0):
    """The parameters of one chain."""
    return type(phi)(*(part[c] for part in phi))


def simulated(mixture, C, seed=0, N=7):
    """phi of C chains, signs (C, N), and percepts (C, N, L) that each chain has for itself."""
    phi = mixture.from_prior(stream(seed, "phi"), C, K)
    flat = torch.zeros(K, dtype=torch.float64).log_softmax(0)
    laws = torch.stack([mixture.sign_logits(one_of(phi, c), flat) for c in range(C)]).softmax(-1)
    signs = torch.multinomial(laws, N, replacement=True, generator=stream(seed, "w"))
    with seeded_global_rng(stream(seed, "z")):
        each = [mixture.component_distribution(one_of(phi, c), signs[c]).sample() for c in range(C)]
    return phi, signs, torch.stack(each).double()


def features_of(mixture, z):
    """The features of percepts (C, N, L)."""
    found = mixture.features(z.reshape(-1, L))
    return Features(found.values.view(*z.shape[:2], -1), found.centre)


def percepts_of(name, N=9, seed=1, scale=1.0):
    """Latents (N, L) in the support of the mixture, not near the prior's mean."""
    support = kind(name).input_support
    if support == "counts":
        return (torch.randint(0, 6, (N, L), generator=stream(seed, "z")).double() * scale).round()
    shear = torch.tensor([[1.3, 0.0], [0.7, 0.4]], dtype=torch.float64)
    noise = torch.randn(N, L, generator=stream(seed, "z"), dtype=torch.float64)
    return in_support((noise @ shear.T + torch.tensor([0.9, 0.2], dtype=torch.float64)) * scale, support)


def quantities(mixture, phi, features, signs):
    """What a wrong redraw would move: of phi alone, and of phi and percepts together, each (C,)."""
    own = mixture.log_prob_table(features, phi).gather(-1, signs.unsqueeze(-1)).squeeze(-1)
    parts = [part.flatten(1) for part in phi]
    # Precisions have heavy tails; their logarithms do not.
    parts = [torch.where(part > 0, part.abs().clamp_min(1e-300).log(), part).tanh() for part in parts]
    mine = [own.mean(1).sigmoid(), (own.clamp_min(-50) * (signs == 0)).sum(1).tanh()]
    return torch.cat([*parts, torch.stack(mine, 1), phi.mu[:, 0].prod(-1, keepdim=True).tanh()], dim=1)


def smallest_p(name, redraw, C=1500):
    """That phi after `redraw(mixture, features, signs, phi)` is in law as it was before."""
    mixture = family(name)
    phi, signs, z = simulated(mixture, C)
    features = features_of(mixture, z)
    after = redraw(mixture, features, signs, phi)
    moved = quantities(mixture, after, features, signs) - quantities(mixture, phi, features, signs)
    return z_test(moved.numpy(), torch.zeros(moved.shape[1]).numpy())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_redraw_keeps_the_joint_law_of_parameters_and_percepts(name):
    def redraw(mixture, features, signs, phi):
        return mixture.redraw(stream(1, "redraw"), features, signs, K, phi).parameters

    assert smallest_p(name, redraw) > ALPHA


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("wrong", ["an object of another sign", "the prior alone", "objects counted twice"])
def test_wrong_redraws_do_not(name, wrong):
    def redraw(mixture, features, signs, phi):
        generator = stream(1, "redraw")
        if wrong == "the prior alone":
            return mixture.from_prior(generator, len(signs), K)
        if wrong == "objects counted twice":
            values = features.values.repeat(1, 2, 1)
            return mixture.redraw(generator, Features(values, features.centre), signs.repeat(1, 2), K, phi).parameters
        return mixture.redraw(generator, features, torch.where(signs == 1, 0, signs), K, phi).parameters

    assert smallest_p(name, redraw) < ALPHA


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_is_the_density_of_the_pyro_model(name):
    mixture, z = family(name), percepts_of(name)
    phi = mixture.from_prior(stream(2, "phi"), 1, K)
    phi = one_of(phi)
    table = mixture.log_prob_table(mixture.features(z), phi)
    assert table.dtype == torch.float64
    for k in range(K):
        law = mixture.component_distribution(phi, torch.full((len(z),), k))
        assert law.batch_shape == (len(z),) and law.event_shape == (L,)
        named = mixture.sign_logits(phi, torch.zeros(K, dtype=torch.float64))[k]
        # torch approximates the normaliser of the von Mises distribution by a polynomial.
        tolerance = 1e-9 if name in MIXTURES else 1e-7
        torch.testing.assert_close(table[:, k], law.log_prob(z) + named, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_table_is_that_of_pyros_parallel_enumeration(name):
    """The agent's whole program, with "w" enumerated: log p(z_n, w_n = k | phi) is log pi_k plus the table."""
    one = Agent((L,), signs=K, latent=L, likelihood="identity", generator=stream(0, "init"))
    one.mixture = family(name)
    one.log_pi = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    z, phi = percepts_of(name), one_of(one.mixture.from_prior(stream(2, "phi"), 1, K))
    model = poutine.condition(pyro.infer.config_enumerate(one.model), data={"z": z})
    trace = poutine.trace(poutine.enum(model, first_available_dim=-2)).get_trace(objects=len(z), components=phi)
    trace.compute_log_prob()
    enumerated = trace.nodes["w"]["log_prob"] + trace.nodes["z"]["log_prob"]
    table = one.mixture.log_prob_table(one.mixture.features(z), phi)
    pi = 0.0 if has_sign_probabilities(kind(name)) else one.log_pi
    tolerance = 1e-9 if name in MIXTURES else 1e-7  # torch approximates the von Mises normaliser
    torch.testing.assert_close(enumerated.T, table + pi, rtol=tolerance, atol=tolerance)


def test_a_mixture_with_probabilities_of_signs_refuses_weights():
    with pytest.raises(ValueError, match="weights is 'sticks:1'; mixture head-to-head requires 'uniform'"):
        Agent((L,), signs=K, latent=L, mixture="head-to-head", weights="sticks:1", generator=stream(0, "init"))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_of_the_parameters_is_that_of_the_pyro_sites(name):
    mixture = family(name)
    with seeded_global_rng(stream(3, "sites")):
        trace = poutine.trace(lambda: mixture.sites(K, torch.device("cpu"))).get_trace()
    trace.compute_log_prob()
    expected = sum(node["log_prob_sum"] for node in trace.nodes.values() if node["type"] == "sample")
    phi = trace.nodes["_RETURN"]["value"]
    assert tuple(tuple(part.shape) for part in phi) == mixture.shapes(K)
    torch.testing.assert_close(mixture.log_density(phi), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_evidence_is_the_mean_likelihood_under_the_prior(name):
    """Few percepts, so that draws from the prior find them; the bound of Student-t lies half a nat a sign below."""
    mixture, z, signs = family(name), percepts_of(name, N=4, seed=5, scale=0.8), torch.tensor([0, 1, 0, 0])
    features = mixture.features(z)
    evidence = float(mixture.log_evidence(features, signs.unsqueeze(0), K))
    phi = mixture.from_prior(stream(4, "phi"), 200_000, K)
    likelihood = (
        mixture.log_prob_table(features, phi).gather(-1, signs.expand(len(phi.mu), -1).unsqueeze(-1)).sum((1, 2))
    )
    if mixture.exact_evidence:
        assert z_test((likelihood - evidence).exp().numpy(), torch.tensor(1.0).numpy()) > ALPHA
        assert z_test((likelihood - evidence - 0.4).exp().numpy(), torch.tensor(1.0).numpy()) < ALPHA
    else:
        truth = float(likelihood.logsumexp(0)) - torch.tensor(2e5).log().item()
        assert truth - BELOW[name] < evidence < truth


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_as_wide_as_they_say(name):
    assert family(name).features(percepts_of(name)).values.shape == (9, family(name).feature_dim)


@pytest.mark.parametrize("name", FAMILIES)
def test_signs_without_objects_add_nothing_to_the_evidence(name):
    mixture = family(name)
    features, signs = mixture.features(percepts_of(name)), signs_of(1, 7)[:, [0, 1, 2, 3, 4, 5, 6, 0, 1]]
    few, many = (mixture.log_evidence(features, signs, K) for K in (3, 8))
    if name != "head-to-head":  # whose evidence is of the signs too, and they are K
        torch.testing.assert_close(few, many)
    belief = Percepts(percepts_of(name), mixture).redraw(stream(0, "redraw"), signs, 8)
    assert belief.table.shape == (1, 9, 8) and belief.table.isfinite().all() and belief.log_density.isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_the_gain_of_a_merger_is_the_difference_that_merging_makes(name):
    mixture = family(name)
    features = mixture.features(percepts_of(name))
    signs = torch.randint(4, (2, 9), generator=stream(4, "signs"))
    gain = torch.stack([mixture.merge_gain(features, signs, 4, torch.full((2,), i)) for i in range(4)], dim=1)
    before = mixture.log_evidence(features, signs, 4)
    for i, j in itertools.permutations(range(4), 2):
        after = mixture.log_evidence(features, torch.where(signs == j, i, signs), 4)
        torch.testing.assert_close(gain[:, i, j], after - before, rtol=1e-9, atol=1e-9)


def test_the_gain_of_a_merger_of_heavy_tails_is_near_the_difference():
    mixture = family("student-t")
    features = mixture.features(percepts_of("student-t", N=60))
    signs = torch.randint(4, (1, 60), generator=stream(4, "signs"))
    before = mixture.log_evidence(features, signs, 4)
    for i in range(4):
        gain = mixture.merge_gain(features, signs, 4, torch.tensor([i]))
        for j in set(range(4)) - {i}:
            after = mixture.log_evidence(features, torch.where(signs == j, i, signs), 4)
            assert float(gain[0, j]) == pytest.approx(float(after - before), abs=1.5)
            assert float(after - before) > 3, "signs were dealt at random, so every merger must gain"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_group_is_divided_between_its_two_kinds(name):
    mixture = family(name)
    two = torch.tensor([[4.0, 0.0], [0.0, 4.0]], dtype=torch.float64).repeat(6, 1)
    counts = mixture.input_support == "counts"
    z = two + (torch.arange(12.0).double().unsqueeze(1) % 3 if counts else percepts_of(name, N=12) / 3)
    z = z / z.sum(1, keepdim=True) if mixture.input_support == "simplex" else z
    odds = mixture.bipartition_logits(mixture.features(z), torch.ones(1, 12, dtype=torch.bool), torch.tensor([[0, 1]]))
    assert ((odds[0] > 0) == (torch.arange(12) % 2 == 1)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_imagined_percepts_have_the_signs_mean_and_covariance(name):
    mixture = family(name)
    phi = mixture.from_prior(stream(6, "phi"), 1, K)
    phi = one_of(phi)
    signs = torch.full((40_000,), 1)
    assert torch.equal(mixture.sample_percepts(stream(0, "x"), phi, signs[:3], 0.0), phi.mu[signs[:3]])
    drawn = mixture.sample_percepts(stream(0, "x"), phi, signs, 1.0) - phi.mu[1]
    half = mixture.sample_percepts(stream(0, "x"), phi, signs, 0.5) - phi.mu[1]
    if name == "head-to-head":  # draws are of fewer categories, too
        assert float(half.norm(dim=1).mean()) < float(drawn.norm(dim=1).mean())
    else:
        torch.testing.assert_close(half, drawn / 2)
    counts = 100 if mixture.input_support == "counts" else 1
    covariance = mixture.covariance(phi)[1] / counts
    found = drawn.T.cov()
    size = covariance.diagonal().mean()
    torch.testing.assert_close(found / size, covariance / size, rtol=0.15, atol=0.15)


@pytest.mark.parametrize("name", [name for name in FAMILIES if kind(name).input_support == "real"])
def test_an_agent_learns_under_it(name):
    one = Agent((1, 6, 6), signs=K, latent=L, mixture=name, generator=stream(0, "A/init"))
    x = torch.rand(5, 1, 6, 6, generator=stream(0, "x"))
    phi = one.mixture.from_prior(stream(2, "phi"), 1, K)
    phi = one_of(phi)
    from mhng.inference.svi import PartsELBO

    for signs, own in (
        (torch.tensor([0, 1, 2, 1, 0]), phi),
        (torch.zeros(5).long(), one.mixture.standard_normal_prior("cpu")),
    ):
        with seeded_global_rng(stream(1, "q")):
            loss = PartsELBO()(one.model, one.guide)(x, objects=5, signs=signs, components=own)
        one.zero_grad()
        loss.backward()
        assert loss.isfinite() and all(
            p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in one.parameters()
        )
    assert not pyro.get_param_store().keys()


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("normal-gamma", {"nu": 0.0}, "nu"),
        ("normal-gamma", {"W": -1.0}, "W"),
        ("spherical", {"beta": 0.0}, "beta"),
        ("tied", {"nu": 1.0}, "nu"),
        ("student-t", {"freedom": 0.0}, "freedom"),
        ("dirichlet", {"alpha": torch.tensor([1.0, 0.0])}, "alpha"),
    ],
)
def test_hyperparameters_out_of_range_are_named(name, changes, named):
    with pytest.raises(ValueError, match=named):
        kind(name)(L, **(PRIORS[name] | changes))


def test_every_mixture_is_in_the_registry():
    """A mixture without a line in the registry would be tested by nothing."""
    assert registered(MIXTURES) == {kind for kind in defined(Family) if not issubclass(kind, Additive)}
