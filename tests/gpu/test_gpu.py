"""The same game on a CUDA device. Skipped where there is none."""

import json

import pyro
import pytest
import torch

from mhng.experiment.settings.schema import Config
from mhng.experiment.training.train import resume, train
from mhng.inference.cuda_graphs import forbid_host_waits
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.registry import LIKELIHOODS, MIXTURES, load_variant
from mhng.models.rng import stream
from mhng.models.sign_prior import Dirichlet, Sticks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SMALL = Config(
    dataset="digits", limit=200, signs=3, latent_dim=2, epochs=2, round_epochs=1, rounds=1, sweeps=6, burn_in=2,
    starts=2, chains=2, device="cuda",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
def test_a_whole_run(mode, tmp_path):
    from dataclasses import replace

    summary = train(replace(SMALL, mode=mode, run_dir=tmp_path / "run"))
    assert summary["device"].startswith("cuda") and summary["log_evidence"] is not None
    resume(tmp_path / "run", rounds=2)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "done"


def test_both_devices_judge_alike():
    z = torch.randn(500, 5, dtype=torch.float64, generator=stream(0, "z"))
    signs = torch.randint(4, (3, 500), generator=stream(0, "signs"))
    here, there = Percepts(z, NormalWishart(5)), Percepts(z.cuda(), NormalWishart(5, device="cuda"))
    torch.testing.assert_close(here.evidence(signs, 4), there.evidence(signs.cuda(), 4).cpu())
    one = torch.tensor([0, 1, 3])
    torch.testing.assert_close(here.merge_gain(signs, 4, one), there.merge_gain(signs.cuda(), 4, one.cuda()).cpu())


@pytest.mark.parametrize("name", MIXTURES)
def test_every_family_is_at_home_there(name):
    z = torch.randint(0, 5, (50, 3), generator=stream(0, "z")).double()
    signs = torch.randint(4, (2, 50), generator=stream(0, "signs"))
    here, there = (load_variant(MIXTURES[name])(3, device=device) for device in ("cpu", "cuda"))
    a, b = Percepts(z, here), Percepts(z.cuda(), there)
    torch.testing.assert_close(a.evidence(signs, 4), b.evidence(signs.cuda(), 4).cpu())
    phi = here.from_prior(stream(0, "phi"), 2, 4)
    moved = type(phi)(*(part.cuda() for part in phi))
    torch.testing.assert_close(a.log_prob_table(phi), b.log_prob_table(moved).cpu())
    again = b.redraw(stream(0, "redraw", "cuda"), signs.cuda(), 4, moved)
    assert again.table.is_cuda and again.table.isfinite().all()


@pytest.mark.parametrize("weights", [None, Dirichlet(0.5), Sticks(1.0)])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_sweep_waits_for_nothing(name, weights):
    """No tensor goes to the host inside a loop over sweeps: CUDA refuses the wait that this would be."""
    from mhng.inference.game import Game, init, play

    z = torch.randint(0, 5, (2, 500, 5), device="cuda").double()
    players = [Percepts(own, load_variant(MIXTURES[name])(5, device="cuda")) for own in z]
    generators = [stream(0, name, "cuda") for name in "AB"]
    game = Game(torch.zeros(4, dtype=torch.float64, device="cuda").log_softmax(0), weights=weights)
    state = init(players, generators, torch.randint(4, (2, 2, 500), device="cuda"), 4)
    play(game, players, generators, state, 2)
    with forbid_host_waits():
        play(game, players, generators, state, 5)


@pytest.mark.parametrize("weights", [None, Sticks(1.0)])
@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("mode", ["com", "gibbs", "no-com"])
def test_sweeps_by_a_graph_are_the_sweeps(mode, name, weights):
    from bench.replayed_sweeps import ReplayedChain
    from mhng.inference.batched import batch_groups
    from mhng.inference.game import Game, init, sweep

    z = torch.randint(0, 5, (2, 200, 3), device="cuda").double()
    players = [Percepts(own, load_variant(MIXTURES[name])(3, device="cuda")) for own in z]
    game = Game(torch.zeros(4, dtype=torch.float64, device="cuda").log_softmax(0), mode, weights=weights)
    signs = torch.randint(4, (2, 2, 200), device="cuda")
    found = []
    for by_graph in (True, False, False):
        generators = [stream(0, who, "cuda") for who in "AB"]
        state = init(players, generators, signs, 4)

        def step(state, number, generators=generators):
            return sweep(game, players, generators, state, number, batch_groups(players))

        go, each = ReplayedChain(step, generators) if by_graph else step, []
        for number in range(40):
            state, _ = go(state, number)
            each.append(state.signs.clone())
        # The streams are where they would have been.
        signs_drawn = torch.stack(each, dim=1).short()
        found.append((signs_drawn.cpu(), torch.rand(3, generator=generators[1], device="cuda").cpu()))
    graph, one, again = found
    first = (one[0] != again[0]).flatten(2).any(2).any(0).nonzero()[:1].tolist()
    assert torch.equal(one[0], again[0]), f"not even kernel by kernel: from sweep {first} on"
    first = (graph[0] != one[0]).flatten(2).any(2).any(0).nonzero()[:1].tolist()
    assert torch.equal(graph[0], one[0]), f"from sweep {first} on"
    assert torch.equal(graph[1], one[1])


def _learner(likelihood, guide="diagonal", graphs=True):
    from mhng.inference.svi import Learner
    from mhng.models.agent import Agent

    shape, x = (1, 8, 8), torch.rand(100, 1, 8, 8, generator=stream(0, "x")).cuda()
    if likelihood in ("identity", "multinomial"):
        shape, x = (12,), torch.randint(1, 5, (100, 12), generator=stream(0, "x")).float().cuda()
    latent = 12 if likelihood == "identity" else 3
    agent = Agent(
        shape, signs=4, latent=latent, likelihood=likelihood, guide=guide, generator=stream(0, "init", "cuda"),
        device="cuda",
    )  # fmt: skip
    jitter = 1.0 if len(shape) == 3 else 0.0
    return Learner(agent, x, stream(0, "learn", "cuda"), batch_size=16, lr=1e-3, jitter=jitter, cuda_graphs=graphs)


@pytest.mark.parametrize("guide", ["diagonal", "full"])
@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name != "identity"])
def test_steps_by_a_graph_are_the_steps(likelihood, guide):
    """Also after the signs have changed, and with another number of components than before."""
    signs = torch.randint(4, (2, 100), generator=stream(0, "signs")).cuda()
    found = []
    for by_graph in (True, False):
        one = _learner(likelihood, guide, by_graph)
        losses = []
        one.learn(20, on_epoch=lambda _, loss, losses=losses: losses.append(loss))
        phi = one.agent.mixture.from_prior(stream(0, "phi", "cuda"), 1, 4)
        for own in signs:
            given = type(phi)(*(part[0] for part in phi))
            one.learn(20, own, given, on_epoch=lambda _, loss, losses=losses: losses.append(loss))
        found.append((losses, [parameter.detach() for parameter in one.agent.parameters()]))
        # Multinomial's constructor brings a number to the device.
        assert not by_graph or one._steps.possible == (likelihood != "multinomial")
    if likelihood == "multinomial":  # some of its numbers were drawn for a step that was begun again
        return
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_a_step_waits_for_nothing():
    one = _learner("bernoulli")
    one.learn(2)
    assert one._steps.possible
    index = torch.arange(16, device="cuda")
    with forbid_host_waits(), pyro.validation_enabled(False):
        one._steps(index)
        one._step(index)


