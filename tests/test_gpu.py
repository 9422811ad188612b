"""The same game on a CUDA device. Skipped where there is none."""

import json

import pytest
import torch

from experiment.config import Config
from experiment.run import resume, train
from models import MIXTURES, find
from models.mixtures import NormalWishart
from models.percepts import Percepts
from models.randomness import stream
from models.weights import Dirichlet, Sticks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SMALL = Config(
    dataset="digits", limit=200, signs=3, latent_dim=2, epochs=2, round_epochs=1, rounds=1, sweeps=6, burn_in=2,
    starts=2, chains=2, device="cuda",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
def test_a_whole_run(mode, tmp_path):
    from dataclasses import replace

    summary = train(replace(SMALL, mode=mode, run_dir=tmp_path / "run"))
    assert summary["device"].startswith("cuda") and summary["log_evidence"] is not None
    resume(tmp_path / "run", rounds=2)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "done"


def test_both_devices_judge_alike():
    z = torch.randn(500, 5, dtype=torch.float64, generator=stream(0, "z"))
    signs = torch.randint(4, (3, 500), generator=stream(0, "signs"))
    here, there = Percepts(z, NormalWishart(5)), Percepts(z.cuda(), NormalWishart(5, device="cuda"))
    torch.testing.assert_close(here.evidence(signs, 4), there.evidence(signs.cuda(), 4).cpu())
    one = torch.tensor([0, 1, 3])
    torch.testing.assert_close(here.merge_gain(signs, 4, one), there.merge_gain(signs.cuda(), 4, one.cuda()).cpu())


@pytest.mark.parametrize("name", MIXTURES)
def test_every_family_is_at_home_there(name):
    z = torch.randint(0, 5, (50, 3), generator=stream(0, "z")).double()
    signs = torch.randint(4, (2, 50), generator=stream(0, "signs"))
    here, there = (find(MIXTURES[name])(3, device=device) for device in ("cpu", "cuda"))
    a, b = Percepts(z, here), Percepts(z.cuda(), there)
    torch.testing.assert_close(a.evidence(signs, 4), b.evidence(signs.cuda(), 4).cpu())
    phi = here.from_prior(stream(0, "phi"), 2, 4)
    moved = type(phi)(*(part.cuda() for part in phi))
    torch.testing.assert_close(a.judge(phi), b.judge(moved).cpu())
    again = b.redraw(stream(0, "redraw", "cuda"), signs.cuda(), 4, moved)
    assert again.table.is_cuda and again.table.isfinite().all()


@pytest.mark.parametrize("weights", [None, Dirichlet(0.5), Sticks(1.0)])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_sweep_waits_for_nothing(name, weights):
    """No tensor goes to the host inside a loop over sweeps: CUDA refuses the wait that this would be."""
    from inference.game import Game, init, play

    z = torch.randint(0, 5, (2, 500, 5), device="cuda").double()
    players = [Percepts(own, find(MIXTURES[name])(5, device="cuda")) for own in z]
    generators = [stream(0, name, "cuda") for name in "AB"]
    game = Game(torch.zeros(4, dtype=torch.float64, device="cuda").log_softmax(0), weights=weights)
    state = init(players, generators, torch.randint(4, (2, 2, 500), device="cuda"), 4)
    play(game, players, generators, state, 2)
    torch.cuda.set_sync_debug_mode("error")
    try:
        play(game, players, generators, state, 5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
