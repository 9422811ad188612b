"""Rounds of mutual learning: the state between rounds, and exact repetition."""

import pytest
import torch

from mhng.inference import rounds as rounds_module
from mhng.inference.game import Game
from mhng.inference.initialization import Start, initial_signs
from mhng.inference.members import agent_streams
from mhng.inference.rounds import RoundError, RoundProgress, Schedule, make_member, run_rounds
from mhng.models.agent import Agent
from mhng.models.languages import Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.mixtures.student_t import StudentT
from mhng.models.rng import stream

N, K = 60, 3


class Watch:
    def __init__(self):
        self.losses = []

    def epoch(self, round, member, epoch, epochs, loss):
        self.losses.append((round, member, epoch, loss))

    def wants_state(self):
        return False

    def keep(self):
        pass

    def progress(self, steps, round, stage):
        return steps


def pictures():
    """Bars at three heights, and the same turned; neighbours are of different classes."""
    x = 0.2 * torch.rand(N, 1, 8, 8, generator=stream(0, "x"))
    for n in range(N):
        x[n, 0, 3 * (n % 3)] = 0.9
    return {"A": x, "B": x.mT.contiguous()}


def schedule(**changes):
    options = {
        "epochs": 2, "round_epochs": 1, "rounds": 2, "sweeps": 4, "round_sweeps": 3, "chains": 2,
        "start": Start("merge", tries=2, before=3, after=3, tail=2), "batch_size": 16, "lr": 1e-3,
    }  # fmt: skip
    return Schedule(**(options | changes))


def community(names="AB", plan=None, seed=0):
    members = []
    for name, x in pictures().items():
        if name in names:
            streams = agent_streams(seed, name, "cpu")
            agent = Agent((1, 8, 8), signs=K, latent=2, generator=streams["init"])
            members.append(make_member(name, agent, x, streams, plan or schedule()))
    return members


def run(mode="com", names="AB", plan=None, seed=0, state="chain"):
    plan = plan or schedule()
    watch, progress = Watch(), RoundProgress(0)
    game = Game(torch.zeros(K, dtype=torch.float64).log_softmax(0), mode, state)
    rounds = list(run_rounds(game, plan, community(names, plan, seed), progress, watch))
    return rounds, watch.losses, progress


@pytest.mark.parametrize("words", [1, 2])
def test_sentences_start_again_in_rounds_1_and_4(words, monkeypatch):
    """New starts are compared with the sentences of the last round; single signs start once."""
    calls = []

    def spy(start, game, players, generators, chains, present, processes):
        calls.append(None if present is None else tuple(present.shape))
        return initial_signs(start, game, players, generators, chains, present, processes)

    monkeypatch.setattr(rounds_module, "initial_signs", spy)
    plan = schedule(rounds=5, start=Start("kmeans", tries=1, after=2, tail=1))
    sentences = Sentences(2, 2) if words == 2 else None
    members = []
    for name, x in pictures().items():
        streams = agent_streams(0, name, "cpu")
        mixture = additive(sentences, "positions") if sentences else "normal-wishart"
        agent = Agent((1, 8, 8), signs=4, latent=2, mixture=mixture, generator=streams["init"])
        members.append(make_member(name, agent, x, streams, plan))
    game = Game(torch.zeros(4, dtype=torch.float64).log_softmax(0), sentences=sentences)
    list(run_rounds(game, plan, members, RoundProgress(0), Watch()))
    assert calls == ([None, (2, 2, N), (2, 2, N)] if sentences else [None])


def test_rounds_come_in_order_and_every_one_learns_and_plays():
    rounds, losses, progress = run()
    assert [played.round for played in rounds] == [0, 1, 2] and progress.done == 3
    assert [(r, m) for r, m, e, _ in losses if e == 1] == [(r, m) for r in range(3) for m in "AB"]
    assert [e for r, m, e, _ in losses if r == 0 and m == "A"] == [1, 2]
    assert rounds[0].start_scores.shape == (2, 1, 2) and rounds[1].start_scores is None
    assert progress.signs.shape == (2, 2, N) and progress.components[0].mu.shape == (K, 2)
    assert [played.trace.signs.shape[1] for played in rounds] == [3, 3, 4]
    assert torch.equal(rounds[-1].trace.signs[:, 2].long(), progress.signs)
    assert torch.equal(rounds[-1].trace.signs[:, -1].long(), rounds[-1].signs)


