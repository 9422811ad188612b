"""The regression of sentences: its densities, evidence and redraw, with priors that are not the identity."""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy.special import multigammaln

from mhng.inference.game import Game, init, sweep
from mhng.models.languages import Sentences
from mhng.models.meanings import feature_count, mean_features, meaning_features
from mhng.models.mixtures import Features
from mhng.models.mixtures.additive import Additive, Parts, additive
from mhng.models.mixtures.tied import Tied
from mhng.models.percepts import Percepts
from mhng.models.rng import categorical, seeded_global_rng, stream
from tests.checks import ALPHA, chi_square, z_test
from tests.proofs.problems import generators

real = {"dtype": torch.float64}
SCALE = torch.tensor([[0.8, 0.2], [0.2, 0.5]], **real)
LANGUAGE = Sentences(2, 3)
K, N, L = LANGUAGE.count, 12, 2


def prior_of(family, m=0):
    """Hyperparameters of agent m that are not the identity: M0, V0, nu and Psi."""
    if not hasattr(family, "meaning"):  # holistic
        return {"m0": 0.3, "beta": 0.9, "nu": 6.1 + m, "W": (1 + m) * SCALE}
    F = feature_count(family.sentences, family.meaning)
    generator = stream(m, "prior")
    M0 = 0.3 * torch.randn(F, 2, generator=generator, **real)
    root = torch.randn(F, F, generator=generator, **real) / F
    return {"m0": M0, "beta": root @ root.T + (1.5 + m) * torch.eye(F, **real), "nu": 6.1 + m, "W": (1 + m) * SCALE}


def mixture(meaning="positions", m=0, language=LANGUAGE):
    family = additive(language, meaning)
    return family(2, **prior_of(family, m))


def percepts():
    signs = torch.randint(K, (3, N), generator=stream(0, "signs"))
    return torch.randn(N, 2, generator=stream(0, "z"), **real) @ SCALE + 0.7, signs


@pytest.mark.parametrize("meaning", ["positions", "bag", "pairs"])
def test_features_of_a_sentence(meaning):
    f = meaning_features(LANGUAGE, meaning, torch.arange(K))
    assert torch.allclose(f.mean(0), mean_features(LANGUAGE, meaning))
    sentence = LANGUAGE.join(torch.tensor([2, 1]))
    expected = {
        "positions": [0, 0, 1, 0, 1, 0],
        "bag": [0, 1, 1],
        "pairs": [0, 0, 1, 0, 1, 0] + [float(k == 7) for k in range(9)],
    }
    assert f[sentence].tolist() == expected[meaning]


@pytest.mark.parametrize("meaning", ["positions", "bag", "pairs"])
def test_bayes_theorem_holds_for_any_parameters(meaning):
    """log p(z | w) = log p(z | w, phi) + log p(phi) - log p(phi | z, w), with the posterior as a prior."""
    one, (z, signs) = mixture(meaning), percepts()
    features = one.features(z)
    posterior = one.posterior(features, signs)
    phi = one.draw(stream(1, "draw"), posterior)
    likelihood = one.log_prob_table(features, phi).gather(-1, signs.unsqueeze(-1)).sum((1, 2))
    for c in range(3):
        precision = posterior.precision[c] @ posterior.precision[c].T
        scatter = posterior.inverse_scale[c] @ posterior.inverse_scale[c].T
        after = type(one)(2, m0=posterior.mean[c], beta=precision, nu=posterior.nu, W=torch.linalg.inv(scatter))
        mine = Parts(phi.coefficients[c], phi.scale_tril[c])
        bayes = likelihood[c] + one.log_density(mine) - after.log_density(mine)
        assert torch.allclose(one.log_evidence(features, signs, K)[c], bayes, atol=1e-9, rtol=0)


def test_evidence_is_the_textbook_formula():
    one, (z, signs) = mixture(), percepts()
    evidence = one.log_evidence(one.features(z), signs, K)
    for c in range(3):
        F = meaning_features(LANGUAGE, "positions", signs[c])
        V0, Psi = torch.linalg.inv(one.V0_inverse), torch.linalg.inv(one.W)
        # z is matrix t: the rows have the covariance I + F V0 F'.
        spread = torch.eye(N, **real) + F @ V0 @ F.T
        shift, half = z - F @ one.M0, (one.nu + N) / 2
        ratio = torch.eye(L, **real) + torch.linalg.solve(Psi, shift.T @ torch.linalg.solve(spread, shift))
        density = multigammaln(half, L) - multigammaln(one.nu / 2, L) - N * L / 2 * np.log(np.pi)
        density -= float(L * spread.logdet() + N * Psi.logdet()) / 2 + half * float(ratio.logdet())
        assert float(evidence[c]) == pytest.approx(density, abs=1e-8)


