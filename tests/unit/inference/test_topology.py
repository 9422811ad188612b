"""Topologies: stages, components, isolated agents and newcomers."""

import pytest
import torch

from mhng.inference.game import Game, init, play, sweep
from mhng.inference.initialization import Start, initial_signs
from mhng.inference.topology import (
    Graph,
    RandomPairs,
    Stages,
    Together,
    connected_components,
    isolated_agents,
    newcomers,
    restrict,
)
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import categorical, copy_generator, stream

LOG_PRIOR = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
TWO = Graph(((0, 2), (1, 3)))


def players(M):
    z = torch.randn(M, 80, 2, dtype=torch.float64, generator=stream(0, "z")) * 2
    return [Percepts(own, NormalWishart(2)) for own in z]


def generators(*names):
    return [stream(0, name) for name in names]


def test_each_stage_starts_at_its_sweep():
    pairs = RandomPairs(3)
    stages = Stages(((0, TWO), (4, pairs), (7, Graph(((0, 1),)))))
    for number in range(10):
        now = TWO if number < 4 else pairs if number < 7 else Graph(((0, 1),))
        assert stages.encounters(4, number) == now.encounters(4, number)


def test_connected_components():
    assert connected_components(Graph(((3, 1), (0, 2), (2, 4))), 6) == [[0, 2, 4], [1, 3], [5]]
    assert connected_components(Graph(((4, 3), (3, 2), (2, 1), (1, 0))), 5) == [[0, 1, 2, 3, 4]]
    assert connected_components(Together(), 3) == connected_components(RandomPairs(0), 3) == [[0, 1, 2]]
    assert connected_components(Stages(((0, TWO), (2, Graph(((0, 1), (0, 2), (1, 3)))))), 4) == [[0, 2], [1, 3]]
    assert restrict(TWO, [1, 3]) == Graph(((0, 1),)) and restrict(Together(), [0, 1]) == Together()


def test_isolated_agents():
    assert (
        isolated_agents(TWO, 5, 0) == [4]
        and isolated_agents(Together(), 5, 0) == isolated_agents(RandomPairs(0), 5, 0) == []
    )
    assert [isolated_agents(Stages(((0, Graph(((0, 1),))), (2, TWO))), 4, sweep) for sweep in (1, 2)] == [[2, 3], []]


def test_an_isolated_agent_plays_no_com():
    """Sign by sign, for the same numbers at random; and those who meet are not disturbed."""
    three, signs = players(3), torch.randint(3, (2, 3, 80), generator=stream(0, "signs"))

    def played(who, names, game):
        mine = generators(*names)
        return play(game, who, mine, init(who, mine, signs[:, : len(who)] if who is not three[2:] else signs, 3), 6)[1]

    together = played(three, "ABC", Game(LOG_PRIOR, meetings=Graph(((0, 1),))))
    pair = played(three[:2], "AB", Game(LOG_PRIOR))
    assert torch.equal(together.signs[:, :, :2], pair.signs)
    mine = generators("C")
    alone = play(Game(LOG_PRIOR, mode="no-com"), three[2:], mine, init(three[2:], mine, signs[:, 2:], 3), 6)[1]
    assert torch.equal(together.signs[:, :, 2:], alone.signs)
    assert together.signs[:, :, 2].diff(dim=1).any()
    assert together.encounters[:, 2].tolist() == [0] * 6


def test_the_graph_of_a_single_agent_has_no_edges():
    """In mode no-com each begins alone, whomever the graph would have it meet."""
    for m in range(3):
        assert restrict(Graph(((0, 1), (1, 2), (2, 0))), [m]) == Graph(())


def test_components_start_separately():
    four, start = players(4), Start("merge", tries=2, before=4, after=4, tail=2)
    pair = Game(LOG_PRIOR, meetings=Graph(((0, 1),)))
    signs, evidence = initial_signs(start, Game(LOG_PRIOR, meetings=TWO), four, generators(*"ABCD"), 2)
    for number, members in enumerate(([0, 2], [1, 3])):
        names = ["ABCD"[m] for m in members]
        own = initial_signs(start, pair, [four[m] for m in members], generators(*names), 2)
        assert torch.equal(signs[:, members], own[0]) and torch.equal(evidence[:, number], own[1][:, 0])
    lone = initial_signs(start, pair, four[:3], generators(*"ABC"), 2)
    by_itself = initial_signs(start, Game(LOG_PRIOR, mode="no-com"), four[2:3], generators("C"), 2)
    assert torch.equal(lone[0][:, 2], by_itself[0][:, 0])


