"""Games with a drawn pi: the posterior with pi integrated out, and mergers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import all_signs, joint_posterior
from mhng.inference.game import Game, init, play, sweep
from mhng.inference.initialization import Start, initial_signs, merge_if_sparse
from mhng.inference.log_joint import log_joint
from mhng.inference.mergers import merge
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.sign_prior import Dirichlet, Sticks
from tests.checks import ALPHA, chi_square
from tests.proofs.problems import K, generators, mixtures, random_signs
from tests.proofs.referee import weights as referee

FLAT = torch.zeros(K, dtype=torch.float64).log_softmax(0)
GAMES = [
    Game(FLAT, "com", "shared", weights=Dirichlet(0.4)),
    Game(FLAT, "gibbs", weights=Dirichlet(0.4)),
    Game(FLAT, "com", "shared", weights=Sticks(0.6)),
    Game(FLAT, "gibbs", weights=Sticks(0.6)),
    Game(FLAT, "com", "shared", split_merge=1, weights=Dirichlet(0.4)),
]


def law_of_signs(weights, signs):
    """log p(w) of sequences of signs (A, N), pi integrated out, from the referee."""
    counts = torch.nn.functional.one_hot(signs, K).sum(1).numpy()
    law = referee.dirichlet if isinstance(weights, Dirichlet) else referee.sticks
    return torch.tensor([law(row, weights.alpha) for row in counts])


def enumerated(weights, agents=2):
    flat = joint_posterior(mixtures()[:agents], FLAT, 4).log()
    return (flat + law_of_signs(weights, all_signs(4, K))).softmax(0).numpy()


def rows(signs):
    return (signs * torch.tensor([27, 9, 3, 1])).sum(1).numpy()


def final(game, sweeps=30, chains=3000):
    players = mixtures()
    start = init(players, generators(5), random_signs(chains, seed=5), K)
    return play(game, players, generators(5), start, sweeps)[0].signs


@pytest.mark.parametrize("game", GAMES, ids=lambda game: f"{game.mode} {game.weights} {game.split_merge}")
def test_the_whole_game_has_the_posterior_with_pi_integrated_out(game):
    found = np.bincount(rows(final(game, 10 if game.split_merge else 60)[:, 0]), minlength=81)
    assert chi_square(found, enumerated(game.weights)) > ALPHA


def test_shared_pi_is_drawn_once_per_encounter(monkeypatch):
    drawn, redraw = [], Dirichlet.redraw
    monkeypatch.setattr(Dirichlet, "redraw", lambda self, *told: drawn.append(1) or redraw(self, *told))
    game = Game(FLAT, "com", "shared", weights=Dirichlet(0.4))
    play(game, mixtures(), generators(5), init(mixtures(), generators(5), random_signs(8, seed=5), K), 3)
    assert len(drawn) == 1 + 3 * 2  # one to begin with


@pytest.mark.parametrize(
    "wrong",
    [
        replace(GAMES[0], weights=None),
        replace(GAMES[0], weights=Dirichlet(1.0)),
        replace(GAMES[0], weights=Sticks(0.4)),
        replace(GAMES[0], mode="all"),
    ],
    ids=["known weights", "another alpha", "sticks", "everything accepted"],
)
def test_other_games_are_rejected(wrong):
    found = np.bincount(rows(final(wrong)[:, 0]), minlength=81)
    assert chi_square(found, enumerated(GAMES[0].weights)) < ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("weights", [Dirichlet(0.4), Sticks(0.6)], ids=["dirichlet", "sticks"])
def test_chains_of_their_own_with_drawn_weights_are_off_by_as_much_as_the_docs_say(weights):
    distances = {}
    for state in ("shared", "chain"):
        signs = final(Game(FLAT, "com", state, weights=weights), 60, 20_000)
        shares = [np.bincount(rows(signs[:, m]), minlength=81) / len(signs) for m in range(2)]
        distances[state] = [float(np.abs(share - enumerated(weights)).sum() / 2) for share in shares]
        print(f"{weights} {state}: " + " ".join(f"{distance:.3f}" for distance in distances[state]))
    assert max(distances["shared"]) < 0.03 < min(distances["chain"]) and max(distances["chain"]) < 0.1


def test_in_no_com_each_agent_has_its_own_posterior():
    signs = final(Game(FLAT, "no-com", weights=Dirichlet(0.4)))
    for m, player in enumerate(mixtures()):
        law = (joint_posterior([player], FLAT, 4).log() + law_of_signs(Dirichlet(0.4), all_signs(4, K))).softmax(0)
        assert chi_square(np.bincount(rows(signs[:, m]), minlength=81), law.numpy()) > ALPHA


def test_shared_signs_have_one_pi_and_separate_chains_one_each():
    for state, one in (("shared", True), ("chain", False)):
        game = Game(FLAT, "com", state, weights=Dirichlet(0.4))
        start = init(mixtures(), generators(5), random_signs(8, seed=5), K)
        after, info = sweep(game, mixtures(), generators(5), start)
        assert after.log_pi.shape == (8, 2, K) and torch.equal(after.log_pi[:, 0], after.log_pi[:, 1]) == one
        torch.testing.assert_close(log_joint(game, after), info.log_joint)
        owners = range(1 if one else 2)
        of_signs = sum(after.log_pi[:, m].gather(1, after.signs[:, m]).sum(1) for m in owners)
        of_signs = of_signs + sum(game.weights.log_density(after.log_pi[:, m]) for m in owners)
        for m, belief in enumerate(after.beliefs):
            heard = belief.table.gather(-1, after.signs[:, m].unsqueeze(-1)).sum((1, 2))
            of_signs = of_signs + heard + belief.log_density
        torch.testing.assert_close(info.log_joint, of_signs)


# -- how many signs there are ----------------------------------------------------------------------


def groups(seed=0, each=40):
    """Three groups far apart, seen by two agents in their own coordinates."""
    centres = torch.tensor([[6.0, 0.0], [-6.0, 3.0], [0.0, -7.0]], dtype=torch.float64)
    kind = torch.arange(3).repeat(each)
    noise = torch.randn(2, len(kind), 2, generator=stream(seed, "z"), dtype=torch.float64)
    return kind, [
        Percepts(noise[0] + centres[kind], NormalWishart(2)),
        Percepts(noise[1] - centres[kind], NormalWishart(2)),
    ]


@pytest.mark.parametrize("mode", ["com", "gibbs", "no-com"])
def test_agents_find_how_many_signs_they_need(mode):
    kind, players = groups()
    game = Game(torch.zeros(12, dtype=torch.float64).log_softmax(0), mode, weights=Sticks(1.0))
    signs, evidence = initial_signs(Start("merge", tries=2, before=10, after=5), game, players, generators(1), 2)
    assert signs.shape == (2, 2, 120) and evidence.isfinite().all()
    state, _ = play(game, players, generators(1), init(players, generators(1), signs, 12), 20)
    for agent in range(2):
        best = merge_if_sparse(game, players, state.signs)[0, agent]
        assert best.unique().tolist() == [0, 1, 2], "numbered from the largest, none left between"
        assert len(torch.stack([kind, best], 1).unique(dim=0)) == 3


def test_mergers_stop_at_the_largest_evidence():
    """From the truth nothing is merged, and halves of it are put together."""
    kind, players = groups()
    game = Game(torch.zeros(12, dtype=torch.float64).log_softmax(0), weights=Sticks(1.0))
    truth = kind.expand(1, 2, -1)
    halves = (2 * kind + torch.arange(120) // 60).expand(1, 2, -1)
    assert torch.equal(merge_if_sparse(game, players, truth).unique(), torch.arange(3))
    assert torch.equal(merge_if_sparse(game, players, halves), merge_if_sparse(game, players, truth))
    assert torch.equal(merge_if_sparse(replace(game, weights=Dirichlet(1.0)), players, halves), halves)


def test_the_evidence_of_signs_counts_in_mergers():
    """Of two mergers that percepts find alike, the weights decide: here a small sign is joined, not a large one."""
    flat = [Percepts(torch.zeros(30, 1, dtype=torch.float64), NormalWishart(1))]
    signs = torch.tensor([0] * 14 + [1] * 13 + [2] * 2 + [3]).expand(1, 1, 30)
    game = Game(torch.zeros(4, dtype=torch.float64).log_softmax(0), "no-com", weights=Sticks(1e-3))
    assert merge(flat, signs, 4, 4, game).unique().tolist() == [0], "one sign says as much"
    assert len(merge(flat, signs, 4, 4, replace(game, weights=Dirichlet(1.0))).unique()) == 4