def test_one_word_with_its_prior_is_the_tied_mixture():
    """Sentences of one word are signs with one covariance."""
    family, (z, _) = additive(Sentences(1, 4), "positions"), percepts()
    signs = torch.randint(4, (3, N), generator=stream(4, "signs"))
    given = {"m0": torch.tensor([0.3, -0.7], **real), "beta": 0.6, "nu": 5.5, "W": SCALE}
    one, tied = family(2, **given), Tied(2, **given)
    evidence = tied.log_evidence(tied.features(z), signs, 4)
    assert torch.allclose(one.log_evidence(one.features(z), signs, 4), evidence, atol=1e-9, rtol=0)


def test_table_and_pyro_sites_have_the_same_densities():
    one, (z, signs) = mixture("pairs"), percepts()
    with seeded_global_rng(stream(2, "sites")):
        trace = poutine.trace(one.sites).get_trace(K, torch.device("cpu"))
    phi = trace.nodes["_RETURN"]["value"]
    assert float(trace.log_prob_sum()) == pytest.approx(float(one.log_density(phi)), abs=1e-8)
    table = one.log_prob_table(one.features(z), phi)
    direct = one.component_distribution(phi, signs[0]).log_prob(z)
    assert torch.allclose(table.gather(-1, signs[0].unsqueeze(-1)).squeeze(-1), direct, atol=1e-9, rtol=0)
    assert one.means(phi).shape == (K, L) and one.covariance(phi).shape == (K, L, L)
    pyro.clear_param_store()


# -- Geweke: alternate percepts given parameters and parameters given percepts -----------------------------


def scalars(phi):
    """Scalars (C,) that wrong draws would shift."""
    size = phi.scale_tril.diagonal(dim1=-2, dim2=-1).log()
    a, b = phi.coefficients[:, 0], phi.coefficients[:, -1]
    return torch.stack([a[:, 0], b[:, 1], a[:, 0] * b[:, 0], a[:, 0] ** 2, size[:, 0], size[:, 1]], dim=1)


def simulate(one, phi, signs, generator):
    """Percepts (C, N, L) given parameters and sentences (C, N)."""
    mu = one.means(phi).gather(1, signs.unsqueeze(-1).expand(-1, -1, L))
    return mu + torch.randn(mu.shape, generator=generator, **real) @ phi.scale_tril.mT


def geweke(change=lambda posterior: posterior, chains=4000, steps=6, meaning="positions"):
    """The smallest p-value that the scalars keep the law of the prior."""
    one, generator = mixture(meaning), stream(5, "geweke")
    phi = one.from_prior(generator, chains, K)
    signs = torch.randint(K, (chains, N), generator=generator)
    for _ in range(steps):
        z = simulate(one, phi, signs, generator)
        posterior = one.posterior(Features(z, z.new_zeros(L)), signs)
        phi = one.draw(generator, change(posterior))
    exact = scalars(one.from_prior(stream(6, "exact"), 400_000 if chains > 9000 else 100_000, K)).mean(0)
    return z_test(scalars(phi).numpy(), exact.numpy())


@pytest.mark.parametrize("meaning", ["positions", "bag", "pairs"])
def test_geweke(meaning):
    assert geweke(meaning=meaning) > ALPHA


@pytest.mark.parametrize(
    "wrong",
    [
        lambda p: p._replace(nu=p.nu + 1),
        lambda p: p._replace(precision=1.2 * p.precision),
        lambda p: p._replace(mean=0.9 * p.mean),
        lambda p: p._replace(inverse_scale=p.inverse_scale.roll(1, 0)),
    ],
    ids=["degrees of freedom", "too narrow", "shrunk", "another data set's"],
)
def test_geweke_rejects_wrong_draws(wrong):
    assert geweke(wrong) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("meaning", ["positions", "bag", "pairs"])
def test_geweke_with_many_chains(meaning):
    assert geweke(chains=20_000, steps=20, meaning=meaning) > ALPHA


# -- simulation-based calibration of the whole game --------------------------------------------------------

SMALL = Sentences(2, 2)
SMALL_PRIOR = torch.tensor([0.42, 0.27, 0.2, 0.11], **real).log()
DRAWS = 19


class OnItsOwn(Percepts):
    """Chain c sees the percepts z[c] of a data set of its own: z (C, N, L)."""

    def __init__(self, z, family):
        self.z, self.mixture = z, family
        self._features = Features(z, z.new_zeros(L))

    @property
    def count(self):
        return self.z.shape[1]


