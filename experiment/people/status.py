"""The commands `study status` and `study forget`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.people.log import is_participant
from mhng.experiment.people.session import replay
from mhng.experiment.people.sessions import RECRUITING, recruiting_hash
from mhng.experiment.people.study import Study


def status(study: Study) -> dict[str, Any]:
    """Numbers of sessions by condition, and every session: participant, condition, page, completion code.

    Each log is replayed. A damaged log is listed with its fault.
    """
    rows: list[dict[str, Any]] = []
    for participant in study.logs.participants():
        row: dict[str, Any] = {"participant": participant}
        try:
            session = replay(study, participant, study.logs.read(participant))
        except UsageError as error:
            rows.append(row | {"fault": str(error)})
            continue
        code = study.completion_code(participant) if session.finished else None
        rows.append(
            row
            | {
                "bot": session.bot, "condition": session.condition.name, "language": session.language,
                "page": session.at + 1, "pages": len(session.places), "finished": session.finished, "code": code,
            }
        )  # fmt: skip
    counts = {}
    for name in study.design.partners:
        mine = [row for row in rows if row.get("condition") == name]
        counts[name] = dict(
            Counter(
                f"{'bots' if row['bot'] else 'people'} {'finished' if row['finished'] else 'begun'}" for row in mine
            )
        )
    return {
        "name": study.design.name, "design": study.checksum, "conditions": counts,
        "forgotten": len(study.logs.forgotten()), "damaged": sum("fault" in row for row in rows), "sessions": rows,
    }  # fmt: skip


def status_lines(report: dict[str, Any]) -> list[str]:
    """The report as printed lines."""
    lines = [f"Study {report['name']}, design {report['design']}"]
    for condition, counts in report["conditions"].items():
        numbers = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "no sessions"
        lines.append(f"Condition {condition}: {numbers}")
    if report["forgotten"]:
        lines.append(f"Deleted sessions: {report['forgotten']}")
    for row in report["sessions"]:
        if "fault" in row:
            lines.append(f"{row['participant']}  damaged: {row['fault']}")
        else:
            who = f"bot {row['bot']}" if row["bot"] else "person"
            state = f"finished, code {row['code']}" if row["finished"] else f"page {row['page']} of {row['pages']}"
            lines.append(f"{row['participant']}  {row['condition']}  {who}  {state}")
    return lines


def forget(study: Study, typed: str) -> str:
    """Delete the log of a participant, by the code on its last page, its PROLIFIC_PID or the token of its cookie.

    Returns the code. Raises UsageError if there is none.
    """
    participant = typed if is_participant(typed) else study.participant(typed)
    if not study.logs.file(participant).exists():
        participant = _recruited(study, typed)
    study.logs.forget(participant)
    return participant


def _recruited(study: Study, typed: str) -> str:
    """The participant with a PROLIFIC_PID. Raises UsageError if there is none."""
    for participant in study.logs.participants():
        with suppress(UsageError):  # a damaged log
            found = study.logs.first(participant).get("recruiting")
            if isinstance(found, Mapping) and found.get(RECRUITING[0]) == recruiting_hash(study, RECRUITING[0], typed):
                return participant
    raise UsageError(f"{study.path} holds no session of {typed!r}")
