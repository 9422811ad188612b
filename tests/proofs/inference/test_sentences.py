"""Sentences: turns have detailed balance, whole games have the enumerated posterior, and wrong games do not."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mhng.inference.enumeration import joint_posterior, sign_posterior, transition_matrix
from mhng.inference.game import Game, init, play
from mhng.inference.metropolis import step
from mhng.inference.proposals import acceptance_rule, joint_logits
from mhng.inference.recursive import Speaker
from mhng.inference.sentence_turns import block_prior, block_table, blocks, draw, take_turns, turn
from mhng.inference.word_starts import refine_words
from mhng.models.belief import Response, TableAnswers
from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from tests.checks import ALPHA, chi_square, detailed_balance_gap, total_variation
from tests.proofs.models.test_additive import prior_of
from tests.proofs.problems import generators

MH = acceptance_rule("mh")
LANGUAGE = Sentences(3, 3)  # 27 sentences
K = LANGUAGE.count
real = {"dtype": torch.float64}


def table(name, spread=1.3):
    return spread * torch.randn(K, generator=stream(7, name), **real)


LOG_PRIOR, A, B = table("prior").log_softmax(0), table("A"), table("B")
LAW = sign_posterior(LOG_PRIOR, [A, B])
TURNS = ("sentence", "word", "both")


def test_codes_are_numbers_with_a_digit_for_each_word():
    language = Sentences(3, 4)
    signs = torch.arange(language.count)
    words = language.split(signs)
    assert words[27].tolist() == [1, 2, 3] and torch.equal(language.join(words), signs)
    assert language.split(language.variants(signs, 1))[27].tolist() == [[1, v, 3] for v in range(4)]


# -- exact kernels ---------------------------------------------------------------------------------


def block_kernel(sentences, slot, log_prior, speaker, listener, rule):
    """P(next sentence = j | current sentence = i) of a turn, for one object: slot None for the whole sentence."""
    if slot is None:
        return transition_matrix(log_prior, speaker, listener, rule)
    matrix = torch.zeros(sentences.count, sentences.count, **real)
    for row in sentences.variants(torch.arange(sentences.count), slot).unique(dim=0):
        matrix[row.unsqueeze(1), row] = transition_matrix(log_prior[row], speaker[row], listener[row], rule)
    return matrix


def gibbs_kernel(slot):
    """The same for a Gibbs draw of a block."""
    if slot is None:
        return LAW.expand(K, -1)
    matrix = torch.zeros(K, K, **real)
    for row in LANGUAGE.variants(torch.arange(K), slot).unique(dim=0):
        matrix[row.unsqueeze(1), row] = joint_logits(LOG_PRIOR[row], [A[row], B[row]]).softmax(-1)
    return matrix


@pytest.mark.parametrize("slot", [None, 0, 1, 2])
@pytest.mark.parametrize("rule", ["mh", "numerator"])
@pytest.mark.parametrize("pair", [(A, B), (B, A)], ids=["A speaks", "B speaks"])
def test_every_block_has_detailed_balance(slot, rule, pair):
    kernel = block_kernel(LANGUAGE, slot, LOG_PRIOR, *pair, acceptance_rule(rule))
    assert detailed_balance_gap(kernel, LAW) < 1e-15
    assert torch.allclose(kernel.sum(1), torch.ones(K, **real), atol=1e-14, rtol=0)


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("state", ["chain", "shared", "gibbs"])
def test_sweeps_of_every_state_keep_the_posterior(state, turns):
    """Each turn is reversible. So is a sweep followed by its turns in reverse order."""
    slots = blocks(LANGUAGE, turns)
    a_hears, b_hears = (
        [block_kernel(LANGUAGE, slot, LOG_PRIOR, *pair, MH) for slot in slots] for pair in ((B, A), (A, B))
    )
    sweeps = {
        "chain": [a_hears, b_hears],  # the sentence of an agent changes in its turns as the listener
        "shared": [b_hears + a_hears],
        "gibbs": [[gibbs_kernel(slot) for slot in slots]],
    }
    for turns_of_sweep in sweeps[state]:
        assert all(detailed_balance_gap(kernel, LAW) < 1e-15 for kernel in turns_of_sweep)
        forth, back = (functools.reduce(torch.matmul, order) for order in (turns_of_sweep, turns_of_sweep[::-1]))
        assert float((LAW @ forth - LAW).abs().max()) < 1e-15
        assert detailed_balance_gap(forth @ back, LAW) < 1e-15


@pytest.mark.parametrize("turns", TURNS)
def test_sampled_turns_have_their_kernels(turns):
    """One encounter, and one Gibbs draw, from each of the 27 sentences: 1,000 each."""
    current = torch.arange(K).repeat_interleave(1000).unsqueeze(1)
    said, heard = (TableAnswers(values.expand(len(current), 1, K)) for values in (A, B))
    own, row = generators(12), [Speaker(generators(12)[0], said, MH)]
    signs = take_turns(LANGUAGE, turns, row, heard, own[1], LOG_PRIOR, current, MH)[0].signs
    drawn = draw(LANGUAGE, turns, [said, heard], stream(12, "play"), LOG_PRIOR, current)
    slots = blocks(LANGUAGE, turns)
    for after, kernels in (
        (signs, [block_kernel(LANGUAGE, slot, LOG_PRIOR, A, B, MH) for slot in slots]),
        (drawn, [gibbs_kernel(slot) for slot in slots]),
    ):
        counts = np.bincount((current * K + after).flatten().numpy(), minlength=K * K)
        assert chi_square(counts, functools.reduce(torch.matmul, kernels).flatten().numpy() / K) > ALPHA


def half_blind(seed, S=5, V=3):
    """Tables of two agents that see every other word, with overlapping clues."""
    language = Sentences(S, V)
    words = language.split(torch.arange(language.count))
    tables = []
    for m in range(2):
        clue = torch.randn(S, V, generator=stream(seed, f"clue {m}"), **real)
        sharp = torch.tensor([3.0 if s % 2 == m else 0.15 for s in range(S)], **real)
        tables.append((sharp[:, None] * clue)[torch.arange(S), words].sum(-1))
    return language, torch.full((language.count,), 1 / language.count, **real).log(), tables


def measured(seed):
    """Spectral gap of a sweep by turns, and the mean acceptance of sentence and of word turns in equilibrium."""
    language, log_prior, tables = half_blind(seed)
    law, gaps, accepted = sign_posterior(log_prior, tables), {}, {}
    kernels = {}
    for slot in [None, *range(language.words)]:
        shares = []
        for speaker, listener in (tables, tables[::-1]):
            pair = language, slot, log_prior, speaker, listener
            kernels[slot, len(shares)] = block_kernel(*pair, MH)
            ratio = (listener - listener.unsqueeze(1)).clamp_max(0).exp()
            shares.append(float((law.unsqueeze(1) * block_kernel(*pair, acceptance_rule("constant:1")) * ratio).sum()))
        accepted[slot] = sum(shares) / 2
    for turns in TURNS:
        sweep = [kernels[slot, number] for number in range(2) for slot in blocks(language, turns)]
        gaps[turns] = 1 - float(torch.linalg.eigvals(functools.reduce(torch.matmul, sweep)).abs().topk(2).values[1])
    return gaps, accepted.pop(None), float(np.mean(list(accepted.values())))


def test_word_turns_serve_agents_that_see_different_parts():
    """Five words of three, each agent half blind: means of four problems."""
    results = [measured(seed) for seed in range(4)]
    assert np.mean([words for _, _, words in results]) > 0.7 > 0.25 > np.mean([whole for _, whole, _ in results])
    assert all(gaps["both"] > 2.5 * gaps["sentence"] for gaps, _, _ in results)


@pytest.mark.slow
def test_word_turns_on_ten_problems():
    results = [measured(seed) for seed in range(10)]
    for gaps, whole, words in results:
        print({name: round(gap, 3) for name, gap in gaps.items()}, round(whole, 3), round(words, 3))
    assert np.mean([words for _, _, words in results]) > 0.7 > 0.25 > np.mean([whole for _, whole, _ in results])
    assert all(gaps["both"] > 2.5 * gaps["sentence"] for gaps, _, _ in results)


# -- the game samples what the kernels say --------------------------------------------------------------

C = 20_000


class Fixed(TableAnswers):
    """An agent with one object and fixed parameters."""

    def __init__(self, values):
        super().__init__(values.expand(C, 1, K))


def twice(speaker, listener, own, log_prior, current, slot):
    return right(speaker, listener, own, 2 * log_prior, current, slot)


def right(speaker, listener, own, log_prior, current, slot, rule=MH):
    if slot is None:
        return step(speaker, listener, *own, log_prior, current, rule).signs
    row = [Speaker(own[0], speaker, rule)]
    return turn(LANGUAGE, slot, row, listener, own[1], log_prior, current, rule)[0].signs


def always(speaker, listener, own, log_prior, current, slot):
    return right(speaker, listener, own, log_prior, current, slot, acceptance_rule("constant:1"))


def speakers_ratio(speaker, listener, own, log_prior, current, slot):
    """The speaker's likelihood ratio in place of the listener's."""

    class Mixed(TableAnswers):
        def respond(self, generator, proposed, now, rule):
            offered = LANGUAGE.variants(current, slot) if slot is not None else None
            mine = speaker if offered is None else TableAnswers(block_table(speaker, offered))
            return TableAnswers(mine.table).respond(generator, proposed, now, rule)

    if slot is None:
        return step(speaker, Mixed(listener.table), *own, log_prior, current, MH).signs
    offered = LANGUAGE.variants(current, slot)
    said, heard = (TableAnswers(block_table(agent, offered)) for agent in (speaker, speaker))
    word = step(said, heard, *own, block_prior(log_prior, offered), LANGUAGE.word(current, slot), MH).signs
    return LANGUAGE.replace(current, slot, word)


def tempered(speaker, listener, own, log_prior, current, slot):
    """A proposal at temperature 0.62 with the listener's ratio alone."""
    colder = TableAnswers((speaker.table + log_prior) / 0.62)
    return right(colder, listener, own, torch.zeros_like(log_prior), current, slot)