def test_components_merge_signs_separately():
    """Of weights that are sparse; what a sign is called in one group says nothing of the other's."""
    from mhng.inference.initialization import merge_if_sparse
    from mhng.models.sign_prior import Sticks

    four, signs = players(4), torch.randint(3, (2, 4, 80), generator=stream(1, "signs"))
    found = merge_if_sparse(Game(LOG_PRIOR, meetings=TWO, weights=Sticks(1.0)), four, signs)
    for members in ([0, 2], [1, 3]):
        pair = Game(LOG_PRIOR, meetings=Graph(((0, 1),)), weights=Sticks(1.0))
        assert torch.equal(found[:, members], merge_if_sparse(pair, [four[m] for m in members], signs[:, members]))
    assert not torch.equal(found, signs)


LATER = Stages(((0, Graph(((0, 1),))), (3, Graph(((0, 1), (0, 2), (1, 2))))))


def test_newcomers_have_their_first_encounter():
    found = [newcomers(LATER, 4, number) for number in range(6)]
    assert found == [[], [], [], [2], [], []]
    assert newcomers(Graph(((0, 1),)), 3, 0) == newcomers(Together(), 3, 5) == newcomers(RandomPairs(1), 5, 5) == []
    leaves = Stages(((0, Graph(((0, 2),))), (1, Graph(((0, 1),))), (2, Graph(((0, 2),)))))
    assert [newcomers(leaves, 3, number) for number in range(4)] == [[], [1], [], []]  # 2 was there before
    away = Stages(((0, Graph(((0, 1), (1, 2)))), (1, Graph(((0, 1),))), (2, Graph(((0, 1), (1, 2))))))
    assert not any(newcomers(away, 3, number) for number in range(5))


def test_a_newcomer_without_a_pair_stays_a_newcomer():
    for seed in range(8):
        pairs = RandomPairs(seed)
        stages = Stages(((0, Graph(((0, 1),))), (2, pairs), (6, Graph(((0, 1), (1, 2))))))
        met = [number for number in range(2, 6) if any(2 in one for one in pairs.encounters(3, number))]
        first = met[0] if met else 6
        assert [number for number in range(9) if newcomers(stages, 3, number)] == [first]
        assert newcomers(stages, 3, first) == [2]


@pytest.mark.parametrize("synchronous", [False, True])
def test_newcomers_take_accepts_all_proposals_once(synchronous):
    """And answers all others by its rule, in that sweep and after it; who met before is not concerned."""
    stages = Stages(
        tuple((begins, Graph(graph.edges, synchronous)) for begins, graph in LATER.stages), synchronous=synchronous
    )
    three, signs = players(3), torch.randint(3, (2, 3, 80), generator=stream(0, "signs"))
    found = {}
    for rule in ("keep", "take"):
        mine = generators(*"ABC")
        game = Game(LOG_PRIOR, acceptance="constant:0", meetings=stages, newcomers=rule)
        state, _ = play(game, three, mine, init(three, mine, signs, 3), 3)
        before = state
        state, info = sweep(game, three, mine, state, 3)
        found[rule] = before, state, info
        later, told = sweep(game, three, mine, state, 4)
        assert told.accepted.sum() == 0 and torch.equal(later.signs, state.signs)
    before, state, info = found["keep"]
    assert info.accepted.sum() == 0 and torch.equal(state.signs, before.signs)
    before, state, info = found["take"]
    # By the rule of 0 nothing else is accepted: of B, who speaks to C after A did, not a name.
    assert info.accepted.tolist() == [[0, 0, 80]] * 2 and info.encounters == [2, 2, 2]
    assert torch.equal(state.signs[:, :2], before.signs[:, :2])
    assert (state.signs[:, 2] != before.signs[:, 2]).any()


def test_a_newcomer_takes_the_first_speakers_proposals():
    stages = Stages(((0, Graph(())), (1, Graph(((0, 1),)))))
    pair, signs = players(2), torch.randint(3, (2, 2, 80), generator=stream(0, "signs"))
    mine = generators(*"AB")
    game = Game(LOG_PRIOR, acceptance=("mh", "constant:0"), meetings=stages, newcomers="take")
    state, _ = play(game, pair, mine, init(pair, mine, signs, 3), 1)
    said = categorical(copy_generator(mine[0]), LOG_PRIOR + state.beliefs[0].table)
    state, info = sweep(game, pair, mine, state, 1)
    # Both met nobody before: B takes what A says, and A then takes what B says, out of what it has just learned.
    assert info.accepted.tolist() == [[80, 80]] * 2
    assert torch.equal(state.signs[:, 1], said) and torch.equal(state.private[:, 0], said)
