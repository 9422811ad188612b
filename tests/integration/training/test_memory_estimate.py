"""That a run which cannot fit says so at once, and that the estimate is of what there really is."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mhng.experiment.data.views import parse_views
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import memory_estimate
from mhng.experiment.training.agent_spec import AgentSpec, agent_specs
from mhng.experiment.training.build import build_members, game_of
from mhng.experiment.training.prepare import load_objects
from mhng.experiment.util import memory as host_memory
from mhng.experiment.util.memory import available_memory
from mhng.inference.game import init, play

CPU = torch.device("cpu")
SMALL = Config(dataset="synthetic", likelihood="identity", limit=30, signs=3, chains=4, sweeps=6, burn_in=2)


def specs(config: Config, L: int = 4) -> list[AgentSpec]:
    return [spec.with_shapes(((L,),)) for spec in agent_specs(config)]


def estimate(config: Config, N: int) -> memory_estimate.Estimate:
    return memory_estimate.estimate(config, specs(config), N)


def check(config: Config, N: int, device: torch.device, L: int = 4) -> None:
    memory_estimate.check(config, specs(config, L), N, device)


@pytest.mark.parametrize(
    "changes", [{}, {"mode": "gibbs"}, {"listener_state": "shared"}, {"keep": "signs"}, {"mode": "no-com"}], ids=str
)
def test_the_estimate_is_the_size_of_the_trace(changes: dict[str, str]) -> None:
    config = replace(SMALL, **changes)
    objects, agents, *_ = load_objects(config)
    members = build_members(agents, objects, CPU)
    players = [one.agent.perceive(one.x, None) for one in members]
    generators = [one.streams["play"] for one in members]
    state = init(players, generators, torch.zeros(4, 2, 30, dtype=torch.int64), 3)
    keep = config.keep == "all"
    state, trace = play(game_of(config, CPU), players, generators, state, 6, keep_means=keep, keep_pointwise=keep)
    need = estimate(config, objects.count)
    assert need.trace == sum(part.nbytes for part in trace if part is not None)
    assert need.tables == sum(belief.table.nbytes for belief in state.beliefs)


def test_a_start_of_sentences_by_merge_has_no_more_sentences_than_the_game() -> None:
    sentences = {"dataset": "attributes", "words": 2, "vocabulary": 5}
    merge, kmeans = (estimate(replace(SMALL, start=start, **sentences), 30) for start in ("merge", "kmeans"))
    assert merge == kmeans


def test_thinning_and_keeping_less_make_it_smaller() -> None:
    host = [estimate(replace(SMALL, **c), 30).host for c in ({}, {"thin": 2}, {"burn_in": 5}, {"keep": "none"})]
    assert host[0] > max(host[1:])


def test_a_run_that_would_not_fit_names_its_flags_and_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_estimate, "available_memory", lambda: 3 * 2**30)
    check(SMALL, 30, CPU)
    with pytest.raises(UsageError, match=r"--chains 1000 and --sweeps 50000 need about .* GiB .* 3 GiB are") as caught:
        check(replace(SMALL, chains=1000, sweeps=50_000), 30, CPU)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(memory_estimate, "available_memory", lambda: None)
    check(replace(SMALL, chains=10_000, sweeps=10**7), 30, CPU)  # who does not know does not refuse


def test_an_address_space_without_room_for_packages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS would wait for its buffers without end."""
    for left in (0, 2**28):
        monkeypatch.setattr(host_memory, "_address_space", lambda left=left: left)
        with pytest.raises(
            UsageError, match=r"^not enough memory: the packages need .* ulimit -v leaves .*; raise the"
        ):
            check(SMALL, 30, CPU)
    for left in (None, 2**29):
        monkeypatch.setattr(host_memory, "_address_space", lambda left=left: left)
        check(SMALL, 30, CPU)


def test_views_that_would_not_fit_are_found_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory, "available_memory", lambda: 299 * 64 * 4)
    with pytest.raises(UsageError, match=r"--limit: 100 images in 2 views need .* but 7\.13e-05 GiB are available"):
        load_objects(replace(SMALL, dataset="digits", likelihood="bernoulli", limit=100, views=parse_views("0,30")))
    load_objects(replace(SMALL, dataset="digits", likelihood="bernoulli", limit=100, views=parse_views("0,0")))


def test_what_is_foretold_grows_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(N: int, **changes: object) -> int:
        need = estimate(replace(SMALL, **changes), N)
        return need.device + need.host

    assert told(2_000_000, keep="signs") > 1.9 * told(1_000_000, keep="signs") > 10**9
    # Above the limit, log likelihoods of objects are not stored.
    assert told(1_000_000) - told(1_000_000, keep="components") > 10**8
    assert told(2_000_000) == told(2_000_000, keep="components")
    assert told(1000, signs=20) > told(1000, signs=10)
    assert told(10**6, signs=20, chains=1, start="merge") > told(10**6, signs=20, chains=1, start="kmeans")
    # Starts are made one by one before they are too many for the memory.
    assert told(10**6, starts=12) == told(10**6, starts=6)
    monkeypatch.setattr(memory_estimate, "available_memory", lambda: 2**30)
    with pytest.raises(UsageError, match=r"1000000 objects, --signs 20 .* 1 GiB are .* or --start kmeans"):
        check(replace(SMALL, signs=20, chains=1), 10**6, CPU)
    with pytest.raises(UsageError, match=r"1000000 latents with 60 dimensions .* pass --reduce"):
        check(replace(SMALL, signs=2, chains=1), 10**6, CPU, L=60)