def played(turn, turns="both", sweeps=12):
    """Sentences of C chains of a game with fixed parameters, and the law of its sweeps."""
    agents, own, signs = (Fixed(A), Fixed(B)), generators(11), torch.randint(K, (C, 1), generator=stream(11, "w"))
    for _ in range(sweeps):
        for speaker, listener in ((0, 1), (1, 0)):
            for slot in blocks(LANGUAGE, turns):
                pair = agents[speaker], agents[listener]
                signs = turn(*pair, (own[speaker], own[listener]), LOG_PRIOR, signs, slot)
    return np.bincount(signs[:, 0].numpy(), minlength=K)


def own_completed(sweeps=12):
    """Each agent completes its OWN sentence with a word; the listener compares it with its sentence."""
    agents, own = (Fixed(A), Fixed(B)), generators(11)
    held = [torch.randint(K, (C, 1), generator=stream(11, f"w{m}")) for m in range(2)]
    for _ in range(sweeps):
        for speaker, listener in ((0, 1), (1, 0)):
            for slot in range(LANGUAGE.words):
                offered = LANGUAGE.variants(held[speaker], slot)
                said = TableAnswers(block_table(agents[speaker], offered))
                word = said.propose(own[speaker], block_prior(LOG_PRIOR, offered))
                proposed = LANGUAGE.replace(held[speaker], slot, word)
                held[listener] = agents[listener].respond(own[listener], proposed, held[listener], MH).signs
    return np.bincount(held[0][:, 0].numpy(), minlength=K)


