"""Initialisation: mergers, the choice by evidence, and separate starts without communication."""

from dataclasses import replace

import pytest
import torch

from mhng.inference import MODES, STARTS, initialization
from mhng.inference.game import Game
from mhng.inference.initialization import Start, initial_signs
from mhng.inference.mergers import merge, move_parts
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import spawn, stream
from tests.proofs.problems import generators

# Four clumps; agent 0 cannot tell the first two apart, agent 1 not the last two.
TRUTH = torch.arange(4).repeat_interleave(30)


def players(seed=0):
    near = torch.tensor([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    far = torch.tensor([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0], [0.0, 6.0]], dtype=torch.float64)
    return [
        Percepts(
            place[TRUTH] + 0.5 * torch.randn(120, 2, generator=stream(seed, f"{m}/z"), dtype=torch.float64),
            NormalWishart(2),
        )
        for m, place in enumerate((near, far))
    ]


def game(mode="com", K=4):
    return Game(torch.zeros(K, dtype=torch.float64).log_softmax(0), mode)


def test_merging_halves_restores_the_clusters():
    both = players()
    halves = TRUTH * 2 + torch.arange(120) % 2
    signs = halves.expand(3, 2, 120)
    merged = merge(both, signs, 8, 4, game())
    assert merged.unique().tolist() == [0, 1, 2, 3]
    for row in merged.flatten(0, 1):
        assert all(len(row[k == TRUTH].unique()) == 1 for k in range(4))
    assert torch.equal(signs, halves.expand(3, 2, 120)), "the signs that were given have changed"


def test_every_merger_is_the_best_one():
    """Against the plain way: all pairs tried anew before each merger."""
    both = players()
    signs = torch.randint(7, (2, 2, 120), generator=stream(3, "signs"))

    def evidence(these):
        return sum(float(player.evidence(these[m : m + 1], 7)) for m, player in enumerate(both))

    for c in range(2):
        plain = signs[c].clone()
        for _ in range(4):
            left = plain.unique().tolist()
            pairs = [(i, j) for i in left for j in left if i < j]
            i, j = max(pairs, key=lambda pair: evidence(torch.where(plain == pair[1], pair[0], plain)))
            plain = torch.where(plain == j, i, plain)
        found = merge(both, signs, 7, 3, game(K=7))[c]
        for k in range(3):
            assert len(plain[found == k].unique()) == 1


def test_mergers_use_the_evidence_of_all_agents():
    """One agent alone would join the two clumps that it cannot tell apart before any other pair."""
    both = players()
    signs = TRUTH.expand(1, 1, 120)
    alone = merge(both[:1], signs, 4, 3, game())[0, 0]
    assert len(alone[TRUTH < 2].unique()) == 1
    gains = [player.merge_gain(TRUTH.unsqueeze(0), 4, torch.tensor([0]))[0] for player in both]
    assert gains[0][1] > 0 > gains[1][1]
    together = merge(both, TRUTH.expand(1, 2, 120), 4, 3, game())[0, 0]
    sums = [[float(sum(p.merge_gain(TRUTH.unsqueeze(0), 4, torch.tensor([i]))[0, j] for p in both)) for j in range(4)]
            for i in range(4)]  # fmt: skip
    i, j = max(((i, j) for i in range(4) for j in range(i)), key=lambda pair: sums[pair[0]][pair[1]])
    assert len(together[torch.isin(TRUTH, torch.tensor([i, j]))].unique()) == 1


def log_evidence(players, signs, K):
    return sum(float(player.evidence(signs[m : m + 1], K)) for m, player in enumerate(players))


def test_every_move_of_a_part_is_the_best_one():
    """Against the plain way: the evidence of all signs, anew for each part and sign. Agents have different parts."""
    both, P, K = players(), 7, 3
    parts = torch.randint(P - 1, (3, 2, 120), generator=stream(3, "parts"))  # the last part has no objects
    sign_of = torch.randint(K, (3, P), generator=stream(4, "signs"))
    given = sign_of.gather(1, parts.flatten(1)).view_as(parts)
    found = move_parts(both, parts, P, given, game(K=K))
    moved = 0
    for c in range(3):
        best = sign_of[c].clone()
        while True:
            before = best.clone()
            for part in range(P - 1):
                scores = [log_evidence(both, best.index_fill(0, torch.tensor(part), k)[parts[c]], K) for k in range(K)]
                best[part] = int(torch.tensor(scores).argmax())
            if torch.equal(best, before):
                break
        moved += int((best[:-1] != sign_of[c, :-1]).sum())
        assert torch.equal(found[c], best[parts[c]])
        assert log_evidence(both, found[c], K) > log_evidence(both, given[c], K)
    assert moved > 3
    assert torch.equal(given, sign_of.gather(1, parts.flatten(1)).view_as(parts)), "the signs given have changed"


def test_a_move_mends_what_greedy_mergers_got_wrong():
    """One part of a cluster that a wrong sign holds goes back; a whole sign stays where it is."""
    both = players()
    parts = (TRUTH * 3 + torch.arange(120) % 3).expand(1, 2, 120)
    wrong = torch.where(parts == 3 * 2 + 1, 3, TRUTH)
    found = move_parts(both, parts, 12, wrong, game())
    assert torch.equal(found, TRUTH.expand(1, 2, 120))
    assert torch.equal(move_parts(both, parts, 12, found, game()), found)


def test_moves_use_the_evidence_of_all_agents():
    """B cannot tell the last two clusters apart; A can, and its evidence puts the part back."""
    parts = (TRUTH * 2 + torch.arange(120) % 2).expand(1, 2, 120)
    wrong = torch.where(parts == 2 * 2, 3, TRUTH)
    for agents, mended in ((players(), True), (players()[1:], False)):
        M = len(agents)
        found = move_parts(agents, parts[:, :M], 8, wrong[:, :M], game())
        assert torch.equal(found[0, 0], TRUTH) == mended


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("mode", MODES)
def test_every_start_gives_signs_for_every_chain_and_agent(kind, mode):
    both = players()
    start = Start(kind, tries=2, before=3, after=4, tail=2)
    signs, evidence = initial_signs(start, game(mode), both, generators(0), chains=3)
    assert signs.shape == (3, 2, 120) and evidence.shape == (3, 2 if mode == "no-com" else 1, 2)
    assert signs.min() >= 0 and signs.max() < 4 and evidence.isfinite().all()


def test_the_entropy_is_that_of_the_shares_of_signs():
    """Against the plain formula, for each object and agent."""
    signs = torch.randint(3, (2, 5, 2, 7), generator=stream(3, "sweeps"))
    expected = torch.zeros(2, dtype=torch.float64)
    for c in range(2):
        for m in range(2):
            for n in range(7):
                shares = torch.bincount(signs[c, :, m, n], minlength=3).double() / 5
                expected[c] -= sum(float(share * share.log()) for share in shares if share)
    assert torch.allclose(initialization.sign_entropy(signs), expected, atol=1e-12)
    assert initialization.sign_entropy(torch.ones(1, 4, 2, 3)).tolist() == [0]


def test_the_score_is_the_evidence_minus_the_entropy(monkeypatch):
    """The start with the largest score is kept. Another start of these games has more evidence."""
    both, traces, play = players(), [], initialization.play

    def watched(*arguments, **options):
        state, trace = play(*arguments, **options)
        traces.append((state.signs, trace))
        return state, trace

    monkeypatch.setattr(initialization, "play", watched)
    start = Start("prior", tries=10, after=4, tail=3)
    signs, score = initial_signs(start, game(), both, generators(0), chains=1)
    ((last, trace),) = traces
    evidence = trace.evidence[:, -3:].mean(1)
    expected = evidence - initialization.sign_entropy(trace.signs[:, -3:])
    assert torch.allclose(score.flatten(), expected) and expected.argmax() != evidence.argmax()
    assert torch.equal(signs[0], last[expected.argmax()])
    signs, score = initial_signs(replace(start, entropy=0.0), game(), both, generators(0), chains=1)
    assert torch.allclose(score.flatten(), evidence) and torch.equal(signs[0], last[evidence.argmax()])


def test_the_start_with_the_largest_score_is_kept(monkeypatch):
    both = players()
    good, poor = TRUTH, torch.zeros(120, dtype=torch.int64)

    def six(*_):  # two for each of three chains; chain 2 has good ones only, under other numbers
        rows = [poor, good, good, poor, 3 - good, 3 - good]
        return torch.stack(rows).unsqueeze(1).expand(6, 2, 120)

    monkeypatch.setattr("mhng.inference.initialization._kmeans_signs", six)
    start = Start("kmeans", tries=2, after=1, tail=1)
    signs, evidence = initial_signs(start, game(), both, generators(0), chains=3)
    assert evidence[:2, 0].argmax(1).tolist() == [1, 0]
    for chain, expected in enumerate((good, good, 3 - good)):
        assert (signs[chain] == expected).double().mean() > 0.9


def test_the_chain_with_the_largest_evidence_is_the_first() -> None:
    signs, evidence = initial_signs(
        Start("kmeans", tries=2, after=2, tail=1), game(), players(), generators(0), chains=5
    )
    alone, before = initial_signs(Start("kmeans", tries=1), game("no-com"), players(), generators(0), chains=5)
    for evidences in (evidence, before):
        assert (evidences.amax(2).argmax(0) == 0).all()
    assert signs.shape == alone.shape
    order = initialization._best_first(torch.tensor([3.0, 9.0, 5.0, 1.0]).view(4, 1, 1))
    assert order.tolist() == [1, 0, 2, 3] and initialization._best_first(torch.ones(1, 1, 3)).tolist() == [0]


@pytest.mark.parametrize("present", [None, TRUTH.expand(5, 2, -1)])
def test_large_starts_are_made_in_parts_with_generators_of_their_own(present, monkeypatch):
    both, start = players(), Start("merge", tries=2, before=3, after=3, tail=2)
    whole = initial_signs(start, game(), both, generators(2), 5, present)
    monkeypatch.setattr(initialization, "_LARGE", 1)
    found = initial_signs(start, game(), both, generators(2), 5, present)
    expected = []
    for part, own in enumerate(zip(*(spawn(generator, 3) for generator in generators(2)), strict=True)):
        given = None if present is None else present[2 * part : 2 * part + 2]
        expected.append(initialization._best_starts(start, game(), both, 2, own, (2, 2, 1)[part], given))
    signs, scores = (torch.cat(parts) for parts in zip(*expected, strict=True))
    first = int(scores.flatten(1).amax(1).argmax())
    order = [first, *(c for c in range(5) if c != first)]
    assert torch.equal(found[0], signs[order]) and torch.equal(found[1], scores[order])
    assert found[1].unique().numel() > 1 and not torch.equal(found[1], whole[1])
    few = initial_signs(start, game(), both, generators(2), 2, None if present is None else present[:2])
    monkeypatch.setattr(initialization, "_LARGE", 2**30)
    again = initial_signs(start, game(), both, generators(2), 2, None if present is None else present[:2])
    assert torch.equal(few[1], again[1]), "two chains are one part"


def test_with_three_agents_each_start_has_another_clusterer():
    """The first agent sees nothing; what it names is worse on average than what the others name."""
    blind = Percepts(torch.randn(120, 2, generator=stream(9, "z"), dtype=torch.float64), NormalWishart(2))
    three = [blind, *players()]
    assert initialization._clusterers(range(4, 7), 2, three) == [1, 2, 0, 1, 2, 0]
    assert initialization._clusterers(range(6), 2, players()) == [0] * 12  # of two the first
    own = initialization._kmeans_signs(three, generators(0, 3), [2, 0, 2], 4)
    assert (own == own[:, :1]).all()
    groups = [[len(set(one[k == TRUTH].tolist())) for k in (0, 1)] for one in own[:, 0]]
    assert groups[1] == [4, 4] and max(*groups[0], *groups[2]) < 3
    _, evidence = initial_signs(Start("kmeans", tries=6), game(), three, generators(0, 3), chains=8)
    each = evidence.view(16, 3).mean(0)  # a column per clusterer
    assert each[0] < each[1:].min() - 10


def test_without_communication_a_partner_changes_nothing():
    start = Start("merge", tries=2, before=3, after=3, tail=2)
    results = []
    for partner in (players(0)[0], players(1)[0]):
        signs, _ = initial_signs(start, game("no-com"), [partner, players(0)[1]], generators(0), chains=2)
        results.append(signs[:, 1])
    assert torch.equal(*results)


def test_more_signs_than_objects():
    few = [Percepts(player.z[:3], player.mixture) for player in players()]
    signs, _ = initial_signs(Start("merge", tries=1, before=2), game(K=5), few, generators(0), chains=1)
    assert signs.shape == (1, 2, 3)


@pytest.mark.parametrize(("K", "parts"), [(4, 20), (20, 100), (30, 100), (34, 102), (100, 300)])
def test_merging_starts_with_more_signs(K, parts):
    assert initialization.most_signs(Start("merge"), K) == parts
    assert initialization.most_signs(Start("merge", excess=1), K) == K
    assert initialization.most_signs(Start("kmeans"), K) == K


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="merge"):
        initial_signs(Start("best"), game(), players(), generators(0), chains=1)


