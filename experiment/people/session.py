"""The session of one participant: a function of the design, the partner and the events of its log.

The pages come in this order: instructions, quiz, practice; in each block sorting, then an offer of the partner and a
proposal of the participant for one object after the other; questions; the end. The partner speaks and answers as in
the game (`mhng.experiment.people.partner`):

    offer      the partner draws a sign; the participant keeps its sign or takes the offered one
    proposal   the participant suggests a sign; the partner takes it or keeps its own; neither sign of the participant
               nor its table changes

The participant and the partner each have a sign for every object. `Session.advance` applies an event and checks that
its draws are those of the design, so a log of another design, or an edited one, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.people import draws
from mhng.experiment.people.conditions import Condition
from mhng.experiment.people.design import Design
from mhng.experiment.people.log import VERSION
from mhng.experiment.people.study import Study

# Characters of a free answer.
MOST_TEXT = 2000
# Right answers to the quiz: indices of the options in texts.toml.
QUIZ = (0, 1)
# The most wrong answers to the quiz that a log keeps.
MOST_WRONG = 200
SCALE = 5


class Place(NamedTuple):
    """A page in the order of a session."""

    kind: str
    block: int = 0
    object: int = 0


class BadAnswerError(Exception):
    """An answer that is missing or out of range. The message is a key of texts.toml."""


class Session:
    """The state of a session. A subclass may play a wrong game, for tests of the checks."""

    def __init__(self, study: Study, participant: str, begin: Mapping[str, Any]) -> None:
        """begin: the first event of the log. Raises UsageError for that of another design."""
        design, slot, bot = study.design, begin.get("slot"), begin.get("bot")
        if begin.get("kind") != "begin" or begin.get("design") != study.checksum or type(slot) is not int:
            raise UsageError(f"the log of {participant} belongs to another design, or is damaged")
        if begin.get("version") != VERSION:
            raise UsageError(f"the log of {participant} has version {begin.get('version')!r}; expected {VERSION}")
        sound = isinstance(bot, str | None) and isinstance(begin.get("recruiting"), Mapping) and _has_times(begin)
        if begin.get("language") not in design.languages or not sound:
            raise UsageError(f"the log of {participant} is damaged in line 1")
        self.study, self.participant, self.begin = study, participant, begin
        self.language: str = begin["language"]
        self.bot = bot
        self.who = ("bots" if bot else "people", slot)
        self.condition = condition_of(design, *self.who)
        self.places = places(design, *self.who)
        self.index, self.at = 1, 0
        self.wrong = False  # whether the last answer to the quiz was wrong
        K = design.signs
        self.signs = [draws.integer(K, design.seed, *self.who, "sign", n) for n in range(design.objects)]
        self.groups: list[int | None] = [None] * design.objects
        self.partner_signs = list(study.partner.signs)
        self.belief = study.partner.belief

    @property
    def mark(self) -> str:
        """A text in the forms of the session, by which a tab of another session in the same browser is recognised."""
        return self.study.hashed(f"page/{self.participant}")[:8]

    @property
    def place(self) -> Place:
        """The present page."""
        return self.places[self.at]

    @property
    def finished(self) -> bool:
        """Whether the last page is reached."""
        return self.place.kind == "end"

    # -- the partner -----------------------------------------------------------------------------------

    def offered(self) -> int:
        """The sign that the partner offers on the present page."""
        return self.belief.proposes(self.place.object, self.uniform("offer"))

    def replies(self, proposed: int) -> bool:
        """Whether the partner takes a proposed sign on the present page."""
        n = self.place.object
        current, u = self.partner_signs[n], self.uniform("reply")
        return self.belief.accepts(self.condition.rule, n, proposed, current, u)

    def uniform(self, name: str) -> float:
        """A draw of the present page."""
        return draws.uniform(self.study.design.seed, *self.who, self.at, name)

    # -- events ----------------------------------------------------------------------------------------

    def event(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The event of an answer to the present page. Raises BadAnswerError."""
        kind, block, n = self.place
        event: dict[str, Any] = {"index": self.index, "kind": kind}
        design = self.study.design
        if kind in ("sort", "offer", "proposal"):
            event["block"] = block
        if kind == "instructions":
            return event
        if kind == "quiz":
            answers = [_number(form.get(f"quiz_{place + 1}"), 3, "quiz_wrong") for place in range(len(QUIZ))]
            correct = tuple(answers) == QUIZ
            if not correct and self.index > MOST_WRONG:
                raise BadAnswerError("quiz_wrong")
            return event | {"answer": answers, "correct": correct}
        if kind == "practice-offer":
            return event | {"answer": _take_or_keep(form)}
        if kind == "practice-proposal":
            return event | {"offered": _number(form.get("sign"), design.signs, "answer_needed")}
        if kind == "sort":
            numbers = range(design.objects)
            return event | {"groups": [_number(form.get(f"group_{i}"), design.groups, "sort_needed") for i in numbers]}
        if kind == "offer":
            answer = _take_or_keep(form)
            return event | {"object": n, "sign": self.signs[n], "offered": self.offered(), "answer": answer}
        if kind == "proposal":
            proposed = _number(form.get("sign"), design.signs, "answer_needed")
            return event | {
                "object": n, "sign": self.signs[n], "offered": proposed, "accepted": self.replies(proposed)
            }  # fmt: skip
        if kind == "questions":
            how, more = (_text(form.get(name)) for name in ("how", "more"))
            meaning = _number(form.get("meaning"), SCALE, "question_needed")
            if not how:
                raise BadAnswerError("question_needed")
            return event | {"answer": {"how": how, "meaning": meaning + 1, "more": more}}
        raise BadAnswerError("answer_needed")  # there is no answer to the last page

    def advance(self, event: Mapping[str, Any]) -> None:
        """Apply an event. Raises UsageError unless it is one of the present page."""
        try:
            if _has_times(event) and self.event(_form_of(event)).items() <= event.items():
                self._apply(event)
                return
        except (BadAnswerError, KeyError, TypeError, AttributeError):
            pass
        raise UsageError(
            f"the log of {self.participant} is damaged in line {self.index + 1}: the event is not one of the present "
            "page"
        )

    def _apply(self, event: Mapping[str, Any]) -> None:
        kind, _, n = self.place
        self.index += 1
        self.wrong = kind == "quiz" and not event["correct"]
        if self.wrong:
            return
        if kind == "sort":
            self.groups = list(event["groups"])
        elif kind == "offer" and event["answer"] == "take":
            self.signs[n] = event["offered"]
        elif kind == "proposal" and event["accepted"]:
            self.partner_signs[n] = event["offered"]
        self.at += 1
        if kind == "proposal" and self.place.kind == "sort" and not self.condition.holds:
            name = "/".join(map(str, (*self.who, self.at, "redraw")))
            self.belief = self.study.partner.redraw(self.study.design.seed, name, self.partner_signs, self.belief)


