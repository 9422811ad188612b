"""Ratios of offers: by hand, as simulated people had them in mind, and blind to what comes later."""

import numpy as np
import pytest
import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.people import trials as table
from mhng.experiment.people.ratios import offers
from mhng.experiment.people.simulated import Person, simulate, to_trials
from mhng.models.mixtures.normal_wishart import NormalWishart
from tests.studies import TRIAL


def trials_of(rows, **more):
    return table.from_rows(
        (table.Row(f"row {n}", dict(zip(TRIAL, row, strict=True))) for n, row in enumerate(rows)), **more
    )


# Objects 0 and 1 of category 0 have sign 0, object 2 of category 1 has sign 1; object 3 of category 0 has sign 2.
SORTED = [("p", n, "sort", n, c, "", "", "", w) for n, (c, w) in enumerate([(0, 0), (0, 0), (1, 1), (0, 2)])]


def test_the_ratio_by_hand():
    found = offers(trials_of([*SORTED, ("p", 4, "offer", 3, 0, 2, 0, 1, 0)]))
    # C = 2: L(0) = 2.5 / 3, L(1) = 0.5 / 2, L(2) = 0.5 / 1; the object's own sign does not count.
    likelihood = np.array([2.5 / 3, 0.25, 0.5])
    assert found.log_offered == pytest.approx(np.log(likelihood[0] / likelihood.sum()))
    assert found.log_r == pytest.approx(np.log(likelihood[0] / likelihood[2]))


def test_simulated_people_had_these_ratios_in_mind():
    played = simulate(Person("tempered", bias=0.3, log_temperature=0.4), 5, 60, 2)
    read, known = offers(to_trials(played, "tempered")), played.offers()
    np.testing.assert_allclose(read.log_offered, known.log_offered, rtol=1e-12)
    np.testing.assert_allclose(read.log_current, known.log_current, rtol=1e-12)
    np.testing.assert_array_equal(read.accepted, known.accepted)
    np.testing.assert_array_equal(read.person, known.person)


@pytest.mark.parametrize("perception", ["categories", "features"])
def test_no_answer_at_or_after_a_trial_enters_its_ratio(perception):
    trials = to_trials(simulate(Person("mh"), 2, 40, 4), "mh")
    trials = table.replace(trials, stimuli=np.random.default_rng(1).normal(size=(20, 2)))
    before = offers(trials, perception)
    generator = np.random.default_rng(0)
    for chosen in (0, 15, 39):
        row = before.row[chosen]
        columns = {name: values.copy() for name, values in trials.columns.items()}
        later = (np.arange(len(trials)) > row) & (trials["participant"] == trials["participant"][row])
        for name, high in (("category", 5), ("sign", 5), ("offered", 5), ("accepted", 2), ("sign_after", 5)):
            columns[name][later] = generator.integers(high, size=later.sum())
        columns["accepted"][row] = 1 - columns["accepted"][row]
        columns["sign_after"][row] = generator.integers(5)
        after = offers(table.replace(trials, columns=columns), perception)
        at = after.row.tolist().index(row)
        assert after.log_offered[at] == before.log_offered[chosen]
        assert after.log_current[at] == before.log_current[chosen]
        # and an earlier answer does
    columns = {name: values.copy() for name, values in trials.columns.items()}
    columns["sign_after"][0] = (columns["sign_after"][0] + 1) % 5
    assert (offers(table.replace(trials, columns=columns), perception).log_r[:40] != before.log_r[:40]).any()


def test_features_have_the_predictive_density():
    stimuli = np.array([[0.0, 0.1], [0.2, 0.0], [3.0, 3.1], [0.1, -0.1]])
    found = offers(trials_of([*SORTED, ("p", 4, "offer", 3, 0, 2, 0, 1, 0)], stimuli=stimuli), "features")
    from mhng.models.prior_scale import feature_scale

    x = torch.as_tensor((stimuli - stimuli.mean(0)) / stimuli.std(0))
    mixture = NormalWishart(2, W=feature_scale(NormalWishart, 2, 3, {}))

    def evidence(members):
        z = x[members]
        return float(mixture.log_evidence(mixture.features(z), torch.zeros(1, len(members), dtype=torch.long), 1))

    likelihood = [
        evidence([0, 1, 3]) - evidence([0, 1]),
        evidence([2, 3]) - evidence([2]),
        evidence([3]),
    ]
    expected = torch.log_softmax(torch.tensor(likelihood), 0)
    assert found.log_offered == pytest.approx(float(expected[0]), rel=1e-5)
    assert found.log_current == pytest.approx(float(expected[2]), rel=1e-5)


def test_offers_that_say_nothing_are_left_out_and_counted():
    rows = [*SORTED, ("p", 4, "offer", 3, 0, 2, 2, 1, 2), ("p", 5, "offer", 5, "", 0, 1, 0, 0)]
    with pytest.raises(UsageError, match=r"no offer .* \(1 offers of the current sign, 1 offers of an object without"):
        offers(trials_of(rows))


def test_features_need_stimuli():
    trials = trials_of([*SORTED, ("p", 4, "offer", 3, 0, 2, 0, 1, 0)])
    with pytest.raises(UsageError, match="--perception features requires data/stimuli"):
        offers(trials, "features")
    with pytest.raises(UsageError, match="object 3 of trials has no row"):
        offers(table.replace(trials, stimuli=np.zeros((3, 1))), "features")
    with pytest.raises(UsageError, match="--perception is words; expected one of categories, features"):
        offers(trials, "words")
