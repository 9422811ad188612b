"""Settings that are not given follow the objects; those that are given stay."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError
from mhng.experiment.settings import by_dataset
from mhng.experiment.settings.config import plain, resolve, to_flags, to_toml
from mhng.experiment.settings.schema import CHOSEN, Config
from mhng.experiment.training.defaults import batch_size, choose, choose_images, describe


def objects_of(*views: torch.Tensor) -> Objects:
    return Objects("mine", views, None, (), np.arange(len(views[0])))


def chosen(flags: dict[str, Any], *views: torch.Tensor) -> Config:
    config, _ = choose(resolve(flags), objects_of(*views))
    assert all(getattr(config, name) is not None for name in CHOSEN)
    return config


SEEDED = torch.Generator().manual_seed(0)
FEATURES = torch.randn(300, 4, generator=SEEDED)
WIDE = torch.randn(300, 65, generator=SEEDED)
BINARY = (torch.rand(200, 1, 8, 8, generator=SEEDED) > 0.5).float()
GREY = torch.rand(200, 1, 8, 8, generator=SEEDED)


@pytest.mark.parametrize(
    ("flags", "view", "likelihood"),
    [
        ({}, FEATURES, "identity"),
        ({"latent_dim": "12"}, FEATURES, "gaussian"),
        ({"network": "mlp"}, FEATURES, "gaussian"),
        ({"guide": "full"}, FEATURES, "gaussian"),
        ({"percept": "mean"}, FEATURES, "gaussian"),
        ({"mixture": "dirichlet"}, WIDE, "identity"),
        ({}, WIDE, "gaussian"),
        ({"dataset": "attributes:2x100"}, WIDE, "identity"),
        ({"reduce": "12"}, WIDE, "identity"),
        ({"likelihood": "bernoulli"}, GREY, "bernoulli"),
        ({}, BINARY, "bernoulli"),
        ({}, GREY, "gaussian"),
        ({}, BINARY.expand(-1, 3, -1, -1), "gaussian"),
    ],
)
def test_likelihood_follows_the_objects(flags: dict[str, str], view: torch.Tensor, likelihood: str) -> None:
    assert chosen(flags, view, view).likelihood == likelihood


def test_three_quarters_of_the_pixels_make_an_image_binary() -> None:
    for share, likelihood in ((0.74, "gaussian"), (0.76, "bernoulli")):
        pixels = torch.full((100, 100), 0.5)
        pixels[:, : round(100 * share)] = 0.95
        assert chosen({}, *[pixels.reshape(100, 1, 10, 10)] * 2).likelihood == likelihood


def test_missing_images_do_not_count() -> None:
    view = BINARY.clone()
    view[:150] = float("nan")
    assert chosen({}, view, view).likelihood == "bernoulli"


def test_agents_may_differ() -> None:
    config, reasons = choose(resolve({"dataset": "csv", "data": "x.csv"}), objects_of(FEATURES, GREY))
    assert config.likelihood == "identity" and dict(config.agent)["B"] == (("likelihood", "gaussian"),)
    assert "gaussian for agent B" in reasons["likelihood"]
    config = chosen({"agent": ["B: --latent-dim 3"]}, FEATURES, FEATURES)
    assert [config.per_agent[name].likelihood for name in "AB"] == ["identity", "gaussian"]
    both = {"agent": ["A: --likelihood gaussian", "B: --likelihood identity"]}
    assert chosen(both, FEATURES, FEATURES).likelihood == "gaussian"


@pytest.mark.parametrize(
    ("count", "batch", "epochs", "round_epochs"),
    [
        (5000, 128, 80, 1),
        (60_000, 128, 80, 1),
        (1797, 32, 80, 1),
        (600, 16, 85, 2),
        (200, 16, 247, 4),
        (40, 16, 250, 14),
    ],
)
def test_steps_follow_the_number_of_objects(count: int, batch: int, epochs: int, round_epochs: int) -> None:
    view = torch.zeros(count, 1, 1, 1)
    config = chosen({}, view, view)
    assert (config.batch_size, config.epochs, config.round_epochs) == (batch, epochs, round_epochs)
    assert batch_size(count) == batch


def test_colour_images_learn_shorter() -> None:
    colour = BINARY.expand(-1, 3, -1, -1)
    assert (chosen({}, colour, colour).epochs, chosen({}, BINARY, BINARY).epochs) == (80, 247)


def test_given_settings_stay() -> None:
    given = {"epochs": "3", "round_epochs": "0", "batch_size": "7", "network": "conv", "latent_dim": "2"}
    config, reasons = choose(resolve(given), objects_of(GREY, GREY))
    assert all(str(getattr(config, name)) == value for name, value in given.items())
    assert reasons.keys() == {"likelihood"}


def test_steps_follow_a_given_batch_size() -> None:
    assert chosen({"batch_size": "200"}, GREY, GREY).round_epochs == 40


def test_settings_that_are_not_given_have_no_flag_and_no_value() -> None:
    assert to_flags(resolve({})) == [] and plain(resolve({}))["epochs"] is None
    config, reasons = choose(Config(), objects_of(GREY, GREY))
    text = to_toml(config, reasons)
    assert 'likelihood = "gaussian"  # chosen: ' in text and 'network = "mlp"\n' in text
    assert all(len(line) < 120 for line in describe(config, reasons))


def test_defaults_of_a_data_set_are_described() -> None:
    config = resolve({"dataset": "numbers", "limit": "50"})
    assert describe(config, by_dataset.reasons(config)) == ["Chosen: standardise no, reduce 24 (default of numbers)"]
    pictures = resolve({"dataset": "fruits360", "rounds": "3"})
    assert "views 0,25, " in describe(pictures, by_dataset.reasons(pictures))[0]
    assert by_dataset.reasons(resolve({"dataset": "digits"})) == {}


def save(folder: Path, *images: Image.Image) -> Config:
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
    return resolve({"dataset": "folder", "data": str(folder)})


def test_images_of_a_folder_keep_their_size_and_colour(tmp_path: Path) -> None:
    grey, colour = Image.new("L", (20, 12), 99), Image.new("RGB", (9, 24), (99, 99, 99))
    config, reasons = choose_images(save(tmp_path / "grey", grey, colour))
    assert (config.image_size, config.channels) == (24, 1) and "24 pixels" in reasons["image_size"]
    colour.putpixel((3, 3), (200, 99, 99))
    assert choose_images(save(tmp_path / "colour", grey, colour))[0].channels == 3
    large = save(tmp_path / "large", Image.new("L", (400, 90)))
    assert choose_images(large)[0].image_size == 32
    assert choose_images(save(tmp_path / "tiny", Image.new("L", (2, 2))))[0].image_size == 4


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    config = save(tmp_path / "images", Image.new("L", (8, 8)))
    (tmp_path / "images" / "9.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"9\.png cannot be read"):
        choose_images(config)
