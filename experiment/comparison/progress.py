"""Progress of a grid on stderr: a progress bar on a terminal, otherwise one line per run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from mhng.experiment.util.text import decimal, duration


class Progress:
    """Progress of `total` runs, of which `done` are complete at the start."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.failed = 0
        self._before = done
        self._started = time.monotonic()
        self._bar: Any = None
        # sys.stderr is None if the caller closed it.
        if done < total and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            # smoothing=0 averages over all runs, because parallel runs end in bursts.
            self._bar = tqdm(
                total=total, initial=done, desc="runs", unit="run", leave=False, file=sys.stderr, smoothing=0
            )
            self._refreshed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def resuming(self, runs: Sequence[tuple[str, str]]) -> None:
        """Report runs that are resumed, as pairs of folder and status."""
        if runs:
            self._print("resuming " + ", ".join(f"{folder} ({status})" for folder, status in runs))

    def retrying(self, name: str, reason: str) -> None:
        """Report a run that is restarted because its worker died."""
        self._print(f"{name}: {reason}; retrying")

    def finished(self, name: str, error: str | None, numbers: Mapping[str, float | None] | None = None) -> None:
        """Count a run, and print its scores with the time left. numbers: those of `statistics.numbers`."""
        self.done += 1
        left = (self.total - self.done) * (time.monotonic() - self._started) / (self.done - self._before)
        end = f"; about {duration(left)} left" if self.done < self.total else ""
        result = f"failed: {error}" if error is not None else _scores(numbers or {})
        if error is not None:
            self.failed += 1
        if self._bar is not None:
            self._bar.set_postfix({"failed": self.failed} if self.failed else {}, refresh=False)
            self._bar.update()
        self._print(f"[{self.done}/{self.total}] {name}: {result}{end}")

    def refresh(self) -> None:
        """Update the clock of the progress bar, at most once a second."""
        if self._bar is not None and time.monotonic() - self._refreshed > 1:
            self._bar.refresh()
            self._refreshed = time.monotonic()

    def interrupted(self) -> None:
        """Report that the grid was interrupted."""
        self._print(f"{self.done} of {self.total} runs are done; run the same command again to continue")

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)


def _scores(numbers: Mapping[str, float | None]) -> str:
    """The scores of a run as text: those that it has."""
    known = [f"{title} {decimal(numbers[name])}" for title, name in (("ARI", "ari"), ("kappa", "kappa"))
             if numbers.get(name) is not None]  # fmt: skip
    seconds = numbers.get("seconds")
    return ", ".join(["done", *known, *([] if seconds is None else [duration(seconds)])])
