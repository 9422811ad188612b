"""The folder of a study, opened for reading."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.people.design import DESIGN, Design, read_design
from mhng.experiment.people.log import Logs
from mhng.experiment.people.partner import PARTNER, Partner
from mhng.experiment.people.partners import load_partner
from mhng.experiment.util.files import error_line

SALT = "salt"
CONSENT = "consent.{language}.txt"
PICTURES = "stimuli"
PRACTICE = "practice.png"


@dataclass(frozen=True, eq=False)
class Study:
    """A study folder.

    checksum: of the design, the partner and the pictures; a log belongs to one. consent: text by language. pictures:
    PNG files of the person's side. hidden: those of the partner, in a demo only.
    """

    path: Path
    design: Design
    partner: Partner
    checksum: str
    salt: bytes
    consent: dict[str, str]
    pictures: tuple[bytes, ...]
    practice: bytes
    hidden: tuple[bytes, ...]

    @classmethod
    def open(cls, path: Path, *, trust_plugins: bool = False) -> Study:
        """Open a study. Raises UsageError that names a missing, damaged or foreign file."""
        design = read_design(path)
        partner = load_partner(path, design.objects, design.signs, trust_plugins=trust_plugins)
        try:
            salt = bytes.fromhex(_read(path / SALT).decode("ascii").strip())
        except ValueError:
            salt = b""
        if len(salt) < 16:
            raise UsageError(f"{path / SALT} is damaged; expected 32 or more hexadecimal digits")
        pictures = [_read_picture(picture_file(path, "person", n)) for n in range(design.objects)]
        digest = hashlib.sha256(_read(path / DESIGN) + _read(path / PARTNER) + b"".join(pictures))
        consent = {name: consent_text(path / CONSENT.format(language=name)) for name in design.languages}
        if (version := consent_version(consent)) != design.consent:
            raise UsageError(
                f"{path}: the consent texts have version {version}, but {DESIGN} has {design.consent!r}; restore the "
                "texts, or make a new study"
            )
        return cls(
            path,
            design,
            partner,
            digest.hexdigest()[:16],
            salt,
            consent,
            tuple(pictures),
            _read_picture(path / PICTURES / PRACTICE),
            tuple(_read_picture(picture_file(path, "partner", n)) for n in range(design.objects))
            if design.demo
            else (),
        )

    @property
    def logs(self) -> Logs:
        """The logs of the participants."""
        return Logs(self.path)

    def participant(self, token: str) -> str:
        """The name of the participant with a token, in logs and tables."""
        return self.hashed(f"token/{token}")[:16]

    def hashed(self, text: str) -> str:
        """A salted hash of a text, in hexadecimal."""
        return hmac.new(self.salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def completion_code(self, participant: str) -> str:
        """The code that a participant gets at the end."""
        return self.design.code or self.hashed(f"complete/{participant}")[:10].upper()


def picture_file(path: Path, side: str, n: int) -> Path:
    """The picture of object n as `side` sees it."""
    return path / PICTURES / side / f"{n:03d}.png"


def consent_text(file: Path) -> str:
    """A consent text. Raises UsageError for a file that is missing, empty or not UTF-8."""
    try:
        text = _read(file).decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 text") from error
    if not text:
        raise UsageError(f"{file} is empty; expected the consent text")
    return text


def consent_version(texts: dict[str, str]) -> str:
    """A hash of the consent texts of all languages."""
    joined = "\0".join(f"{language}\0{texts[language]}" for language in sorted(texts))
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error_line(error)}") from error


def _read_picture(file: Path) -> bytes:
    data = _read(file)
    if not data.startswith(b"\x89PNG"):
        raise UsageError(f"{file} is not a PNG picture")
    return data
