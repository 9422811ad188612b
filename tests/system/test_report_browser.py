"""The page in a real browser: nothing is complained of or asked for, all is drawn, and it fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mhng import cli
from tests.browser import Browser, Seen, found
from tests.comparisons import comparison

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium (or Chrome) on the PATH")

ALERT = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser.started(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = comparison(tmp_path_factory.mktemp("grid") / "grid", names=("com", f"all, {ALERT}"), error=ALERT)
    assert cli.main(["report", str(folder)]) == 0
    return folder / "report.html"


def assert_sound(seen: Seen, file: Path) -> None:
    assert seen.problems == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [file.resolve().as_uri()]
    assert seen.images and all(width > 0 and alt for alt, width in seen.images)
    assert seen.overflow <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_drawn_without_messages_and_without_the_network(
    browser: Browser, digits_page: Path, width: int, scheme: str
) -> None:
    seen = browser.look(digits_page, width=width, scheme=scheme)
    assert_sound(seen, digits_page)
    assert len(seen.images) > 40 and "Suggested next steps" in seen.text
    assert seen.title == "Mode com on digits, seed 0"


def test_the_page_has_the_same_text_without_scripts(browser: Browser, digits_page: Path) -> None:
    without = browser.look(digits_page, script=False)
    assert_sound(without, digits_page)
    assert without == browser.look(digits_page)


@pytest.mark.parametrize("width", [390, 1200])
def test_a_comparison_with_names_that_are_html(browser: Browser, grid: Path, width: int) -> None:
    seen = browser.look(grid, width=width)
    assert_sound(seen, grid)
    assert len(seen.images) == 3 and ALERT in seen.text


def test_the_check_sees_faults(browser: Browser, tmp_path: Path) -> None:
    """A picture that is broken, a request to elsewhere, an error in the console, a page that is too wide."""
    file = tmp_path / "wrong.html"
    file.write_text(
        "<!DOCTYPE html><meta name=viewport content='width=device-width'><img src='data:image/png;base64,AAAA' alt=x>"
        "<link rel=stylesheet href='http://127.0.0.1:9/x.css'><div style='width:2000px'>x</div>"
        "<script>undefined.x</script>"
    )
    seen = browser.look(file, width=390)
    assert any("TypeError" in text for text in seen.problems)
    assert "http://127.0.0.1:9/x.css" in seen.requests
    assert seen.images == [("x", 0)]
    assert seen.overflow > 1000 and browser.look(file, width=1200).overflow > 500
