"""Packages that environment variables break at import."""

import importlib
import sys

import pytest

from mhng.experiment.util.imports import environment_fault

TEXT = {
    "number": 'import os\nlevel = int(os.environ.get("FRAIL_LEVEL", "0"))\n',
    "mode": "import os\nif os.environ['FRAIL_MODE'] not in ('a', 'b'):\n    raise ValueError('unknown FRAIL_MODE')\n",
    "later": "def fail():\n    raise ValueError('FRAIL_LEVEL')\n",
}


@pytest.fixture
def frail(tmp_path, monkeypatch):
    """A package with three modules."""
    (tmp_path / "frail_package").mkdir()
    for name, text in TEXT.items():
        (tmp_path / "frail_package" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("frail_package")]:
        del sys.modules[name]


def fault(module):
    with pytest.raises(ValueError, match=r"invalid|unknown") as caught:
        importlib.import_module(f"frail_package.{module}")
    return environment_fault(caught.value)


def test_the_variable_in_the_message_is_named(frail, monkeypatch):
    monkeypatch.setenv("FRAIL_LEVEL", "loud")
    monkeypatch.setenv("FRAIL_MODE", "c")
    said = fault("number")
    assert said == (
        "frail_package cannot be imported with the environment variable FRAIL_LEVEL=loud (ValueError: invalid literal "
        "for int() with base 10: 'loud'); correct or unset it"
    )
    assert "the environment variable FRAIL_MODE=c (ValueError: unknown FRAIL_MODE); correct" in fault("mode")


def test_other_errors_are_not_explained(frail, monkeypatch):
    monkeypatch.setenv("FRAIL_LEVEL", "loud")
    from frail_package.later import fail

    with pytest.raises(ValueError, match="FRAIL_LEVEL") as caught:
        fail()
    assert environment_fault(caught.value) is None
    assert environment_fault(ValueError("FRAIL_LEVEL=loud")) is None
