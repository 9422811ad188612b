"""Replayed steps are the plain steps; a fake graph here runs the work again."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from bench.replayed_sweeps import ReplayedChain, clone_tree, tensors
from mhng.inference import cuda_graphs
from mhng.inference.cuda_graphs import CannotCaptureError, ReplayedStep
from mhng.inference.game import Game, init, sweep
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from mhng.models.sign_prior import Sticks


@pytest.fixture
def replays(monkeypatch):
    """A graph as CUDA's: nothing is done when it is captured, and each replay writes to the same places."""
    count = []

    def capture(work, generators):
        # CUDA would only write down what is done: so what this run of it has moved is put back.
        draws = [generator.get_state() for generator in generators]
        places = [place for cell in work.__closure__ for place in tensors(cell.cell_contents)]
        there = [place.clone() for place in places]
        result = clone_tree(work())
        for generator, state in zip(generators, draws, strict=True):
            generator.set_state(state)
        for place, tensor in zip(places, there, strict=True):
            place.copy_(tensor)

        def replay():
            count.append(1)
            for place, tensor in zip(tensors(result), tensors(work()), strict=True):
                place.copy_(tensor)

        return replay, result

    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(cuda_graphs, "forbid_host_waits", nullcontext)
    return count


@pytest.mark.parametrize("weights", [None, Sticks(1.0)])
@pytest.mark.parametrize("mode", ["com", "all", "no-com", "gibbs"])
def test_replayed_sweeps_are_the_sweeps(mode, weights, replays):
    z = torch.randn(2, 60, 2, dtype=torch.float64, generator=stream(0, "z"))
    players = [Percepts(own, NormalWishart(2)) for own in z]
    game = Game(torch.zeros(3, dtype=torch.float64).log_softmax(0), mode=mode, weights=weights)
    signs = torch.randint(3, (2, 2, 60), generator=stream(0, "signs"))
    found = []
    for chain in (True, False):
        generators = [stream(0, who) for who in "AB"]
        state = init(players, generators, signs, 3)

        def step(state, number, generators=generators):
            return sweep(game, players, generators, state, number)

        go = ReplayedChain(step, generators) if chain else step
        seen = []
        for number in range(8):
            state, info = go(state, number)
            seen.append((state.signs.clone(), info.log_joint.clone(), info.accepted.clone()))
        found.append([torch.stack(parts) for parts in zip(*seen, strict=True)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert len(replays) == 8 - cuda_graphs.WARM_UP


def test_replayed_steps_use_each_index_and_keep_their_results(replays):
    seen = []

    def step(index):
        seen.append(index.tolist())
        return index.sum().float()

    steps = ReplayedStep(step, stream(0, "x"))
    rows = [torch.tensor([n, n + 1]) for n in range(6)]
    told = [steps(row) for row in rows]
    assert [float(one) for one in told] == [1, 3, 5, 7, 9, 11]
    assert len(replays) == 6 - cuda_graphs.WARM_UP
    assert float(steps(torch.tensor([7]))) == 7 and len(replays) == 6 - cuda_graphs.WARM_UP  # another size: by itself
    assert float(steps(rows[0])) == 1
    steps.forget()
    replays.clear()
    assert float(steps(torch.tensor([1, 2, 3]))) == 6 and not replays


def test_a_step_that_waits_is_never_captured(replays, monkeypatch):
    refused = []

    @contextmanager
    def refusing():
        refused.append(1)
        yield
        raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(cuda_graphs, "forbid_host_waits", refusing)
    steps = ReplayedStep(lambda index: index.sum(), stream(0, "x"))
    assert [int(steps(torch.tensor([n, 1]))) for n in range(8)] == list(range(1, 9))
    assert len(refused) == 1 and not steps.possible and not replays


def test_a_failed_capture_names_the_flag(monkeypatch):
    class Graph:
        def register_generator_state(self, generator): ...

    def graph(_):
        raise RuntimeError("operation not permitted\n when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    with pytest.raises(CannotCaptureError, match=r"not permitted when stream is capturing\); use --no-cuda-graphs"):
        cuda_graphs.capture(lambda: None, [])
