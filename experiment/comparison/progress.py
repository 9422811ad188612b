"""How far a grid is, on stderr: one bar on a terminal, a line a run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self


class Progress:
    """Counts runs, of which `done` are done already."""

    def __init__(self, total: int, *, done: int = 0) -> None:
        self.total = total
        self.done = done
        self.failed = 0
        self._bar: Any = None
        # Closed by the caller, stderr is None
        if done < total and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            # The mean pace, because runs that are side by side end in bursts.
            self._bar = tqdm(
                total=total, initial=done, desc="runs", unit="run", leave=False, file=sys.stderr, smoothing=0
            )
            self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def resumed(self, runs: Sequence[tuple[str, str]]) -> None:
        """Runs, by folder, that go on from where they were left, and how that came about."""
        if runs:
            self._say("going on with " + ", ".join(f"{folder} ({status})" for folder, status in runs))

    def again(self, name: str, reason: str) -> None:
        """A run ended for a reason that is not its own, and goes on elsewhere."""
        self._say(f"{name}: {reason}; it is tried again")

    def ended(self, name: str, error: str | None) -> None:
        """A run is over. A failed one gets a line at once also on a terminal."""
        self.done += 1
        if error is not None:
            self.failed += 1
        if self._bar is not None:
            self._bar.set_postfix({"failed": self.failed} if self.failed else {}, refresh=False)
            self._bar.update()
            if error is not None:
                self._say(f"{name}: failed: {error}")
        else:
            self._say(f"[{self.done}/{self.total}] {name}: {'done' if error is None else f'failed: {error}'}")

    def waiting(self) -> None:
        """Time passes: the bar's clock goes on."""
        if self._bar is not None and time.monotonic() - self._shown > 1:
            self._bar.refresh()
            self._shown = time.monotonic()

    def stopped(self) -> None:
        """The grid was interrupted."""
        self._say(f"{self.done} of {self.total} runs are done; the same command goes on from here")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
