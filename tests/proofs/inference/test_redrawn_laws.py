"""The table of laws, `mhng.inference.laws`, for games whose agents redraw their parameters.

Further evidence: `test_game.py`, `test_recursive.py`, and for mixtures and weights `test_mixture_games.py` and
`test_sign_prior_games.py`.
"""

import functools
import itertools

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import all_signs, joint_posterior
from mhng.inference.game import Game, init, play
from mhng.inference.laws import _REDRAWN, PROVED_WEIGHTS, Cell, law
from mhng.inference.topology import Graph
from mhng.models.languages import MEANINGS
from mhng.models.mixtures.head_to_head import HeadToHead
from mhng.models.mixtures.student_t import StudentT
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES
from mhng.models.rng import stream
from mhng.models.sign_prior import Dirichlet, Sticks
from tests.checks import ALPHA, chi_square, total_variation
from tests.proofs.inference.test_laws import RULES
from tests.proofs.inference.test_mixture_games import DATA, EXACT, head_to_head_law, players
from tests.proofs.inference.test_sign_prior_games import FLAT, law_of_signs
from tests.proofs.problems import LOG_PRIOR, K, generators, mixtures, random_signs
from tests.proofs.referee import mixtures as referee

PLACES = torch.tensor([27, 9, 3, 1])


def complete(M):
    return Graph(tuple(itertools.combinations(range(M), 2)))


def run(game, agents, chains, sweeps, signs=None):
    """The signs of every sweep, (C, T, M, N); all agents begin with the same signs (C, N)."""
    M = len(agents)
    signs = random_signs(chains, M=1, seed=5)[:, 0] if signs is None else signs
    start = init(agents, generators(5, M), signs.unsqueeze(1).expand(-1, M, -1), K)
    return play(game, agents, generators(5, M), start, sweeps, keep_means=False)[1].signs


def shares(signs):
    """Counts of the assignments of one agent, (81,)."""
    return np.bincount((signs * PLACES).sum(-1).flatten().numpy(), minlength=81)


@functools.cache
def enumerated(M):
    return joint_posterior(mixtures(M=M), LOG_PRIOR, 4).numpy()


slow = pytest.mark.slow


def after(game, agents, law, wrong=None, sweeps=4, chains=2000):
    """p-value of signs after a few sweeps from exact draws of `law` (81,), which the game must keep.

    wrong: another law, to hold the signs against.
    """
    rows = torch.multinomial(torch.from_numpy(law), chains, replacement=True, generator=stream(8, "start"))
    signs = run(game, agents, chains, sweeps, all_signs(4, K)[rows])[:, -1, 0]
    assert (signs != all_signs(4, K)[rows]).any(1).double().mean() > 0.1, "the chains have moved"
    if wrong is not None:
        assert chi_square(shares(signs), wrong) < ALPHA
    return chi_square(shares(signs), law)


@pytest.mark.parametrize(
    ("M", "rules", "recursion"),
    [
        (2, ("mh", "numerator"), "os"),
        (4, ("mh",), "os"),
        (5, ("mh",), "ll:2"),
        pytest.param(2, ("numerator",), "os", marks=slow),
        pytest.param(3, ("numerator",), "ll:2", marks=slow),
        pytest.param(4, ("mh",), "ll:2", marks=slow),
        pytest.param(4, ("mh",), "exact", marks=slow),
        pytest.param(5, ("mh",), "os", marks=slow),
        pytest.param(5, ("mh",), "exact", marks=slow),
    ],
)
def test_shared_signs_keep_the_joint_posterior(M, rules, recursion):
    assert law(Cell("com", "shared", rules, recursion, agents=M)).kind == "exact"
    every = rules if len(rules) == M else rules * M
    assert after(Game(LOG_PRIOR, "com", "shared", every, recursion=recursion), mixtures(M=M), enumerated(M)) > ALPHA


@pytest.mark.parametrize("M", [3, 5])
def test_centralised_games_keep_the_joint_posterior(M):
    assert after(Game(LOG_PRIOR, "gibbs"), mixtures(M=M), enumerated(M)) > ALPHA


def test_shared_signs_of_synchronous_agents_keep_the_joint_posterior():
    assert law(Cell("com", "shared", synchronous=True)).kind == "exact"
    game = Game(LOG_PRIOR, "com", "shared", meetings=Graph(((0, 1),), synchronous=True))
    assert after(game, mixtures(), enumerated(2)) > ALPHA


@pytest.mark.parametrize("M", [2, 4])
def test_another_rule_does_not_keep_the_joint_posterior(M):
    assert after(Game(LOG_PRIOR, "com", "shared", "constant:0.7"), mixtures(M=M), enumerated(M)) < ALPHA


@pytest.mark.parametrize("mode", ["com", "gibbs"])
def test_equal_weights_have_the_joint_posterior(mode):
    expected = joint_posterior(mixtures(), FLAT, 4).numpy()
    assert after(Game(FLAT, mode, "shared"), mixtures(), expected, enumerated(2)) > ALPHA


def test_shared_signs_of_three_agents_have_one_inner_start():
    """The agents' own sign is the listener's, so the game is the same to the last bit."""
    for recursion in ("os", "ll:3"):
        games = [Game(LOG_PRIOR, "com", "shared", recursion=recursion, inner_start=s) for s in ("listener", "own")]
        assert torch.equal(*(run(game, mixtures(M=3), 20, 5) for game in games))
        assert law(Cell("com", "shared", recursion=recursion, inner_start="own", agents=3)).kind == "exact"


def test_chain_is_biased():
    assert law(Cell()).kind == "biased"
    signs = run(Game(LOG_PRIOR), mixtures(), 6000, 20)[:, -1]
    assert max(chi_square(shares(signs[:, m]), enumerated(2)) for m in range(2)) < ALPHA


