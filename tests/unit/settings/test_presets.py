"""Presets are settings that the file and flags override."""

from pathlib import Path

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.presets import PRESETS, find


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_of_a_preset_is_valid_and_can_be_overridden(name: str, tmp_path: Path) -> None:
    config = resolve({}, preset=name)
    assert find(name).note.startswith(f"preset {name}: ") and config.epochs == int(find(name).settings["epochs"])
    assert resolve({"epochs": "3"}, preset=name).epochs == 3
    (tmp_path / "file.toml").write_text("epochs = 7\n")
    assert resolve({}, tmp_path / "file.toml", preset=name).epochs == 7


def test_the_paper_is_the_public_reference_code() -> None:
    config = resolve({}, preset="paper")
    assert (config.dataset, config.limit, config.batch_size, config.sweeps) == ("mnist", 10_000, 10, 50)
    assert config.prior.values == {"m0": 0, "beta": 1, "nu": 12, "W": 0.1}
    assert resolve({"latent_dim": "8"}, preset="paper").prior.values == {}
    assert resolve({"mixture": "normal-gamma"}, preset="paper").prior.values == {}


@pytest.mark.parametrize("flags", [{"dataset": "csv", "data": "x.csv"}, {"dataset": "synthetic"}])
def test_quick_takes_data_of_unknown_size(flags: dict[str, str]) -> None:
    assert resolve(flags, preset="quick").limit is None and resolve({}, preset="quick").limit == 1000


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(UsageError, match=r"--preset is 'papr'; expected one of quick, paper; did you mean paper\?"):
        resolve({}, preset="papr")
