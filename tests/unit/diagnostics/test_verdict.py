"""The three verdicts and the basins under them: each says what it should, of chains whose state is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from mhng.experiment.diagnostics import verdict
from mhng.experiment.diagnostics.basins import compare_chains
from mhng.experiment.diagnostics.summary import summarise_trace
from mhng.experiment.diagnostics.target import target
from mhng.experiment.util.text import decimal_beside
from tests.draws import trace

SETTINGS: dict[str, Any] = {
    "mode": "com", "listener-state": "shared", "acceptance": "mh", "start": "prior", "starts": 1, "sweeps": 50,
    "burn-in": 0, "thin": 1, "signs": 4, "likelihood": "identity",
}  # fmt: skip


def facts(played: Any) -> tuple[Any, Any]:
    return summarise_trace(played, 0), compare_chains(played.signs, played.log_evidence)


def judged(played: Any, **changes: Any) -> verdict.Verdict:
    settings = SETTINGS | {"sweeps": played.signs.shape[1]} | changes
    return verdict.converged(settings, *facts(played))


@cache
def long_chains() -> tuple[Any, Any]:
    """The facts of four long chains, computed once for the tests that change settings only."""
    return facts(noisy(4, 500))


def judged_long_chains(**changes: Any) -> verdict.Verdict:
    return verdict.converged(SETTINGS | {"sweeps": 500} | changes, *long_chains())


def noisy(C: int, T: int, seed: int = 0) -> Any:
    """Chains that all move around one partition."""
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random((C, T, 2, 60)) < 0.03, rng.integers(0, 4, (C, T, 2, 60)), np.arange(60) % 4)
    return trace(C, T, N=60, signs=signs, seed=seed)


def test_chains_of_one_law_have_converged() -> None:
    found = judged_long_chains()
    text = " ".join(found.words)
    assert found.answer == "yes" and found.next == []
    assert "share a basin" in text and "across rounds" in text and "raw signs" in text


def test_one_chain_proves_nothing() -> None:
    found = judged(noisy(1, 500))
    assert found.answer == "unknown" and found.next == ["--chains 4"]
    assert "R-hat needs several chains" in " ".join(found.words)


def test_few_draws_are_not_enough_and_more_are_asked_for() -> None:
    found = judged(noisy(4, 30))
    assert found.answer == "not yet"
    sweeps = int(found.next[0].split()[1])
    assert found.next[0].startswith("--sweeps ") and 100 <= sweeps <= 2000


@pytest.mark.parametrize(("T", "said"), [(1, "1 draw per chain is too few"), (3, "3 draws per chain are too few")])
def test_fewer_than_four_draws_say_nothing_but_that(T: int, said: str) -> None:
    """Chains of one draw are constant, and mostly apart, without meaning."""
    played = trace(4, T, N=60)
    found = judged(played, **{"burn-in": 5, "sweeps": 5 + T})
    text = " ".join(found.words)
    assert found.answer == "not yet" and said in text
    assert found.next == [f"--sweeps 105 (now {5 + T})"]
    assert "constant" not in text and "basin" not in text
    assert judged(played, thin=50).next == [f"--sweeps 100 --thin 1 (now {T}, 50)"]
    one = judged(trace(1, T, N=60))
    assert one.answer == "not yet" and one.next == [f"--sweeps 100 (now {T})", "--chains 4"]


def test_chains_in_different_places_have_not_converged_whatever_r_hat_says() -> None:
    played = noisy(4, 500)
    signs = played.signs.copy()
    # The same sizes, joint and evidence; only which objects belong together differs in two chains.
    signs[2:] = signs[2:][..., np.random.default_rng(1).permutation(60)]
    found = judged(trace(4, 500, N=60, signs=signs))
    assert found.answer == "no" and "2 different basins" in found.words[0]
    assert "--start merge --starts 20 (now prior, 1)" in found.next
    assert "--starts 30 (now 6)" in judged(trace(4, 500, N=60, signs=signs), start="merge", starts=6).next


def test_constant_chains_are_told_and_are_no_perfect_ess() -> None:
    signs = np.broadcast_to(np.arange(60) % 4, (4, 500, 2, 60))
    still = judged(trace(4, 500, N=60, signs=signs))
    assert any("constant, at one value" in text and "ESS is undefined" in text for text in still.words)
    apart = np.array(signs)
    apart[3, :, :, :20] = 0
    found = judged(trace(4, 500, N=60, signs=apart))
    assert found.answer == "no" and any("constant, at different values" in text for text in found.words)


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"mode": "all"}, "biased", "Mode all accepts every proposal"),
        ({"listener-state": "speaker-sample"}, "biased", "not a sampler of the posterior"),
        ({"acceptance": "constant:0.5"}, "biased", "rule constant:0.5 does not keep the posterior"),
        (
            {"agent": {"B": {"acceptance": "constant:0.8"}}},
            "unproved",
            "rule constant:0.8 does not keep the posterior",
        ),
        ({"acceptance": "binary", "agent": {n: {"acceptance": "mh"} for n in "AB"}}, "exact", "joint posterior"),
        ({"agent": {"B": {"acceptance": "numerator", "lr": 0.1}}}, "exact", "joint posterior"),
        ({"listener-state": "chain"}, "biased", "close to the joint posterior"),
        ({"mixture": "my_module:Mixture"}, "unproved", "No proof covers mixture my_module:Mixture"),
        ({"agent": {"B": {"mixture": "m:M"}}}, "unproved", "No proof covers mixture m:M with weights uniform"),
        ({"weights": "sticks:0.5"}, "exact", "joint posterior"),
        ({"words": 2, "meaning": "bag", "grammar": "none"}, "exact", "joint posterior"),
        ({"words": 2, "meaning": "bag", "grammar": "markov"}, "unproved", "No proof covers meaning bag with weights"),
        ({"agents": 3, "meet": "ring"}, "biased", "Encounters in pairs"),
        ({"agents": 3, "inner-start": "own", "listener-state": "chain"}, "biased", "own copy of the signs"),
        ({}, "exact", "joint posterior"),
        ({"acceptance": "numerator"}, "exact", "joint posterior"),
        ({"mode": "gibbs", "listener-state": "chain"}, "exact", "joint posterior"),
        ({"mode": "no-com", "acceptance": "binary"}, "another", "own posterior"),
    ],
)
def test_it_says_what_the_chains_sample(changes: dict[str, Any], kind: str, word: str) -> None:
    found = target(SETTINGS | changes)
    assert found.kind == kind and word in found.words
    assert found.words.startswith(kind.title()) == (kind in ("biased", "unproved"))
    told = judged_long_chains(**changes)
    assert (told.answer == "no target") == (not found.known)
    assert found.words in told.words


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"mode": "all"}, "--mode com"),
        ({"mode": "all", "acceptance": "binary"}, "--mode com --acceptance mh"),
        ({"mode": "all", "listener-state": "chain"}, "--mode com --listener-state shared"),
        ({"agents": 4, "meet": "star", "meet-later": "1=ring"}, "--meet together without --meet-later"),
        ({"listener-state": "speaker-sample"}, "--listener-state shared"),
        ({"acceptance": "binary"}, "--acceptance mh"),
        ({"agent": {"A": {"acceptance": "binary"}}}, "--acceptance mh for all agents"),
        ({"agents": 3, "meet": "ring"}, "--meet together"),
        ({"agents": 3, "meet": "ring", "listener-state": "chain"}, "--meet together --listener-state shared"),
        ({"agents": 3, "meet": "ring", "mode": "all"}, "--mode com --meet together"),
        ({"agents": 2, "meet": "ring", "acceptance": "binary"}, "--acceptance mh"),
    ],
)
def test_what_to_do_next_leads_to_a_target(changes: dict[str, Any], remedy: str) -> None:
    """And is not what the run was already."""
    assert judged_long_chains(**changes).next[0].startswith(f"{remedy}, which samples a posterior")


def test_agreement_is_between_agents_and_each_mode_says_what_it_is_of() -> None:
    own = {"agents": {"A": {"signs_used": 4}, "B": {"signs_used": 4}}, "kappa_of": "signs", "kappa_matched": 0.4}
    assert verdict.agreed(SETTINGS, [0.95, 0.9], own).answer == "yes"
    assert verdict.agreed(SETTINGS, [0.7], own).answer == "partly"
    low = verdict.agreed(SETTINGS | {"mode": "all"}, [0.1], own)
    assert low.answer == "no" and "--mode com" in low.next[0]
    mute = verdict.agreed(SETTINGS | {"mode": "no-com"}, [0.01], own)
    assert mute.answer == "no" and "no communication" in mute.words[0] and "0.400" in mute.words[0]
    apart = verdict.agreed(
        SETTINGS | {"meet": "bridges:0"}, [0.3], own | {"kappa_within": 0.98, "kappa_between": 0.01}, play="play RUN"
    )
    assert "kappa 0.980 within groups, 0.010 between them" in apart.words[-1] and "--meet complete" in apart.next[0]
    shared = verdict.agreed(SETTINGS, [0.2], own | {"kappa_of": "what each agent would say alone"})
    assert "by construction" in shared.words[0] and shared.next == []
    one = {"agents": {"A": {"signs_used": 1}, "B": {"signs_used": 1}}}
    assert verdict.agreed(SETTINGS, [1.0], own | one).answer == "unknown"


def of_agents(*used: int, **more: Any) -> dict[str, Any]:
    agents = {name: {"signs_used": count} for name, count in zip("ABCDEFGHIJKL", used, strict=False)}
    return {"agents": agents, "kappa_of": "signs", "kappa_matched": 0.4} | more


def test_a_sign_that_covers_nearly_everything_is_no_agreement() -> None:
    found = verdict.agreed(SETTINGS, [0.9], of_agents(2, 2), {"A": 0.99, "B": 0.992})
    assert found.answer == "unknown" and "99.0% of the objects, so the agreement is nearly trivial" in found.words[1]
    assert verdict.agreed(SETTINGS, [0.9], of_agents(4, 4), {"A": 0.4, "B": 0.96}).answer == "yes"


@pytest.mark.parametrize(
    ("used", "said"),
    [((2, 2), "2 of 4 signs are used."), ((2, 3), "2 to 3 of 4 signs are used."), ((1, 1), "1 of 4 signs is used.")],
)
def test_signs_that_nobody_uses_are_counted(used: tuple[int, int], said: str) -> None:
    assert said in verdict.agreed(SETTINGS, [0.9], of_agents(*used)).words
    assert len(verdict.agreed(SETTINGS, [0.9], of_agents(4, 4)).words) == 1


def test_on_a_graph_distance_explains_disagreement() -> None:
    settings = SETTINGS | {"agents": 12, "meet": "ring", "listener-state": "chain"}
    far = {"1": 0.7, "2": 0.4, "3": 0.2, "4": 0.1, "5": 0.05, "6": 0.02}
    found = verdict.agreed(settings, [0.25], of_agents(*[4] * 12, kappa_by_distance=far), play="play RUN")
    text = " ".join(found.words)
    assert "Distance in the graph explains kappa: 0.70 at 1 edge, 0.40 at 2 edges, 0.20 at 3 edges, 0.02 at 6" in text
    assert found.next[0] == "play RUN --meet complete or small-world:P, for shorter paths (now ring)"
    assert "little in common" not in " ".join(found.next)
    even = verdict.agreed(settings, [0.25], of_agents(*[4] * 12, kappa_by_distance=dict.fromkeys(far, 0.25)))
    assert "Distance" not in " ".join(even.words) and "little in common" in even.next[0]
    # A target is one step; the graph may be what the run is about.
    steps = judged_long_chains(agents=12, meet="ring").next
    assert steps[0] == "--meet together, which samples a posterior; that game has no graph"
    assert "kappa_by_distance over sweeps and seeds" in steps[1]


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        (0.79996, 0.8, "0.79996"),
        (0.8, 0.8, "0.800"),
        (0.79, 0.8, "0.790"),
        (0.80004, 0.8, "0.80004"),
        (0.9, 0.8, "0.900"),
    ],
)
def test_a_number_beside_its_line_shows_enough_digits(value: float, limit: float, shown: str) -> None:
    assert decimal_beside(value, limit) == shown
    told = verdict.right(SETTINGS, {"A": [value]}, None)
    assert f"A {shown};" in told.words[0] and (told.answer == "yes") == (value >= limit)


def test_one_agent_below_the_line_is_not_good() -> None:
    found = verdict.right(SETTINGS, {"A": [0.83], "B": [0.79]}, 4)
    assert found.answer == "partly" and "0.8 or more for all agents" in found.words[0]


def test_fewer_signs_than_classes_explain_a_low_score() -> None:
    found = verdict.right(SETTINGS, {"A": [0.5], "B": [0.5]}, 4, used=2, play="play RUN")
    assert "2 of 4 signs for 4 classes: some classes share a sign." in found.words
    assert found.next[0] == "play RUN --start merge --starts 20 (now prior, 1)"


@pytest.mark.parametrize("mode", ["com", "all", "variational"])
def test_finished_agents_play_again(mode: str) -> None:
    """No advice of a game asks for new training."""
    summary, compared = facts(noisy(1, 30))
    found = verdict.converged(SETTINGS | {"mode": mode, "sweeps": 30}, summary, compared, None, "play RUN")
    assert found.next and all(step.startswith("play RUN --") for step in found.next)


def test_right_needs_labels() -> None:
    assert verdict.right(SETTINGS, None, None).answer == "unknown"
    for value in (1.0, 0.0):
        assert verdict.right(SETTINGS, {"A": [value]}, 1) == ("unknown", ["All objects have the same label."], [])
    different = verdict.right(SETTINGS, {"A": [0.0], "B": [0.0]}, 60, objects=60)
    assert different == ("unknown", ["All objects have different labels."], [])
    assert verdict.right(SETTINGS, {"A": [0.9], "B": [0.8]}, 4).answer == "yes"
    assert verdict.right(SETTINGS, {"A": [0.7], "B": [0.7]}, 4).answer == "partly"
    wrong = verdict.right(SETTINGS, {"A": [0.2, 0.9], "B": [0.3, 0.9]}, 6)
    assert wrong.answer == "no" and wrong.next == ["--signs 6 (now 4, for 6 classes)"]
    assert "0.200 to 0.900" in wrong.words[1]


def test_collapsed_latents_are_named_first() -> None:
    clause = "the percepts of agents A, B hold 0.06, 0.1 nats after round 0: the latents have collapsed"
    found = verdict.right(SETTINGS, {"A": [0.0], "B": [0.1]}, 6, collapse=clause)
    assert found.answer == "no" and found.words[0].startswith("The percepts of agents A, B hold 0.06, 0.1 nats")
    assert len(found.next) == 1 and "--batch-size" in found.next[0]
    assert verdict.right(SETTINGS, None, None, collapse=clause).next == found.next


def test_basins_are_told_apart_whatever_the_numbering_and_ranked_by_evidence() -> None:
    rng = np.random.default_rng(0)
    one, other = np.arange(60) % 4, rng.permutation(np.arange(60) % 4)
    signs = np.stack([one, (one + 1) % 4, other, (3 - other)])[:, None, None].repeat(5, 1).repeat(2, 2)
    found = compare_chains(signs, np.array([[-9.0], [-9.0], [-5.0], [-5.0]]).repeat(5, 1))
    assert found.basin == [1, 1, 0, 0] and found.evidence == [-5.0, -9.0]
    np.testing.assert_allclose(found.agreement[0, 0, :2], 1)
    assert found.agreement[0, 0, 2] < 0.2
    # One agent that is elsewhere is enough.
    signs[1, :, 1] = other
    assert compare_chains(signs, np.zeros((4, 5))).basin[0] != compare_chains(signs, np.zeros((4, 5))).basin[1]


def test_many_chains_and_single_draws_are_compared_too() -> None:
    found = compare_chains(np.zeros((200, 1, 1, 5), dtype=int), np.zeros((200, 1)))
    assert len(found.chains) == 40 and set(found.basin) == {0}


def test_a_chain_that_wanders_everywhere_has_no_basin() -> None:
    assert any("there are no basins" in text for text in judged(trace(4, 100, N=60)).words)


def test_advice_for_sentences_names_no_setting_that_they_refuse() -> None:
    settings = SETTINGS | {"words": 2, "vocabulary": 2, "start": "merge"}
    apart = {"A": [0.3], "B": [0.3]}
    few = verdict.right(settings, apart, classes=4, used=3, play="play RUN")
    assert few.next and not any("split" in step for step in few.next)
    assert verdict.right(settings, apart, classes=5).next == ["--vocabulary 3 (now 2: 4 sentences for 5 classes)"]
