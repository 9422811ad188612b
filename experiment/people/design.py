"""The design of a study, as design.json holds it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.people.conditions import Condition, parse_condition
from mhng.experiment.people.texts import LANGUAGES, MOST_NAMES
from mhng.experiment.util.jsonable import parse_json_object

VERSION = 1
DESIGN = "design.json"

# The smallest and largest value of each number.
_RANGES = {
    "seed": (0, 2**53),
    "blocks": (1, 100),
    "offers": (1, 10_000),
    "objects": (2, 100),
    "signs": (2, MOST_NAMES),
    "groups": (2, 9),
}


@dataclass(frozen=True)
class Design:
    """What a study shows, in which order, to whom.

    name: letters and digits, the name of the exported files. seed: of all draws. source: what the objects are.
    partners: conditions, between participants. blocks: of trials. offers: to a participant, in all blocks together.
    objects, signs: N and K. groups: into which a participant sorts the objects. languages: the first is the default.
    consent: a hash of the consent texts. demo: whether the last page shows what the partner sees. code: a fixed
    completion code; None: one for each participant.
    """

    name: str
    seed: int
    source: str
    partners: tuple[str, ...]
    blocks: int
    offers: int
    objects: int
    signs: int
    groups: int
    languages: tuple[str, ...]
    consent: str = ""
    demo: bool = False
    code: str | None = None
    version: int = VERSION

    @property
    def conditions(self) -> list[Condition]:
        """The conditions, in the order of `partners`."""
        return [parse_condition(text) for text in self.partners]

    @property
    def offers_in_block(self) -> int:
        """Offers of the partner in one block."""
        return self.offers // self.blocks

    def to_json(self) -> str:
        """The text of design.json."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def check_design(design: Design, place: str = "") -> Design:
    """Check a design and return it. Raises UsageError, which begins with `place`, for a value out of range."""
    for name, (low, high) in _RANGES.items():
        value = getattr(design, name)
        if not low <= value <= high:
            raise UsageError(f"{place}--{name} is {value}; expected {low} to {high:,}")
    if not re.fullmatch(r"[A-Za-z0-9]{1,40}", design.name):
        raise UsageError(f"{place}--name is {design.name!r}; expected 1 to 40 letters and digits")
    if design.offers % design.blocks:
        raise UsageError(f"{place}--offers is {design.offers}; expected a multiple of --blocks, {design.blocks}")
    if not design.partners:
        raise UsageError(f"{place}--partner is empty; expected a condition or more")
    for kind, values in (("partner", design.partners), ("language", design.languages)):
        if len(set(values)) < len(values):
            raise UsageError(f"{place}--{kind} is {','.join(values)}; expected different values")
    for text in design.partners:
        parse_condition(text, f"{place}--partner")
    for language in design.languages:
        if language not in LANGUAGES:
            raise UsageError(f"{place}--language is {language!r}; expected some of {', '.join(LANGUAGES)}")
    if not design.languages:
        raise UsageError(f"{place}--language is empty; expected some of {', '.join(LANGUAGES)}")
    if design.code is not None and not re.fullmatch(r"[A-Za-z0-9-]{1,40}", design.code):
        raise UsageError(f"{place}--code is {design.code!r}; expected 1 to 40 letters, digits and hyphens")
    return design


def read_design(folder: Path) -> Design:
    """Read design.json. Raises UsageError for a folder that is no study, and for a damaged or foreign file."""
    file = folder / DESIGN
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder} is not a study: {DESIGN} cannot be read ({error.strerror}); `study new` makes one"
        ) from error
    values = parse_json_object(data, str(file))
    check_version(file, values, VERSION)
    kinds: dict[str, type[Any]] = {
        **dict.fromkeys(_RANGES, int), "name": str, "source": str, "consent": str, "demo": bool, "version": int,
        "partners": list, "languages": list,
    }  # fmt: skip
    for name, kind in kinds.items():
        if type(values.get(name)) is not kind:
            raise UsageError(f"{file}: {name} is {values.get(name)!r}; expected a value of type {kind.__name__}")
    if unknown := set(values) - set(kinds) - {"code"}:
        raise UsageError(f"{file} has the unknown key {min(unknown)!r}")
    for name in ("partners", "languages"):
        if not all(isinstance(item, str) for item in values[name]):
            raise UsageError(f"{file}: {name} holds a value that is not a text")
        values[name] = tuple(values[name])
    if not isinstance(values.get("code"), str | None):
        raise UsageError(f"{file}: code is {values['code']!r}; expected a text or null")
    return check_design(Design(**values), f"{file}: ")


def check_version(file: Path, state: Mapping[str, Any], version: int) -> None:
    """Raise UsageError for a file of a study that has another version than `version`."""
    if state.get("version") != version:
        found = f"version {state['version']!r}" if "version" in state else "no version"
        raise UsageError(
            f"{file} has {found}; this program reads version {version}; open the study with the program that made "
            "it, or make a new one with `study new`"
        )
