"""The partner of a study against formulas that are written out here."""

import numpy as np
import pytest
import torch
from scipy import stats

from mhng.experiment.people import draws
from mhng.experiment.people.partner import Belief, MixturePartner, save
from mhng.experiment.people.partners import load_partner
from mhng.experiment.people.session import Session, condition_of, places
from mhng.models.mixtures.gaussians import Components
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES
from mhng.models.rng import stream
from tests.checks import ALPHA, chi_square
from tests.proofs.models.test_mixture_contract import L, family, in_support
from tests.proofs.people.test_study_law import RULES, acceptance, chain, normalised
from tests.studies import PARTNER, PRIOR, K, N, design, table_study

MEANS = np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
COVARIANCE = np.array([[0.6, 0.2], [0.2, 1.1]])
LOG_PI = np.log([0.6, 0.3, 0.1])


def mixture_partner(others=0, seed=0):
    """Two objects of signs 0 and 1, and others of all signs about MEANS."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(others) % K
    z = np.concatenate([MEANS[[0, 1]], MEANS[kinds] + generator.normal(size=(others, 2))])
    phi = Components(torch.tensor(MEANS), torch.linalg.cholesky(torch.tensor(np.stack([COVARIANCE] * K))))
    family = NormalWishart(2, beta=0.1, nu=4, W=1.0)
    return MixturePartner(family, torch.tensor(z), phi, torch.tensor(LOG_PI), [0, 1, *kinds], 2)


def test_the_table_is_the_density_and_the_prior_stands_beside_it():
    partner = mixture_partner(others=9)
    law = [[stats.multivariate_normal(MEANS[k], COVARIANCE).logpdf(MEANS[n]) for k in range(K)] for n in range(2)]
    np.testing.assert_allclose(partner.belief.table, law, atol=1e-12)
    np.testing.assert_allclose(partner.belief.log_prior, [LOG_PI, LOG_PI])
    assert partner.signs == (0, 1)


def test_a_redraw_has_the_posterior_of_all_objects_of_the_partner():
    partner = mixture_partner(others=300)
    z, signs = partner.percepts.z.numpy(), np.array([1, 1, *(np.arange(300) % K)])
    drawn = np.stack([
        partner.redraw(7, str(i), [1, 1], partner.belief).inner.parameters[0][0].numpy() for i in range(400)
    ])  # fmt: skip
    for k in range(K):
        x = z[signs == k]
        beta, nu, mean = 0.1 + len(x), 4 + len(x), x.sum(0) / (0.1 + len(x))
        centred = x - x.mean(0)
        # The prior's mean is 0, and its W is the identity.
        scatter = np.eye(2) + centred.T @ centred + 0.1 * len(x) / beta * np.outer(x.mean(0), x.mean(0))
        # mu has a multivariate t law; its squared distance over L is F distributed.
        freedom = nu - 2 + 1
        offset = drawn[:, k] - mean
        ratio = np.einsum("id,de,ie->i", offset, np.linalg.inv(scatter / (beta * freedom)), offset) / 2
        assert stats.kstest(ratio, stats.f(2, freedom).cdf).pvalue > ALPHA
        # An agent that forgot the others would draw from a far wider law.
        assert np.abs(offset).max() < 1.5


def test_a_redraw_knows_nothing_of_the_session_but_the_partners_signs():
    partner = mixture_partner(others=30)
    one, two = (partner.redraw(3, "same", [0, 1], partner.belief) for _ in range(2))
    assert one.table == two.table and one.log_prior == two.log_prior
    assert partner.redraw(3, "same", [1, 0], partner.belief).table != one.table
    assert partner.redraw(3, "other", [0, 1], partner.belief).table != one.table


def test_the_partner_speaks_by_prior_times_likelihood_and_answers_by_likelihood():
    belief = Belief([PRIOR.tolist()] * N, PARTNER.tolist())
    trials = 1000
    for n in range(N):
        weights = np.exp(PRIOR + PARTNER[n])
        spoken = [belief.proposes(n, draws.uniform(1, "speak", n, i)) for i in range(trials)]
        assert chi_square(np.bincount(spoken, minlength=K), weights / weights.sum()) > ALPHA
        for new in range(K):
            for old in range(K):
                rate = min(1.0, np.exp(PARTNER[n, new] - PARTNER[n, old]))
                taken = sum(belief.accepts("mh", n, new, old, (i + 0.5) / trials) for i in range(trials))
                assert taken == pytest.approx(rate * trials, abs=1)


def test_draws_are_uniform_and_of_different_names_independent():
    drawn = np.array([[draws.uniform(0, "people", slot, at, name) for name in ("offer", "reply")]
                      for slot in range(50) for at in range(40)])  # fmt: skip
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > ALPHA
    assert stats.pearsonr(*drawn.T).pvalue > ALPHA and stats.pearsonr(drawn[:-1, 0], drawn[1:, 0]).pvalue > ALPHA


def test_conditions_and_objects_are_balanced():
    names = ("mh", "accept", "known", "binary")
    plan = design(partners=names, blocks=2, offers=2 * 7)
    found = [condition_of(plan, "people", slot).name for slot in range(4 * 60)]
    assert all(set(found[start : start + 4]) == set(names) for start in range(0, len(found), 4))
    position = np.array([[found[start : start + 4].index(name) for name in names] for start in range(0, 240, 4)])
    for column in position.T:  # each condition is equally often the first, second, ...
        assert chi_square(np.bincount(column, minlength=4), np.full(4, 0.25)) > ALPHA
    for slot in range(20):
        for block in range(2):
            seen = [place.object for place in places(plan, "people", slot) if place[:2] == ("offer", block)]
            assert len(seen) == 7 and np.ptp(np.bincount(seen, minlength=N)) <= 1


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_a_partner_with_any_mixture_is_read_back_to_the_bit(tmp_path, name):
    mixture = family(name)
    z = in_support(torch.randn(9, L, dtype=torch.float64, generator=stream(0, "z")), mixture.input_support)
    signs = [0, 1, 2, 0, 1, 2, 0, 0, 1]
    phi = Percepts(z, mixture).redraw(stream(0, "phi"), torch.tensor([signs]), K).parameters
    kept = MixturePartner(mixture, z, type(phi)(*(part[0] for part in phi)), torch.tensor(LOG_PI), signs, 4)
    save(tmp_path / "partner.pt", kept.state())
    read = load_partner(tmp_path, 4, K)
    assert read.signs == kept.signs
    one, two = kept.belief, read.belief
    for step in range(3):
        assert one.table == two.table
        one, two = (
            partner.redraw(0, str(step), [1, 1, 2, 0], belief) for partner, belief in ((kept, one), (read, two))
        )


@pytest.mark.parametrize("rule", RULES)
def test_a_partner_answers_by_the_rule_of_its_condition_and_remembers_its_sign(tmp_path, rule):
    study, generator = table_study(tmp_path, partners=(rule,), offers=900), np.random.default_rng(4)
    begin = {
        "version": 1, "kind": "begin", "slot": 0, "bot": None, "language": "en", "design": study.checksum,
        "recruiting": {}, "time": 0,
    }  # fmt: skip
    session, counts = Session(study, "0" * 16, begin), np.zeros((N, K, K))
    forms = {"quiz": {"quiz_1": "0", "quiz_2": "1"}, "sort": dict.fromkeys((f"group_{n}" for n in range(N)), "0")}
    while session.place.kind != "questions":
        kind, _, n = session.place
        before = session.partner_signs[n]
        form = {"answer": generator.choice(["take", "keep"]), "sign": str(generator.integers(K))}
        session.advance(session.event(forms.get(kind, form)) | {"time": 0})
        if kind == "proposal":
            counts[n, before, session.partner_signs[n]] += 1
        else:
            assert session.partner_signs[n] == before
    for n in range(N):
        law = chain(np.full(K, 1 / K), acceptance(rule, normalised(PARTNER[n])))
        for held in range(K):
            expected = counts[n, held].sum() * law[held]
            assert (counts[n, held][expected == 0] == 0).all()
            if (expected >= 5).sum() > 1:
                assert chi_square(counts[n, held], law[held]) > ALPHA
