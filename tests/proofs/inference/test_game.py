"""The sampled game against exact laws: one object's kernel, the joint posterior of a whole game, and its modes."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import joint_posterior, sign_posterior, transition_matrix
from mhng.inference.game import Game, init, play, sweep
from mhng.inference.metropolis import step
from mhng.inference.proposals import acceptance_rule
from mhng.models.belief import TableAnswers
from mhng.models.mixtures.gaussians import Components
from mhng.models.percepts import Percepts
from mhng.models.rng import categorical, stream
from tests.checks import ALPHA, chi_square, total_variation
from tests.proofs.problems import (
    LOG_PRIOR,
    TABLE_A,
    TABLE_B,
    K,
    TableAgent,
    generators,
    mixtures,
    random_signs,
    tables,
)

COM = Game(LOG_PRIOR)
C = 20_000
CHAINS = 6_000  # of whole games, whose parameters are redrawn


def counts(signs):
    """Draws (C,) -> (K,)."""
    return np.bincount(signs.numpy(), minlength=K)


@pytest.mark.parametrize("current", range(K))
def test_the_sampled_kernel_is_the_exact_matrix(current):
    turn = step(
        TableAnswers(TABLE_A[:1].expand(C, 1, K)),
        TableAnswers(TABLE_B[:1].expand(C, 1, K)),
        stream(1, "speaker"),
        stream(1, "listener"),
        LOG_PRIOR,
        torch.full((C, 1), current),
        acceptance_rule("mh"),
    )
    exact = transition_matrix(LOG_PRIOR, TABLE_A[0], TABLE_B[0], acceptance_rule("mh"))
    assert chi_square(counts(turn.signs[:, 0]), exact[current].numpy()) > ALPHA
    # The same draws, held against the matrix of another rule, are rejected.
    wrong = transition_matrix(LOG_PRIOR, TABLE_A[0], TABLE_B[0], acceptance_rule("constant:0.9"))
    assert chi_square(counts(turn.signs[:, 0]), wrong[current].numpy()) < ALPHA


def test_two_impossible_signs_are_a_rejection_and_counted():
    """Public case 25: `u > NaN` is false, so a coin the wrong way round would accept."""
    listener = torch.tensor([[[-math.inf, -math.inf, 0.0]]], dtype=torch.float64).expand(50, 1, K)
    speaker = torch.tensor([[[0.0, -math.inf, -math.inf]]], dtype=torch.float64).expand(50, 1, K)
    turn = step(
        TableAnswers(speaker), TableAnswers(listener), stream(0, "speaker"), stream(0, "listener"), LOG_PRIOR,
        torch.ones(50, 1).long(), acceptance_rule("mh"),
    )  # fmt: skip
    assert not turn.accepted.any() and turn.not_a_number.all() and (turn.signs == 1).all()


def test_draws_from_sharp_and_single_rows():
    """Public case 24: probabilities from logits, in float64, whatever their spread."""
    logits = 80 * torch.randn(5000, 12, generator=stream(0, "logits"), dtype=torch.float64)
    logits[0] = -1e300
    logits[0, 3] = 0
    assert categorical(stream(0, "draw"), logits)[0] == 3
    assert (categorical(stream(0, "draw"), torch.zeros(7, 1, dtype=torch.float64)) == 0).all()


@pytest.mark.parametrize("rule", ["mh", "numerator", ("mh", "numerator")])
@pytest.mark.parametrize("mode", ["com", "gibbs"])
@pytest.mark.parametrize("state", ["chain", "shared"])
def test_with_fixed_parameters_every_valid_game_has_the_posterior(mode, state, rule):
    game = Game(LOG_PRIOR, mode, state, rule)
    start = init(tables(), generators(3), random_signs(C), K)
    final, _ = play(game, tables(), generators(3), start, 12 if rule == "mh" else 80)  # it accepts less often
    law = sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B])
    for m in range(2):
        for n in range(4):
            assert chi_square(counts(final.signs[:, m, n]), law[n].numpy()) > ALPHA


def test_without_communication_each_agent_has_its_own_posterior():
    game = Game(LOG_PRIOR, "no-com")
    final, _ = play(game, tables(), generators(3), init(tables(), generators(3), random_signs(C), K), 2)
    for m, table in enumerate((TABLE_A, TABLE_B)):
        law = sign_posterior(LOG_PRIOR, [table])
        assert chi_square(counts(final.signs[:, m, 0]), law[0].numpy()) > ALPHA


@pytest.mark.parametrize(
    "game",
    [
        Game(LOG_PRIOR, "all"),
        Game(LOG_PRIOR, "no-com"),
        Game(LOG_PRIOR, "com", "speaker-sample"),
        Game(LOG_PRIOR, "com", "chain", "binary"),
        Game(LOG_PRIOR, "com", "chain", "constant:0.5"),
        Game(LOG_PRIOR, "com", "chain", ("mh", "constant:0.5")),
        Game(torch.full((K,), -math.log(K), dtype=torch.float64), "com"),
    ],
    ids=lambda game: f"{game.mode} {game.listener_state} {game.acceptance}",
)
def test_games_that_do_not_sample_the_posterior_are_rejected(game):
    final, _ = play(game, tables(), generators(3), init(tables(), generators(3), random_signs(C), K), 12)
    law = sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B])
    assert min(chi_square(counts(final.signs[:, 1, n]), law[n].numpy()) for n in range(4)) < ALPHA


def assignment(signs):
    """Signs (C, N) -> row of `all_signs`, (C,)."""
    N = signs.shape[1]
    return (signs * torch.tensor([K ** (N - 1 - n) for n in range(N)])).sum(1)


def played(game, sweeps=40, chains=CHAINS, seed=5):
    """Final signs (C, M, N) of chains that redraw their parameters."""
    players = mixtures()
    start = init(players, generators(seed), random_signs(chains, seed=seed), K)
    return play(game, players, generators(seed), start, sweeps)[0].signs


@pytest.mark.parametrize(
    "game",
    [
        Game(LOG_PRIOR, "com", "shared"),
        Game(LOG_PRIOR, "gibbs"),
        Game(LOG_PRIOR, "com", "shared", split_merge=1),
        Game(LOG_PRIOR, "gibbs", split_merge=2),
    ],
    ids=["shared", "gibbs", "shared with split-merge", "gibbs with split-merge"],
)
def test_the_whole_game_has_the_enumerated_joint_posterior(game):
    """N = 4, K = 3, parameters redrawn: 81 assignments, parameters integrated out in closed form."""
    law = joint_posterior(mixtures(), LOG_PRIOR, 4).numpy()
    final = played(game, sweeps=10 if game.split_merge else 40)
    assert torch.equal(final[:, 0], final[:, 1])
    found = np.bincount(assignment(final[:, 0]).numpy(), minlength=K**4)
    assert chi_square(found, law) > ALPHA


@pytest.mark.parametrize(
    "kind",
    ["all", "one agent deaf", "parameters from the prior", "prior ignored", "parameters never redrawn"],
)
def test_wrong_whole_games_are_rejected(kind):
    law = joint_posterior(mixtures(), LOG_PRIOR, 4).numpy()
    game, players = Game(LOG_PRIOR, "com", "shared"), mixtures()
    if kind == "all":
        game = replace(game, mode="all")
    elif kind == "prior ignored":
        game = replace(game, log_prior=torch.zeros(K, dtype=torch.float64).log_softmax(0))
    elif kind == "one agent deaf":
        players = [players[0], TableAgent(torch.zeros(4, K, dtype=torch.float64))]
    elif kind == "parameters from the prior":

        class Forgetful(Percepts):
            def redraw(self, generator, signs, K, previous=None):
                return self.from_prior(generator, len(signs), K)

        players = [Forgetful(one.z, one.mixture) for one in players]
    else:

        class Stubborn(Percepts):
            kept = None

            def redraw(self, generator, signs, K, previous=None):
                self.kept = self.kept or super().redraw(generator, signs, K)
                return self.kept

        players = [Stubborn(one.z, one.mixture) for one in players]
    start = init(players, generators(5), random_signs(CHAINS, seed=5), K)
    final = play(game, players, generators(5), start, 40)[0].signs
    found = np.bincount(assignment(final[:, 0]).numpy(), minlength=K**4)
    assert chi_square(found, law) < ALPHA


def test_the_trace_stores_component_means_and_the_draws_do_not_depend_on_it():
    kept, bare = (
        play(COM, mixtures(), generators(3), init(mixtures(), generators(2), random_signs(5), K), 4, keep_means=keep)
        for keep in (True, False)
    )
    assert kept[1].means.shape == (5, 4, 2, K, 2) and kept[1].means.dtype == torch.float64
    for m, belief in enumerate(kept[0].beliefs):
        assert torch.equal(kept[1].means[:, -1, m], belief.parameters.mu)
    assert not torch.equal(kept[1].means[:, 0], kept[1].means[:, -1])
    assert bare[1].means is None and torch.equal(bare[1].signs, kept[1].signs)
    assert torch.equal(bare[1].log_joint, kept[1].log_joint)


def test_without_mu_the_trace_has_no_means():
    _, trace = play(COM, tables(), generators(3), init(tables(), generators(3), random_signs(5), K), 2)
    assert trace.means is None


@pytest.mark.slow
def test_with_fixed_parameters_valid_games_are_within_a_hundredth_of_the_posterior():
    law = sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B])
    found = {}
    for name, game in {
        "chain": Game(LOG_PRIOR),
        "shared": Game(LOG_PRIOR, "com", "shared"),
        "gibbs": Game(LOG_PRIOR, "gibbs"),
        "speaker-sample": Game(LOG_PRIOR, "com", "speaker-sample"),
    }.items():
        signs = random_signs(100_000)[:, :1].expand(-1, 2, -1)
        state = init(tables(), generators(1), signs, K)
        final = play(game, tables(), generators(1), state, 25, keep_means=False)[0].signs
        found[name] = [
            max(total_variation(np.bincount(own[:, n], minlength=K) / len(own), law[n].numpy()) for n in range(4))
            for own in final.numpy().transpose(1, 0, 2)
        ]
        print(f"| {name} | {found[name][0]:.4f} | {found[name][1]:.4f} |")
    assert max(max(found[name]) for name in ("chain", "shared", "gibbs")) < 0.01 < min(found["speaker-sample"])


@pytest.mark.slow
def test_chains_of_their_own_come_near_the_joint_posterior_and_the_references_rule_less_near():
    """With redrawn parameters `chain` is no exact sampler of the joint: its distance is measured in the docs."""
    law = joint_posterior(mixtures(), LOG_PRIOR, 4).numpy()

    def distances(state):
        final = played(Game(LOG_PRIOR, "com", state), chains=20_000)
        found = [np.bincount(assignment(final[:, m]).numpy(), minlength=K**4) for m in range(2)]
        return [total_variation(counted / counted.sum(), law) for counted in found]

    exact, own, private = distances("shared"), distances("chain"), distances("speaker-sample")
    for name, pair in (("shared", exact), ("chain", own), ("speaker-sample", private)):
        print(f"| {name} | {pair[0]:.3f} | {pair[1]:.3f} |")
    assert max(exact) < min(own) and all(a < b for a, b in zip(own, private, strict=True))


def test_successive_draws_keep_the_joint_law_of_everything():
    """Geweke (2004): from an exact draw of (w, phi, z), a sweep must give back the same law of (w, phi, z)."""
    check_geweke(repeats=600, sweeps=2)


@pytest.mark.slow
def test_successive_draws_keep_the_joint_law_of_everything_at_length():
    check_geweke(repeats=20_000, sweeps=3)


def simulate(seed, N=5):
    """An exact draw: signs, then each agent's parameters and percepts. (players, signs (N,), phi per agent)."""
    generator = stream(seed, "simulate")
    signs = categorical(generator, LOG_PRIOR.expand(N, K))
    players, beliefs = [], []
    for model in mixtures():
        family = model.mixture
        phi = family.draw(generator, family.posterior(family.empty_statistics(K)))
        noise = torch.randn(N, 2, 1, generator=generator, dtype=torch.float64)
        z = phi.mu[signs] + (phi.scale_tril[signs] @ noise).squeeze(-1)
        players.append(Percepts(z, family))
        beliefs.append(phi)
    return players, signs, beliefs


