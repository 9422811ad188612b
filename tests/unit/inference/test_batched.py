"""Batched encounters and redraws are those of single calls, bit for bit."""

import pytest
import torch

from mhng.inference import batched
from mhng.inference.game import Game, init, play
from mhng.inference.topology import Graph, RandomPairs, Stages, Together
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.registry import MIXTURES, load_variant
from mhng.models.rng import GeneratorStack, gamma, normal, stream, uniform
from mhng.models.sign_prior import Dirichlet, Sticks
from tests.proofs.models.test_mixture_contract import EXACT, PRIORS, in_support
from tests.proofs.problems import LOG_PRIOR, K, TableAgent, generators

M, N, C = 6, 40, 3
RING = tuple((m, (m + 1) % M) for m in range(M))
CHORDS = Graph(((0, 3), (1, 4), (2, 5), *RING))


def percepts(m, name="normal-wishart"):
    """Agent m's, of its own place."""
    family = load_variant(MIXTURES[name])(2, **PRIORS[name])
    z = torch.randn(N, 2, generator=stream(m, "z"), dtype=torch.float64) * (1 + m / 3) + m
    return Percepts(in_support(z, family.input_support), family)


def agents(name="normal-wishart"):
    return [percepts(m, name) for m in range(M)]


def played(game, players, sweeps=8, chains=C):
    own = generators(1, len(players))
    signs = torch.randint(game.K, (chains, len(players), players[0].count), generator=stream(2, "signs"))
    start = init(players, own, signs, game.K)
    state, trace = play(game, players, own, start, sweeps)
    return state, trace, [one.get_state() for one in own]


def parts(state, trace, streams):
    """All tensors of a game, and where its streams are."""
    beliefs = [part for own in state.beliefs for part in (own.table, own.log_density, own.evidence)]
    parameters = [part for own in state.beliefs for part in own.parameters or ()]
    weights = [] if state.log_pi is None else [state.log_pi]
    return [
        state.signs, state.private, *beliefs, *parameters, *weights, *(x for x in trace if x is not None), *streams
    ]  # fmt: skip


def one_by_one(monkeypatch, game, players, **more):
    with monkeypatch.context() as patched:
        patched.setattr(batched, "layers", lambda encounters: [[one] for one in encounters])
        patched.setattr(batched, "batch_groups", lambda players: None)
        return parts(*played(game, players, **more))


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


GAMES = {
    "chords": Game(LOG_PRIOR, meetings=CHORDS),
    "at one time": Game(LOG_PRIOR, meetings=Graph(RING, synchronous=True)),
    "random pairs": Game(LOG_PRIOR, meetings=RandomPairs(3)),
    "somebody alone": Game(LOG_PRIOR, meetings=Graph(RING[:3])),
    "a newcomer": Game(LOG_PRIOR, meetings=Stages(((0, Graph(RING[:3])), (1, CHORDS))), newcomers="take"),
    "rules": Game(LOG_PRIOR, "com", "chain", ("mh", "numerator", "mh", "constant:0.5", "mh", "mh"), meetings=CHORDS),
    "speaker-sample": Game(LOG_PRIOR, "com", "speaker-sample", meetings=CHORDS),
    "all": Game(LOG_PRIOR, "all", meetings=CHORDS),
    "shared": Game(LOG_PRIOR, "com", "shared", meetings=CHORDS),
    "shared, together": Game(LOG_PRIOR, "com", "shared", split_merge=1),
    "together": Game(LOG_PRIOR, meetings=Together()),
    "dirichlet weights": Game(LOG_PRIOR, meetings=CHORDS, weights=Dirichlet(0.7)),
    "sticks": Game(LOG_PRIOR, meetings=CHORDS, weights=Sticks(1.3)),
    "gibbs": Game(LOG_PRIOR, "gibbs"),
    "no-com": Game(LOG_PRIOR, "no-com"),
}


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_batched_games_are_the_sequential_games(game, monkeypatch):
    assert_same(parts(*played(game, agents())), one_by_one(monkeypatch, game, agents()))


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_every_mixture_batched(name, monkeypatch):
    game = GAMES["chords"]
    assert_same(parts(*played(game, agents(name))), one_by_one(monkeypatch, game, agents(name)))
    assert batched.batch_groups(agents(name)) == (
        [0] * M if name in EXACT and name != "head-to-head" else list(range(M))
    )


