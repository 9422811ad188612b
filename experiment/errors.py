"""The ways a run can end that are not a bug: bad input, and a run that could not go on."""

from __future__ import annotations

import signal


class UsageError(Exception):
    """Bad input: one line that names the flag, key, file or index. The command line exits with 2."""


class UntrustedError(UsageError):
    """A file names code to be imported, and the user has not said that it may be."""


class RunError(Exception):
    """A run that had begun and could not go on (a loss that is not finite, a full disk). Exit code 1."""


class Interrupted(KeyboardInterrupt):
    """The process was asked to stop by a signal, as by Ctrl-C. The exit code is 128 + the number of the signal.

    resume: the run folder that `train --resume` continues, if there is one.
    """

    def __init__(self, number: int, resume: str | None = None) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.resume = resume