def test_the_last_game_is_continued_without_effect_on_a_later_round():
    """R rounds with a long last game are the beginning of R + 1 rounds, to the bit."""
    short, long = run(plan=schedule(rounds=1)), run(plan=schedule(rounds=2))
    assert [len(played.trace.log_joint[0]) for played in short[0]] == [3, 4]
    assert torch.equal(short[0][1].trace.signs[:, :3], long[0][1].trace.signs)
    assert torch.equal(short[2].signs, long[0][1].signs)
    longer = run(plan=schedule(rounds=1, sweeps=9))
    assert torch.equal(longer[0][1].trace.signs[:, :4], short[0][1].trace.signs)
    fewer = run(plan=schedule(rounds=1, sweeps=2))
    assert [len(played.trace.log_joint[0]) for played in fewer[0]] == [2, 2]


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
@pytest.mark.parametrize("state", ["chain", "shared", "speaker-sample"])
def test_every_mode_runs_with_every_listener_state(mode, state):
    plan = schedule(rounds=1, sweeps=2)
    rounds, _, _ = run(mode, plan=plan, state=state)
    assert rounds[-1].trace.log_joint.isfinite().all()


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, second, other = run(), run(), run(seed=1)
    assert torch.equal(first[0][-1].trace.signs, second[0][-1].trace.signs)
    assert first[1] == second[1]
    assert first[1] != other[1]


def test_without_communication_an_agent_alone_is_the_agent_beside_another():
    """Public case 1, whole: learning, percepts, start, game, all rounds."""
    both, together, _ = run("no-com")
    alone, by_itself, _ = run("no-com", names="B")
    assert [told for told in together if told[1] == "B"] == by_itself
    for pair, single in zip(both, alone, strict=True):
        assert torch.equal(pair.trace.signs[:, :, 1], single.trace.signs[:, :, 0])


def test_the_signs_of_chain_0_are_what_the_agents_learn_from(monkeypatch):
    from mhng.inference.svi import Learner

    seen, after = [], []
    train_epochs = Learner.train_epochs

    def spy(self, epochs, signs=None, components=None, done=0):
        seen.append((signs, components))
        return train_epochs(self, epochs, signs, components, done)

    monkeypatch.setattr(Learner, "train_epochs", spy)
    progress, plan = RoundProgress(0), schedule()
    game = Game(torch.zeros(K, dtype=torch.float64).log_softmax(0))
    for played in run_rounds(game, plan, community(plan=plan), progress, Watch()):
        after.append((played.trace.signs[:, -1], progress.components))
    assert seen[:2] == [(None, None)] * 2
    for r in range(2):
        for m in range(2):
            signs, components = seen[2 * (r + 1) + m]
            assert torch.equal(signs, after[r][0][0, m].long())
            assert torch.equal(components.mu, after[r][1][m].mu)
            assert torch.equal(components.scale_tril, after[r][1][m].scale_tril)


def test_the_components_of_chain_0_are_carried_over(monkeypatch):
    from mhng.inference import rounds as module

    states = []
    play = module.play

    def spy(*arguments, **named):
        states.append(play(*arguments, **named))
        return states[-1]

    monkeypatch.setattr(module, "play", spy)
    rounds, _, progress = run()
    # The last two games are the last round's, and its playing on.
    for carried, (state, _) in ((progress.components, states[-2]), (rounds[-1].components, states[-1])):
        for m, components in enumerate(carried):
            assert torch.equal(components.mu, state.beliefs[m].parameters.mu[0])
            assert not torch.equal(components.mu, state.beliefs[m].parameters.mu[1])


