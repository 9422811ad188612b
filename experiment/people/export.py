"""The command `study export`: the trials of a study as a Psych-DS data set.

    dataset_description.json          what the columns mean, and the design
    data/study-NAME_data.csv          a row for each trial, with jsPsych's names of columns where these exist
    data/stimuli-NAME_data.csv        features of the objects on the person's side, if the design has them

Names of participants are the hashes of the logs. Hashes of recruiting sites stay in the logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.people.person import read_person
from mhng.experiment.people.session import Session
from mhng.experiment.people.study import Study
from mhng.experiment.people.texts import texts
from mhng.experiment.people.trials import (
    COLUMNS,
    STIMULI,
    property_value,
    write_description,
    write_stimuli,
    write_table,
)
from mhng.experiment.util.files import disk_errors
from mhng.experiment.util.output import print_note
from mhng.experiment.util.paths import check_new_folder

# A column of the quiz, beside those of every table of trials.
CORRECT = "correct"


class Exported(NamedTuple):
    """Numbers of an export: participants, offers, and offers of a sign other than the participant's."""

    participants: int
    offers: int
    other: int


def export(study: Study, out: Path, *, bots: bool = False, everyone: bool = False) -> Exported:
    """Write the data set to the new folder `out`.

    bots: those of bots instead of people. everyone: also participants who have not finished.
    Raises UsageError if there are none, or a log is damaged.
    """
    check_new_folder(out, "--out")
    kept, unfinished, rows = 0, 0, []
    for participant in study.logs.participants():
        events = study.logs.read(participant)
        if not events or (events[0].get("bot") is not None) != bots:
            continue
        try:
            mine, finished = _rows(study, participant, events)
        except UsageError as error:
            raise UsageError(f"{error}; restore {study.logs.file(participant)}, or move it away") from error
        if not finished:
            unfinished += 1
        if finished or everyone:
            kept += 1
            rows += mine
    who, other = ("bots", "") if bots else ("participants", "; --bots exports bots")
    if not rows:
        raise UsageError(
            f"{study.path} has no finished session of {who} to export ({unfinished} unfinished; --all exports "
            f"those){other}"
        )
    if unfinished and not everyone:
        print_note(f"note: {unfinished} unfinished sessions are left out; --all exports them too")
    name = study.design.name
    features = read_person(study.path, study.design).features
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    header = [*COLUMNS, CORRECT]
    cells = ([row.get(column, "") for column in header] for row in rows)
    write_table(out / "data" / f"study-{name}_data.csv", header, cells)
    if features is not None:
        write_stimuli(out / "data" / f"{STIMULI}-{name}_data.csv", features)
    write_description(out, _description(study, bots, 0 if features is None else features.shape[1]))
    offers = [row for row in rows if row["trial_type"] == "offer"]
    return Exported(kept, len(offers), sum(row["offered"] != row["sign"] for row in offers))


def _rows(study: Study, participant: str, events: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """The rows of one participant, and whether it has finished."""
    session = Session(study, participant, events[0])
    common = {"participant": participant, "condition": session.condition.name, "partner": session.condition.rule}
    rows: list[dict[str, Any]] = []
    names = texts(session.language)["names"]
    for event in events[1:]:
        before, block = session.groups, event.get("block")
        session.advance(event)
        for cells in _trials(event, session, before, names):
            row = dict.fromkeys(COLUMNS, "") | common | cells
            row |= {"trial_index": len(rows), "time_elapsed": max(0, event["time"] - events[0]["time"])}
            row |= {"block": "" if block is None else block, "rt": "" if event.get("rt") is None else event["rt"]}
            rows.append(row)
    return rows, session.finished


def _trials(
    event: Mapping[str, Any], session: Session, groups: Sequence[int | None], names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The trials of an event. session: after it; groups: before it."""
    kind = event["kind"]
    if kind == "quiz":
        yield {
            "trial_type": "quiz",
            "response": json.dumps(event["answer"]),
            "correct": int(event["correct"]),
        }
    elif kind == "practice-offer":
        yield {"trial_type": "practice", "response": event["answer"]}
    elif kind == "practice-proposal":
        yield {"trial_type": "practice", "response": names[event["offered"]]}
    elif kind == "sort":
        for n, group in enumerate(event["groups"]):
            yield {
                "trial_type": "sort", "object": n, "category": group, "sign_after": session.signs[n], "response": group
            }  # fmt: skip
    elif kind in ("offer", "proposal"):
        n = event["object"]
        took = event["answer"] == "take" if kind == "offer" else event["accepted"]
        response = event["answer"] if kind == "offer" else names[event["offered"]]
        yield {
            "trial_type": kind, "object": n, "category": groups[n], "sign": event["sign"], "offered": event["offered"],
            "accepted": int(took), "sign_after": session.signs[n], "response": response,
        }  # fmt: skip
    elif kind == "questions":
        yield {"trial_type": "question", "response": json.dumps(event["answer"], ensure_ascii=False)}


def _description(study: Study, bots: bool, features: int) -> dict[str, Any]:
    """dataset_description.json: schema.org terms, and numbers of the design."""
    design = study.design
    measured = [property_value(name, column.meaning) for name, column in COLUMNS.items()]
    measured.append(property_value(CORRECT, "1 if a quiz was answered rightly"))
    measured += [property_value(f"x{d}", f"feature {d} of the object, as the person sees it") for d in range(features)]
    return {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "name": design.name,
        "description": f"Trials of a naming game between a person and an agent; objects: {design.source}."
        + (" The answers are those of bots." if bots else ""),
        "variableMeasured": measured,
        "signs": design.signs,
        "categories": design.groups,
        "objects": design.objects,
        "conditions": list(design.partners),
        "design": study.checksum,
        "consent": design.consent,
        **({"simulated": True} if bots else {}),
    }