def features(signs, phi, z):
    """Scalars of one agent's (w, phi, z) that a wrong sampler would shift."""
    precision_size = -2 * phi.scale_tril[0].diagonal().log().sum()
    residual = torch.linalg.solve_triangular(phi.scale_tril[signs], (z - phi.mu[signs]).unsqueeze(-1), upper=False)
    return [
        float((signs == 0).sum()), float(phi.mu[0, 0]), float(precision_size),
        float(residual.square().mean()), float((phi.mu[1] * phi.mu[2]).sum().clamp(-50, 50)),
        float(phi.scale_tril[0, 1, 0].clamp(-20, 20)),
    ]  # fmt: skip


def check_geweke(repeats, sweeps):
    from scipy import stats

    game, before, after = Game(LOG_PRIOR, "com", "shared"), [], []
    for seed in range(repeats):
        players, signs, _ = simulate(seed)
        own = generators(seed)
        state = init(players, own, signs.expand(1, 2, -1), K)
        for _ in range(sweeps):
            state, _ = sweep(game, players, own, state)
        _, fresh_signs, fresh = fresh_draw = simulate(repeats + seed)
        before.append([f for m in range(2) for f in features(fresh_signs, fresh[m], fresh_draw[0][m].z)])
        after.append(
            [
                f
                for m, belief in enumerate(state.beliefs)
                for f in features(state.signs[0, m], Components(*(p[0] for p in belief.parameters)), players[m].z)
            ]
        )
    a, b = np.array(before), np.array(after)
    smallest = min(stats.mannwhitneyu(x, y).pvalue for x, y in zip(a.T, b.T, strict=True))
    assert smallest * a.shape[1] > ALPHA
    spread = min(stats.ks_2samp(x, y).pvalue for x, y in zip(a.T, b.T, strict=True))
    assert spread * a.shape[1] > ALPHA


