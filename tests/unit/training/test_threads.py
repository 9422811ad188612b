"""The threads of a run: one for small work, more for large work, never more than allowed."""

from dataclasses import replace

import pytest
import torch

from mhng.experiment.settings.config import together
from mhng.experiment.training import threads
from mhng.experiment.training.agent_spec import agent_specs
from mhng.experiment.training.threads import plan_threads

CPU = torch.device("cpu")


def planned(N: int, shape: tuple[int, ...], **settings: object) -> tuple[int | None, ...]:
    learning = {"likelihood": "bernoulli", "network": "mlp", "latent_dim": 12, "batch_size": 128}
    config = together(learning | settings)
    return tuple(plan_threads(config, [spec.with_shapes((shape,)) for spec in agent_specs(config)], N, CPU))


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "thread_limit", lambda text: 16 if text == "auto" else int(text))
    monkeypatch.setattr(threads, "can_fork", lambda: True)


def test_small_work_has_one_thread_on_any_machine() -> None:
    assert planned(1_000, (4,), likelihood="identity", network=None, chains=1)[:2] == (1, 1)
    assert planned(1_797, (1, 8, 8), batch_size=32, chains=1)[:2] == (1, 1)


def test_large_work_has_more_threads() -> None:
    assert planned(100_000, (1, 28, 28), network="conv-large", chains=1) == (8, 9, 2)


def test_a_number_is_taken_and_ray_agents_share_it() -> None:
    assert planned(100, (1, 8, 8), threads="6") == (3, 6, 2)
    assert planned(100, (1, 8, 8), threads="1") == (1, 1, 1)
    assert planned(100, (1, 8, 8), threads="6", agents=3, engine="ray") == (2, 2, 1)


def test_agents_learn_in_turn_where_a_copy_of_the_process_cannot_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "can_fork", lambda: False)
    assert planned(100, (1, 8, 8), threads="6") == (6, 6, 1)


def test_a_gpu_needs_one_thread() -> None:
    config = together({})
    specs = [spec.with_shapes(((1, 28, 28),)) for spec in agent_specs(config)]
    assert plan_threads(config, specs, 10**6, torch.device("cuda"))[:2] == (1, 1)
    assert replace(config, threads="2").threads == "2"
