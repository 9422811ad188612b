"""The table of laws, `mhng.inference.laws`: every cell with fixed parameters in closed form, and sampled games.

Tests of cells with redrawn parameters: `test_redrawn_laws.py`, and for mixtures and weights `test_mixture_games.py`
and `test_sign_prior_games.py`.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from mhng import inference
from mhng.inference.game import Game, init, play
from mhng.inference.laws import _FIXED, EXACT_RULES, Cell, law
from mhng.inference.topology import Graph, Together
from tests.checks import ALPHA, chi_square, total_variation
from tests.proofs.inference.test_recursive import FOUR
from tests.proofs.problems import LOG_PRIOR, TableAgent, generators
from tests.proofs.referee import sweeps
from tests.proofs.referee.kernels import posterior

STATES = ("chain", "shared", "speaker-sample")
RULES = ("mh", "numerator", "tempered:2.5", "constant:0.7", "subtraction", "binary")
RECURSIONS = {"os": 1, "ll:2": 2, "exact": None}
AGENTS = FOUR[:, 0].numpy()  # one object, five agents that differ


def cells(M, K):
    """Every game of M agents and K signs with fixed parameters whose agents take turns."""
    meetings = ["together"] if M == 2 else ["together", "complete"]
    for state, meet in itertools.product(STATES, meetings):
        yield Cell("all", state, agents=M, signs=K, meet=meet, redrawn=False)
        for rule in RULES:
            several = M > 2 and meet == "together"  # otherwise recursion and inner start have no effect
            for recursion, start in itertools.product(RECURSIONS, ("listener", "own")):
                if several or (recursion, start) == ("os", "listener"):
                    yield Cell("com", state, (rule,), recursion, start, M, K, meet, False)


def problem(cell):
    """The game as the referee sees it."""
    K, M = cell.signs, cell.agents
    log_pi = LOG_PRIOR[:K].log_softmax(0).numpy()
    tries = 1 if cell.mode == "all" else RECURSIONS[cell.recursion]
    rules = ("constant:1",) * M if cell.mode == "all" else cell.rules * M if len(cell.rules) == 1 else cell.rules
    return sweeps.Problem(log_pi, AGENTS[:M, :K], rules, tries, cell.listener_state, cell.inner_start)


def meetings(cell):
    """The encounters of a sweep."""
    return (sweeps.together if cell.meet == "together" else sweeps.complete)(cell.agents)


def distance(cell):
    """The largest total variation of any agent's sign from the posterior of all agents."""
    game = problem(cell)
    target = posterior(game.log_pi, game.tables)
    return max(total_variation(own, target) for own in sweeps.sign_laws(game, meetings(cell)))


def in_hull(laws, points):
    """Whether every law is a mixture of the points."""
    equations = np.vstack([np.array(points).T, np.ones(len(points))])
    return all(nnls(equations, np.append(own, 1))[1] < 1e-9 for own in laws)


def power(rule):
    """The power of an agent's likelihood in the law of its answers."""
    kind, _, number = rule.partition(":")
    return {"tempered": 1 / float(number or 1), "constant": 0.0}.get(kind, 1.0)


def check_other_law(cell):
    """Hold a law of another kind against its closed form, to 1e-9."""
    game, M = problem(cell), cell.agents
    laws = sweeps.sign_laws(game, meetings(cell))
    if all(rule.startswith("constant") for rule in game.rules):
        alone = [[m] for m in range(M)]
        speakers = alone if game.tries else [[m for m in range(M) if m != listener] for listener in range(M)]
        assert in_hull(laws, [posterior(game.log_pi, game.tables[some]) for some in speakers])
        return
    assert cell.listener_state == "chain"
    for *speakers, listener in meetings(cell):
        if game.rules[listener] == "binary":
            expected = np.eye(cell.signs)[game.tables[listener].argmax()]
        else:
            answering = [listener] if game.tries is None else [*speakers[1:], listener]
            powers = [power(game.rules[m]) if m in answering else 1.0 for m in range(M)]
            expected = sweeps.powered(game.log_pi, game.tables, powers)
        assert np.abs(laws[listener] - expected).max() < 1e-9, cell