def sure(sign, of=K, N=4):
    """An agent that would never hear of another sign than `sign`."""
    table = torch.full((N, of), -1000.0, dtype=torch.float64)
    table[:, sign] = 0.0
    return TableAgent(table)


def played_by(players, game, signs):
    return sweep(game, players, generators(0), init(players, generators(0), signs, K))


def test_each_listener_compares_with_its_own_sign():
    """A is sure of 0 and B of 1: each rejects what the other says, and each keeps what it had."""
    signs = torch.stack([torch.zeros(1, 4), torch.ones(1, 4)], dim=1).long()
    state, info = played_by([sure(0), sure(1)], COM, signs)
    assert torch.equal(state.signs, signs) and (info.accepted == 0).all()


def test_the_acceptance_depends_on_the_listener_only():
    """B does not care and A is sure: B takes all that A says, and A what B then repeats of 2 from a start of 2."""
    careless = TableAgent(torch.zeros(4, K, dtype=torch.float64))
    signs = torch.tensor([0, 2]).view(1, 2, 1).expand(1, 2, 4)
    state, info = sweep(
        Game(torch.tensor([-1000.0, -1000.0, 0.0], dtype=torch.float64)),  # B, left to itself, always says 2
        [sure(0), careless],
        generators(0),
        init([sure(0), careless], generators(0), signs, K),
    )
    assert info.accepted.tolist() == [[0, 4]]
    assert (state.signs[:, 0] == 0).all()