@pytest.mark.parametrize("turns", TURNS)
def test_the_sampled_game_has_the_posterior(turns):
    assert chi_square(played(right, turns), LAW.numpy()) > ALPHA


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("wrong", [twice, always, speakers_ratio, tempered])
def test_wrong_games_are_rejected(wrong, turns):
    counts = played(wrong, turns)
    assert chi_square(counts, LAW.numpy()) < ALPHA
    assert total_variation(counts / C, LAW.numpy()) > 0.05


def test_a_speaker_that_completes_its_own_sentence_is_rejected():
    counts = own_completed()
    assert chi_square(counts, LAW.numpy()) < ALPHA
    assert total_variation(counts / C, LAW.numpy()) > 0.1


def test_an_encounter_takes_the_turns_in_order():
    agents, own, again = (Fixed(A), Fixed(B)), generators(4), generators(4)
    signs = current = torch.randint(K, (C, 1), generator=stream(4, "w"))
    row = [Speaker(own[0], agents[0], MH)]
    told, messages = take_turns(LANGUAGE, "both", row, agents[1], own[1], LOG_PRIOR, current, MH)
    assert (messages == 4).all()
    for slot in blocks(LANGUAGE, "both"):
        signs = right(*agents, (again[0], again[1]), LOG_PRIOR, signs, slot)
    assert isinstance(told, Response) and torch.equal(told.signs, signs) and told.accepted.max() <= 4


@pytest.mark.parametrize("turns", TURNS)
def test_gibbs_draws_have_the_posterior(turns):
    agents, signs = [Fixed(A), Fixed(B)], torch.randint(K, (C, 1), generator=stream(2, "w"))
    for _ in range(1 if turns == "sentence" else 15):
        signs = draw(LANGUAGE, turns, agents, stream(2 + int(signs.sum()), "play"), LOG_PRIOR, signs)
    assert chi_square(np.bincount(signs[:, 0].numpy(), minlength=K), LAW.numpy()) > ALPHA


# -- whole games: 256 assignments of 4 sentences to 4 objects, parameters redrawn --------------------------

SMALL = Sentences(2, 2)
SMALL_PRIOR = torch.tensor([0.42, 0.27, 0.2, 0.11], **real).log()
PLACES = (
    torch.tensor([[-1.0, 0.6], [-0.8, 0.1], [1.2, -0.3], [0.9, 0.4]], **real),
    torch.tensor([[0.5, 1.1], [-0.7, -0.9], [0.6, 0.8], [-0.9, -1.2]], **real),
    torch.tensor([[0.2, -0.5], [-0.4, 0.9], [1.0, 0.3], [-0.6, 0.1]], **real),
)


