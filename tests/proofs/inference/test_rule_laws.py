"""The stationary law of each acceptance rule, for the kernel and the sampled game."""

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import sign_posterior, stationary, transition_matrix
from mhng.inference.game import Game, init, play
from mhng.inference.proposals import acceptance_rule
from tests.checks import ALPHA, chi_square
from tests.proofs.problems import LOG_PRIOR, TABLE_A, TABLE_B, K, generators, random_signs, tables

C = 20_000
RULES = ["mh", "numerator", "tempered:2.5", "tempered:0.4", "constant:0.7", "subtraction", "binary"]


def law(rule, speaker, listener):
    """Of the listener's sign (N, K), in closed form but for `subtraction`."""
    kind, _, number = rule.partition(":")
    if kind in ("mh", "numerator"):
        return sign_posterior(LOG_PRIOR, [speaker, listener])
    if kind == "tempered":  # the ratio to a power is the ratio of the likelihoods to that power
        return sign_posterior(LOG_PRIOR, [speaker, listener / float(number)])
    if kind == "constant":  # what was accepted last, and the listener's percept has no say in it
        return sign_posterior(LOG_PRIOR, [speaker])
    if kind == "binary":  # it goes up only
        return torch.nn.functional.one_hot(listener.argmax(-1), K).double()
    kernels = [
        transition_matrix(LOG_PRIOR, a, b, acceptance_rule(rule)) for a, b in zip(speaker, listener, strict=True)
    ]
    return torch.stack([stationary(kernel) for kernel in kernels])


@pytest.mark.parametrize("rule", RULES)
def test_the_stationary_law_of_each_kernel(rule):
    for n in range(4):
        kernel = transition_matrix(LOG_PRIOR, TABLE_A[n], TABLE_B[n], acceptance_rule(rule))
        own = law(rule, TABLE_A, TABLE_B)[n]
        torch.testing.assert_close(own @ kernel, own)
        # And comes to it from anywhere.
        torch.testing.assert_close(
            torch.linalg.matrix_power(kernel, 4000), own.expand(K, K).contiguous(), rtol=0, atol=1e-9
        )


def test_subtraction_is_not_reversible():
    """With three signs or more no law makes it reversible (Kolmogorov's criterion); with two the joint one does."""
    kernel = transition_matrix(LOG_PRIOR, TABLE_A[0], TABLE_B[0], acceptance_rule("subtraction"))
    one_way = kernel[0, 1] * kernel[1, 2] * kernel[2, 0]
    assert abs(one_way / (kernel[0, 2] * kernel[2, 1] * kernel[1, 0]) - 1) > 0.01
    two = [table[0, :2] for table in (TABLE_A, TABLE_B)]
    kernel = transition_matrix(LOG_PRIOR[:2], *two, acceptance_rule("subtraction"))
    torch.testing.assert_close(stationary(kernel), (LOG_PRIOR[:2] + sum(two)).softmax(-1))


@pytest.mark.parametrize(
    "rules", [*((rule, rule) for rule in RULES[2:-1]), ("tempered:2.5", "constant:0.7"), ("mh", "subtraction")]
)
def test_each_agents_sign_has_the_law_of_its_rule(rules):
    game = Game(LOG_PRIOR, "com", "chain", rules)
    final, _ = play(game, tables(), generators(3), init(tables(), generators(3), random_signs(C), K), 60)
    sees = (TABLE_A, TABLE_B)
    for m, rule in enumerate(rules):
        own = law(rule, sees[1 - m], sees[m]).numpy()
        other = law("mh", sees[1 - m], sees[m]).numpy()
        found = [np.bincount(final.signs[:, m, n].numpy(), minlength=K) for n in range(4)]
        assert min(chi_square(counts, own[n]) for n, counts in enumerate(found)) > ALPHA
        if rule != "mh":
            assert min(chi_square(counts, other[n]) for n, counts in enumerate(found)) < ALPHA


def test_binary_ends_at_the_listeners_best_sign():
    """Rule binary: what the speaker knows decides when, and nothing else."""
    game = Game(LOG_PRIOR, "com", "chain", ("mh", "binary"))
    final, _ = play(game, tables(), generators(3), init(tables(), generators(3), random_signs(200), K), 600)
    assert (final.signs[:, 1] == TABLE_B.argmax(-1)).all()
    assert (final.signs[:, 0] != TABLE_A.argmax(-1)).any(0).all()
