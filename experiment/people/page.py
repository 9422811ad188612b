"""Render the pages of a study as HTML. The template escapes every value."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from mhng.experiment.people.session import MOST_TEXT, Session
from mhng.experiment.people.study import Study
from mhng.experiment.people.texts import texts

_HERE = Path(__file__).parent
STATIC = {"style.css": "text/css", "page.js": "text/javascript"}


def static_file(name: str) -> bytes:
    """The content of a file in STATIC."""
    return (_HERE / name).read_bytes()


def picture_name(study: Study, n: int) -> str:
    """The address of the person's picture of object n, which does not tell n."""
    return f"{study.hashed(f'picture/{n}')[:16]}.png"


PRACTICE_PICTURE = "practice.png"


def render_session(session: Session, fault: str | None = None) -> str:
    """The present page of a session. fault: a key of texts.toml that says what is wrong with the last answer."""
    study, design, place = session.study, session.study.design, session.place
    table = texts(session.language)
    names = table["names"][: design.signs]
    values: dict[str, Any] = {
        "kind": place.kind,
        "place": place,
        "index": session.index,
        "session": session.mark,
        "page": session.at + 1,
        "pages": len(session.places),
        "names": names,
        "fault": fault or ("quiz_wrong" if session.wrong else None),
        "design": design,
        "most_text": MOST_TEXT,
    }
    if place.kind == "sort":
        values["pictures"] = [picture_name(study, n) for n in range(design.objects)]
    elif place.kind in ("offer", "proposal"):
        values |= {
            "picture": picture_name(study, place.object),
            "sign": session.signs[place.object],
            "offered": session.offered() if place.kind == "offer" else None,
            "so_far": _by_name(session.signs, [picture_name(study, n) for n in range(design.objects)], design.signs),
        }
    elif place.kind in ("practice-offer", "practice-proposal"):
        values |= {"picture": PRACTICE_PICTURE, "sign": 0, "offered": 1 if place.kind == "practice-offer" else None}
    elif place.kind == "end":
        values |= {"code": study.completion_code(session.participant), "participant": session.participant}
        if study.hidden:
            shown = [picture_name(study, n) for n in range(design.objects)]
            hidden = [f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}" for data in study.hidden]
            values["so_far"] = _by_name(session.signs, shown, design.signs)
            values["partner_so_far"] = _by_name(session.partner_signs, hidden, design.signs)
    return _render("page.html.j2", session.language, values)


def render_consent(
    study: Study,
    language: str,
    recruiting: Mapping[str, str],
    others: Sequence[tuple[str, str, str]],
    fault: str | None,
) -> str:
    """The first page. others: language, its name and the address of the page in it. fault: a key of texts.toml."""
    lines = [part.strip() for part in study.consent[language].replace("\r", "").split("\n\n")]
    paragraphs = [(part.startswith("#"), part.lstrip("# ")) for part in lines if part]
    values = {
        "kind": "consent", "paragraphs": paragraphs, "version": study.design.consent, "recruiting": recruiting,
        "others": others, "fault": fault,
    }  # fmt: skip
    return _render("consent.html.j2", language, values)


def render_message(language: str, name: str) -> str:
    """A page that says what happened: `name`_title and `name`_text of texts.toml."""
    return _render("message.html.j2", language, {"kind": "message", "name": name})


def _by_name(signs: Sequence[int], pictures: Sequence[str], K: int) -> list[list[str]]:
    """The pictures of the objects with each sign."""
    return [[picture for sign, picture in zip(signs, pictures, strict=True) if sign == k] for k in range(K)]


def _render(template: str, language: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(language=language, text=texts(language), **values)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