def test_the_game_is_played_on_draws_of_the_current_networks(monkeypatch):
    from mhng.inference import rounds as module

    seen = []
    init = module.init

    def spy(players, *rest):
        seen.append([player.z for player in players])
        return init(players, *rest)

    monkeypatch.setattr(module, "init", spy)
    plan = schedule(rounds=0)
    members = community(plan=plan)
    before = [one.streams["perceive"].get_state() for one in members]
    game = Game(torch.zeros(K, dtype=torch.float64).log_softmax(0))
    list(run_rounds(game, plan, members, RoundProgress(0), Watch()))
    for one, state, z in zip(members, before, seen[-1], strict=True):
        again = torch.Generator()
        again.set_state(state)
        assert torch.equal(one.agent.perceive(one.x, again).z, z)


def test_the_game_on_means_draws_no_latents(monkeypatch):
    import mhng.inference.rounds as module

    seen = []
    init = module.init

    def spy(players, *rest):
        seen.append([player.z for player in players])
        return init(players, *rest)

    monkeypatch.setattr(module, "init", spy)
    plan = schedule(rounds=0, percept="mean")
    members = community(plan=plan)
    before = [one.streams["perceive"].get_state() for one in members]
    list(
        run_rounds(Game(torch.zeros(K, dtype=torch.float64).log_softmax(0)), plan, members, RoundProgress(0), Watch())
    )
    for one, state, z in zip(members, before, seen[-1], strict=True):
        assert torch.equal(one.agent.perceive(one.x, None).z, z)
        assert torch.equal(one.streams["perceive"].get_state(), state)


def test_a_loss_that_is_not_finite_names_round_agent_epoch_and_batch():
    plan = schedule(lr=1e38)
    with pytest.raises(RoundError, match=r"round 0, agent A: .* epoch 1, batch 2.*--lr"):
        run(plan=plan)


def test_latents_that_are_not_finite_name_round_and_agent():
    """The last step of learning spoils the weights, and no loss has told of it."""
    with pytest.raises(RoundError, match=r"round 0, agent A: the latents are not finite.*--lr"):
        run(plan=schedule(epochs=1, rounds=0, batch_size=60, lr=1e30))


def first_game(monkeypatch, percept="draw", change=None):
    """The players of the starts and of the first game, and the members, after round 0."""
    from mhng.inference import rounds as module

    plan = schedule(rounds=0, percept=percept)
    members, seen = community(plan=plan), []
    for member in members:
        if change is not None:
            change(member)
    for name, position in (("initial_signs", 2), ("init", 0)):
        function = getattr(module, name)

        def spy(*arguments, function=function, position=position):
            seen.append(arguments[position])
            return function(*arguments)

        monkeypatch.setattr(module, name, spy)
    game = Game(torch.zeros(K, dtype=torch.float64).log_softmax(0))
    list(run_rounds(game, plan, members, RoundProgress(0), Watch()))
    return (*seen, members)


def test_starts_are_found_on_expected_latents_and_change_no_draw(monkeypatch):
    starters, players, members = first_game(monkeypatch)
    for starter, player, member in zip(starters, players, members, strict=True):
        mean = member.agent.perceive(member.x, None).z
        assert (starter.z - mean).square().mean() < 0.2 * (player.z - mean).square().mean()
        after = member.streams["perceive"].get_state()
        begun = agent_streams(0, member.name, "cpu")["perceive"]
        assert torch.equal(member.agent.perceive(member.x, begun).z, player.z)
        assert torch.equal(begun.get_state(), after)


def test_starts_on_means_or_without_expected_features_use_the_latents_of_the_game(monkeypatch):
    starters, players, _ = first_game(monkeypatch, "mean")
    assert all(torch.equal(a.z, b.z) for a, b in zip(starters, players, strict=True))

    def heavy_tails(member):
        member.agent.mixture = StudentT(2)

    with monkeypatch.context() as patch:
        starters, players, _ = first_game(patch, change=heavy_tails)
    assert all(torch.equal(a.z, b.z) for a, b in zip(starters, players, strict=True))
