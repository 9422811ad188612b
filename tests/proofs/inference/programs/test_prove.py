"""`prove` accepts right games, rejects wrong ones, and says which planted faults it sees."""

import re
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC

from mhng import NamingGame, ProgramPlayer, prove, turns
from mhng.inference.programs.prove import ALPHA, FAULTS, _by_enumeration, _by_simulation
from tests.proofs.inference.programs import twins


def player(agent):
    program, x, _ = twins.PROGRAMS[agent]
    return ProgramPlayer(program, x, beliefs="random-walk", steps=4)


def with_nuisance(table):
    """Known log likelihoods of signs and hidden categories: table (N, K, 2)."""
    table = torch.tensor(table, dtype=torch.float64)

    def program():
        with pyro.plate("objects", len(table)) as n:
            w = pyro.sample("w", dist.Categorical(twins.PI))
            c = pyro.sample("c", dist.Bernoulli(torch.tensor(0.6, dtype=torch.float64))).long()
            pyro.factor("x", table[n, w, c])

    return ProgramPlayer(program)


SEEN_A = [[[-1.0, 0.2], [-0.2, -1.5], [-2.1, 0.6]], [[-0.3, 0.9], [-1.9, -0.4], [-0.8, 0.8]]]
SEEN_B = [[[-0.4, 1.1], [-1.3, 0.1], [-0.9, -2.0]], [[-1.7, 0.3], [-0.5, 1.4], [-1.2, 0.2]]]


def test_a_game_without_beliefs_is_proved_by_enumeration():
    proof = prove(NamingGame({"A": with_nuisance(SEEN_A), "B": with_nuisance(SEEN_B)}), chains=20_000, sweeps=10)
    assert proof.passed and proof.method == "enumeration"
    none = ["stale table", "beliefs not redrawn"]
    assert dict(proof.faults) == {name: None if name in none else True for name in FAULTS}
    assert "the game has its law (by enumeration" in str(proof) and "prior twice: seen" in str(proof)


def test_a_game_with_beliefs_is_proved_by_simulation():
    proof = prove(NamingGame({"A": player("A"), "B": player("B")}), chains=800, sweeps=20)
    assert proof.passed and proof.method == "simulation"
    assert proof.faults["prior twice"] and proof.faults["speaker's ratio"]
    assert proof.faults["nuisance not summed"] is None
    assert proof.faults["stale table"] and proof.faults["beliefs not redrawn"]
    assert proof.settled in (20, 100) and f"law is reached in {proof.settled} redraws" in str(proof)


def test_kernels_of_pyro_are_checked_with_fewer_chains(monkeypatch):
    monkeypatch.setitem(prove.__globals__, "SLOW_CHAINS", 60)
    monkeypatch.setitem(prove.__globals__, "CHAINS", 600)
    program, x, _ = twins.PROGRAMS["B"]
    hmc = ProgramPlayer(program, x, beliefs=partial(HMC, step_size=0.1, num_steps=3))
    proof = prove(NamingGame({"A": player("A"), "B": hmc}), sweeps=10)
    assert proof.passed and proof.chains == 600 and hmc.beliefs.func is HMC
    assert proof.faults["prior twice"] and proof.faults["speaker's ratio"]


def test_a_uniform_prior_hides_a_second_prior():
    def uniform(table):
        table = torch.tensor(table, dtype=torch.float64)[..., 0]

        def program():
            with pyro.plate("objects", len(table)) as n:
                w = pyro.sample("w", dist.Categorical(torch.ones(3, dtype=torch.float64)))
                pyro.factor("x", table[n, w])

        return ProgramPlayer(program)

    proof = prove(NamingGame({"A": uniform(SEEN_A), "B": uniform(SEEN_B)}), chains=20_000, sweeps=10)
    assert proof.passed and not proof.faults["prior twice"] and proof.faults["speaker's ratio"]
    assert "prior twice: not visible on this model" in str(proof)


@pytest.mark.parametrize("name", ["prior twice", "speaker's ratio"])
def test_both_checks_reject_wrong_games(name):
    fixed = NamingGame({"A": with_nuisance(SEEN_A), "B": with_nuisance(SEEN_B)})
    assert next(_by_enumeration(fixed, 20_000, 10, 1).p_values(FAULTS[name])) < ALPHA
    free = NamingGame({"A": player("A"), "B": player("B")})
    assert next(_by_simulation(free, 1000, 3, 1).p_values(FAULTS[name])) < ALPHA


class StandsStill(NamingGame):
    """A sweep that does nothing."""

    def sweep(self, state, warmup=False):
        return state


def test_a_game_that_never_moves_does_not_have_its_law():
    proof = prove(StandsStill({"A": player("A"), "B": player("B")}), chains=100, sweeps=2)
    assert not proof.passed and str(proof).startswith("the game does NOT have its law")
    assert "p = 0 after Bonferroni's correction; fails below 0.0001)" in str(proof)


def heights(x):
    """A program with one value of its sign."""
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=torch.float64), 1.0))
    with pyro.plate("objects", 2):
        w = pyro.sample("w", dist.Categorical(torch.ones(1, dtype=torch.float64)))
        pyro.sample("x", dist.Normal(mu + w, 1.0), obs=x)


def test_a_game_with_one_sign_has_a_verdict():
    players = {name: ProgramPlayer(heights, torch.zeros(2, dtype=torch.float64)) for name in "AB"}
    proof = prove(NamingGame(players), chains=100, sweeps=5)
    assert proof.passed and "no sign changed in any chain" in str(proof)


def test_few_chains_are_refused():
    with pytest.raises(ValueError, match="chains is 59; expected 60 or more"):
        prove(NamingGame({"A": player("A"), "B": player("B")}), chains=59)
    assert prove(NamingGame({"A": player("A"), "B": player("B")}), chains=60, sweeps=2).passed


def test_what_cannot_be_proved_says_why():
    chain = NamingGame({"A": player("A"), "B": player("B")}, state="chain")
    with pytest.raises(ValueError, match="the game is approximate"):
        prove(chain)
    program, x, redraw = twins.PROGRAMS["A"]
    with pytest.raises(ValueError, match="give it a third argument, redraw\\(signs, values, data\\)"):
        prove(NamingGame({"A": ProgramPlayer(program, x, beliefs=redraw), "B": player("B")}))
    assert turns.each("objects") == NamingGame({"B": player("B")}).turns[0]


def test_the_program_of_the_docs_runs(capsys):
    """docs/programs.md goes from nothing to a proved game; only the length of its run is changed here."""
    text = (Path(__file__).resolve().parents[4] / "docs" / "programs.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    short = code.replace("num_samples=500, warmup_steps=200", "num_samples=20, warmup_steps=10, disable_progbar=True")
    assert short != code and len(code.splitlines()) <= 18
    names: dict = {"__name__": "__main__"}
    exec(short, names)
    assert "the game has its law (by simulation" in capsys.readouterr().out
    assert names["data"].posterior["w"].shape == (1, 20, 4) and names["data"].posterior["w"].dtype == "int64"