def distance(game, M, chains=1500, sweeps=220, burn_in=40):
    """The largest total variation of any agent's signs from the joint posterior, over many sweeps."""
    signs = run(game, mixtures(M=M), chains, sweeps)[:, burn_in:]
    every = [shares(signs[:, :, m]) for m in range(M)]
    return max(total_variation(counts / counts.sum(), enumerated(M)) for counts in every)


@slow
@pytest.mark.parametrize("row", _REDRAWN, ids=" ".join)
def test_the_biases_of_the_table_are_those_of_the_named_case(row):
    state, family = row
    rule = next((rule for rule in RULES if rule.partition(":")[0] == family), "mh")
    game = functools.partial(Game, LOG_PRIOR, "all" if family == "all" else "com", state, rule)
    measured = {
        "two": lambda: distance(game(), 2),
        "together": lambda: distance(game(), 3),
        "own": lambda: max(distance(game(recursion=name, inner_start="own"), 3) for name in ("os", "ll:2")),
        "pairs": lambda: distance(game(meetings=complete(3)), 3),
    }
    for column, expected in _REDRAWN[row]._asdict().items():
        if expected is not None:
            found = measured[column]()
            print(f"{state} {family} {column} {found:.3f}")
            assert abs(found - expected) < 0.025  # the table is from 1,500 chains


# -- mixtures and weights ----------------------------------------------------------------------------

WEIGHTS = {"dirichlet": Dirichlet(0.4), "sticks": Sticks(0.6)}


@pytest.mark.parametrize("weights", ["uniform", *WEIGHTS])
@pytest.mark.parametrize("name", EXACT)
def test_every_mixture_with_other_weights_keeps_the_joint_posterior(name, weights):
    """Fixed weights that differ: `test_mixture_games.py`."""
    assert law(Cell("com", "shared", mixtures=(name, "normal-wishart"), weights=weights)).kind == "exact"
    prior, flat = WEIGHTS.get(weights), joint_posterior(players(name), FLAT, 4)
    expected, wrong = flat.numpy(), joint_posterior(players(name), LOG_PRIOR, 4).numpy()
    if prior is not None:
        expected, wrong = (flat.log() + law_of_signs(prior, all_signs(4, K))).softmax(0).numpy(), expected
    assert after(Game(FLAT, "com", "shared", weights=prior), players(name), expected, wrong) > ALPHA


STUDENT = {"freedom": 3.7, "m0": 0.3, "beta": 0.6, "nu": 2.5, "W": 0.7}
Z = torch.tensor([[0.4], [-1.3], [0.9], [-0.6]], dtype=torch.float64)


def student_players():
    return [Percepts(Z, StudentT(1, **STUDENT)), mixtures()[1]]


@functools.cache
def student_evidence():
    """log p(z | signs) of the first player for all assignments, (81,)."""
    return torch.from_numpy(referee.student_evidence(Z[:, 0].numpy(), all_signs(4, K).numpy(), K, **STUDENT))


@pytest.mark.parametrize(
    ("mode", "weights"), [("gibbs", "fixed"), ("com", "fixed"), ("com", "dirichlet"), ("com", "sticks")]
)
def test_student_t_components_have_the_posterior_by_quadrature(mode, weights):
    assert law(Cell(mode, "shared", mixtures=("student-t", "normal-wishart"), weights=weights)).kind == "exact"
    agents, own, every = student_players(), student_evidence(), all_signs(4, K)
    prior, log_pi = WEIGHTS.get(weights), LOG_PRIOR if weights == "fixed" else FLAT
    logits = own + joint_posterior(agents[1:], log_pi, 4).log()
    if prior is not None:
        logits = logits + law_of_signs(prior, every)
    game = Game(log_pi, mode, "shared", weights=prior)
    assert after(game, agents, logits.softmax(0).numpy(), (logits - own).softmax(0).numpy(), 8) > ALPHA


@slow
@pytest.mark.parametrize("name", MIXTURES)
def test_chain_is_biased_with_every_mixture(name):
    assert law(Cell(mixtures=(name, "normal-wishart"))).kind == "biased"
    if name == "student-t":
        agents = student_players()
        expected = (student_evidence() + joint_posterior(agents[1:], LOG_PRIOR, 4).log()).softmax(0)
    elif name == "head-to-head":
        agents = [
            Percepts(DATA["real"], HeadToHead(2, categories=4, alpha=0.7, beta=0.6, nu=5.5, W=0.7)),
            mixtures()[0],
        ]
        expected = head_to_head_law(agents, 0.7, 4)
    else:
        agents = players(name)
        expected = joint_posterior(agents, LOG_PRIOR, 4)
    assert after(Game(LOG_PRIOR), agents, expected.numpy(), sweeps=15, chains=20_000) < ALPHA


def test_a_mixture_or_weights_without_a_proof_are_unproved():
    assert set(PROVED_WEIGHTS) == {*MIXTURES, *MEANINGS}
    sentences = Cell("com", "shared", mixtures=("positions",), weights="markov", words=2)  # see test_grammar.py
    assert law(sentences).kind == "exact" and law(sentences._replace(mixtures=("bag",))).kind == "unproved"
    assert law(sentences._replace(listener_state="chain", redrawn=False)).kind == "exact"
    assert law(sentences._replace(listener_state="chain")).kind == "unproved", "nobody measured it"
    assert law(sentences._replace(rules=("constant:0.5",), redrawn=False)).kind == "unproved"
    for mode in ("com", "gibbs", "no-com", "variational"):
        assert law(Cell(mode, "shared", mixtures=("normal-wishart", "my_module:Mine"))).kind == "unproved"
        assert law(Cell(mode, "shared", mixtures=("head-to-head",), weights="dirichlet")).kind == "unproved"
