"""docs/models.md tells the truth: every variant is there, with the hyperparameters and defaults that it has."""

import inspect
import re
from pathlib import Path

import pytest

from mhng.models.hyperparameters import hyperparameter_names
from mhng.models.registry import GUIDES, LIKELIHOODS, MIXTURES, NETWORKS, WEIGHTS, load_variant

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*NETWORKS, *LIKELIHOODS, *GUIDES, *MIXTURES, *WEIGHTS])
def test_every_variant_is_on_the_page(name):
    assert re.search(rf"\b{re.escape(name)}\b", TEXT)


@pytest.mark.parametrize("name", MIXTURES)
def test_hyperparameters_and_their_defaults_are_those_of_the_code(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", TEXT, flags=re.M)
    told = dict(part.split(" = ") for part in row.split("|")[4].strip().split(", "))
    family = load_variant(MIXTURES[name])
    assert list(told) == hyperparameter_names(family)
    for one, default in told.items():
        made = inspect.signature(family).parameters[one].default
        assert made is None if default == "L" else float(made) == float(default), one


def test_the_likelihood_of_ones_own_is_the_example_that_is_run():
    example = (ROOT / "examples" / "your_own_likelihood.py").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```python\n(class .*?)```", TEXT, flags=re.S)
    assert shown.strip() in example


def test_the_mixture_of_the_page_is_right():
    import torch

    from mhng.models.mixtures.check import check_mixture

    (shown,) = re.findall(r"```python\n(import pyro.*?)```", TEXT, flags=re.S)
    names = {}
    exec(shown, names)
    check_mixture(names["Boxes"](3), torch.eye(3, dtype=torch.float64), K=2)


def test_the_tables_of_agents_that_differ_make_the_settings_of_the_flag(tmp_path):
    import shlex

    from mhng.experiment.settings.config import plain, resolve
    from mhng.experiment.settings.parsing import read_settings

    (command,) = re.findall(r"```sh\npython cli.py train (.*)\n```", TEXT)
    (table,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.S)
    file = tmp_path / "run.toml"
    file.write_text(table, encoding="utf-8")
    assert plain(resolve({}, file)) == plain(resolve(read_settings(shlex.split(command))))
