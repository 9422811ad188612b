"""The MH kernel of one object: a ratio by hand, then the exact transition matrix, and wrong kernels it must reject."""

import math

import pytest
import torch

from mhng.inference import RULES
from mhng.inference.enumeration import sign_posterior, stationary, transition_matrix
from mhng.inference.proposals import acceptance_rule, joint_logits
from mhng.models.belief import offer, proposal_logits
from tests.checks import detailed_balance_gap
from tests.proofs.problems import LOG_PRIOR, TABLE_A, TABLE_B, K

MH = acceptance_rule("mh")
SPEAKER, LISTENER = TABLE_A[0], TABLE_B[0]


def target():
    return sign_posterior(LOG_PRIOR, [SPEAKER.unsqueeze(0), LISTENER.unsqueeze(0)])[0]


def test_a_ratio_by_hand():
    # the listener's likelihoods are 0.2 and 0.05: from the second to the first r = 4, back r = 1/4
    table = torch.tensor([[[0.2, 0.05, 0.5]]], dtype=torch.float64).log()
    up = offer(table, torch.tensor([[0]]), torch.tensor([[1]]))
    down = offer(table, torch.tensor([[1]]), torch.tensor([[0]]))
    assert float(up.log_ratio) == pytest.approx(math.log(4))
    assert float(MH(up).exp()) == 1 and float(MH(down).exp()) == pytest.approx(0.25)
    assert float(up.log_normalised(up.proposed).exp()) == pytest.approx(0.2 / 0.75)
    assert float(up.log_normalised(up.current).exp()) == pytest.approx(0.05 / 0.75)


def test_proposal_and_joint_logits_by_hand():
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    a = torch.tensor([[0.1, 0.4, 0.2]], dtype=torch.float64)
    b = torch.tensor([[0.3, 0.3, 0.6]], dtype=torch.float64)
    alone = proposal_logits(prior.log(), a.log()).softmax(-1)
    torch.testing.assert_close(alone, prior * a / (prior * a).sum())
    joint = joint_logits(prior.log(), [a.log(), b.log()]).softmax(-1)
    torch.testing.assert_close(joint, prior * a * b / (prior * a * b).sum())


def test_with_impossible_signs_the_proposal_is_the_prior():
    impossible = torch.full((1, K), -math.inf, dtype=torch.float64)
    torch.testing.assert_close(proposal_logits(LOG_PRIOR, impossible)[0], LOG_PRIOR)


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize("direction", [(TABLE_A, TABLE_B), (TABLE_B, TABLE_A)])
def test_the_kernel_keeps_the_joint_posterior(n, direction):
    speaker, listener = direction
    law = sign_posterior(LOG_PRIOR, [TABLE_A, TABLE_B])[n]
    matrix = transition_matrix(LOG_PRIOR, speaker[n], listener[n], MH)
    torch.testing.assert_close(matrix.sum(1), torch.ones(K, dtype=torch.float64), rtol=0, atol=1e-14)
    assert detailed_balance_gap(matrix, law) < 1e-15
    torch.testing.assert_close(law @ matrix, law, rtol=0, atol=1e-14)
    torch.testing.assert_close(stationary(matrix), law, rtol=1e-10, atol=1e-12)


