"""All sessions of a running study: begins them, continues them from their logs, and keeps their answers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.people.log import FORGOTTEN, VERSION
from mhng.experiment.people.session import Session, replay
from mhng.experiment.people.study import Study

# Identifications that recruiting sites put into the address.
RECRUITING = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
MOST_PARTICIPANTS = 100_000
# Sessions in memory; others are read from their logs again.
MOST_OPEN = 1000
# The largest time and response time of a browser that are kept, in milliseconds; tables of trials hold no longer rt.
_MOST_TIME, _MOST_RT = 2**53, 2**31 - 1


class KnownParticipantError(Exception):
    """A participant with the same identification has begun."""


class FullError(Exception):
    """The study has no place left."""


class Sessions:
    """The sessions of a study. One process at a time may hold them, and one request at a time may change them."""

    def __init__(self, study: Study, session: type[Session] = Session) -> None:
        """Cut what a killed process left in the logs; `repaired` names the participants."""
        self.study, self.logs, self._kind = study, study.logs, session
        self.repaired = self.logs.repair()
        self._open: dict[str, Session] = {}
        self._slots = {False: 0, True: 0}
        self._recruited: dict[str, Path] = {}  # the log of each identification
        for participant in self.logs.participants():
            try:
                self._note(self.logs.first(participant), self.logs.file(participant))
            except UsageError as error:
                raise UsageError(f"{error}; move the log away, or delete it with `study forget`") from error
        for place in self.logs.forgotten():
            self._note(place, self.logs.folder / FORGOTTEN)

    def begin(self, language: str, recruiting: Mapping[str, str], bot: str | None = None) -> str:
        """Begin a session, and return its token. Raises KnownParticipantError, FullError and OSError."""
        hashes = {name: recruiting_hash(self.study, name, text) for name, text in recruiting.items() if text}
        earlier = self._recruited.get(hashes.get(RECRUITING[0], ""))
        if earlier is not None and earlier.exists():  # it may have been deleted
            raise KnownParticipantError
        slot = self._slots[bot is not None]
        if slot >= MOST_PARTICIPANTS:
            raise FullError
        token = secrets.token_hex(24)
        participant = self.study.participant(token)
        event = {
            "version": VERSION, "index": 0, "kind": "begin", "slot": slot, "bot": bot, "language": language,
            "consent": self.study.design.consent, "design": self.study.checksum, "recruiting": hashes, "time": _now(),
        }  # fmt: skip
        self.logs.create(participant, event)
        self._note(event, self.logs.file(participant))
        self._keep(self._kind(self.study, participant, event))
        return token

    def find(self, token: str | None) -> Session | None:
        """The session with a token, if there is one. Raises UsageError if its log is damaged."""
        if token is None or not 20 <= len(token) <= 60:
            return None
        participant = self.study.participant(token)
        if not self.logs.file(participant).exists():  # it may have been deleted
            self._open.pop(participant, None)
            return None
        if participant in self._open:
            return self._keep(self._open.pop(participant))
        return self._keep(replay(self.study, participant, self.logs.read(participant), self._kind))

    def answer(self, session: Session, form: Mapping[str, str]) -> bool:
        """Log an answer to the present page of a session, before `flush`. False if the form is that of another page.

        Raises BadAnswerError for a bad answer and OSError if it cannot be kept; the session then stays as it is.
        """
        mine = form.get("index") == str(session.index) and form.get("session") in (None, session.mark)
        if not mine or session.finished:
            return False
        event = session.event(form) | {
            "version": VERSION, "time": _now(), "rt": _time(form.get("rt"), _MOST_RT),
            "client_time": _time(form.get("time"), _MOST_TIME),
        }  # fmt: skip
        self.logs.append(session.participant, event)
        try:
            session.advance(event)
        except BaseException:  # such as a program that cannot redraw; the session is read from its log again
            self._open.pop(session.participant, None)
            raise
        return True

    def flush(self, participant: str) -> None:
        """Flush the log of a participant to the disk. Other sessions go on meanwhile. Raises OSError if that fails."""
        try:
            self.logs.flush(participant)
        except OSError:  # the session is read from its log again
            self._open.pop(participant, None)
            raise

    def belongs(self, session: Session, recruiting: Mapping[str, str]) -> bool:
        """Whether a session is that of a recruited person, as far as the address names one."""
        name = RECRUITING[0]
        known = session.begin.get("recruiting", {}).get(name)
        return not recruiting.get(name) or known == recruiting_hash(self.study, name, recruiting[name])

    def _keep(self, session: Session) -> Session:
        """Hold a session in memory as the latest one, in place of the one that was used least recently."""
        self._open[session.participant] = session
        if len(self._open) > MOST_OPEN:
            del self._open[next(iter(self._open))]
        return session

    def _note(self, first: Mapping[str, Any], file: Path) -> None:
        """Note the place and the identification in the first event of a log."""
        slot, bot, recruiting = first.get("slot"), first.get("bot") is not None, first.get("recruiting", {})
        if type(slot) is not int or not isinstance(recruiting, Mapping):
            raise UsageError(f"{file} is damaged in line 1, the place of the participant")
        self._slots[bot] = max(self._slots[bot], slot + 1)
        if RECRUITING[0] in recruiting:
            self._recruited[str(recruiting[RECRUITING[0]])] = file


def recruiting_hash(study: Study, name: str, text: str) -> str:
    """What a log keeps of an identification of a recruiting site."""
    return study.hashed(f"{name}/{text}")[:16]


def _now() -> int:
    return time.time_ns() // 10**6


def _time(text: str | None, most: int) -> int | None:
    """Milliseconds up to `most` that a browser states; None for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 16:
        return None
    return int(text) if int(text) <= most else None
