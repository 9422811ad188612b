"""What the measurements share: a clock that waits for the device, pairs timed in turn, and which machine it was."""

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
    """The time of one call, until the device has done all of it."""
    if device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def median_seconds(work: Work, device: str = "cpu", repeats: int = 5) -> float:
    """The median time of a call, after one that does not count."""
    seconds(work, device)
    return statistics.median(seconds(work, device) for _ in range(repeats))


def in_turn(a: Work, b: Work, device: str = "cpu", pairs: int = 9) -> list[tuple[float, float]]:
    """Seconds of a and of b, timed A B A B ..., after one of each that does not count."""
    seconds(a, device), seconds(b, device)
    return [(seconds(a, device), seconds(b, device)) for _ in range(pairs)]


def compare(name: str, a: Work, b: Work, device: str = "cpu", pairs: int = 9) -> dict[str, Any]:
    """Time a and b in turn, print a row of the table `PAIRED`, and return it: the median of time(a) / time(b)."""
    taken = in_turn(a, b, device, pairs)
    ratios = [x / y for x, y in taken]
    ratio, low = statistics.median(ratios), statistics.median(y for _, y in taken)
    print(f"| {name} | {ratio:.2f} | {low * ratio * 1e3:.1f} | {low * 1e3:.1f} |", flush=True)
    return {"name": name, "ratio": ratio, "ratios": ratios, "a_seconds": low * ratio, "b_seconds": low}


def machine(device: str = "cpu") -> dict[str, Any]:
    """What was measured on: versions, threads, other work (load) before we began, and the card with its clock."""
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
    }
    if device != "cpu":
        found["clock"] = _clock()
    return found


def described(device: str = "cpu") -> str:
    """`machine` in one line."""
    return ", ".join(f"{name} {value}" for name, value in machine(device).items() if value is not None)


def write_json(path: Path | None, **numbers: Any) -> None:
    """Write what was measured, where that was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


def _clock() -> str | None:
    """What the card's multiprocessors run at now, and could at most; None where nobody can say."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0].replace(", ", " of ")
