"""Progress of a whole run: steps done of each stage, and an estimate of the time left.

A terminal shows one bar on stderr. Where stdout is a file, a line of the log now and then gives the time, the stage,
the share done and the time left.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mhng.experiment.util.output import is_terminal
from mhng.experiment.util.text import duration

# Seconds between lines of a log, and between changes of a bar.
LOG_SECONDS = 60.0
BAR_SECONDS = 0.2
# Cost of a step before one was measured, relative to an epoch. `game` is the stage of sweeps.
_GUESSES = {"game": 0.03, "starts": 5.0}

_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


class Progress:
    """Counts the steps of a run by stage: "agent A learns" (epochs), "starts", "game" (sweeps).

    left, done: steps of each stage to do, and steps that an earlier process did. write: prints a line of the log.
    bar: whether to show a bar (default: if stderr is a terminal).
    """

    def __init__(
        self,
        left: Mapping[str, int],
        done: Mapping[str, int],
        write: Callable[[str], None] | None,
        *,
        bar: bool | None = None,
    ) -> None:
        self.left = dict(left)
        self.before = dict(done)
        self.counted: defaultdict[str, int] = defaultdict(int)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._write = write
        self._shown = 0.0
        self._written = self._last = time.monotonic()
        self._bar: Any = None
        if is_terminal(sys.stderr) if bar is None else bar:
            from tqdm import tqdm

            self._bar = tqdm(total=1.0, bar_format=_BAR, leave=False, file=sys.stderr)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def count(self, steps: Iterable[Any], stage: str, where: str) -> Iterator[Any]:
        """Yield the steps and count them. where: the stage as text, with its round."""
        self._last = time.monotonic()
        self._show(where)
        for step in steps:
            yield step
            now = time.monotonic()
            self.seconds[stage] += now - self._last
            self.counted[stage] += 1
            self.left[stage] = max(0, self.left.get(stage, 0) - 1)
            self._last = now
            self._show(where)

    def cost(self, stage: str) -> float | None:
        """Mean seconds of a step of the stage; a guess before the first; None while nothing was measured."""
        if self.counted[stage]:
            return self.seconds[stage] / self.counted[stage]
        learnt = [name for name, steps in self.counted.items() if steps and name not in _GUESSES]
        if not learnt:
            return None
        epoch = sum(self.seconds[name] for name in learnt) / sum(self.counted[name] for name in learnt)
        return epoch * _GUESSES.get(stage, 1.0)

    def estimate(self) -> tuple[float, float] | None:
        """The share of the run that is done, from 0 to 1, and the seconds left; None until they are known."""
        left = self._total(self.left)
        done = self._total(self.before)
        if left is None or done is None:
            return None
        done += sum(self.seconds.values())
        return (done / (done + left) if done + left else 1.0), left

    def _total(self, steps: Mapping[str, int]) -> float | None:
        seconds = 0.0
        for stage, number in steps.items():
            if not number:
                continue
            if (cost := self.cost(stage)) is None:
                return None
            seconds += number * cost
        return seconds

    def _show(self, where: str) -> None:
        now = time.monotonic()
        show_bar = self._bar is not None and now - self._shown >= BAR_SECONDS
        write_line = self._write is not None and now - self._written >= LOG_SECONDS
        if not show_bar and not write_line:
            return
        estimate = self.estimate()
        remaining = "" if estimate is None else f", about {duration(estimate[1])} left"
        if self._bar is not None and show_bar:
            self._shown = now
            self._bar.set_description_str(where, refresh=False)
            self._bar.set_postfix_str(remaining.removeprefix(", "), refresh=False)
            self._bar.n = 0.0 if estimate is None else estimate[0]
            self._bar.refresh()
        if self._write is not None and write_line:
            self._written = now
            share = "" if estimate is None else f", {estimate[0]:.0%} of the run"
            self._write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {where}{share}{remaining}")