def replay(
    study: Study, participant: str, events: Sequence[Mapping[str, Any]], kind: type[Session] = Session
) -> Session:
    """The session after the events of a log. Raises UsageError if they do not fit one session."""
    if not events:
        raise UsageError(f"the log of {participant} is empty")
    session = kind(study, participant, events[0])
    for event in events[1:]:
        session.advance(event)
    return session


def places(design: Design, group: str, slot: int) -> list[Place]:
    """The pages of a session in order. In each block every object comes equally often, up to one time."""
    pages = [Place(kind) for kind in ("instructions", "quiz", "practice-offer", "practice-proposal")]
    for block in range(design.blocks):
        pages.append(Place("sort", block))
        objects: list[int] = []
        while len(objects) < design.offers_in_block:
            objects += draws.order(design.objects, design.seed, group, slot, "order", block, len(objects))
        for n in objects[: design.offers_in_block]:
            pages += [Place("offer", block, n), Place("proposal", block, n)]
    return [*pages, Place("questions", design.blocks - 1), Place("end", design.blocks - 1)]


def condition_of(design: Design, group: str, slot: int) -> Condition:
    """The condition of a place in the order of participants: a random order of all conditions, again and again."""
    conditions = design.conditions
    round, place = divmod(slot, len(conditions))
    return conditions[draws.order(len(conditions), design.seed, group, "conditions", round)[place]]


def _has_times(event: Mapping[str, Any]) -> bool:
    """Whether the times of an event are integers; those of the browser may be absent."""
    browser = (event.get("rt"), event.get("client_time"))
    return type(event.get("time")) is int and all(time is None or type(time) is int for time in browser)


def _form_of(event: Mapping[str, Any]) -> dict[str, str]:
    """The form that an event answers."""
    kind, answer = event["kind"], event.get("answer")
    if kind == "quiz":
        return {f"quiz_{place}": str(number) for place, number in enumerate(answer or (), 1)}
    if kind == "sort":
        return {f"group_{n}": str(group) for n, group in enumerate(event["groups"])}
    if kind in ("practice-proposal", "proposal"):
        return {"sign": str(event["offered"])}
    if kind == "questions":
        if not isinstance(answer, Mapping):
            raise TypeError(answer)
        return {"how": answer["how"], "meaning": str(answer["meaning"] - 1), "more": answer["more"]}
    return {"answer": str(answer)}


def _number(text: str | None, below: int, fault: str) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) >= below:
        raise BadAnswerError(fault)
    return int(text)


def _take_or_keep(form: Mapping[str, str]) -> str:
    if (answer := form.get("answer")) not in ("take", "keep"):
        raise BadAnswerError("answer_needed")
    return answer


def _text(text: str | None) -> str:
    """A free answer without control characters, cut after MOST_TEXT characters."""
    kept = "".join(char if char.isprintable() else " " for char in text or "")
    return " ".join(kept.split())[:MOST_TEXT].rstrip()  # a second call changes nothing
