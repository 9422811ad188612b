"""That a run which cannot fit says so at once, and that the estimate is of what there really is."""

from __future__ import annotations

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
    objects, agents, _ = load_objects(config)
    members = build_members(agents, objects, CPU)
    players = [one.agent.perceive(one.x, None) for one in members]
    generators = [one.streams["play"] for one in members]
    state = init(players, generators, torch.zeros(4, 2, 30, dtype=torch.int64), 3)
    keep = config.keep == "all"
    state, trace = play(game_of(config, CPU), players, generators, state, 6, keep_means=keep, keep_pointwise=keep)
    need = estimate(config, objects.count)
    assert need.trace == sum(part.nbytes for part in trace if part is not None)
    assert need.tables == sum(belief.table.nbytes for belief in state.beliefs)


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
