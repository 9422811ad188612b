"""The game between Pyro programs has the enumerated law, and wrong games are rejected."""

from functools import partial

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import HMC, NUTS
from pyro.infer.mcmc.rwkernel import RandomWalkKernel
from scipy import special, stats

from mhng import NamingGame, ProgramPlayer, turns
from mhng.inference.programs import faults
from mhng.inference.programs.beliefs import PyroKernel, Variational
from tests.checks import ALPHA, chi_square
from tests.proofs.inference.programs import twins

C = 20_000


def game(agents="AB", kind=NamingGame, beliefs=None, **options):
    """The twin of points and counts, and coins as a third agent; conjugate redraws by default."""
    players = {}
    for agent in agents:
        program, x, redraw = twins.PROGRAMS[agent]
        players[agent] = ProgramPlayer(
            program, x, beliefs=redraw if beliefs is None else beliefs, steps=options.pop("steps", 1)
        )
    return kind(players, turn=turns.each("objects"), **options)


def p_value(samples, agents):
    return chi_square(twins.counted(samples["w"][:, -1]), twins.law(agents))


@pytest.mark.parametrize("agents", ["AB", "ABC"])
def test_conjugate_redraws_keep_the_law(agents):
    samples = game(agents).play(C, 3, thin=3, start=twins.exact_start(agents, C))
    assert p_value(samples, agents) > ALPHA


@pytest.mark.parametrize("recursion", ["ll:3", "exact"])
def test_three_agents_keep_the_law_with_every_recursion(recursion):
    samples = game("ABC", recursion=recursion).play(C, 2, thin=2, seed=3, start=twins.exact_start("ABC", C))
    assert p_value(samples, "ABC") > ALPHA


def test_the_law_is_reached_from_the_prior():
    samples = game("AB").play(C, 40, thin=40, seed=1)
    assert p_value(samples, "AB") > ALPHA


def test_random_walks_keep_the_law_of_signs_and_beliefs():
    start = twins.exact_start("AB", C)
    samples = game("AB", beliefs="random-walk").play(C, 3, thin=3, start=start)
    assert p_value(samples, "AB") > ALPHA
    for site in ("A.mu", "B.rate"):
        drawn, exact = samples[site][:, 0].flatten(1), start[site].flatten(1)
        error = ((drawn.var(0) + exact.var(0)) / C).sqrt()
        assert ((drawn.mean(0) - exact.mean(0)).abs() < 4.5 * error).all()
        assert not torch.equal(drawn, exact)


@pytest.mark.parametrize("kind", [faults.PriorTwice, faults.SpeakersRatio, faults.AlwaysAccept])
def test_wrong_games_are_rejected(kind):
    samples = game("AB", kind).play(C, 3, thin=3, start=twins.exact_start("AB", C))
    assert p_value(samples, "AB") < ALPHA


@pytest.mark.parametrize("kind", [faults.BeliefsNotRedrawn, faults.StaleTable])
def test_games_with_old_beliefs_do_not_reach_the_law(kind):
    """From an exact start both faults keep the law of the signs; from another start they never reach it."""
    samples = game("AB", kind).play(C, 40, thin=40, seed=1)
    assert p_value(samples, "AB") < ALPHA


def test_which_games_are_exact():
    assert game("AB").exact and game("AB", beliefs="fixed", state="chain").exact
    assert not game("AB", state="chain").exact and not game("AB", beliefs="svi").exact


@pytest.mark.parametrize("state", ["shared", "chain"])
def test_fixed_beliefs_have_the_law_of_the_product(state):
    """With fixed beliefs every agent's signs have P(w | x, theta), and objects are independent."""
    fixed = game("ABC", beliefs="fixed", state=state)
    mu, rate, heads = [[-0.4, 0.2], [0.3, 0.1], [0.6, 0.5]], [1.0, 2.0, 1.5], [0.4, 0.5, 0.6]
    start = {"A.mu": mu, "B.rate": rate, "C.heads": heads}
    start = {
        site: torch.tensor(value, dtype=torch.float64).expand(C, *np.shape(value)) for site, value in start.items()
    }
    samples = fixed.play(C, 25, thin=25, start=start)
    log_p = np.log(twins.PI.numpy()) + stats.norm(mu, 0.6).logpdf(twins.X_POINTS.numpy()[:, None]).sum(-1)
    log_p += stats.poisson(rate).logpmf(twins.X_COUNTS.numpy()[:, None])
    log_p += stats.binom(5, heads).logpmf(twins.X_COINS.numpy()[:, None])
    law = special.softmax(log_p, axis=1)
    for key in fixed.sign_keys:
        signs = samples[key][:, -1].numpy()
        assert min(chi_square(np.bincount(signs[:, n], minlength=3), law[n]) for n in range(4)) > ALPHA