# Sizes at which products of many matrices were seen to be rounded otherwise than each by itself.
ODD = [
    ("normal-wishart", 611, 12, 16, 1), ("normal-wishart", 85, 16, 50, 5), ("normal-gamma", 103, 5, 16, 2),
    ("normal-gamma", 105, 30, 100, 3), ("spherical", 483, 3, 1, 1), ("tied", 429, 5, 3, 2),
    ("dirichlet", 517, 3, 10, 1), ("normal-wishart", 107, 8, 1, 5), ("dirichlet", 381, 3, 16, 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "objects", "latent", "signs", "chains"), ODD)
def test_every_size_batched(name, objects, latent, signs, chains, monkeypatch):
    def eight():
        family = load_variant(MIXTURES[name])(latent)
        each = [torch.randn(objects, latent, generator=stream(m, "z"), dtype=torch.float64) + m for m in range(8)]
        return [Percepts(in_support(z, family.input_support), family) for z in each]

    pairs = [(m, (m + 1) % 8) for m in (0, 2, 4, 6, 1, 3, 5, 7)]
    game = Game(torch.zeros(signs, dtype=torch.float64).log_softmax(0), meetings=Graph(tuple(pairs)))
    more = {"sweeps": 2, "chains": chains}
    assert_same(parts(*played(game, eight(), **more)), one_by_one(monkeypatch, game, eight(), **more))


def test_agents_that_differ_are_batched_in_groups(monkeypatch):
    def mixed():
        other = Percepts(percepts(2).z, NormalWishart(2, m0=0.4))
        table = TableAgent(percepts(5).from_prior(stream(9, "t"), 1, K).table[0])
        return [percepts(0), percepts(1, "tied"), other, percepts(3), percepts(4, "tied"), table]

    assert batched.batch_groups(mixed()) == [0, 1, 2, 0, 1, 5]
    game = GAMES["chords"]
    assert_same(parts(*played(game, mixed())), one_by_one(monkeypatch, game, mixed()))


def test_subclasses_are_not_batched():
    class Own(Percepts):
        pass

    class Theirs(NormalWishart):
        """Made of a mixture of ours by somebody else, with whatever in it."""

        def __init__(self):
            super().__init__(2)
            self.things = [torch.zeros(2), torch.ones(2)]

    fewer = Percepts(percepts(0).z[:-1], percepts(0).mixture)
    own = Own(percepts(0).z, percepts(0).mixture)
    theirs = [Percepts(percepts(0).z, Theirs()) for _ in range(2)]
    assert batched.batch_groups([percepts(0), own, own, fewer, percepts(1), *theirs]) == [0, 1, 2, 3, 0, 5, 6]


def test_large_games_are_not_batched(monkeypatch):
    """Which is faster then."""
    calls = []
    original = Percepts.redraw_batch
    monkeypatch.setattr(Percepts, "redraw_batch", lambda *a: calls.append(len(a[0])) or original(*a))
    played(GAMES["chords"], agents(), sweeps=1)
    assert calls and max(calls) == 3
    calls.clear()
    monkeypatch.setitem(batched._BATCH_LIMIT, "cpu", C * N - 1)
    played(GAMES["chords"], agents(), sweeps=1)
    assert calls == []


def test_layers_are_disjoint_and_keep_each_agents_order():
    encounters = [*CHORDS.encounters(M, 0), (0, 1, 2), (3, 4), (2, 0)]
    found = batched.layers(encounters)
    assert sorted(one for layer in found for one in layer) == sorted(encounters)
    for layer in found:
        met = [m for encounter in layer for m in encounter]
        assert len(met) == len(set(met))
    flat = [one for layer in found for one in layer]
    for m in range(M):
        assert [one for one in flat if m in one] == [one for one in encounters if m in one]
    assert len(batched.layers(Graph(((0, 1), (2, 3), (4, 5))).encounters(M, 0))) == 2
    assert batched.layers([]) == []


def test_a_generator_stack_draws_what_each_generator_draws():
    like = torch.full((3, 4, 5), 0.7, dtype=torch.float64)
    for draw in (uniform, normal, gamma):
        together = draw(GeneratorStack([stream(m, "x") for m in range(3)]), like)
        assert torch.equal(together, torch.stack([draw(stream(m, "x"), like[m]) for m in range(3)]))
        with pytest.raises(ValueError, match="zip"):
            draw(GeneratorStack([stream(0, "x")]), like)
