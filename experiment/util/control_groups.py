"""Control groups of this process: the folders that hold its limits on Linux, in versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROCESS = Path("/proc/self")
ROOT = Path("/sys/fs/cgroup")


class Group(NamedTuple):
    """The folder of a control group, which may not exist, and the version of control groups, 1 or 2."""

    folder: Path
    version: int


def control_groups(controller: str, process: Path = PROCESS, root: Path = ROOT) -> Iterator[Group]:
    """The groups of this process for a controller, such as memory or cpu, and the groups around them."""
    try:
        lines = (process / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, _, controllers_and_path = line.partition(":")
        controllers, _, path = controllers_and_path.partition(":")
        version = 2 if not controllers else 1 if controller in controllers.split(",") else 0
        if version:
            top = root if version == 2 else root / controller
            parts = [part for part in path.split("/") if part]
            # In a container the path may begin outside what is mounted.
            for depth in range(0 if ".." in parts else len(parts), -1, -1):
                yield Group(top.joinpath(*parts[:depth]), version)
