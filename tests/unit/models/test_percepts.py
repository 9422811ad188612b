"""Percepts at the public door, and objects far from the others: no other object loses a digit or its sign."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mhng import Game, NormalWishart, Percepts, init, play
from mhng.models import percepts as module
from mhng.models.belief import TableAnswers, proposal_logits
from mhng.models.mixtures.dirichlet import DirichletMultinomial
from mhng.models.registry import MIXTURES, load_variant
from mhng.models.rng import stream

GAUSSIAN = [name for name in sorted(MIXTURES) if load_variant(MIXTURES[name]).input_support == "real"]
FAR = torch.tensor([[1e10, -1e10]], dtype=torch.float64)


def ordinary(N: int = 30, L: int = 2, seed: int = 0) -> torch.Tensor:
    """Three clusters around the prior mean, six apart."""
    noise = torch.randn(N, L, generator=stream(seed, "z"), dtype=torch.float64)
    return noise + 6.0 * torch.nn.functional.one_hot(torch.arange(N) % 3, 3)[:, :L]


def changed(value: Any, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    z = ordinary().to(dtype)
    z[7, 1] = value
    return z


@pytest.mark.parametrize(
    ("z", "words"),
    [
        (changed(math.nan), "object 7 is nan in dimension 1; expected a finite number"),
        (changed(math.inf), "object 7 is inf in dimension 1"),
        (changed(-math.inf, torch.float32), "object 7 is -inf in dimension 1"),
        (changed(1e200), r"object 7 is 1e\+200 in dimension 1; expected a finite number up to 1e\+150"),
        (ordinary().to(torch.complex128), "type torch.complex128; expected real numbers"),
        (ordinary().to(torch.int64), "type torch.int64; expected real numbers"),
        (ordinary() > 0, "type torch.bool; expected real numbers"),
        (ordinary()[:, 0], r"shape \(30,\); expected \(N, 2\)"),
        (ordinary(L=3), r"shape \(30, 3\); expected \(N, 2\)"),
        (ordinary()[None], r"shape \(1, 30, 2\); expected \(N, 2\)"),
        (ordinary()[:0], r"shape \(0, 2\); expected \(N, 2\)"),
        (ordinary().numpy(), "type ndarray; expected a torch tensor"),
        ([[0.0, 1.0]], "type list; expected a torch tensor"),
    ],
)
def test_unsuitable_percepts_are_refused_in_one_line(z: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Percepts(z, NormalWishart(2))
    assert "\n" not in str(caught.value)


def test_counts_may_be_integers() -> None:
    assert Percepts(torch.tensor([[3, 1], [0, 2]]), DirichletMultinomial(2)).z.dtype == torch.float64
    with pytest.raises(ValueError, match=r"type torch\.bool"):
        Percepts(torch.tensor([[True, False]]), DirichletMultinomial(2))


@pytest.mark.parametrize(
    ("signs", "K", "words"),
    [
        (torch.zeros(1, 2, 30), 3, r"signs have the type torch.float32; expected torch.int64"),
        (torch.zeros(2, 30, dtype=torch.int64), 3, r"shape \(2, 30\); expected \(chains, 2 agents, objects\)"),
        (torch.zeros(1, 3, 30, dtype=torch.int64), 3, r"shape \(1, 3, 30\); expected \(chains, 2 agents, objects\)"),
        (torch.zeros(1, 2, 29, dtype=torch.int64), 3, "agent 0 has 30 objects; the signs are those of 29"),
        (torch.full((1, 2, 30), 3), 3, "the sign of object 0 is 3; expected 0 to 2"),
        (torch.full((1, 2, 30), -1), 3, "the sign of object 0 is -1; expected 0 to 2"),
    ],
)
def test_unsuitable_initial_signs_are_refused_in_one_line(signs: torch.Tensor, K: int, words: str) -> None:
    players = [Percepts(ordinary(seed=m), NormalWishart(2)) for m in range(2)]
    generators = [torch.Generator().manual_seed(m) for m in range(2)]
    with pytest.raises(ValueError, match=words):
        init(players, generators, signs, K)


def test_a_game_has_the_agents_and_signs_of_its_state() -> None:
    players = [Percepts(ordinary(seed=m), NormalWishart(2)) for m in range(2)]
    generators = [torch.Generator().manual_seed(m) for m in range(2)]
    state = init(players, generators, torch.zeros(1, 2, 30, dtype=torch.int64), 3)
    game = Game(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="the state has 2 agents, but 3 players"):
        play(game, [*players, players[0]], generators, state, 1)
    with pytest.raises(ValueError, match="2 players and 1 generators"):
        play(game, players, generators[:1], state, 1)
    with pytest.raises(ValueError, match="sweeps is -1; expected 0 or more"):
        play(game, players, generators, state, -1)


# -- far objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("far", [FAR, FAR * 1e-2, FAR * 1e15, FAR.repeat(60, 1) * torch.arange(1, 61)[:, None]])
def test_a_far_object_costs_the_others_no_digit(name: str, far: torch.Tensor) -> None:
    mixture = load_variant(MIXTURES[name])(2)
    alone = Percepts(ordinary(), mixture)
    together = Percepts(torch.cat([ordinary(), far]), mixture)
    signs = (torch.arange(30) % 3)[None]
    phi = alone.redraw(stream(1, "phi"), signs, 4).parameters
    expected = alone.log_prob_table(phi)
    found = together.log_prob_table(phi)
    torch.testing.assert_close(found[:, :30], expected, rtol=1e-12, atol=1e-9)
    assert found.isfinite().all()


@pytest.mark.parametrize("name", ["normal-wishart", "normal-gamma", "spherical"])
def test_signs_without_a_far_object_keep_their_posterior(name: str) -> None:
    mixture = load_variant(MIXTURES[name])(2)
    signs = (torch.arange(31) % 3)[None]
    signs[0, 30] = 3
    alone = mixture.posterior(mixture.features(ordinary()).sums(signs[:, :30], 4))
    together = mixture.posterior(mixture.features(torch.cat([ordinary(), FAR])).sums(signs, 4))
    for part, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(part[:, :3], expected[:, :3], rtol=1e-12, atol=1e-12)
    assert all(part.isfinite().all() for part in together)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_each_latent_is_named_as_alone(name: str) -> None:
    """Whatever the share of far ones."""
    mixture = load_variant(MIXTURES[name])(2)
    phi = Percepts(ordinary(), mixture).redraw(stream(1, "phi"), (torch.arange(30) % 3)[None], 4).parameters
    phi = type(phi)(*(part[0] for part in phi))
    wild = torch.cat([ordinary(3, seed=5), torch.full((4, 2), 1e12, dtype=torch.float64)])
    among = mixture.log_prob(wild, phi)
    for n in range(7):
        torch.testing.assert_close(mixture.log_prob(wild[n : n + 1], phi)[0], among[n], rtol=1e-13, atol=1e-12)
    table = mixture.log_prob_table(mixture.features(wild[:3]), phi)
    torch.testing.assert_close(among[:3], table, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
@pytest.mark.parametrize("value", [1e10, 1e25])
def test_a_game_with_a_far_object_names_the_others(mode: str, value: float) -> None:
    z = torch.cat([ordinary(60), torch.full((1, 2), value, dtype=torch.float64)])
    players = [Percepts(z + 0.01 * m, NormalWishart(2)) for m in range(2)]
    generators = [torch.Generator().manual_seed(m) for m in range(2)]
    game = Game(torch.zeros(4, dtype=torch.float64), mode=mode)
    clusters = players[0].clusters(generators[0], 1, 3)
    for place, signs in (("clusters", clusters), ("random", torch.randint(4, (1, 61), generator=generators[0]))):
        first = init(players, generators, signs[:, None].repeat(1, 2, 1), 4, mode)
        state, trace = play(game, players, generators, first, 30)
        assert trace.log_joint.isfinite().all() and (trace.not_a_number == 0).all()
        if place == "clusters":
            for agent_signs in state.signs[0, :, :60]:
                counts = torch.stack([torch.bincount(agent_signs[part::3], minlength=4) for part in range(3)])
                assert counts.amax(1).sum() >= 50 and len(counts.argmax(1).unique()) == 3


def test_data_without_far_objects_keep_their_mean_as_the_centre() -> None:
    for z in (ordinary(), ordinary() + 1e6, ordinary() * 1e5, ordinary() - 1e9):
        features = NormalWishart(2).features(z)
        assert features.far is None and torch.equal(features.centre, z.mean(0))


# -- impossible signs --------------------------------------------------------------------------------


def test_a_sign_without_a_number_is_never_drawn() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    table = torch.tensor([[math.nan, -1.0, -2.0], [math.nan] * 3, [-math.inf] * 3, [math.nan, -math.inf, -1.0]])[None]
    logits = proposal_logits(prior, table.double())[0]
    torch.testing.assert_close(logits[0].softmax(0)[1:], (prior + table[0, 0].double())[1:].softmax(0))
    assert logits[0, 0] == -math.inf
    assert torch.equal(logits[1], prior) and torch.equal(logits[2], prior)
    assert logits[3].softmax(0).tolist() == [0, 0, 1]
    # Where prior and table leave no sign together, the prior is used.
    known = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).log()
    left = proposal_logits(known, torch.tensor([[-math.inf, 0.0, 0.0]], dtype=torch.float64))
    assert torch.equal(left[0], known)
    assert TableAnswers(table.double()).best(prior).tolist() == [[1, 0, 0, 2]]


LINEAR = [name for name in GAUSSIAN if load_variant(MIXTURES[name]).batched]


def draws_of(D: int, N: int = 400) -> torch.Tensor:
    """Latents whose first dimension has two near clumps, and whose second has nothing but the noise of each draw."""
    signs = torch.arange(N) % 2
    objects = torch.stack([1.2 * signs + 0.5 * torch.randn(N, generator=stream(0, "z")), torch.zeros(N)], dim=1)
    noise = torch.randn(D, N, 2, generator=stream(1, "z")) * torch.tensor([0.1, 2.0])
    return (objects + noise).double()


@pytest.mark.parametrize("name", LINEAR)
def test_expected_percepts_have_the_mean_of_the_log_densities(name: str) -> None:
    draws = draws_of(7)
    mixture = load_variant(MIXTURES[name])(2)
    expected = Percepts.expected(draws, mixture)
    phi = mixture.from_prior(stream(2, "phi"), 3, 4)
    tables = [Percepts(z, mixture).log_prob_table(phi) for z in draws]
    torch.testing.assert_close(expected.log_prob_table(phi), torch.stack(tables).mean(0))
    torch.testing.assert_close(expected.z, draws.mean(0))
    signs = torch.arange(400).expand(1, 400) % 4
    repeated = Percepts(draws[:1].repeat(5, 1, 1)[0], mixture).evidence(signs, 4)
    torch.testing.assert_close(Percepts.expected(draws[:1].repeat(5, 1, 1), mixture).evidence(signs, 4), repeated)


@pytest.mark.parametrize("name", LINEAR)
def test_signs_that_fit_the_noise_of_one_draw_lose_with_expected_percepts(name: str) -> None:
    draws, mixture = draws_of(20), load_variant(MIXTURES[name])(2)
    truth, noise = torch.arange(400) % 2, (draws[0, :, 1] > 0).long()
    signs = torch.stack([truth, noise])
    right, wrong = Percepts(draws[0], mixture).evidence(signs, 2)
    assert right < wrong - 5 or name == "tied"
    right, wrong = Percepts.expected(draws, mixture).evidence(signs, 2)
    assert right > wrong + 20


def test_percepts_that_have_no_expected_features_are_those_of_the_first_draw() -> None:
    draws = draws_of(4)
    far = draws.clone()
    far[1, 3] = 1e12
    assert torch.equal(Percepts.expected(far, NormalWishart(2)).z, draws[0])
    assert torch.equal(Percepts.expected(draws[:1], NormalWishart(2)).z, draws[0])


def test_the_number_of_draws_for_expected_features_is_bounded_by_memory() -> None:
    mixture = NormalWishart(12)
    assert module.expected_draws(5_000, mixture) == module.expected_draws(10_000, mixture) == 20
    assert module.expected_draws(60_000, mixture) == 6 and module.expected_draws(10**6, mixture) == 1
    assert module.expected_draws(100, load_variant(MIXTURES["student-t"])(12)) == 1