def check(cell):
    """Hold the verdict on one cell; returns its kind."""
    verdict, found = law(cell), distance(cell)
    if verdict.kind == "exact":
        assert found < 1e-9, cell
    elif verdict.kind == "another":
        check_other_law(cell)
    else:
        assert verdict.kind == "biased" and found > 1e-6, cell
    if cell.signs == 3:
        assert found < verdict.bias + 6e-4, cell
    return verdict.kind


@pytest.mark.parametrize("M", [2, 3, 4, 5])
@pytest.mark.parametrize("K", [2, 3])
def test_every_cell_has_the_law_of_its_verdict_in_closed_form(M, K):
    kinds = [check(cell) for cell in cells(M, K)]
    assert len(kinds) == (21 if M == 2 else 3 * 37 + 21)
    assert {"exact", "another", "biased"} == set(kinds)


@pytest.mark.parametrize("M", [2, 3, 4])
def test_without_communication_and_centralised_games_have_their_laws(M):
    tables = [TableAgent(FOUR[m, :1].expand(20_000, 3)) for m in range(M)]
    everyone = posterior(LOG_PRIOR.numpy(), AGENTS[:M])
    for mode, kind in (("gibbs", "exact"), ("no-com", "another")):
        assert law(Cell(mode, agents=M, redrawn=False)).kind == kind
        signs = torch.zeros(1, M, 20_000, dtype=torch.int64)
        final, _ = play(Game(LOG_PRIOR, mode), tables, generators(3, M), init(tables, generators(3, M), signs, 3), 1)
        for m in range(M):
            expected = everyone if mode == "gibbs" else posterior(LOG_PRIOR.numpy(), AGENTS[[m]])
            assert chi_square(np.bincount(final.signs[0, m], minlength=3), expected) > ALPHA


@pytest.mark.parametrize(
    "rules",
    [
        ("mh", "numerator"),
        ("tempered:2.5", "constant:0.7"),
        ("tempered:0.4", "binary"),
        ("mh", "tempered:2.5", "numerator"),
        ("constant:0.7", "mh", "tempered:0.4", "numerator"),
    ],
)
@pytest.mark.parametrize("recursion", RECURSIONS)
def test_agents_with_different_rules(rules, recursion):
    cell = Cell("com", "chain", rules, recursion, agents=len(rules), redrawn=False)
    assert law(cell).kind == ("exact" if set(rules) <= EXACT_RULES else "another")
    if set(rules) <= EXACT_RULES:
        assert distance(cell) < 1e-9
    else:
        check_other_law(cell)
    mixed = law(cell._replace(listener_state="shared"))
    assert mixed.kind == ("exact" if set(rules) <= EXACT_RULES else "unproved")


def test_every_listener_state_and_rule_has_its_row():
    families = [rule.partition(":")[0] for rule in inference.RULES]
    assert set(_FIXED) == set(itertools.product(inference.LISTENER_STATES, [*families, "all"]))
    assert {rule.partition(":")[0] for rule in RULES} == set(families) and STATES == inference.LISTENER_STATES
    everything = {cell.mode for cell in cells(2, 2)} | {"gibbs", "no-com", "variational"}
    assert everything == set(inference.MODES)


def test_rules_at_the_end_of_their_range():
    fixed = Cell(redrawn=False)
    assert law(fixed._replace(rules=("tempered:1",))).kind == "exact"
    assert law(fixed._replace(rules=("constant:0",))).kind == "unproved"
    assert law(fixed._replace(rules=("subtraction",), signs=2)).kind == "exact"
    assert law(Cell("all", signs=1)).kind == "exact", "there is one assignment"
    assert distance(fixed._replace(rules=("subtraction",), signs=2)) < 1e-9


@pytest.mark.parametrize("tries", ["os", "ll:2", "exact"])
def test_signs_of_two_agents_of_chain_are_independent_given_the_parameters(tries):
    game = problem(Cell("com", "chain", ("mh",), tries, agents=3, redrawn=False))
    joint = sweeps.limit(sweeps.sweep_matrix(game, sweeps.together(3))).reshape(3, 3, 3)
    one = posterior(game.log_pi, game.tables)
    np.testing.assert_allclose(joint, np.einsum("i,j,k->ijk", one, one, one), atol=1e-10)


