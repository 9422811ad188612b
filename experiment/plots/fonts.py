"""Letters that the font of the plots lacks, drawn with another installed font."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache

from mhng.experiment.util.output import print_note
from mhng.experiment.util.process import environment

with environment(MPLBACKEND=None):
    from matplotlib import font_manager
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font
    from matplotlib.text import Text

_MISSING = re.compile(r"Glyph (\d+) .*missing from")
# Placeholders for every letter
_PLACEHOLDERS = "Last Resort"
_reported: set[int] = set()


def draw_letters(figure: Figure, save: Callable[[], object], *, is_text: bool) -> None:
    """Save the figure; if its font lacks letters, save it again with fonts that have them.

    Prints a line once for letters that no installed font has, unless the file keeps the text as text (`is_text`).
    """
    missing = _missing_letters(save)
    if missing and (fonts := _fonts_with(missing)):
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_fontfamily([*text.get_fontfamily(), *fonts])
        missing = _missing_letters(save)
    if not is_text and missing - _reported:
        letters = map(chr, sorted(missing)[:10])
        shown = "".join(letter if letter.isprintable() else f"U+{ord(letter):04X} " for letter in letters).strip()
        print_note(f"note: no installed font has the letters {shown}; pictures show boxes in their place")
        _reported.update(missing)


def _missing_letters(save: Callable[[], object]) -> set[int]:
    """Save, and return the code points that matplotlib reports as missing. Other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph .* missing")
        save()
    missing = set()
    for warning in caught:
        if match := _MISSING.match(str(warning.message)):
            missing.add(int(match[1]))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return missing


def _fonts_with(letters: set[int]) -> list[str]:
    """Names of installed fonts that together have as many of the letters as possible; few fonts."""
    _add_new_fonts()
    fonts: list[str] = []
    charmaps = {
        entry.name: _letters_of(entry.fname)
        for entry in font_manager.fontManager.ttflist
        if not entry.name.startswith(_PLACEHOLDERS) and entry.style == "normal"
    }
    while letters and charmaps:
        best = max(charmaps, key=lambda name: len(letters & charmaps[name]))
        if not letters & charmaps[best]:
            break
        fonts.append(best)
        letters = letters - charmaps[best]
    return fonts


@cache
def _add_new_fonts() -> None:
    """Add fonts that were installed after matplotlib wrote its list."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in set(font_manager.findSystemFonts()) - known:
        try:
            font_manager.fontManager.addfont(file)
        except Exception:  # a damaged or bitmap font raises many types
            continue


@cache
def _letters_of(file: str) -> frozenset[int]:
    """Code points of a font; none if it cannot be scaled (bitmap emoji)."""
    try:
        font = FT2Font(file)
        font.set_size(10, 100)
        return frozenset(font.get_charmap())
    except Exception:  # a damaged font raises many types
        return frozenset()
