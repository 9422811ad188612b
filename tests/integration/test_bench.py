"""What the measurements rest on: that both sides do the same work, and a slope is a slope. No time is asserted."""

import numpy as np
import pytest

from bench import reference_game, scale


def test_the_references_way_judges_as_ours_does():
    reference_game.check(60)


def test_a_wrong_way_is_seen(monkeypatch):
    right = reference_game.ratios
    monkeypatch.setattr(reference_game, "ratios", lambda listener, proposed: 1 / right(listener, proposed))
    with pytest.raises(AssertionError):
        reference_game.check(60)


def test_proposals_and_answers_follow_their_probabilities(monkeypatch):
    _, (agent, _) = reference_game.both(60)
    rng = np.random.RandomState(0)
    proposed = reference_game.propose(rng, np.eye(reference_game.K)[(agent.signs + 1) % reference_game.K])
    assert (proposed == (agent.signs + 1) % reference_game.K).all()
    better = np.arange(60) % 2 == 0
    monkeypatch.setattr(reference_game, "ratios", lambda listener, proposed: np.where(better, 2.0, 0.0))
    assert (reference_game.hear(rng, agent, proposed) == np.where(better, proposed, agent.signs)).all()


@pytest.mark.parametrize("slope", [0.5, 1, 2])
def test_an_exponent_is_the_slope_of_the_last_decade(slope):
    points = [{"size": size, "seconds": max(size, 30) ** slope} for size in (1, 3, 10, 30, 100, 300)]
    assert scale.exponent(points) == pytest.approx(slope)
    assert scale.foretold(points, 900) == pytest.approx(900**slope if slope >= 1 else 3 * 300**slope)
