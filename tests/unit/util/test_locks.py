"""Locks of folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mhng.experiment.util import locks


def test_a_lock_is_released_although_another_process_has_its_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duplicate of the descriptor stands for a forked process, which shares the lock."""
    take_lock = locks.take_lock
    copies: list[int] = []

    def take_and_copy(path: Path) -> int:
        lock = take_lock(path)
        copies.append(os.dup(lock))
        return lock

    monkeypatch.setattr(locks, "take_lock", take_and_copy)
    try:
        with locks.locked(tmp_path):
            pass
        with locks.locked(tmp_path):
            pass
    finally:
        for copy in copies:
            os.close(copy)
    assert len(copies) == 2