def test_each_agent_has_its_acceptance_rule():
    signs = random_signs(1)
    game = Game(LOG_PRIOR, acceptance=("constant:0", "constant:1"))
    state, info = sweep(game, tables(), generators(0), init(tables(), generators(0), signs, K))
    assert info.accepted.tolist() == [[0, 4]] and torch.equal(state.signs[:, 0], signs[:, 0])


def test_the_private_sample_is_the_last_proposal():
    signs = torch.full((1, 2, 4), 2)
    state, _ = played_by([sure(0), sure(1)], Game(LOG_PRIOR, "com", "speaker-sample"), signs)
    assert (state.private[:, 0] == 0).all() and (state.private[:, 1] == 1).all()


@pytest.mark.parametrize("rule", ["mh", "constant:1", "subtraction"])
def test_two_impossible_signs_are_a_rejection_by_every_rule(rule):
    listener = torch.tensor([[[-math.inf, -math.inf, 0.0]]], dtype=torch.float64).expand(50, 1, K)
    speaker = torch.tensor([[[0.0, -math.inf, -math.inf]]], dtype=torch.float64).expand(50, 1, K)
    current = torch.ones(50, 1).long()
    turn = step(
        TableAnswers(speaker), TableAnswers(listener), *generators(0), LOG_PRIOR, current, acceptance_rule(rule)
    )
    assert not turn.accepted.any() and turn.not_a_number.all()


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
@pytest.mark.parametrize("listener_state", ["chain", "shared", "speaker-sample"])
def test_beliefs_follow_the_signs(mode, listener_state):
    players, own = mixtures(), generators(2)
    game = Game(LOG_PRIOR, mode, listener_state)
    state = init(players, own, random_signs(5), K)
    for _ in range(4):
        state, info = sweep(game, players, own, state)
        evidence = [player.evidence(state.signs[:, m], K) for m, player in enumerate(players)]
        for belief, expected in zip(state.beliefs, evidence, strict=True):
            torch.testing.assert_close(belief.evidence, expected)
        torch.testing.assert_close(info.evidence, evidence[0] + evidence[1])
        one = mode == "gibbs" or (listener_state == "shared" and mode in ("com", "all"))
        assert torch.equal(state.signs[:, 0], state.signs[:, 1]) == one


