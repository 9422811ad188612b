"""`to_arviz` calls the ArviZ that is installed: 0.x takes groups as keywords, 1.x takes a dict of groups."""

import sys
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch

from mhng import NamingGame, ProgramPlayer


def seen(x):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("objects", 2):
        w = pyro.sample("w", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
        pyro.sample("x", dist.Normal(mu[w], 1.0), obs=x)


@pytest.mark.parametrize(("version", "as_dict"), [("0.23.4", False), ("1.3.0", True)])
def test_groups_of_both_lines(version, as_dict, monkeypatch):
    calls = []

    def from_dict(*positional, **keywords):
        calls.append((positional, keywords))

    monkeypatch.setitem(sys.modules, "arviz", SimpleNamespace(__version__=version, from_dict=from_dict))
    game = NamingGame({"A": ProgramPlayer(seen, torch.tensor([0.4, -1.0]))})
    samples = game.play(3, 2)
    game.to_arviz({name: value.double() for name, value in samples.items()})
    ((positional, keywords),) = calls
    posterior = (positional[0] if as_dict else keywords)["posterior"]
    assert posterior["w"].shape == (3, 2, 2) and posterior["w"].dtype == "int64"
    assert posterior["A.mu"].shape == (3, 2, 3)


def test_samples_without_chains_are_refused():
    game = NamingGame({"A": ProgramPlayer(seen, torch.tensor([0.4, -1.0]))})
    samples = {name: value[0] for name, value in game.play(1, 3).items()}
    with pytest.raises(ValueError, match=r"w has shape \(3, 2\); expected \(chain, draw, ...\); pass mcmc"):
        game.to_arviz(samples)