def test_both_devices_learn_alike():
    """Other random numbers, the same bound: losses of a few epochs differ by what chance does."""
    from mhng.inference.svi import Learner
    from mhng.models.agent import Agent

    losses = {}
    for device in ("cpu", "cuda"):
        x = torch.rand(1000, 1, 8, 8, generator=stream(0, "x")).round().to(device)
        agent = Agent((1, 8, 8), signs=4, latent=3, generator=stream(0, "init"), device=device)
        one = Learner(agent, x, stream(0, "learn", device), batch_size=50, lr=1e-3)
        one.learn(20, on_epoch=lambda _, loss, device=device: losses.__setitem__(device, loss.total))
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.01)


@pytest.mark.parametrize("name", MIXTURES)
def test_many_agents_at_once_wait_for_nothing_and_draw_from_the_same_law(name):
    """Products of many matrices may be rounded otherwise than those of one: signs agree, but for a few."""
    from mhng.inference import batched
    from mhng.inference.game import Game, init, play
    from mhng.inference.topology import Graph

    z = torch.randint(0, 5, (6, 500, 3), device="cuda").double()
    players = [Percepts(own, load_variant(MIXTURES[name])(3, device="cuda")) for own in z]
    game = Game(
        torch.zeros(4, dtype=torch.float64, device="cuda").log_softmax(0),
        meetings=Graph(((0, 1), (2, 3), (4, 5), (1, 2), (3, 4))),
    )
    signs = torch.randint(4, (1, 6, 500), device="cuda")
    found = []
    for few in (10**6, 0):
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(batched._BATCH_LIMIT, "cuda", few)
            generators = [stream(0, who, "cuda") for who in "ABCDEF"]
            state = init(players, generators, signs, 4)
            with forbid_host_waits():
                found.append(play(game, players, generators, state, 1)[0].signs)
    assert (found[0] == found[1]).double().mean() > 0.99


def test_a_variational_sweep_waits_for_nothing():
    from mhng.inference.game import Game, init, play

    players = [
        Percepts(own, load_variant(MIXTURES["normal-wishart"])(3, device="cuda"))
        for own in torch.rand(2, 500, 3).cuda()
    ]
    game = Game(torch.zeros(4, dtype=torch.float64, device="cuda").log_softmax(0), "variational")
    state = init(players, [], torch.randint(4, (2, 2, 500), device="cuda"), 4, "variational")
    play(game, players, [], state, 2)
    with forbid_host_waits():
        play(game, players, [], state, 5)
