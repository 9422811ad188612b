"""Progress of a run: the share done and the time left, by stage."""

import sys

import pytest

from mhng.experiment.training import progress as module
from mhng.experiment.training.progress import Progress
from mhng.experiment.util.text import duration


class Clock:
    """A clock that tests move."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def run_steps(progress, clock, stage, steps, seconds):
    for _ in progress.count(range(steps), stage, f"round 0 of 1: {stage}"):
        clock.now += seconds


def test_the_time_left_follows_the_measured_cost_of_each_stage(clock):
    left = {"agent A learns": 10, "agent B learns": 10, "starts": 1, "game": 100}
    progress = Progress(left, {}, None, bar=False)
    assert progress.estimate() is None
    run_steps(progress, clock, "agent A learns", 10, 2.0)
    share, seconds = progress.estimate()
    assert seconds == pytest.approx(10 * 2 + 5 * 2 + 100 * 0.03 * 2)  # B as A; starts and sweeps are guesses
    assert share == pytest.approx(20 / (20 + seconds))
    run_steps(progress, clock, "agent B learns", 10, 4.0)
    run_steps(progress, clock, "starts", 1, 5.0)
    run_steps(progress, clock, "game", 50, 0.5)
    share, seconds = progress.estimate()
    assert (share, seconds) == pytest.approx((90 / 115, 25.0))
    run_steps(progress, clock, "game", 50, 0.5)
    assert progress.estimate() == (1.0, 0.0)


def test_steps_of_an_earlier_process_count_as_done(clock):
    progress = Progress({"agent A learns": 5}, {"agent A learns": 5}, None, bar=False)
    run_steps(progress, clock, "agent A learns", 1, 1.0)
    assert progress.estimate() == pytest.approx((6 / 10, 4.0))


def test_a_log_gets_a_line_with_the_time_once_a_minute_without_control_characters(clock):
    lines = []
    progress = Progress({"agent A learns": 10}, {}, lines.append, bar=False)
    run_steps(progress, clock, "agent A learns", 10, 20.0)
    assert len(lines) == 3
    assert lines[0].endswith("] round 0 of 1: agent A learns, 30% of the run, about 2 min left")
    assert all(line.isprintable() and line.startswith("[20") for line in lines)


def test_a_terminal_shows_one_bar_for_all_stages(clock, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress({"agent A learns": 4, "game": 4}, {}, None)
    run_steps(progress, clock, "agent A learns", 4, 1.0)
    run_steps(progress, clock, "game", 4, 1.0)
    progress.close()
    shown = capsys.readouterr().err
    assert "round 0 of 1: agent A learns" in shown
    assert "round 0 of 1: game" in shown
    assert "about 1 s left" in shown
    assert "100%" in shown
    assert "\n" not in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5_900, "98 min"), (7_200, "2.0 h"), (2e5, "2.3 days")],
)
def test_a_duration_has_a_unit(seconds, text):
    assert duration(seconds) == text
