"""Timing helpers: a clock that waits for the device, alternately timed pairs, and a description of the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HOME = Path(__file__).resolve().parents[1]
Work = Callable[[], object]
PAIRED = "| a / b | ratio | a, ms | b, ms |\n| --- | --- | --- | --- |"


def seconds(work: Work, device: str = "cpu") -> float:
    """Seconds of one call, including the work on the device."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_seconds(work: Work, device: str = "cpu", repeats: int = 5) -> float:
    """Median seconds of a call, after one warm-up call."""
    seconds(work, device)
    return statistics.median(seconds(work, device) for _ in range(repeats))


def time_alternately(a: Work, b: Work, device: str = "cpu", pairs: int = 9) -> list[tuple[float, float]]:
    """Seconds of a and b, timed in the order a b a b ..., after one warm-up call of both."""
    seconds(a, device), seconds(b, device)
    return [(seconds(a, device), seconds(b, device)) for _ in range(pairs)]


def compare(name: str, a: Work, b: Work, device: str = "cpu", pairs: int = 9) -> dict[str, Any]:
    """Time a and b alternately, and print a row of the table `PAIRED` with the median of time(a) / time(b)."""
    taken = time_alternately(a, b, device, pairs)
    ratios = [x / y for x, y in taken]
    ratio, low = statistics.median(ratios), statistics.median(y for _, y in taken)
    print(f"| {name} | {ratio:.2f} | {low * ratio * 1e3:.1f} | {low * 1e3:.1f} |", flush=True)
    return {"name": name, "ratio": ratio, "ratios": ratios, "a_seconds": low * ratio, "b_seconds": low}


def machine(device: str = "cpu") -> dict[str, Any]:
    """Description of the machine: versions, threads, load before the measurement, GPU and its clock."""
    facts: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
    }
    if device != "cpu":
        facts["clock"] = _clock()
    return facts


def machine_text(device: str = "cpu") -> str:
    """The description of the machine in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine(device).items() if value is not None)


def write_json(path: Path | None, **numbers: Any) -> None:
    """Write the measurements as JSON, if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _clock() -> str | None:
    """Current and maximum clock of the GPU's multiprocessors; None if nvidia-smi does not report it."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0].replace(", ", " of ")
