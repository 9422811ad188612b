"""Charts and images for a report page, as data URIs.

Charts are SVG files without a background, so the page's background shows through in light and dark mode. Images are
PNG files, transparent between the tiles.
"""

from __future__ import annotations

import base64
import io
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.report.page import Picture

_PIXELS_PER_POINT = 96 / 72


class ChartRenderer:
    """Renders charts in a temporary folder, which the context manager removes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mhng-report-")
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def chart(self, draw: Callable[[Path], Any], alt: str, caption: str = "") -> Picture:
        """Render the SVG that `draw` writes to a path. A failure becomes a warning on stderr and `Picture.fault`."""
        self._count += 1
        file = Path(self._folder.name) / f"chart{self._count}.svg"
        try:
            draw(file)
            svg = file.read_text(encoding="utf-8")
            width, height = _svg_size(svg)
        except Exception as error:
            fault = f"could not be drawn: {str(error) or type(error).__name__}"
            if sys.stderr is not None:
                print(f"warning: {alt.split(':')[0]} {fault}", file=sys.stderr)
            return Picture(alt, caption=caption, fault=fault)
        return Picture(alt, _data_uri("svg+xml", svg.encode()), width, height, caption)


def _svg_size(svg: str) -> tuple[int, int]:
    """Width and height in pixels of a matplotlib SVG, whose sizes are in points."""
    match = re.search(r'<svg[^>]*? height="([\d.]+)pt"[^>]*? width="([\d.]+)pt"|'
                      r'<svg[^>]*? width="([\d.]+)pt"[^>]*? height="([\d.]+)pt"', svg)  # fmt: skip
    if match is None:
        raise ValueError("the SVG has no size")
    height, width, other_width, other_height = match.groups()
    return (
        round(float(width or other_width) * _PIXELS_PER_POINT),
        round(float(height or other_height) * _PIXELS_PER_POINT),
    )


def image_strip(images: NDArray[Any], alt: str, *, every: int = 1) -> Picture:
    """Join images (C, H, W[, 3]) in [0, 1] horizontally, with a wider gap after `every` images. NaN is transparent."""
    from PIL import Image

    from mhng.experiment.plots.training import mosaic

    W = images.shape[2]
    gap = max(1, W // 14)
    grid = mosaic(images[None], gap, group=every, group_gap=2 * gap if every > 1 else 0).grid
    grid = grid[gap:-gap, gap:-gap]
    if grid.ndim == 2:
        grid = grid[..., None]
    known = np.isfinite(grid)
    levels = np.where(known, np.nan_to_num(grid), 0.0).clip(0, 1)
    pixels = np.concatenate([np.round(255 * levels), 255.0 * known[..., :1]], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(buffer, format="PNG", optimize=True)
    return Picture(alt, _data_uri("png", buffer.getvalue()), pixels.shape[1], pixels.shape[0])


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