def test_the_memory_of_a_device_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**20, 2**34))
    with pytest.raises(UsageError, match=r"GiB of memory of cuda:0, but 0\.000977 GiB are"):
        check(replace(SMALL, chains=1000), 30, torch.device("cuda", 0))


GIB = 2**30


def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> int | None:
    """Available memory on a machine with 64 GiB, with these files of /proc/self (`cgroup`) and /sys/fs/cgroup."""
    (tmp_path / "meminfo").write_text(f"MemAvailable: {64 * 2**20} kB\n")
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(host_memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host_memory, "_PROCESS", tmp_path / "proc")
    monkeypatch.setattr(host_memory, "_CGROUPS", tmp_path / "groups")
    return available_memory()


def group(path: str, version: int, limit: str, used: int, cache: int) -> dict[str, str]:
    limit_file, used_file, reclaimable = host_memory._CGROUP_FILES[version]
    contents = {limit_file: limit, used_file: str(used), "memory.stat": f"anon 5\n{reclaimable} {cache}\n"}
    return {f"groups/{path}/{file}": f"{content}\n" for file, content in contents.items()}


@pytest.mark.parametrize(
    ("membership", "groups", "expected"),
    [
        ("0::/job/step\n", group("job/step", 2, "max", 1, 0) | group("job", 2, str(8 * GIB), 3 * GIB, GIB), 6 * GIB),
        (
            "0::/job/step\n",
            group("job/step", 2, str(4 * GIB), GIB, 0) | group("job", 2, str(8 * GIB), GIB, 0),
            3 * GIB,
        ),
        ("0::/../../x\n", group("", 2, str(2 * GIB), GIB, 0), GIB),
        ("4:cpu,memory:/a\n0::/\n", group("memory/a", 1, str(5 * GIB), GIB, 0), 4 * GIB),
        ("4:memory:/elsewhere\n", group("memory", 1, str(5 * GIB), 5 * GIB, GIB), GIB),
        ("0::/a\n", group("a", 2, str(GIB), 2 * GIB, 0), 0),
        ("0::/a\n", group("a", 2, "max", 1, 0), 64 * GIB),
        ("nonsense\n0::/a\n", {}, 64 * GIB),
    ],
)
def test_the_smallest_limit_of_the_control_groups_counts(
    membership: str, groups: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limited(tmp_path, monkeypatch, **{"proc/cgroup": membership}, **groups) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "4096"}, 4 * GIB - 10 * 4096),
        ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "2"}, 2 * GIB - 10 * 4096),
        ({"SLURM_MEM_PER_NODE": "0"}, 64 * GIB),
        ({"SLURM_MEM_PER_NODE": "lots"}, 64 * GIB),
        ({"SLURM_MEM_PER_CPU": "1024"}, 64 * GIB),
    ],
)
def test_the_memory_of_a_slurm_job_counts(
    variables: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(host_memory.os, "sysconf", lambda _: 4096)
    assert limited(tmp_path, monkeypatch, **{"proc/statm": "1000 10 5 1 0 7 0\n"}) == expected
    assert host_memory.limited_by() == ("" if expected == 64 * GIB else " (limit of the SLURM job)")


def test_the_address_space_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (GIB, resource.RLIM_INFINITY))
    monkeypatch.setattr(host_memory.os, "sysconf", lambda _: 4096)
    assert limited(tmp_path, monkeypatch, **{"proc/statm": "1000 10 5 1 0 7 0\n"}) == GIB - 1000 * 4096
    check(SMALL, 30, CPU)
    with pytest.raises(UsageError, match=r"need about .* but 0\.996 GiB are available \(limit of ulimit -v\)"):
        check(replace(SMALL, chains=1000, sweeps=50_000), 30, CPU)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"
            ),
            True,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("shape '[2]' is invalid"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_too_little_memory_are_known(error: BaseException, expected: bool) -> None:
    assert host_memory.is_out_of_memory(error) == expected


def test_available_memory_is_read_where_the_system_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 9 kB\nMemAvailable:       7 kB\n")
    monkeypatch.setattr(host_memory, "_MEMINFO", file)
    assert available_memory() == 7 * 1024
    file.write_text("MemTotal: 9 kB\n")
    monkeypatch.setattr(host_memory.os, "sysconf", lambda name: {"SC_AVPHYS_PAGES": 5, "SC_PAGE_SIZE": 4096}[name])
    assert available_memory() == 5 * 4096

    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(host_memory.os, "sysconf", unknown)
    assert available_memory() is None
