"""Chains of a game of programs in separate processes of pyro.infer.MCMC."""

import multiprocessing
import signal

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC

from mhng import NamingGame, ProgramPlayer

PI = torch.tensor([0.6, 0.3, 0.1])


def seen(x):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(mu[w], 1.0), obs=x)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_chains_in_several_processes(monkeypatch, context):
    monkeypatch.setattr(torch.multiprocessing, "cpu_count", lambda: 3)  # Pyro leaves one core free
    pyro.set_rng_seed(0)
    players = {"A": ProgramPlayer(seen, torch.tensor([-2.0, 1.9])), "B": ProgramPlayer(seen, torch.tensor([0.1, 3.0]))}
    game = NamingGame(players)
    mcmc = MCMC(game, num_samples=8, warmup_steps=4, num_chains=2, mp_context=context, disable_progbar=True)
    mcmc.run()
    samples = mcmc.get_samples(group_by_chain=True)
    assert samples["w"].shape == (2, 8, 2) and samples["A.mu"].shape == (2, 8, 3)
    assert not torch.equal(samples["A.mu"][0], samples["A.mu"][1])
    data = game.to_arviz(mcmc)
    assert data.posterior["w"].dtype == "int64" and set(data.posterior["w"].values.ravel()) <= {0, 1, 2}
    for child in multiprocessing.active_children():
        child.join(30)
        assert child.exitcode in (0, -signal.SIGTERM)  # Pyro ends its workers
