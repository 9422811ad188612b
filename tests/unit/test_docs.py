"""Pages: pictures are there and small, and both READMEs say the same."""

import re
from pathlib import Path

from mhng import __version__
from mhng.experiment.settings.by_dataset import BY_DATASET
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.settings.schema import Config
from mhng.inference import LISTENER_STATES, MODES
from mhng.inference.laws import Cell, law

HOME = Path(__file__).resolve().parents[2]


def test_every_picture_is_on_a_page_and_there_and_all_are_small():
    shown = []
    for page in (HOME / "README.md", *sorted((HOME / "docs").glob("*.md"))):
        names = re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
        shown += [(page.parent / name).resolve() for name in names]
    assert len(shown) >= 10 and all(file.read_bytes().startswith(b"\x89PNG") for file in shown)
    assert set(shown) == set((HOME / "docs" / "pictures").iterdir())
    assert sum(file.stat().st_size for file in shown) < 900_000


def told(file):
    """The parts of a README that both languages share: code blocks, code in the text, links, figures."""
    text = (HOME / file).read_text(encoding="utf-8")
    blocks = re.findall(r"```.*?```", text, flags=re.S)
    text = re.sub(r"```.*?```|^    .*?$", "", text, flags=re.S | re.M)
    spans = sorted({" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)})
    links = sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.ja.md"})
    figures = sorted(re.findall(r"(?<![\w.])\d+[.,:]\d+|\d+%", re.sub(r"`[^`]+`|\]\([^)]+\)", "", text)))
    return {"blocks": blocks, "spans": spans, "links": links, "figures": figures}


def test_the_japanese_readme_says_what_the_english_one_says():
    english, japanese = told("README.md"), told("README.ja.md")
    assert len(english["spans"]) > 60 and len(english["figures"]) > 8
    for kind, expected in english.items():
        assert japanese[kind] == expected, kind


def verdict(law):
    """A verdict in the words of docs/correctness.md."""
    words = {"another": "another law"}.get(law.kind, law.kind)
    return words if law.kind == "exact" or law.bias is None else f"{words}, {law.bias:.2f}"


def test_the_page_on_correctness_has_the_verdicts_of_the_table_of_laws():
    text = (HOME / "docs" / "correctness.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:--[a-z-]+ [\w:.-]+ ?)+)` \| ([^|]+) \| ([^|]+) \|$", text, flags=re.M)
    assert len(rows) > 20
    names = {"acceptance": "rules", "mixture": "mixtures"}
    seen = set()
    for options, *shown in rows:
        words = options.replace("--", "").replace("-", "_").split()
        fields = {names.get(key, key): value for key, value in zip(words[::2], words[1::2], strict=True)}
        fields = {key: value.replace("speaker_", "speaker-").replace("no_", "no-") for key, value in fields.items()}
        fields |= {key: (fields[key],) for key in ("rules", "mixtures") if key in fields}
        cell = Cell(**fields | {"agents": int(fields.get("agents", 2))})
        assert shown == [verdict(law(cell._replace(redrawn=redrawn))) for redrawn in (False, True)], options
        seen.add((cell.mode, cell.listener_state))
    assert {mode for mode, _ in seen} == set(MODES) and {state for _, state in seen} == set(LISTENER_STATES)


def test_the_page_on_data_has_the_defaults():
    text = (HOME / "docs" / "data.md").read_text(encoding="utf-8")
    row = f"{Config().rounds}; 5 for `fruits360`, `fruits360-20` and `sprites`, 30 for `mnist-numbers`"
    assert f"| `--rounds` | {row} |" in text
    rounds = {name: chosen["rounds"] for name, chosen in BY_DATASET.items() if "rounds" in chosen}
    assert rounds == {"fruits360": 5, "fruits360-20": 5, "sprites": 5, "mnist-numbers": 30}
    shown = dict(re.findall(r"^`([\w-]+)` has `(--[^`]+)`", text, flags=re.M))
    for name in ("sprites", "mnist-numbers"):
        given = read_settings(shown[name].split())
        assert given.keys() >= BY_DATASET[name].keys() - {"start"}  # of sentences only, in the text
        assert resolve(given | {"dataset": name}) == resolve({"dataset": name}), name


def test_the_citation_is_that_of_this_version():
    text = (HOME / "CITATION.cff").read_text(encoding="utf-8")
    try:
        import yaml  # comes with other packages, such as Ray
    except ImportError:
        keys = dict(re.findall(r"^([\w-]+): *(.*)$", text, re.M))
    else:
        keys = yaml.safe_load(text)
        assert keys["preferred-citation"]["year"] == 2023 and len(keys["preferred-citation"]["authors"]) == 6
    assert (keys["cff-version"], keys["version"], keys["license"]) == ("1.2.0", __version__, "MIT")
    assert "doi: 10.1080/01691864.2023.2260856" in text and "2205.12392" in text