def specimen(kind):
    """A wrong kernel (K, K): what a slip of the pen would make of the game."""
    proposal = (LOG_PRIOR + SPEAKER).softmax(0)
    ratio = (LISTENER.unsqueeze(0) - LISTENER.unsqueeze(1)).exp()  # [current, proposed]
    speakers = (SPEAKER.unsqueeze(0) - SPEAKER.unsqueeze(1)).exp()
    priors = (LOG_PRIOR.unsqueeze(0) - LOG_PRIOR.unsqueeze(1)).exp()
    if kind == "prior left out of the proposal":
        proposal = SPEAKER.softmax(0)
    accept = {
        "inverted ratio": 1 / ratio,
        "speaker's likelihood in the ratio": ratio * speakers,
        "speaker's likelihood instead of the listener's": speakers,
        "prior counted twice": ratio * priors,
        "prior left out of the proposal": ratio,
        "always accept": torch.ones(K, K, dtype=torch.float64),
        # a move that was certain is sometimes refused: only moves with r >= 1 lose, which breaks the balance
        "acceptance clipped at 0.99": torch.where(ratio >= 1, 0.99, ratio),
        "coin of a square root": ratio.sqrt(),
    }[kind].clamp_max(1)
    moves = proposal * accept
    moves = moves - moves.diagonal().diag_embed()
    return moves + (1 - moves.sum(1)).diag_embed()


@pytest.mark.parametrize(
    "kind",
    [
        "inverted ratio",
        "speaker's likelihood in the ratio",
        "speaker's likelihood instead of the listener's",
        "prior counted twice",
        "prior left out of the proposal",
        "always accept",
        "acceptance clipped at 0.99",
        "coin of a square root",
    ],
)
def test_wrong_kernels_are_rejected(kind):
    assert detailed_balance_gap(specimen(kind), target()) > 1e-4


def test_the_fixture_matters():
    """With equal agents and a uniform prior some of the same wrong kernels would pass: why ours is skewed."""
    uniform = torch.full((K,), -math.log(K), dtype=torch.float64)
    law = sign_posterior(uniform, [SPEAKER.unsqueeze(0)] * 2)[0]
    ratio = (SPEAKER.unsqueeze(0) - SPEAKER.unsqueeze(1)).exp()
    moves = SPEAKER.softmax(0) * (ratio * 1.0).clamp_max(1)  # "the speaker's likelihood" looks right here
    moves = moves - moves.diagonal().diag_embed()
    assert detailed_balance_gap(moves + (1 - moves.sum(1)).diag_embed(), law) < 1e-15


@pytest.mark.parametrize("rule", ["tempered:2", "constant:0.7", "subtraction", "binary"])
def test_other_rules_do_not_keep_the_posterior(rule):
    matrix = transition_matrix(LOG_PRIOR, SPEAKER, LISTENER, acceptance_rule(rule))
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(1), torch.ones(K, dtype=torch.float64))
    assert detailed_balance_gap(matrix, target()) > 1e-4


def test_the_numerator_rule_keeps_the_posterior_too():
    """q_j L_j / sum L from i is a symmetric flow, if a slow one: the rule accepts less than MH does everywhere."""
    matrix = transition_matrix(LOG_PRIOR, SPEAKER, LISTENER, acceptance_rule("numerator"))
    assert detailed_balance_gap(matrix, target()) < 1e-15
    mh = transition_matrix(LOG_PRIOR, SPEAKER, LISTENER, MH)
    assert (matrix.diagonal() >= mh.diagonal()).all()


def test_rules_by_hand():
    table = torch.tensor([[0.2, 0.05, 0.5]], dtype=torch.float64).log()
    one = offer(table, torch.tensor([1]), torch.tensor([0]))

    def chance(rule):
        return float(acceptance_rule(rule)(one).exp())

    assert chance("tempered:2") == pytest.approx(0.5)
    assert chance("tempered:1") == chance("mh") == pytest.approx(0.25)
    assert chance("constant:0.3") == pytest.approx(0.3)
    assert chance("constant:0") == 0 and chance("constant:1") == 1
    assert chance("numerator") == pytest.approx(0.05 / 0.75)
    assert chance("subtraction") == pytest.approx((1 + (0.05 - 0.2) / 0.75) / 2)
    assert chance("binary") == 0


@pytest.mark.parametrize("name", ["", "MH", "tempered", "tempered:0", "tempered:nan", "constant:1.5", "mh:2", "x:1"])
def test_unknown_rules_are_refused(name):
    with pytest.raises(ValueError, match=RULES[0]):
        acceptance_rule(name)