def calibrated(game, data_sets, objects=5, burn_in=25, thin=4, change=lambda one: one):
    """The smallest p-value, Bonferroni, that ranks of the truth among draws are uniform."""
    generator = stream(0, "simulate")
    truth = categorical(generator, SMALL_PRIOR.expand(data_sets, objects, 4))
    mixtures = [mixture(m=m, language=SMALL) for m in range(2)]
    phis = [one.from_prior(generator, data_sets, 4) for one in mixtures]
    views = [simulate(one, phi, truth, generator) for one, phi in zip(mixtures, phis, strict=True)]
    players = [OnItsOwn(z, change(one)) for z, one in zip(views, mixtures, strict=True)]
    begin = torch.randint(4, (data_sets, 1, objects), generator=generator).expand(-1, 2, -1)
    own = generators(3)
    state = init(players, own, begin, 4)

    def told(signs, phis):
        heard = [
            one.log_prob_table(player._features, phi).gather(-1, signs.unsqueeze(-1)).sum((1, 2))
            for one, player, phi in zip(mixtures, players, phis, strict=True)
        ]
        said = [(signs == 0).sum(-1), (signs[:, 0] == signs[:, 1]).long(), signs[:, 2], *heard]
        return torch.cat([torch.stack([x.double() for x in said], dim=1), *map(scalars, phis)], dim=1)

    draws = []
    for t in range(burn_in + DRAWS * thin):
        state, _ = sweep(game, players, own, state)
        if t >= burn_in and (t - burn_in) % thin == thin - 1:
            draws.append(told(state.signs[:, 0], [belief.parameters for belief in state.beliefs]))
    below, ties = (sum(compare(draw, told(truth, phis)) for draw in draws).numpy() for compare in (torch.lt, torch.eq))
    ranks = below + np.random.default_rng(0).integers(0, ties + 1)
    uniform = np.full(DRAWS + 1, 1 / (DRAWS + 1))
    return min(chi_square(np.bincount(column, minlength=DRAWS + 1), uniform) for column in ranks.T) * ranks.shape[1]


BOTH = Game(SMALL_PRIOR, "com", "shared", sentences=SMALL)
GIBBS = Game(SMALL_PRIOR, "gibbs", sentences=SMALL, turns="word")


@pytest.mark.parametrize("game", [BOTH, GIBBS], ids=["both", "gibbs, words"])
def test_the_whole_game_is_calibrated(game):
    assert calibrated(game, 600) > ALPHA


@pytest.mark.parametrize(
    "wrong",
    [
        {"game": Game(SMALL_PRIOR, "all", "shared", sentences=SMALL)},
        {
            "game": BOTH,
            "change": lambda one: additive(SMALL, "positions")(2, one.M0, 3 * one.V0_inverse, one.nu, one.W),
        },
    ],
    ids=["all", "strength"],
)
def test_wrong_games_are_not_calibrated(wrong):
    assert calibrated(data_sets=600, **wrong) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("game", [BOTH, GIBBS], ids=["both", "gibbs, words"])
def test_the_whole_game_is_calibrated_on_many_data_sets(game):
    assert calibrated(game, 5000, burn_in=60, thin=8) > ALPHA


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"nu": 0.5}, "nu"), ({"W": -1.0}, "W"), ({"beta": -1.0}, "beta"), ({"beta": -torch.eye(6, **real)}, "beta")],
)
def test_hyperparameters_out_of_range_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        additive(LANGUAGE, "positions")(2, **changes)


def test_the_class_without_a_language_has_no_features():
    with pytest.raises(AttributeError):
        Additive(2)


@pytest.mark.parametrize("kind", ["compositional", "holistic"])
def test_the_evidence_tells_how_twenty_sets_were_made(kind):
    language = Sentences(2, 4)
    positions, holistic = (additive(language, meaning)(3, beta=0.1, W=1.0) for meaning in ("positions", "holistic"))
    for seed in range(20):
        signs = torch.randint(16, (1, 160), generator=stream(seed, "signs"))
        if kind == "compositional":
            words = torch.randn(2, 4, 3, generator=stream(seed, "words"), **real)
            means = (words[0].unsqueeze(1) + words[1]).flatten(0, 1)
        else:
            means = 2**0.5 * torch.randn(16, 3, generator=stream(seed, "means"), **real)
        z = means[signs[0]] + 0.5 * torch.randn(160, 3, generator=stream(seed, "noise"), **real)
        nats = [float(one.log_evidence(one.features(z), signs, 16)) for one in (positions, holistic)]
        assert (nats[0] > nats[1]) == (kind == "compositional"), seed
        given = float(holistic.evidence_of(z, signs[0]))
        assert given == pytest.approx(nats[1], abs=1e-8)


@pytest.mark.parametrize("made", ["positions", "bag", "pairs", "holistic"])
def test_the_evidence_prefers_the_meaning_that_made_the_objects(made):
    """Three words of three, 400 objects; means from the prior of each meaning."""
    language = Sentences(3, 3)
    families = {
        name: additive(language, name)(3, beta=0.1, W=1.0) for name in ("positions", "bag", "pairs", "holistic")
    }
    for seed in range(5):
        signs = torch.randint(27, (1, 400), generator=stream(seed, "signs"))
        means = families[made].means(families[made].from_prior(stream(seed, "means"), 1, 27))[0]
        z = means[signs[0]] + 0.3 * torch.randn(400, 3, generator=stream(seed, "noise"), **real)
        nats = {name: float(one.log_evidence(one.features(z), signs, 27)) for name, one in families.items()}
        assert max(nats, key=nats.get) == made, (seed, nats)