@pytest.mark.parametrize("row", _FIXED, ids=" ".join)
def test_the_biases_of_the_table_are_those_of_the_named_case(row):
    state, family = row
    rule = next((rule for rule in RULES if rule.partition(":")[0] == family), "mh")
    mode = "all" if family == "all" else "com"

    def worst(agents, starts, meet="together", recursions=("os",)):
        some = itertools.product(agents, starts, recursions)
        return max(
            distance(Cell(mode, state, (rule,), recursion, start, M, 3, meet, False)) for M, start, recursion in some
        )

    several = ("os", "ll:2", "exact") if mode == "com" else ("os",)
    found = (
        worst([2], ["listener"]),
        worst([3, 4, 5], ["listener"], recursions=several),
        worst([3, 4, 5], ["own"], recursions=several[:2]),
        worst([3, 4, 5], ["listener"], "complete"),
    )
    np.testing.assert_allclose(found, _FIXED[row], atol=6e-4)


# -- our own game ------------------------------------------------------------------------------------

N = 10_000  # equal objects: as many chains


def played(cell, start, count=2):
    """The joint states after `count` sweeps from one joint state, as row numbers of the matrix: (N,)."""
    M, K = cell.agents, cell.signs
    pairs = tuple(itertools.combinations(range(M), 2))
    game = Game(
        LOG_PRIOR[:K].log_softmax(0), cell.mode, cell.listener_state, cell.rules[0], recursion=cell.recursion,
        inner_start=cell.inner_start, meetings=Together() if cell.meet == "together" else Graph(pairs),
    )  # fmt: skip
    players = [TableAgent(FOUR[m, :1, :K].expand(N, K)) for m in range(M)]
    signs = torch.tensor(start).view(1, M, 1).expand(1, M, N)
    final, _ = play(game, players, generators(7, M), init(players, generators(7, M), signs, K), count)
    compared = (final.private if cell.listener_state == "speaker-sample" else final.signs)[0]
    if cell.listener_state == "shared":
        return compared[0].numpy()
    return (compared * torch.tensor([[K ** (M - 1 - m)] for m in range(M)])).sum(0).numpy()


def fit(cell, other=None):
    """p-value of two sweeps of our game against the referee's matrix, or against that of another cell."""
    game = problem(other or cell)
    states = game.joint_states
    row = 2 * len(states) // 3
    matrix = np.linalg.matrix_power(sweeps.sweep_matrix(game, meetings(cell)), 2)
    return chi_square(np.bincount(played(cell, states[row]), minlength=len(states)), matrix[row])


def sampled(M, K):
    return [cell for cell in cells(M, K) if cell.recursion != "exact" or cell.inner_start == "listener"]


@pytest.mark.parametrize("M", [2, 3])
def test_the_sampled_game_follows_the_sweep_matrix(M):
    found = {cell: fit(cell) for cell in sampled(M, 3)}
    assert min(found.values()) > ALPHA, min(found, key=found.__getitem__)


@pytest.mark.slow
@pytest.mark.parametrize(("M", "K"), [(2, 2), (3, 2), (4, 2), (5, 2), (4, 3), (5, 3)])
def test_the_sampled_game_follows_the_sweep_matrix_in_every_cell(M, K):
    found = {cell: fit(cell) for cell in sampled(M, K)}
    assert min(found.values()) > ALPHA, min(found, key=found.__getitem__)


@pytest.mark.parametrize(
    "change",
    [
        {"inner_start": "own"},
        {"recursion": "ll:2"},
        {"recursion": "exact"},
        {"rules": ("numerator",)},
        {"rules": ("tempered:1.2",)},
        {"rules": ("constant:0.7",)},
    ],
    ids=str,
)
def test_the_matrix_of_another_game_is_rejected(change):
    cell = Cell(agents=3, redrawn=False)
    assert fit(cell, cell._replace(**change)) < ALPHA
