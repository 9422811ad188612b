"""Write small data sets as a user may have them, for the table of first commands in docs/results.md.

    python bench/own_data.py DIR

A.csv, B.csv    300 objects, four classes five standard deviations apart, 3 and 4 features
separate.npz    250 objects, five classes six standard deviations apart, view_A with 5 features and view_B with 2
shared.npz      300 objects, four classes, 6 features for both agents
colours/        200 pictures of 48 x 48 pixels: discs and squares of four colours on black; the class is the colour
photos/         200 JPEG pictures of 64 x 64 pixels with noise on grey: four shapes, each of its own colour
tokens/         200 pictures: shapes of four kinds and four colours, all 16 pairs; the class is the colour
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

COLOURS = ((220, 40, 40), (40, 180, 60), (50, 70, 220), (230, 200, 40))
PER_CLASS = 50


def features(rng: np.random.Generator, labels: NDArray[np.int64], D: int, distance: float) -> NDArray[np.float64]:
    """Features (N, D) of classes whose means are at least `distance` standard deviations apart."""
    means = rng.normal(size=(labels.max() + 1, D))
    gaps = np.linalg.norm(means[:, None] - means[None], axis=2)
    means *= distance / gaps[gaps > 0].min()
    return means[labels] + rng.normal(size=(len(labels), D))


def shape(
    rng: np.random.Generator, kind: int, colour: tuple[int, ...], *, size: int, noise: float, ground: tuple[int, ...]
) -> Image.Image:
    """A disc (0), square (1), triangle (2) or cross (3) of a colour, at a random place and size."""
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    low, high, least, most = (26, 38, 14, 22) if size == 64 else (20, 28, 12, 18)
    x, y = map(int, rng.integers(low, high, 2))
    r = int(rng.integers(least, most))
    fill = tuple(int(np.clip(value + rng.normal() * 12, 0, 255)) for value in colour)
    if kind == 0:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == 1:
        draw.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    elif kind == 2:
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=fill)
    else:
        draw.rectangle((x - r, y - 5, x + r, y + 5), fill=fill)
        draw.rectangle((x - 5, y - r, x + 5, y + r), fill=fill)
    pixels = np.asarray(image) + noise * rng.normal(size=(size, size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path) -> None:
    """Write all sets into `folder`."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    labels = rng.permutation(np.arange(300) % 4)
    for name, D in (("A", 3), ("B", 4)):
        table = np.c_[100 + 10 * features(rng, labels, D, 5), labels]
        header = ",".join([*(f"f{d}" for d in range(D)), "label"])
        np.savetxt(folder / f"{name}.csv", table, ["%.5f"] * D + ["%d"], ",", header=header, comments="")
    labels = np.arange(250) % 5
    views = {f"view_{name}": features(rng, labels, D, 6) for name, D in (("A", 5), ("B", 2))}
    np.savez(folder / "separate.npz", labels=labels, **views)
    labels = np.arange(300) % 4
    np.savez(folder / "shared.npz", features=features(rng, labels, 6, 6), labels=labels)
    for name in ("colours", "photos", "tokens"):
        for label, colour in enumerate(COLOURS):
            place = folder / name / str(label)
            place.mkdir(parents=True, exist_ok=True)
            for number in range(PER_CLASS):
                if name == "photos":
                    grey = int(rng.integers(60, 140))
                    image = shape(rng, label, colour, size=64, noise=20, ground=(grey, grey, grey + 10))
                    image.save(place / f"{number}.jpg")
                else:
                    small = name == "colours"
                    kind = int(rng.integers(2 if small else 4))
                    image = shape(rng, kind, colour, size=48 if small else 64, noise=0, ground=(0, 0, 0))
                    image.save(place / f"{number}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