@pytest.mark.parametrize(
    ("kernel", "draws_in_block"),
    [
        (partial(HMC, step_size=0.3, num_steps=5), 200),
        (NUTS, 120),
        (partial(RandomWalkKernel, init_step_size=0.3), 1500),
    ],
    ids=["hmc", "nuts", "random-walk"],
)
def test_kernels_of_pyro_follow_the_signs(kernel, draws_in_block):
    """Between two sets of signs in turn, the beliefs have the closed-form posterior of each."""
    pyro.set_rng_seed(0)
    player = ProgramPlayer(twins.points, twins.X_POINTS)
    NamingGame({"A": player})
    redraws = PyroKernel(kernel, warmup=100, steps=1)
    signs = torch.tensor([[[0, 0, 1, 1]], [[1, 0, 0, 1]]])
    beliefs, draws = player.starts(1), ([], [])
    for block in range(6):
        for number in range(draws_in_block):
            beliefs = redraws.redraw(player, signs[block % 2], beliefs, warmup=False)
            if number >= draws_in_block // 5 and block > 1:
                draws[block % 2].append(beliefs["mu"][0])
    for w, kept in zip(signs, draws, strict=True):
        exact = twins.redraw_points({"w": w.expand(20_000, -1)}, {})["mu"]
        drawn = torch.stack(kept)
        assert ((drawn.mean(0) - exact.mean(0)).abs() / exact.std(0)).max() < 0.35
        assert (drawn.std(0) / exact.std(0)).log().abs().max() < 0.35


def test_svi_fits_a_posterior_that_is_in_its_family():
    """Given signs the posterior of mu is an independent normal, so the fit of SVI reaches it."""
    pyro.set_rng_seed(0)
    player = ProgramPlayer(twins.points, twins.X_POINTS, beliefs="svi")
    NamingGame({"A": player})
    w = torch.tensor([[0, 0, 1, 1]]).expand(100, -1)
    kernel, beliefs = Variational(), player.starts(100)
    for _ in range(15):
        beliefs = kernel.redraw(player, w, beliefs, warmup=False)
    exact = twins.redraw_points({"w": w.repeat(40, 1)}, {})["mu"]
    assert ((beliefs["mu"].mean(0) - exact.mean(0)).abs() / exact.std(0)).max() < 0.4
    assert (beliefs["mu"].std(0) / exact.std(0)).log().abs().max() < 0.4


def in_plate(x):
    """Each object has a latent position in the plate."""
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", dist.Categorical(twins.PI))
        z = pyro.sample("z", dist.Normal(w.double(), 0.7))
        pyro.sample("x", dist.Normal(z, 0.5), obs=x)


def test_random_walks_accept_beliefs_of_the_plate_object_by_object():
    """The law of signs and positions is in closed form for every object."""
    x = torch.tensor([0.3, 1.7], dtype=torch.float64)
    played = NamingGame({"A": ProgramPlayer(in_plate, x, steps=3), "B": ProgramPlayer(in_plate, x + 0.4)})
    assert played.agents[0].plate == "objects"
    log_p = np.log(twins.PI.numpy()) + sum(
        stats.norm(np.arange(3), np.sqrt(0.74)).logpdf(seen[:, None]) for seen in (x.numpy(), x.numpy() + 0.4)
    )
    law, rng = special.softmax(log_p, axis=1), np.random.default_rng(0)
    w = np.stack([rng.choice(3, C, p=part) for part in law], axis=1)
    start = {"w": torch.as_tensor(w)}
    for name, seen in (("A", x), ("B", x + 0.4)):
        mean = (w / 0.49 + seen.numpy() / 0.25) / (1 / 0.49 + 1 / 0.25)
        start[f"{name}.z"] = torch.as_tensor(rng.normal(mean, (1 / 0.49 + 1 / 0.25) ** -0.5))
    samples = played.play(C, 3, thin=3, start=start)
    for n in range(2):
        assert chi_square(np.bincount(samples["w"][:, 0, n], minlength=3), law[n]) > ALPHA
        drawn, exact = samples["A.z"][:, 0, n], start["A.z"][:, n]
        assert stats.ks_2samp(drawn, exact).pvalue > ALPHA and float((drawn != exact).double().mean()) > 0.5


def known(table):
    """A program with the log likelihoods table (N, K) of every sign."""

    def program():
        with pyro.plate("objects", twins.N) as n:
            w = pyro.sample("w", dist.Categorical(twins.PI))
            pyro.factor("x", table[n, w])

    return program
