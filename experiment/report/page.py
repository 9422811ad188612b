"""Data structures of a report page, and its rendering to HTML.

A page is built from plain values; the template escapes all of them. A page starts with a summary and the answers,
followed by sections. `Section.missing` explains why a section has no content.
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
    """Cell of a table. href: URL, already quoted. strong: bold text."""

    text: str
    href: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Table whose first `text_columns` columns hold text; the other columns hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Picture:
    """Image as a data URI. alt: description. width, height: CSS pixels. fault: why the image could not be drawn."""

    alt: str
    uri: str = ""
    width: int = 0
    height: int = 0
    caption: str = ""
    fault: str = ""


@dataclass(frozen=True)
class ImageRows:
    """Rows of small images with a title and a note. A row is a name, a text beside it, and the image."""

    title: str
    note: str
    rows: Sequence[tuple[str, str, Picture]]


@dataclass(frozen=True)
class Section:
    """Section of a page. Empty parts are left out.

    lists: pairs of a title and its items (name, value, bold). pictures: groups; a group starts on a new line.
    """

    id: str
    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    lists: Sequence[tuple[str, Sequence[tuple[str, str, bool]]]] = ()
    pictures: Sequence[Sequence[Picture]] = ()
    image_rows: Sequence[ImageRows] = ()
    missing: str = ""


@dataclass(frozen=True)
class Answer:
    """Box with a verdict: title, answer, sentences. tone: good, fair, bad or none; it sets the colour."""

    title: str
    answer: str
    sentences: Sequence[str]
    tone: str


@dataclass(frozen=True)
class Page:
    """Report page. kind: line above the title. facts: short texts below the summary. made: time of the results."""

    kind: str
    title: str
    summary: str
    facts: Sequence[str]
    answers: Sequence[Answer] = ()
    next: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)
    made: str = ""


def render(page: Page) -> str:
    """Render a page as HTML. All texts are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page=page, maker=MAKER)


# -- text --------------------------------------------------------------------------------------------


def number(value: Any, digits: int = 3) -> str:
    """Format a number with `digits` decimals; "–" for a missing or non-finite value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def count(value: int, noun: str) -> str:
    """ "1 run", "2 runs"."""
    return f"{value} {noun}{'' if value == 1 else 's'}"


def cells(row: Iterable[Any]) -> list[Cell]:
    """Convert texts to cells; cells stay as they are."""
    return [item if isinstance(item, Cell) else Cell(str(item)) for item in row]


def as_text(value: Any) -> str:
    """Format a setting or a fact: lists with commas, missing and empty values as "–"."""
    if value is None or value in ("", [], (), {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {as_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value)
    return str(value)
