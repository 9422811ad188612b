"""The language of views: what each entry does to an image, and a line for what is no entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from mhng.experiment.data.views import View, apply_views, parse_views
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import plain, resolve, to_toml
from tests.custom_data import refused

IMAGES = torch.rand(6, 1, 9, 10, generator=torch.Generator().manual_seed(0))


def one(view: View | float | str, images: torch.Tensor = IMAGES, name: str = "A", seed: int = 0) -> torch.Tensor:
    return apply_views(images, (view,), names=(name,), seed=seed)[0]


def test_numbers_turn_bit_for_bit_as_torchvision_does() -> None:
    assert one(0.0) is IMAGES and one(-720.0) is IMAGES and one("0") is IMAGES
    for angle in (45.0, -12.5, 100 / 3, 365.0):
        expected = functional.rotate(IMAGES, angle % 360, InterpolationMode.NEAREST)
        assert torch.equal(one(angle), expected) and torch.equal(one(f"{angle!r}+0"), expected)
    same = apply_views(IMAGES, (5.0, 365.0), names="AB", seed=0)
    assert same[0] is same[1]


def test_nine_patches_are_the_image() -> None:
    views = parse_views("patches:3")
    assert str(views[5]) == "patch:1.2/3" and len(views) == 9
    parts = apply_views(IMAGES, views, names="ABCDEFGHI", seed=0)
    assert torch.equal(torch.stack(parts).sum(0), IMAGES)
    assert torch.equal(parts[5][:, :, 3:6, 6:], IMAGES[:, :, 3:6, 6:])
    assert all((part != 0).sum() < IMAGES.numel() / 6 for part in parts)


def test_crop_blur_invert_and_grey() -> None:
    assert torch.equal(one("crop:1"), IMAGES) and torch.equal(one("invert"), 1 - IMAGES)
    middle = IMAGES[..., 2:6, 2:7]  # of 9 and 10 rows and columns, half of either
    expected = torch.nn.functional.interpolate(middle, (9, 10), mode="bilinear", align_corners=False)
    assert torch.equal(one("crop:0.5"), expected)
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    blurred = one("blur:0.8", point)[0, 0]
    assert blurred.sum().item() == pytest.approx(1, abs=1e-4)
    assert (blurred[4, 5] / blurred[4, 4]).item() == pytest.approx(np.exp(-1 / (2 * 0.8**2)), rel=1e-5)
    assert one("blur:100").max() < 0.01
    colour = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    grey = one("grey", colour)
    assert torch.equal(grey[:, 0], grey[:, 2]) and one("grey") is IMAGES
    torch.testing.assert_close(grey[:, 0], 0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2])


def test_steps_follow_each_other() -> None:
    assert torch.equal(one("90+invert+patch:0.0/2"), one("patch:0.0/2", one("invert", one(90.0))))


def test_noise_belongs_to_object_agent_and_seed() -> None:
    noisy = one("noise:0.1")
    assert torch.equal(one("noise:0.1", IMAGES[4:5]), noisy[4:5])  # whatever objects lie beside it
    assert not torch.equal(one("noise:0.1", name="B"), noisy) and not torch.equal(one("noise:0.1", seed=1), noisy)
    grey = torch.full((40, 1, 20, 20), 0.5)
    grey[:, 0, 0, 0] = torch.arange(40) / 40
    spread = one("noise:0.1", grey)[..., 1:, :] - 0.5
    assert spread.std().item() == pytest.approx(0.1, rel=0.03) and abs(spread.mean().item()) < 0.005
    assert len({image.numpy().tobytes() for image in spread}) == 40
    # Where a view leaves nothing of two images, their noise is still not one.
    black = one("patch:0.0/9+noise:0.1", grey)
    assert not torch.equal(black[0, :, 5:], black[1, :, 5:])
    assert noisy.min() >= 0 and noisy.max() <= 1


def test_a_square_is_where_the_seed_says() -> None:
    black = torch.stack(
        [one("occlude:0.5", torch.ones(2, 1, 8, 8), name, seed) for name in "ABC" for seed in range(4)]
    )
    assert ((black == 0).sum((-2, -1)) == 16).all()
    assert torch.equal(black[:, 0], black[:, 1])
    assert len({part.numpy().tobytes() for part in black}) > 5
    assert (one("occlude:1", torch.ones(1, 1, 8, 8)) == 0).all()


@pytest.mark.parametrize("view", ["noise:0.4", "blur:2", "crop:0.3", "grey", "30+invert+noise:0.2"])
def test_pixels_stay_in_the_unit_interval(view: str) -> None:
    for images in (IMAGES, torch.ones(2, 3, 7, 5)):
        found = one(view, images)
        assert found.shape == images.shape and found.min() >= 0 and found.max() <= 1


def test_settings_keep_what_was_given(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    config = resolve({"views": "0, 45+blur:1"})
    assert plain(config)["views"] == (0.0, "45+blur:1")
    file.write_text(to_toml(config), encoding="utf-8")
    assert plain(resolve({}, file)) == plain(config)
    for text in ('views = "patches:2"\nagents = 4', 'views = ["patches:2"]\nagents = 4'):
        file.write_text(text, encoding="utf-8")
        cells = tuple(f"patch:{row}.{column}/2" for row in (0, 1) for column in (0, 1))
        assert plain(resolve({}, file))["views"] == cells
    file.write_text('views = [0, "90"]', encoding="utf-8")
    assert plain(resolve({}, file))["views"] == (0.0, 90.0)


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ("0,turn", ["'turn'", "degrees, patch:R.C/G"]),
        ("0,", ["''"]),
        ("0,45+", ["'45+'"]),
        ("0,patch:3.0/3", ["R and C from 0 to G - 1", "patch:3.0/3"]),
        ("0,patch:0.0/99", ["G up to 31"]),
        ("0,patch:1/3", ["'patch:1/3'"]),
        ("patches:0", ["expected patches:G with G from 1 to 31"]),
        ("0,blur:0", ["expected blur:S with S above 0", "blur:0"]),
        ("0,blur:nan", ["blur:S", "nan"]),
        ("0,crop:1.5", ["crop:S", "up to 1", "crop:1.5"]),
        ("0,occlude:", ["occlude:S"]),
        ("0,noise:x", ["noise:S"]),
        ("0,inf", ["finite"]),
        ("0,1_0", ["'1_0'"]),
        ("0,grey:1", ["'grey:1'"]),
        ("patches:2", ["has 4 entries; expected one for each agent, 2"]),
    ],
)
def test_what_is_no_view_is_refused(
    views: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["train", "--views", views], tmp_path, ["--views", *said], capsys)


def test_a_file_of_settings_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('views = [0, "blurr:1"]', encoding="utf-8")
    with pytest.raises(UsageError, match=r"run\.toml: views: 'blurr:1' is no view"):
        resolve({}, file)
