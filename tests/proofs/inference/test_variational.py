"""The variational game: enumeration, the lower bound, and the textbook equations in NumPy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import digamma, logsumexp

from mhng.inference import variational
from mhng.inference.enumeration import all_signs, joint_posterior, sign_posterior
from mhng.inference.game import Game, init, play, sweep
from mhng.inference.topology import Graph, Together
from mhng.models.belief import Belief
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.sign_prior import Dirichlet
from tests.proofs.problems import (
    LOG_PRIOR,
    TABLE_A,
    TABLE_B,
    TABLE_C,
    K,
    TableAgent,
    generators,
    mixtures,
    random_signs,
)

GAME = Game(LOG_PRIOR, "variational")
M = 3


class Sure(TableAgent):
    """A table agent, whose table is what it expects too."""

    def variational_belief(self, shares):
        nothing = torch.zeros(len(shares), dtype=torch.float64)
        return Belief(self.table.expand(len(shares), *self.table.shape), None, nothing, nothing)


def begun(players, chains=40, seed=0):
    return init(players, [], random_signs(chains, M=len(players), seed=seed), K, "variational")


def bounds(game, players, sweeps=30, chains=40):
    """(C, T) the bound, by the true prior of signs, after each encounter of each sweep."""
    state, found = begun(players, chains), []
    for number in range(sweeps):
        state, _ = sweep(game, players, generators(0, len(players)), state, number)
        found.append(variational.lower_bound(LOG_PRIOR, state))
    return torch.stack(found, dim=1)


def log_evidence(players):
    """log p(all percepts), over 81 assignments."""
    signs = all_signs(4, K)
    return float((LOG_PRIOR[signs].sum(1) + sum(p.evidence(signs, K) for p in players)).logsumexp(0))


def test_with_known_parameters_one_sweep_finds_the_posterior():
    players = [Sure(TABLE_A), Sure(TABLE_B), Sure(TABLE_C)]
    state, info = sweep(GAME, players, generators(0, M), begun(players), 0)
    law = sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B, TABLE_C])
    assert (state.signs == law.argmax(-1)).all()
    truth = (LOG_PRIOR + TABLE_A + TABLE_B + TABLE_C).logsumexp(-1).sum()
    torch.testing.assert_close(info.evidence, truth.expand(40))
    assert (info.messages == M * (M - 1) * 4).all() and list(info.encounters) == [0] * M
    # Somebody who does not say all it knows, or who forgets how common signs are, is found out.
    for wrong in (sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B]), sign_posterior(0 * LOG_PRIOR, [TABLE_A, TABLE_B])):
        assert (wrong.argmax(-1) != law.argmax(-1)).any()


def test_the_bound_never_falls_and_is_below_the_evidence():
    players = mixtures(M=M)
    found = bounds(GAME, players)
    assert (found.diff(dim=1) > -1e-9).all() and (found[:, -1] - found[:, 0]).max() > 0.5
    truth = log_evidence(players)
    assert (found < truth).all()
    # q falls apart and finds one of 3! orders of the signs, with those that look alike. No more than that is lost.
    assert truth - found.max() < math.log(6) + 3
    assert found[:, -1].unique().numel() > 1  # maxima that are not the best are maxima


class Wrong(Percepts):
    """Of one kind of fault each."""

    fault = ""

    def variational_belief(self, shares):
        if self.fault == "the hard sign alone":  # which climbs too, in a smaller family of q
            shares = torch.nn.functional.one_hot(shares.argmax(-1), K).double()
        if self.fault == "the middle of q":
            belief = super().variational_belief(shares)
            return replace(belief, table=self.log_prob_table(belief.parameters))
        if self.fault == "counted twice":
            shares = 2 * shares
        return super().variational_belief(shares)


@pytest.mark.parametrize("fault", ["the middle of q", "counted twice", "the prior forgotten"])
def test_wrong_games_decrease_or_exceed_the_evidence(fault):
    players = [Wrong(one.z, one.mixture) for one in mixtures(M=M)]
    for one in players:
        one.fault = fault
    game = replace(GAME, log_prior=0 * LOG_PRIOR - math.log(K)) if fault == "the prior forgotten" else GAME
    found = bounds(game, players)
    assert (found.diff(dim=1) < -1e-6).any() or (found > log_evidence(players)).any()


def test_at_convergence_all_agents_have_one_q_of_signs():
    players = mixtures(M=M)
    state, trace = play(GAME, players, generators(0, M), begun(players), 400)
    after, _ = sweep(GAME, players, generators(0, M), state, 400)
    torch.testing.assert_close(trace.log_joint[:, -1], variational.lower_bound(LOG_PRIOR, after), rtol=0, atol=1e-10)
    assert (state.signs == state.signs[:, :1]).all()
    for one, other in zip(state.beliefs, after.beliefs, strict=True):
        torch.testing.assert_close(one.table, other.table, rtol=0, atol=1e-6)
    assert trace.signs.shape == (40, 400, M, 4) and trace.best_signs is None and trace.means.shape[2:] == (M, K, 2)


def test_the_signs_are_near_the_posterior_mode():
    """The best of its maxima names objects as the most probable of all 81 assignments does."""
    players = mixtures(M=M)
    state, _ = play(GAME, players, generators(0, M), begun(players), 200)
    law = joint_posterior(players, LOG_PRIOR, 4)
    best = state.signs[variational.lower_bound(LOG_PRIOR, state).argmax(), 0]
    assert torch.equal(best, all_signs(4, K)[law.argmax()])


def test_a_sweep_equals_the_textbook_equations():
    """Bishop 2006, equations 10.46 to 10.65, with a factor for each agent, in loops."""
    z = [one.z.numpy() for one in mixtures(M=M)]
    priors = [
        (one.mixture.m0.numpy(), one.mixture.beta, one.mixture.nu, one.mixture.W.numpy()) for one in mixtures(M=M)
    ]
    signs = random_signs(1, M=M, seed=4)
    own = [learned(z[m], np.eye(K)[signs[0, m]], *priors[m]) for m in range(M)]
    for _ in range(3):
        for listener in (2, 0, 1):  # as `Together` has them
            logits = LOG_PRIOR.numpy() + sum(own)
            shares = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
            own[listener] = learned(z[listener], shares, *priors[listener])
    state, _ = play(GAME, mixtures(M=M), generators(0, M), init(mixtures(M=M), [], signs, K, "variational"), 3)
    hard = [Wrong(one.z, one.mixture) for one in mixtures(M=M)]
    for m in range(M):
        np.testing.assert_allclose(state.beliefs[m].table[0].numpy(), own[m], rtol=1e-9, atol=1e-9)
        hard[m].fault = "the hard sign alone"
    state, _ = play(GAME, hard, generators(0, M), init(hard, [], signs, K, "variational"), 3)
    assert all(np.abs(state.beliefs[m].table[0].numpy() - own[m]).max() > 0.1 for m in range(M))


def learned(z, shares, m0, beta0, nu0, W0):
    """E[log N(z_n; k)] under the best q(mu_k, Lambda_k) for shares (N, K)."""
    N, L = z.shape
    found = np.empty((N, K))
    for k in range(K):
        n = shares[:, k].sum()
        mean = shares[:, k] @ z / n if n > 0 else m0
        spread = sum(shares[i, k] * np.outer(z[i] - mean, z[i] - mean) for i in range(N))
        beta, nu = beta0 + n, nu0 + n
        m = (beta0 * m0 + n * mean) / beta
        W = np.linalg.inv(np.linalg.inv(W0) + spread + beta0 * n / beta * np.outer(mean - m0, mean - m0))
        log_det = digamma((nu - np.arange(L)) / 2).sum() + L * np.log(2) + np.linalg.slogdet(W)[1]
        for i in range(N):
            distance = L / beta + nu * (z[i] - m) @ W @ (z[i] - m)
            found[i, k] = (log_det - L * np.log(2 * np.pi) - distance) / 2
    return found


def test_two_agents_together_are_a_pair():
    signs = random_signs(5)
    states = [
        play(
            replace(GAME, meetings=meetings),
            mixtures(),
            generators(0),
            init(mixtures(), [], signs, K, "variational"),
            4,
        )
        for meetings in (Together(), Graph(((0, 1),)))
    ]
    assert torch.equal(states[0][1].signs, states[1][1].signs)
    assert torch.equal(states[0][1].log_joint, states[1][1].log_joint)


def test_synchronous_sweeps_do_not_depend_on_the_order_of_edges():
    """And who has two neighbours hears both."""
    found = []
    for edges in (((0, 1), (1, 2)), ((2, 1), (1, 0))):
        game = replace(GAME, meetings=Graph(edges, synchronous=True))
        players = mixtures(M=M)
        found.append(sweep(game, players, generators(0, M), begun(players), 0)[0])
    for one, other in zip(found[0].beliefs, found[1].beliefs, strict=True):
        torch.testing.assert_close(one.table, other.table)
    before = begun(mixtures(M=M))
    middle = (LOG_PRIOR + sum(belief.table for belief in before.beliefs)).softmax(-1)
    torch.testing.assert_close(found[0].beliefs[1].table, mixtures(M=M)[1].variational_belief(middle).table)


def test_an_isolated_agent_is_a_game_of_one():
    players = mixtures(M=M)
    game = replace(GAME, meetings=Graph(((0, 1),)))
    state, trace = play(game, players, generators(0, M), begun(players), 6)
    alone, _ = play(
        replace(GAME, meetings=Graph(())), players[2:], generators(0, 1),
        init(players[2:], [], random_signs(40, M=M)[:, 2:], K, "variational"), 6,
    )  # fmt: skip
    assert torch.equal(state.signs[:, 2], alone.signs[:, 0])
    assert torch.equal(state.beliefs[2].table, alone.beliefs[0].table)
    assert (trace.messages == 2 * 4).all()


def test_the_game_is_deterministic():
    own = generators(0, M)
    before = [one.get_state() for one in own]
    play(GAME, mixtures(M=M), own, begun(mixtures(M=M)), 3)
    assert all(torch.equal(one.get_state(), was) for one, was in zip(own, before, strict=True))


def test_far_latents_and_many_objects_keep_their_digits():
    """More objects than are added up at once, far from 0: the bound still never falls."""
    z = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e3
    z[:9000] += 5
    players = [Percepts(z, NormalWishart(2, m0=1e3)), Percepts(z.flip(1), NormalWishart(2, m0=1e3))]
    signs = torch.randint(K, (2, 2, 20_000), generator=torch.Generator().manual_seed(1))
    _, trace = play(GAME, players, generators(0), init(players, [], signs, K, "variational"), 30)
    assert (trace.log_joint.diff(dim=1) > -1e-6 * abs(float(trace.log_joint[0, 0])) / 1e3).all()


def test_drawn_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        Game(LOG_PRIOR, "variational", weights=Dirichlet(1.0))
