"""The split-merge step keeps the enumerated posterior of signs, and steps with a term left out do not."""

import numpy as np
import pytest
import torch

from mhng.inference import split_merge as splits
from mhng.inference.enumeration import all_signs, joint_posterior
from mhng.inference.game import Game, init, sweep
from mhng.inference.split_merge import split_merge
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from tests.checks import ALPHA, chi_square
from tests.proofs.problems import LOG_PRIOR, K, generators, mixtures

N, CHAINS = 4, 20_000


def law():
    return joint_posterior(mixtures(), LOG_PRIOR, N)


def code(signs):
    return (signs @ K ** torch.arange(N - 1, -1, -1)).numpy()


def after_steps(steps=3, players=None, log_prior=LOG_PRIOR):
    """p-value of signs that were drawn from the posterior and then moved `steps` times."""
    exact = law()
    signs = all_signs(N, K)[torch.multinomial(exact, CHAINS, replacement=True, generator=stream(1, "start"))]
    accepted = 0.0
    for step in range(steps):
        done = split_merge(stream(step, "split"), log_prior, players or mixtures(), step % 2, signs)
        signs, accepted = done.signs, accepted + float(done.accepted.double().mean()) / steps
    assert accepted > 0.05
    return chi_square(np.bincount(code(signs), minlength=K**N), exact.numpy())


def test_a_step_keeps_the_posterior():
    assert after_steps() > ALPHA


class Deaf(Percepts):
    """Has no opinion."""

    def evidence(self, signs, K):
        return torch.zeros(len(signs), dtype=torch.float64)


@pytest.mark.parametrize(
    "wrong", ["no way back", "no way there", "ways exchanged", "prior left out", "one agent deaf"]
)
def test_a_step_without_a_term_is_rejected(wrong, monkeypatch):
    real, calls = splits._log_probability, []

    def ways(log_odds, taken, group):
        calls.append(None)
        back = len(calls) % 2 == 0  # the way there is asked for first
        value = real(log_odds, taken, group)
        if wrong == "ways exchanged":
            return -value
        return torch.zeros_like(value) if wrong == ("no way back" if back else "no way there") else value

    monkeypatch.setattr(splits, "_log_probability", ways)
    players = mixtures()
    if wrong == "one agent deaf":
        players[1] = Deaf(players[1].z, players[1].mixture)
    prior = torch.zeros(K, dtype=torch.float64).log_softmax(0) if wrong == "prior left out" else LOG_PRIOR
    assert after_steps(players=players, log_prior=prior) < ALPHA


def test_the_bipartition_depends_on_group_and_seeds_only():
    """Otherwise the way back has another probability than it is given."""
    z = torch.randn(30, 2, dtype=torch.float64, generator=stream(0, "z"))
    player = Percepts(z, NormalWishart(2))
    group = torch.rand(2, 30, generator=stream(0, "group")) < 0.5
    seeds = torch.stack([row.nonzero().flatten()[:2] for row in group])
    odds = player.bipartition_logits(group, seeds)
    torch.testing.assert_close(player.bipartition_logits(group[:1], seeds[:1])[0], odds[0])
    torch.testing.assert_close(player.bipartition_logits(group, seeds.flip(1)), -odds)


def test_the_bipartition_separates_two_clear_clusters():
    z = torch.cat([torch.randn(20, 2, dtype=torch.float64, generator=stream(0, "z")) + 6 * side for side in (-1, 1)])
    player = Percepts(z, NormalWishart(2))
    odds = player.bipartition_logits(torch.ones(1, 40, dtype=torch.bool), torch.tensor([[0, 39]]))[0]
    assert (odds[:20] < -3).all() and (odds[20:] > 3).all()


def test_split_merge_leaves_a_local_optimum_of_single_signs():
    """Two far kinds under one sign, one kind under two: sweeps stay there, and a step or two lead out."""
    places = torch.tensor([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0]], dtype=torch.float64)
    truth = torch.arange(60) % 3
    players = [
        Percepts(places[truth] + torch.randn(60, 2, dtype=torch.float64, generator=stream(m, "z")), NormalWishart(2))
        for m in range(2)
    ]
    wrong = torch.where(truth == 0, 1 + torch.arange(60) // 3 % 2, 0)
    assert (wrong[truth == 1] == wrong[truth == 2]).all() and len(wrong[truth == 0].unique()) == 2
    game = Game(LOG_PRIOR, "com", "shared")
    start = wrong.expand(8, 2, -1).contiguous()
    state = init(players, generators(0), start, K)
    for _ in range(30):
        state, _ = sweep(game, players, generators(0), state)
    assert (state.signs[:, 0, truth == 1] == state.signs[:, 0, truth == 2]).all()
    signs, own = start[:, 0], generators(0)
    for step in range(60):
        signs = split_merge(stream(step, "split"), LOG_PRIOR, players, step % 2, signs).signs
        state = init(players, own, signs.unsqueeze(1).expand(-1, 2, -1), K)
        signs = sweep(game, players, own, state)[0].signs[:, 0]
    for kind in range(3):
        assert (signs[:, truth == kind] == signs[:, [kind]]).all()
    assert all(len(set(row[:3].tolist())) == 3 for row in signs)


def test_two_signs_are_refused():
    with pytest.raises(ValueError, match="require 3 signs or more"):
        split_merge(stream(0, "split"), LOG_PRIOR[:2], mixtures(), 0, torch.zeros(1, N, dtype=torch.int64))
