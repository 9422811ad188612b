"""Cores and threads that a process may use: affinity, control groups, SLURM, OpenMP, --threads."""

import os
from pathlib import Path

import pytest

from mhng.experiment.util import control_groups, cores
from mhng.experiment.util.cores import available_cores, check_threads, command_threads, thread_limit


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(control_groups, "control_groups", lambda _: iter(()))
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("line", "files", "expected"),
    [
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "job/cpu.max": "300000 100000"}, 3),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("4:cpu,cpuacct:/job", {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("3:memory:/", {"cpu.max": "100000 100000"}, 8),
        ("0::/", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_the_quota_of_a_control_group_limits_the_cores(
    line: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    (tmp_path / "cgroup").write_text(f"{line}\n")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{text}\n")
    find = control_groups.control_groups
    monkeypatch.setattr(
        control_groups, "control_groups", lambda controller: find(controller, tmp_path, tmp_path / "root")
    )
    assert available_cores() == expected


@pytest.mark.parametrize(
    ("variables", "threads", "expected"),
    [
        ({}, "auto", 8),
        ({}, "3", 3),
        ({}, "64", 8),
        ({"SLURM_CPUS_PER_TASK": "4"}, "64", 4),
        ({"OMP_NUM_THREADS": "2"}, "auto", 2),
        ({"OMP_NUM_THREADS": "3,2"}, "auto", 3),
        ({"OMP_NUM_THREADS": "2"}, "5", 5),
        ({"OMP_NUM_THREADS": "none", "SLURM_CPUS_PER_TASK": "0"}, "auto", 8),
    ],
)
def test_the_smallest_limit_holds(
    variables: dict[str, str], threads: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert thread_limit(threads) == expected


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", ""])
def test_bad_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected auto, or a whole number from 1 on"):
        check_threads(text)


@pytest.mark.parametrize(("threads", "expected"), [("auto", "1"), ("4", "4")])
def test_a_command_before_torch_sets_the_variables_of_the_libraries(
    threads: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(cores.sys.modules, "torch")
    with command_threads(threads):
        assert {os.environ[name] for name in cores.THREAD_VARIABLES} == {expected}
    assert "OMP_NUM_THREADS" not in os.environ
