"""Benchmarks: both implementations do the same work, and exponents are slopes. No test asserts a time."""

import numpy as np
import pytest

from bench import programs, reference_game, rivals, scale, starts


def test_reference_game_agrees_with_ours():
    reference_game.check(60)


def test_check_detects_a_wrong_ratio(monkeypatch):
    right = reference_game.acceptance_ratios
    monkeypatch.setattr(reference_game, "acceptance_ratios", lambda listener, proposed: 1 / right(listener, proposed))
    with pytest.raises(AssertionError):
        reference_game.check(60)


def test_proposals_and_acceptances_follow_their_probabilities(monkeypatch):
    _, (agent, _) = reference_game.matching_games(60)
    rng = np.random.RandomState(0)
    proposed = reference_game.propose(rng, np.eye(reference_game.K)[(agent.signs + 1) % reference_game.K])
    assert (proposed == (agent.signs + 1) % reference_game.K).all()
    better = np.arange(60) % 2 == 0
    monkeypatch.setattr(reference_game, "acceptance_ratios", lambda listener, proposed: np.where(better, 2.0, 0.0))
    assert (reference_game.accept_or_reject(rng, agent, proposed) == np.where(better, proposed, agent.signs)).all()


def test_a_game_of_programs_is_timed_against_the_native_game(capsys):
    assert programs.main(60, 3) > 0
    assert "native" in capsys.readouterr().out


@pytest.mark.parametrize("slope", [0.5, 1, 2])
def test_an_exponent_is_the_slope_of_the_last_decade(slope):
    points = [{"size": size, "seconds": max(size, 30) ** slope} for size in (1, 3, 10, 30, 100, 300)]
    assert scale.exponent(points) == pytest.approx(slope)
    assert scale.predict_seconds(points, 900) == pytest.approx(900**slope if slope >= 1 else 3 * 300**slope)


def test_rivals_describe_the_objects_that_our_agents_describe(capsys):
    """Scores of all methods stand in one table."""
    rivals.main(["--sets", "attributes:2x10", "--seeds", "0", "--steps", "50"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["ours", "lewis", "simsiam"]
    assert all(len(row) == len(rivals.SCORES) + 2 for row in rows)
    learned, found = ([float(row[column].split()[0]) for row in rows] for column in (2, 7))
    assert learned[0] > 0.5 and all(0 <= share <= 1 for share in learned + found)


def test_starts_of_sentences_are_compared(capsys):
    flags = ["--dataset", "attributes:2x3", "--words", "2", "--vocabulary", "3"]
    starts.main(["--seeds", "0", "--starts", "2", *flags])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["prior", "kmeans", "merge", "slots"]
