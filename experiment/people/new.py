"""The command `study new`: write the folder of a study.

design.json           conditions, blocks, offers, languages, seed
partner.pt            the partner: tensors and plain values; partner.py: its program, if it is one
person.pt             the agent that a person stands in for: for bots, and features for the analysis
stimuli/person/*.png  what participants see; stimuli/partner/*.png is never served, but for a demo
consent.LANGUAGE.txt  consent texts
salt                  secret of all hashes; without it, logs cannot be tied to a recruiting site
logs/                 a file for each participant
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from mhng.experiment.errors import UsageError
from mhng.experiment.people.design import DESIGN, Design, check_design
from mhng.experiment.people.partner import PARTNER, PROGRAM, save
from mhng.experiment.people.person import PERSON
from mhng.experiment.people.sides import Sides
from mhng.experiment.people.study import (
    CONSENT,
    PICTURES,
    PRACTICE,
    SALT,
    consent_text,
    consent_version,
    picture_file,
)
from mhng.experiment.util.files import atomic_path, disk_errors
from mhng.experiment.util.paths import check_new_folder


def write_study(path: Path, design: Design, sides: Sides, consent: Mapping[str, str]) -> None:
    """Write the folder of a study. Raises UsageError if it exists and is not empty, RunError for a full disk."""
    check_new_folder(path, "DIR")
    design = check_design(replace(design, consent=consent_version(dict(consent))))
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        for language, text in consent.items():
            (path / CONSENT.format(language=language)).write_text(text + "\n", encoding="utf-8")
        for side, pictures in (("person", sides.person_pictures), ("partner", sides.partner_pictures)):
            for n, picture in enumerate(pictures):
                file = picture_file(path, side, n)
                file.parent.mkdir(parents=True, exist_ok=True)
                picture.save(file, optimize=True)
        practice_picture().save(path / PICTURES / PRACTICE, optimize=True)
        descriptor = os.open(path / SALT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file_of_salt:
            file_of_salt.write(secrets.token_hex(32) + "\n")
        if "code" in sides.partner:  # a Pyro program
            (path / PROGRAM).write_text(sides.partner["code"], encoding="utf-8")
    save(path / PARTNER, sides.partner)
    person = sides.person
    features = None if person.features is None else torch.from_numpy(person.features)
    tables = {name: torch.from_numpy(getattr(person, name)) for name in ("log_prior", "table")}
    save(path / PERSON, {"features": features, **tables})
    # Last: a folder with a design is whole.
    with atomic_path(path / DESIGN) as beside:
        beside.write_text(design.to_json(), encoding="utf-8")


def read_consent(files: Sequence[Path], languages: Sequence[str]) -> dict[str, str]:
    """The consent texts: a file for each language, in their order. Raises UsageError."""
    if len(files) != len(languages):
        raise UsageError(
            f"--consent has {len(files)} files; expected one for each of --language, {','.join(languages)}"
        )
    return {language: consent_text(file) for language, file in zip(languages, files, strict=True)}


def study_name(path: Path) -> str:
    """Letters and digits of the name of the folder, as the name of the study."""
    return re.sub(r"[^A-Za-z0-9]", "", path.absolute().name)[:40] or "study"


def practice_picture() -> Image.Image:
    """A house."""
    image = Image.new("RGB", (480, 480), (250, 250, 247))
    pen = ImageDraw.Draw(image)
    pen.rectangle((130, 230, 350, 400), fill=(214, 180, 140), outline=(80, 60, 50), width=6)
    pen.polygon([(100, 235), (240, 100), (380, 235)], fill=(176, 82, 66), outline=(80, 60, 50), width=6)
    pen.rectangle((215, 300, 265, 400), fill=(110, 80, 60))
    return image.resize((240, 240), Image.Resampling.LANCZOS)
