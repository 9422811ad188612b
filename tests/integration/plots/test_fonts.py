"""Letters that the font of the plots lacks: another installed font draws them, or one line says so."""

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from mhng.experiment.plots import fonts
from mhng.experiment.plots.style import label_ticks, legend, picture

NAMES = ("猫", "犬", "cat")


def square(size: int):
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, size), (size, size), (size, 0)):
        pen.lineTo(point)
    pen.closePath()
    return pen.glyph()


def font(file: Path, letters: str, name: str) -> Path:
    """A font in which every letter is a black square."""
    build = FontBuilder(1000, isTTF=True)
    build.setupGlyphOrder([".notdef", "square"])
    build.setupCharacterMap(dict.fromkeys(map(ord, letters), "square"))
    build.setupGlyf({".notdef": square(10), "square": square(900)})
    build.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    build.setupHorizontalHeader(ascent=900, descent=-100)
    build.setupNameTable({"familyName": name, "styleName": "Regular"})
    build.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    build.setupPost()
    build.save(file)
    return file


@pytest.fixture(autouse=True)
def _installed_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has, only the fonts of matplotlib are installed, and no letter is reported yet."""
    bundled = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", bundled)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setattr(fonts, "_reported", set())
    fonts._add_new_fonts.cache_clear()


def drawn(file: Path, names: tuple[str, ...] = NAMES) -> Path:
    with picture(file, 4, 3) as figure:
        axes = figure.subplots()
        axes.plot([0, 1, 2], label=names[0])
        label_ticks(axes.xaxis, [0, 1, 2], names, 1.0)
        axes.set_ylabel(names[1])
        legend(axes, names[1])
    return file


def test_letters_of_no_font_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn(tmp_path / "a.png")
    drawn(tmp_path / "b.png")
    assert capsys.readouterr().err == (
        "note: no installed font has the letters 犬猫; pictures show boxes in their place\n"
    )
    drawn(tmp_path / "c.png", ("é", "ß", "π"))
    assert capsys.readouterr().err == ""


def test_text_in_an_svg_needs_no_font(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "猫" in drawn(tmp_path / "a.svg").read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""


def test_installed_fonts_draw_the_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = Image.open(drawn(tmp_path / "boxes.png")).tobytes()
    assert "no installed font" in capsys.readouterr().err
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    files = [font(tmp_path / f"{name}.ttf", letter, name) for name, letter in (("Cat", "猫"), ("Dog", "犬"))]
    installed = [*map(str, files), str(tmp_path / "damaged.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    fonts._add_new_fonts.cache_clear()
    fonts._reported.clear()
    latin = Image.open(drawn(tmp_path / "latin.png", ("a", "b", "c"))).tobytes()
    assert Image.open(drawn(tmp_path / "again.png", ("a", "b", "c"))).tobytes() == latin
    letters = Image.open(drawn(tmp_path / "letters.png")).tobytes()
    assert letters != boxes and capsys.readouterr().err == ""
    assert sorted(fonts._fonts_with(set(map(ord, "猫犬虎")))) == ["Cat", "Dog"]