@functools.cache
def players(meaning="positions", agents=2):
    family = additive(SMALL, meaning)
    return [Percepts(z, family(2, **prior_of(family, m))) for m, z in enumerate(PLACES[:agents])]


@functools.cache
def law(meaning="positions", agents=2):
    return joint_posterior(players(meaning, agents), SMALL_PRIOR, 4).numpy()


def whole(game, chains, sweeps=30, meaning="positions", signs=None, agents=2):
    if signs is None:
        signs = torch.randint(4, (chains, 1, 4), generator=stream(3, "signs")).expand(-1, agents, -1)
    state = init(players(meaning, agents), generators(9, agents), signs, 4)
    final = play(game, players(meaning, agents), generators(9, agents), state, sweeps, keep_means=False)[0].signs[:, 0]
    return np.bincount((final * torch.tensor([64, 16, 4, 1])).sum(1).numpy(), minlength=256)


def shared(turns, mode="com"):
    return Game(SMALL_PRIOR, mode, "chain" if mode == "gibbs" else "shared", sentences=SMALL, turns=turns)


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("mode", ["com", "gibbs"])
def test_whole_games_have_the_enumerated_posterior(mode, turns):
    assert chi_square(whole(shared(turns, mode), 2000), law()) > ALPHA


@pytest.mark.parametrize("meaning", ["bag", "pairs", "holistic"])
def test_whole_games_of_other_meanings(meaning):
    assert chi_square(whole(shared("both"), 2000, meaning=meaning), law(meaning)) > ALPHA


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("recursion", ["os", "ll:2", "exact"])
def test_whole_games_of_three_agents(turns, recursion):
    """From draws of the posterior, which the game must keep."""
    drawn = torch.multinomial(torch.from_numpy(law(agents=3)), 4000, True, generator=stream(5, "law"))
    signs = torch.stack([drawn // 4**place % 4 for place in (3, 2, 1, 0)], dim=-1).unsqueeze(1).expand(-1, 3, -1)
    counts = whole(replace(shared(turns), recursion=recursion), 4000, sweeps=8, agents=3, signs=signs)
    assert chi_square(counts, law(agents=3)) > ALPHA


def test_a_wrong_game_of_three_agents_leaves_the_posterior():
    assert chi_square(whole(shared("both", "all"), 2000, sweeps=8, agents=3), law(agents=3)) < ALPHA
    assert chi_square(whole(shared("both"), 2000, agents=3), law()) < ALPHA  # the third agent matters


def test_a_whole_game_that_accepts_everything_is_rejected():
    assert chi_square(whole(shared("both", "all"), 2000), law()) < ALPHA


@pytest.mark.parametrize(("mode", "state"), [("com", "chain"), ("com", "shared"), ("gibbs", "chain")])
def test_sentences_of_one_word_are_single_signs(mode, state):
    """The same draws, to the last bit."""
    final = []
    for language in (Sentences(1, 4), None):
        game = Game(SMALL_PRIOR, mode, state, sentences=language, turns="sentence")
        signs = torch.randint(4, (50, 1, 4), generator=stream(3, "signs")).expand(-1, 2, -1)
        begin = init(players("holistic"), generators(9), signs, 4)
        final.append(play(game, players("holistic"), generators(9), begin, 10)[0].signs)
    assert torch.equal(*final)


@pytest.mark.slow
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("mode", ["com", "gibbs"])
def test_whole_games_at_100_000_chains(mode, turns):
    assert chi_square(whole(shared(turns, mode), 100_000, sweeps=80), law()) > ALPHA


def from_starts(game, chains, sweeps, refined, starts=200):
    """Counts of assignments of chains that begin at starts by clustering, which merge moves may refine."""
    signs = players()[0].clusters(stream(8, "starts"), starts, 4).unsqueeze(1).expand(-1, 2, -1).contiguous()
    if refined:
        signs = refine_words(game, players(), generators(10), signs, 10)
    return whole(game, chains, sweeps, signs=signs.repeat(chains // starts, 1, 1))


def test_whole_games_from_starts():
    assert chi_square(from_starts(shared("both"), 2000, 30, True, starts=20), law()) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("refined", [False, True], ids=["kmeans", "merge"])
def test_whole_games_from_starts_at_100_000_chains(turns, refined):
    assert chi_square(from_starts(shared(turns), 100_000, 80, refined), law()) > ALPHA


def test_meanings_without_communication_are_each_agents_own():
    """With `no-com`, each agent has its own posterior."""
    alone = joint_posterior(players()[:1], SMALL_PRIOR, 4).numpy()
    assert chi_square(whole(shared("word", "no-com"), 2000), alone) > ALPHA
