"""What a page is made of, before it is HTML: plain values, of which the template escapes every one.

A page opens with its headline and answers; sections follow. A section that cannot be made says why in `missing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAKER = "mh-naming-game"


@dataclass(frozen=True)
class Cell:
    """Of a table. href: where it leads, quoted already. strong: it stands out."""

    text: str
    href: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """The first `words` columns of a table hold words, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class Picture:
    """An image as a data URI, its size in CSS pixels; what it shows in words. fault: why it could not be drawn."""

    alt: str
    uri: str = ""
    width: int = 0
    height: int = 0
    caption: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Strips:
    """Rows of small images, each under a name."""

    title: str
    note: str
    rows: Sequence[tuple[str, str, Picture]]  # name, words beside it, the images


@dataclass(frozen=True)
class Section:
    """A heading, and what there is to show; empty parts are left out."""

    id: str
    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    lists: Sequence[tuple[str, Sequence[tuple[str, str, bool]]]] = ()  # title; names, values, does it stand out?
    pictures: Sequence[Sequence[Picture]] = ()  # in groups, each of which begins a line
    strips: Sequence[Strips] = ()
    missing: str = ""


@dataclass(frozen=True)
class Answer:
    """To a question: a word and sentences. tone: good, fair, bad or none, which colours it."""

    question: str
    answer: str
    words: Sequence[str]
    tone: str


@dataclass(frozen=True)
class Page:
    """All of it. kind: what it is a page of. facts: short ones, below the title."""

    kind: str
    title: str
    lead: str
    facts: Sequence[str]
    answers: Sequence[Answer] = ()
    next: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)
    made: str = ""


def render(page: Page) -> str:
    """The HTML of a page. Text is escaped, wherever it came from."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page=page, maker=MAKER)


# -- words and numbers -------------------------------------------------------------------------------


def number(value: Any, digits: int = 3) -> str:
    """For a reader; "–" for what is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def cells(row: Iterable[Any]) -> list[Cell]:
    """Texts as cells; cells as they are."""
    return [one if isinstance(one, Cell) else Cell(str(one)) for one in row]


def word(value: Any) -> str:
    """A setting or a fact as text: lists with commas, none as "–"."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {word(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(word(item) for item in value)
    return str(value)
