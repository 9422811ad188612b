"""A study in a real browser, by keyboard alone: at both widths, in both languages, in light and dark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mhng.experiment.people.log import Logs
from mhng.experiment.people.serve import write_demo
from tests.browser import Browser, Tab, found

pytestmark = pytest.mark.skipif(found() is None, reason="needs Chromium (or Chrome) on the PATH")

KIND = "document.querySelector('main').dataset.kind"
# Kind and number of a page, as one text.
NOW = f"{KIND} + (document.querySelector('main').dataset.index ?? '')"

HOME = Path(__file__).resolve().parents[2]

# What a page must have: names of all controls, descriptions of all pictures, one heading, no overflow.
FAULTS = """(() => {
  const faults = [];
  for (const e of document.querySelectorAll("input:not([type=hidden]), textarea, progress"))
    if (!e.labels?.length && !e.getAttribute("aria-label")) faults.push("no label: " + e.outerHTML);
  for (const e of document.querySelectorAll("button, a"))
    if (!e.textContent.trim()) faults.push("no text: " + e.outerHTML);
  for (const e of document.images)
    if (!e.alt || !e.complete || !e.naturalWidth) faults.push("picture: " + e.outerHTML.slice(0, 200));
  for (const e of document.querySelectorAll("button, .groups label")) {
    const box = e.getBoundingClientRect();
    if (box.width < 24 || box.height < 24) faults.push("small: " + e.outerHTML);
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("headings");
  if (!document.documentElement.lang) faults.push("language");
  const over = document.documentElement.scrollWidth - window.WIDTH;
  if (over > 0) faults.push("too wide by " + over);
  return faults;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser.started(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A served demo: its folder and its address."""
    folder = tmp_path_factory.mktemp("study") / "demo"
    write_demo(folder)
    command = [sys.executable, str(HOME / "cli.py"), "study", "serve", str(folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+:\d+/", process.stdout.readline())
            assert match is not None
            yield folder, match[0]
        finally:
            process.terminate()


def play(tab: Tab, address: str, look: Callable[[str], None]) -> list[str]:
    """Play to the end by keyboard alone; returns the kinds of pages. look: called on each page."""
    tab.go(address)
    kinds, seen = [], ""
    while True:
        kind, seen = tab.wait(f"{NOW} !== {json.dumps(seen)} && [{KIND}, {NOW}]")
        kinds.append(kind)
        look(kind)
        if kind == "end":
            return kinds
        if kind == "consent":
            tab.focus("#agree")
            tab.press(" ")
        elif kind == "quiz":
            tab.focus("input[name=quiz_1]")
            tab.press(" ")
            tab.focus("input[name=quiz_2]")
            tab.press("ArrowDown")
        elif kind == "sort":
            for n in range(8):
                tab.focus(f"input[name=group_{n}]")
                tab.press(" " if n == 0 else str(1 + n % 4))
        elif kind == "questions":
            tab.focus("#how")
            tab.write("似ているかどうか <b>&")
            tab.focus("input[name=meaning]")
            tab.press(" ")
        if kind in ("practice-offer", "practice-proposal"):
            tab.press("2")
        elif kind == "offer":
            tab.press("1" if len(kinds) % 4 else "2")
            if tab.wait("String(document.querySelectorAll('button').length)") == "1":  # the page may be changing
                tab.press("1")
        elif kind == "proposal":
            tab.focus("button[data-key='3']")
            tab.press("Enter")
        else:
            tab.focus("button[type=submit]")
            tab.press("Enter")


@pytest.mark.parametrize(("width", "language", "scheme"), [
    (390, "en", "dark"), (1280, "ja", "light"), (390, "ja", "light"), (1280, "en", "dark"),
])  # fmt: skip
def test_a_study_is_played_to_its_end_by_keyboard(
    browser: Browser, site: tuple[Path, str], width: int, language: str, scheme: str
) -> None:
    folder, address = site
    before = set(Logs(folder).participants())
    with browser.tab(width=width, scheme=scheme) as tab:

        def look(kind: str) -> None:
            assert tab.evaluate(FAULTS.replace("window.WIDTH", str(width))) == [], kind
            assert tab.evaluate("document.documentElement.lang") == language

        kinds = play(tab, f"{address}?lang={language}", look)
        assert browser.problems == []
        assert all(url.startswith((address, "data:")) for url in browser.requests)
        text = tab.evaluate("document.body.innerText")
    order = ["consent", "instructions", "quiz", "practice-offer", "practice-proposal", "sort"]
    assert kinds == [*order, *["offer", "proposal"] * 12, "questions", "end"]
    (participant,) = set(Logs(folder).participants()) - before
    events = Logs(folder).read(participant)
    assert participant in text and events[0]["language"] == language
    later = events[1:]
    assert all(type(event["rt"]) is int and event["client_time"] > 0 for event in later)
    assert later[-1]["answer"]["how"] == "似ているかどうか <b>&"
    assert {event["answer"] for event in later if event["kind"] == "offer"} == {"take", "keep"}


def test_a_reload_the_back_button_and_a_second_tab(browser: Browser, site: tuple[Path, str]) -> None:
    _, address = site
    index = "document.querySelector('main').dataset.index"
    with browser.tab(width=390) as tab:
        tab.go(address)
        tab.focus("#agree")
        tab.press(" ")
        tab.focus("button")
        tab.press("Enter")
        tab.wait(f"{index} === '1'")
        tab.focus("button")
        tab.press("Enter")
        tab.wait(f"{index} === '2'")
        tab.go(f"{address}page")
        assert tab.evaluate(index) == "2"
        tab.evaluate("history.back()")
        tab.wait(f"{index} === '2'")
        # A form of an earlier page, as a second tab would send it.
        tab.evaluate(
            "document.querySelector('input[name=index]').value = '1'; document.querySelector('form').submit()"
        )
        tab.wait(f"{index} === '2' && document.querySelector('input[name=index]').value === '2'")
        assert browser.problems == []