def test_draws_have_their_probabilities():
    logits = torch.tensor([[2.0, -1.0, 0.3]], dtype=torch.float64)
    found = categorical(stream(0, "draw"), logits.expand(C, 3))
    assert chi_square(counts(found), logits[0].softmax(0).numpy()) > ALPHA


def test_chains_are_different_draws():
    final = played(COM, sweeps=5, chains=200)
    assert len(torch.unique(assignment(final[:, 0]))) > 10


def test_the_trace_counts_acceptances_and_messages():
    players, own = mixtures(), generators(2)
    start = init(players, own, random_signs(3), K)
    final, trace = play(COM, players, own, start, 7)
    assert trace.signs.shape == (3, 7, 2, 4) and trace.accepted.shape == (3, 7, 2)
    assert torch.equal(trace.signs[:, -1].long(), final.signs)
    assert ((trace.accepted >= 0) & (trace.accepted <= 4)).all()
    evidence = sum(player.evidence(final.signs[:, m], K) for m, player in enumerate(players))
    torch.testing.assert_close(trace.evidence[:, -1], evidence)
    assert trace.best_signs is None and (trace.not_a_number == 0).all()


def test_the_log_joint_counts_a_shared_sign_once():
    players, own = mixtures(), generators(2)
    for game in (Game(LOG_PRIOR, "com", "shared"), Game(LOG_PRIOR, "gibbs"), COM):
        final, trace = play(game, players, own, init(players, own, random_signs(2), K), 3)
        expected = torch.zeros(2, dtype=torch.float64)
        for m, belief in enumerate(final.beliefs):
            expected += belief.log_density
            for n in range(4):
                expected += belief.table[:, n].gather(1, final.signs[:, m, n : n + 1])[:, 0]
            if m == 0 or game is COM:
                expected += LOG_PRIOR[final.signs[:, m]].sum(1)
        torch.testing.assert_close(trace.log_joint[:, -1], expected)


def test_with_shared_signs_the_trace_stores_the_best_signs_of_each_agent():
    players, own = mixtures(), generators(2)
    game = Game(LOG_PRIOR, "com", "shared")
    final, trace = play(game, players, own, init(players, own, random_signs(9), K), 4)
    assert torch.equal(trace.signs[:, :, 0], trace.signs[:, :, 1])
    expected = torch.stack([(LOG_PRIOR + belief.table).argmax(-1) for belief in final.beliefs], 1)
    assert torch.equal(trace.best_signs[:, -1].long(), expected)


def test_mode_all_accepts_all_and_mode_no_com_sends_nothing():
    players, own = mixtures(), generators(2)
    start = init(players, own, random_signs(3), K)
    _, trace = play(Game(LOG_PRIOR, "all"), players, own, start, 5)
    assert (trace.accepted == 4).all()
    # no-com: another partner changes nothing for agent 1
    results = []
    for partner in (mixtures()[0], mixtures()[1]):
        pair, own = [partner, mixtures()[1]], generators(2)
        final, _ = play(Game(LOG_PRIOR, "no-com"), pair, own, init(pair, own, random_signs(3), K), 5)
        results.append(final.signs[:, 1])
    assert torch.equal(*results)


def test_split_merge_needs_shared_signs_and_is_counted():
    for game in (("com", "chain"), ("no-com", "shared"), ("com", "speaker-sample")):
        with pytest.raises(ValueError, match="shared"):
            Game(LOG_PRIOR, *game, split_merge=1)
    game = Game(LOG_PRIOR, "com", "shared", split_merge=2)
    state, trace = play(game, mixtures(), generators(0), init(mixtures(), generators(0), random_signs(50), K), 10)
    assert torch.equal(state.signs[:, 0], state.signs[:, 1])
    assert 0 < trace.splits.sum() < 50 * 10 * 2 * 2 and trace.splits.shape == (50, 10)


def test_a_game_with_one_sign():
    players, own = mixtures(), generators(0)
    one = torch.zeros(1, dtype=torch.float64)
    _, trace = play(Game(one), players, own, init(players, own, torch.zeros(1, 2, 4).long(), 1), 3)
    assert (trace.signs == 0).all() and trace.evidence.isfinite().all()
