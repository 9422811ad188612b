"""The run folder and its lock while another process holds it, or is killed while it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


def test_the_lock_of_another_process_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = (
        "import sys, time; from pathlib import Path; from mhng.experiment.runs.folder import RunFolder\n"
        "run = RunFolder.create(Path(sys.argv[1]), overwrite=False); run.start_manifest({})\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=rf"in use by another run \(pid {other.pid}\)"):
            RunFolder.create(path, overwrite=True)
        other.send_signal(signal.SIGKILL)
    RunFolder.create(path, overwrite=True).close()


def test_a_run_killed_at_any_moment_can_resume(tmp_path: Path) -> None:
    """kill -9 a few times while checkpoints follow each other as fast as they can."""
    path = tmp_path / "run"
    code = (
        "import sys; from pathlib import Path; from mhng.experiment.runs.folder import RunFolder; import torch\n"
        "path = Path(sys.argv[1])\n"
        "if path.exists():\n"
        "    run = RunFolder.open(path); number = run.load_checkpoint()['number']\n"
        "    run.truncate_metrics(lambda row: row['number'] <= number)\n"
        "else:\n"
        "    run = RunFolder.create(path, overwrite=False); run.start_manifest({}); number = 0\n"
        "    run.write_text('config.toml', ''); run.save_checkpoint({'number': 0})\n"
        "print('going', flush=True)\n"
        "while True:\n"
        "    number += 1; run.append_metrics([{'number': number}])\n"
        "    run.save_checkpoint({'number': number, 'weights': torch.zeros(50_000)})\n"
    )
    reached = 0
    for delay in (0.05, 0.17):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == b"going\n"
            time.sleep(delay)
            run.kill()
        with RunFolder.open(path) as folder:
            number = folder.load_checkpoint()["number"]
            assert number >= reached
            reached = number
            numbers = [row["number"] for row in folder.read_metrics()]
            assert numbers[:number] == list(range(1, number + 1))
            assert not [name for name in os.listdir(path) if name.endswith(".tmp")]
    assert reached > 0
