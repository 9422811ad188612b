"""Turns of stretches of a hidden Markov chain: detailed balance, the enumerated law, and the speed of blocks."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special

from mhng import NamingGame, ProgramPlayer, turns
from mhng.inference.programs import faults
from tests.checks import ALPHA, chi_square, detailed_balance_gap

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "programs" / "hidden_markov.py"
HMM = runpy.run_path(str(EXAMPLE))
T, K = 5, 3
X = torch.tensor([-1.6, 0.3, 1.4, -0.9, 1.2], dtype=torch.float64)
Y = torch.tensor([1.0, 5.0, 1.0, 6.0, 1.0], dtype=torch.float64)
PATHS = np.array(list(itertools.product(range(K), repeat=T)))


def game(turn, kind=NamingGame, **options):
    players = {"A": ProgramPlayer(HMM["positions"], X), "B": ProgramPlayer(HMM["events"], Y, beliefs="fixed")}
    return kind(players, sign="w_*", turn=turn, **options)


def known(chains):
    """Fixed rates of events: the beliefs of B."""
    return {"rate": HMM["RATE"].expand(chains, -1)}


def log_terms():
    """log p(w), and both log likelihoods, of every path."""
    move, start = HMM["MOVE"].log().numpy(), HMM["START"].log().numpy()
    prior = start[PATHS[:, 0]] + move[PATHS[:, :-1], PATHS[:, 1:]].sum(1)
    mean, rate = HMM["POSITION"].numpy(), HMM["RATE"].numpy()
    seen = (-0.5 * ((X.numpy() - mean[PATHS]) / 0.8) ** 2).sum(1)
    counted = (Y.numpy() * np.log(rate[PATHS]) - rate[PATHS]).sum(1)
    return prior, seen, counted


LAW = special.softmax(sum(log_terms()))


def kernel(played, step, speaker):
    """The transition matrix of a turn, by the tables of the game: agent `speaker` speaks, the other one listens."""
    paths = torch.as_tensor(PATHS)
    tables = [
        player.table(paths, beliefs, step)
        for player, beliefs in zip(played.agents, ({}, known(len(paths))), strict=True)
    ]
    proposal = tables[speaker].total[:, 0].softmax(-1)
    current = step.indices(paths)[:, :1]
    listener = tables[1 - speaker].likelihood[:, 0]
    moves = proposal * (listener - listener.gather(1, current)).clamp_max(0).exp()
    matrix = torch.zeros(len(PATHS), len(PATHS), dtype=torch.float64)
    cells = torch.as_tensor(K ** np.arange(T - 1, -1, -1))
    for v in range(len(step.values)):
        target = (step.write(paths, torch.full((len(PATHS), 1), v)) * cells).sum(1)
        matrix[torch.arange(len(PATHS)), target] += moves[:, v]
    return matrix + (1 - matrix.sum(1)).diag_embed()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_every_turn_is_reversible(size):
    played, law = game(turns.stretch(size)), torch.as_tensor(LAW)
    for step in played.steps:
        for speaker in (0, 1):
            assert detailed_balance_gap(kernel(played, step, speaker), law) < 1e-15


def test_a_stretch_moves_faster_than_a_step_and_a_path():
    gaps = {}
    for size in (1, 2, 3, 5):
        played = game(turns.stretch(size))
        sweep = torch.eye(len(PATHS), dtype=torch.float64)
        for speaker in (0, 1):
            for step in played.steps:
                sweep = sweep @ kernel(played, step, speaker)
        gaps[size] = 1 - float(np.sort(np.abs(np.linalg.eigvals(sweep.numpy())))[-2])
    assert max(gaps[2], gaps[3]) > 1.1 * max(gaps[1], gaps[5]), gaps


def play(played, sweeps):
    """4,000 chains with known rates."""
    return played.play(4000, sweeps, thin=sweeps, start={"B.rate": known(4000)["rate"]})


def p_value(samples, key):
    cells = (samples[key][:, -1].numpy() * K ** np.arange(T - 1, -1, -1)).sum(1)
    return chi_square(np.bincount(cells, minlength=K**T), LAW)


@pytest.mark.parametrize("turn", [turns.stretch(2), [turns.stretch(1), turns.stretch(3)]], ids=str)
def test_the_law_of_paths(turn):
    assert p_value(play(game(turn), 20), "w") > ALPHA


def test_signs_of_their_own_keep_the_law_of_paths():
    samples = play(game(turns.stretch(3), state="chain"), 40)
    assert p_value(samples, "A.w") > ALPHA and p_value(samples, "B.w") > ALPHA


def test_a_speaker_that_completes_its_own_path_is_rejected():
    samples = play(game(turns.stretch(3), faults.OwnRemainder, state="chain"), 40)
    assert p_value(samples, "B.w") < ALPHA


def test_the_example(capsys):
    HMM["main"]()
    assert float(capsys.readouterr().out.split("states right: ")[1]) > 0.8