@pytest.mark.parametrize("mode", ["com", "no-com", "gibbs"])
def test_starts_beyond_the_memory_limit_are_made_in_batches(mode, monkeypatch):
    """The best of all of them is kept, for each chain its own, as where they are made at the same time."""
    both, start, chains = players(), Start("kmeans", tries=5, after=12, tail=10, entropy=0.0), 2
    assert initialization.tries_per_batch(start, 120, 4, chains) == 5
    monkeypatch.setattr(initialization, "_TABLE_BYTES", 2 * 8 * chains * 120 * 4 + 1)
    assert initialization.tries_per_batch(start, 120, 4, chains) == 2
    made = []
    play = initialization.play

    def watched(*arguments, **options):
        state, trace = play(*arguments, **options)
        made.append((state.signs, trace.evidence[:, -10:].mean(1)))
        return state, trace

    monkeypatch.setattr(initialization, "play", watched)
    signs, evidence = initial_signs(start, game(mode), both, generators(0, 2), chains)
    owners = 2 if mode == "no-com" else 1
    assert signs.shape == (2, 2, 120) and evidence.shape == (2, owners, 5)
    assert [len(own) for own, _ in made] == [4, 4, 2] * owners
    for m in range(owners):
        of_agent = made[3 * m : 3 * m + 3]
        by_chain = [
            [(own[c * len(own) // 2 + i], told[c * len(own) // 2 + i]) for own, told in of_agent
             for i in range(len(own) // 2)]
            for c in range(chains)
        ]  # fmt: skip
        by_chain.sort(key=lambda each: -max(float(told) for _, told in each))  # the best chain is the first
        for c, each in enumerate(by_chain):
            assert [float(told) for _, told in each] == evidence[c, m].tolist()
            best = max(each, key=lambda one: float(one[1]))[0]
            assert torch.equal(signs[c, m : m + 1] if owners == 2 else signs[c], best)


def test_all_starts_are_one_batch_up_to_many_objects():
    """What is kept of a run of usual size does not depend on how large a table may be."""
    assert initialization.tries_per_batch(Start(), 60_000, 10, 1) == 6
    assert initialization.tries_per_batch(Start(), 1_000_000, 20, 1) == 1


@pytest.mark.parametrize("tries", [1, 2])
def test_present_signs_are_one_more_start(tries):
    """They stay where they have the largest evidence, and go where a start has more."""
    both, start = players(), Start("prior", tries=tries, after=2, tail=1)
    drawn = [stream(0, f"{m}/play") for m in range(2)]
    good = TRUTH.expand(2, 2, 120)
    signs, evidence = initial_signs(start, game(), both, drawn, 2, good)
    assert evidence.shape == (2, 1, tries + 1) and evidence.argmax(2).eq(tries).all()
    assert (signs == good).double().mean() > 0.9
    start = Start("merge", tries=tries, before=5, after=2, tail=1)
    signs, evidence = initial_signs(start, game(), both, drawn, 2, torch.zeros_like(good))
    assert evidence.argmax(2).lt(tries).all() and len(signs[0, 0].unique()) > 1
