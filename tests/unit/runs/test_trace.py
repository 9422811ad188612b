"""The named arrays that a trace becomes, as ArviZ sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhng.experiment.diagnostics.summary import summarise_trace
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.relabel import relabel, renumber, reorder
from mhng.experiment.runs.posterior import to_arviz
from mhng.experiment.runs.trace import object_pairs, to_variables
from tests.draws import assert_rows_agree, trace


def sizes(data: Any, group: str) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    return {str(name): (array.dims, array.shape) for name, array in data[group].data_vars.items()}


@pytest.mark.parametrize("C", [1, 3])
def test_every_array_has_chain_and_draw_first_and_named_axes(C: int) -> None:
    data = to_arviz(trace(C), burn_in=10, settings={}, thin=3, pairs=7)
    lead, T = ("chain", "draw"), 10
    assert sizes(data, "posterior") == {
        "log_p_z": ((*lead, "agent"), (C, T, 2)),
        "log_p_phi": ((*lead, "agent"), (C, T, 2)),
    }
    assert sizes(data, "components") == {
        "component_share": ((*lead, "agent", "rank"), (C, T, 2, 4)),
        "weight": ((*lead, "agent", "sign"), (C, T, 2, 4)),
        "mu": ((*lead, "agent", "sign", "latent"), (C, T, 2, 4, 3)),
    }
    assert sizes(data, "signs") == {
        "co_assignment": ((*lead, "agent", "pair"), (C, T, 2, 7)),
        "signs": ((*lead, "agent", "object"), (C, T, 2, 12)),
        "relabel": ((*lead, "sign"), (C, T, 4)),
    }
    assert sizes(data, "sample_stats") == {
        "lp": (lead, (C, T)),
        "log_evidence": (lead, (C, T)),
        "acceptance_rate": ((*lead, "direction"), (C, T, 2)),
        "successive_ari": ((*lead, "agent"), (C, T, 2)),
        "kappa": (lead, (C, T)),
    }
    assert data["posterior"]["draw"].values.tolist() == list(range(10, 40, 3))
    assert data["posterior"]["agent"].values.tolist() == ["A", "B"]
    assert data["sample_stats"]["direction"].values.tolist() == ["A->B", "B->A"]
    named = {name: data["components"][name].values.tolist() for name in ("sign", "latent")}
    assert named == {"sign": [0, 1, 2, 3], "latent": [0, 1, 2]}
    assert data["signs"]["object"].values.tolist() == list(range(12))


def test_latents_and_their_log_likelihoods_have_groups_of_their_names() -> None:
    rng = np.random.default_rng(0)
    pointwise = rng.normal(size=(2, 6, 2, 12)).astype(np.float32)
    latents = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    played = trace(C=2, T=6, pointwise=pointwise, latents=latents)
    constant = {"index": np.arange(12) * 2, "label": np.arange(12) % 3}
    data = to_arviz(played, burn_in=2, settings={}, thin=2, objects=constant)
    assert sizes(data, "log_likelihood") == {"z": (("chain", "draw", "agent", "object"), (2, 2, 2, 12))}
    np.testing.assert_array_equal(data["log_likelihood"]["z"].values, pointwise[:, [2, 4]])
    assert sizes(data, "observed_data") == {"z": (("agent", "object", "latent"), (2, 12, 3))}
    np.testing.assert_allclose(data["observed_data"]["z"].values[1, :, :2], latents[1], rtol=1e-6)
    assert np.isnan(data["observed_data"]["z"].values[1, :, 2]).all()
    assert data["constant_data"]["label"].dims == ("object",)
    np.testing.assert_array_equal(data["constant_data"]["index"].values, constant["index"])
    for keep in ("signs", "components", "none"):
        assert not {"log_likelihood", "observed_data"} & set(to_variables(played, 0, keep=keep).groups)


def test_more_chains_than_draws_are_not_taken_for_swapped_axes() -> None:
    data = to_arviz(trace(C=9, T=5), burn_in=0, settings={})
    assert data["sample_stats"]["lp"].shape == (9, 5)


def test_values_are_those_of_the_trace() -> None:
    played = trace(C=2, T=6)
    data = to_arviz(played, burn_in=1, settings={}, thin=2)
    kept = [1, 3, 5]
    group, stats = data["signs"], data["sample_stats"]
    np.testing.assert_array_equal(group["signs"].values, played.signs[:, kept])
    np.testing.assert_array_equal(stats["lp"].values, played.log_joint[:, kept])
    np.testing.assert_array_equal(data["posterior"]["log_p_z"].values, played.log_p_z[:, kept])
    # with two agents B listens first, so the first direction is what B accepted
    assert stats["acceptance_rate"].sel(direction="A->B").values[1, 2] == played.accepted[1, 5, 1] / 12
    assert stats["acceptance_rate"].sel(direction="B->A").values[1, 2] == played.accepted[1, 5, 0] / 12
    assert stats["kappa"].values[0, 1] == partitions.kappa(*played.signs[0, 3])
    # against the sweep before, which thinning dropped
    before, after = played.signs[0, 2, 1], played.signs[0, 3, 1]
    assert stats["successive_ari"].values[0, 1, 1] == partitions.ari(before, after)
    i, j = map(int, str(group["pair"].values[5]).split("-"))
    together = played.signs[:, kept, 0, i] == played.signs[:, kept, 0, j]
    np.testing.assert_array_equal(group["co_assignment"].values[:, :, 0, 5], together)
    shares = np.sort(np.bincount(played.signs[0, 1, 0], minlength=4))[::-1] / 12
    np.testing.assert_array_equal(data["components"]["component_share"].values[0, 0, 0], shares)


def test_shared_signs_are_compared_by_what_each_would_say_alone() -> None:
    shared = np.zeros((1, 5, 2, 12), dtype=int)
    alone = trace(C=1, T=5).signs
    played = trace(C=1, T=5, signs=shared, best_signs=alone)
    kappa = to_arviz(played, burn_in=0, settings={})["sample_stats"]["kappa"].values
    assert kappa[0, 2] == partitions.kappa(*alone[0, 2]) != 1


def test_nothing_diagnosed_depends_on_the_numbers_of_the_signs() -> None:
    played = trace()
    order = np.array([2, 0, 3, 1])
    assert played.means is not None
    moved = np.empty_like(played.means)
    moved[..., order, :] = played.means
    assert_rows_agree(summarise_trace(played, 5), summarise_trace(trace(signs=order[played.signs], means=moved), 5))


def test_one_agent_three_agents_one_object() -> None:
    alone = to_arviz(trace(M=1, N=1), burn_in=0, settings={})
    assert "kappa" not in alone["sample_stats"]
    assert "co_assignment" not in alone["signs"]
    three = to_arviz(trace(M=3), burn_in=0, settings={})
    assert three["sample_stats"]["direction"].values.tolist() == ["others->A", "others->B", "others->C"]
    assert np.isfinite(three["sample_stats"]["kappa"].values).all()


@pytest.mark.parametrize("objects", [0, 1, 2, 20, 21, 5000])
def test_pairs_are_different_and_the_same_at_every_call(objects: int) -> None:
    first, second = object_pairs(objects, 200)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == min(200, objects * (objects - 1) // 2)
    assert all(0 <= i < j < objects for i, j in pairs)
    np.testing.assert_array_equal(object_pairs(objects, 200), (first, second))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"signs": np.zeros((3, 40, 12), dtype=int)}, "signs must be"),
        ({"accepted": np.zeros((40, 3, 2))}, "accepted must have the shape"),
        ({"log_joint": np.zeros((40, 3))}, "log_joint must have the shape"),
        ({"log_p_z": np.zeros((3, 40))}, "log_p_z must have the shape"),
        ({"pointwise": np.zeros((3, 40, 2, 11))}, "pointwise must have the shape"),
        ({"agent_names": ("A", "A")}, "agent_names must be 2 different names"),
        ({"means": np.zeros((3, 40, 2, 5, 3))}, "means must have the shape"),
        ({"signs_count": 3}, r"signs must lie in 0\.\.2"),
    ],
)
def test_a_wrong_trace_names_its_field(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        trace(**changes)


@pytest.mark.parametrize("burn_in", [-1, 40, 41])
def test_a_burn_in_that_leaves_no_draw_is_refused(burn_in: int) -> None:
    with pytest.raises(UsageError, match=r"--burn-in is .*; expected 0 to 39"):
        summarise_trace(trace(), burn_in)


def test_weights_and_means_follow_the_relabelled_signs_and_signs_stay_raw() -> None:
    played = trace(C=2, T=6)
    data = to_arviz(played, burn_in=1, settings={}, thin=2)
    group, raw, kept = data["components"], data["signs"], [1, 3, 5]
    found = relabel(played.signs[:, kept], played.log_joint[:, kept], 4, together=True)
    assert played.means is not None
    np.testing.assert_array_equal(raw["relabel"].values, found.permutation)
    np.testing.assert_array_equal(group["weight"].values, found.weight)
    np.testing.assert_array_equal(group["mu"].values, reorder(played.means[:, kept], found.permutation))
    best = np.unravel_index(played.log_joint[:, kept].argmax(), (2, 3))
    attributes = data["posterior"].attrs
    assert (attributes["pivot_chain"], attributes["pivot_draw"]) == (best[0], kept[best[1]])
    # What the documentation tells a user to do with the file.
    new = renumber(raw["signs"].values, raw["relabel"].values)
    assert (new == 2).mean(-1).tolist() == group["weight"].sel(sign=2).values.tolist()


def test_agents_that_never_spoke_are_relabelled_apart() -> None:
    assert sizes(to_arviz(trace(mode="no-com"), burn_in=0, settings={}), "signs")["relabel"] == (
        ("chain", "draw", "agent", "sign"),
        (3, 40, 2, 4),
    )


@pytest.mark.parametrize(
    ("keep", "large"), [("all", {"signs", "mu"}), ("signs", {"signs"}), ("components", {"mu"}), ("none", set())]
)
def test_what_is_large_is_kept_if_it_is_wanted(keep: str, large: set[str]) -> None:
    groups = to_variables(trace(), 0, keep=keep).groups
    assert (
        set(groups["components"] | groups["signs"])
        == {"component_share", "co_assignment", "weight", "relabel"} | large
    )
    assert "mu" not in to_variables(trace(means=None), 0).groups["components"]
