"""The gallery in examples/programs: each twin has its enumerated law, and `prove` sees the planted faults.

Chains start at exact draws from the posterior of signs and beliefs. Laws are computed here, without the programs.
"""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats

from mhng import NamingGame, ProgramPlayer, prove
from tests.checks import ALPHA, chi_square
from tests.proofs.inference.programs import twins

GALLERY = Path(__file__).resolve().parents[4] / "examples" / "programs"
RNG = np.random.default_rng(0)


def example(name):
    return runpy.run_path(str(GALLERY / f"{name}.py"))


def assignments(K, size):
    return np.array(list(itertools.product(range(K), repeat=size)))


def draw(table, law, chains):
    """Rows of `table`, drawn from `law`."""
    return torch.as_tensor(table[RNG.choice(len(table), chains, p=law)])


def p_value(w, K, law):
    cells = (w.long().numpy() * K ** np.arange(w.shape[1] - 1, -1, -1)).sum(1)
    return chi_square(np.bincount(cells, minlength=len(law)), law)


# -- laws: (game, start (C, ...), law over assignments, K) ---------------------------------------------


def points_and_counts(C):
    start = twins.exact_start("AB", C)
    return example("points_and_counts")["twin"](), start, twins.law("AB"), 3


def topics(C):
    module = example("topics")
    game = module["twin"]()
    table = assignments(3, 4)
    words = [player.args[0].numpy() for player in game.agents]
    log_p = np.log(module["PI"].numpy())[table].sum(1)
    for x in words:
        counts = np.eye(3)[table].swapaxes(1, 2) @ x  # (assignments, K, V)
        log_p += (special.gammaln(counts + 0.5).sum(-1) - special.gammaln(counts.sum(-1) + 0.5 * x.shape[1])).sum(-1)
    law = special.softmax(log_p)
    w = draw(table, law, C)
    start = {"w": w}
    for name, x in zip("AB", words, strict=True):
        start[f"{name}.phi"] = module["redraw"]({"w": w}, {}, {"words": torch.as_tensor(x).expand(C, -1, -1)})["phi"]
    return game, start, law, 3


def hidden_markov(C):
    module = example("hidden_markov")
    game = module["twin"]()
    x, y = (player.args[0].numpy() for player in game.agents)
    table = assignments(3, 5)
    log_p = np.log(module["START"].numpy())[table[:, 0]] + np.log(module["MOVE"].numpy())[
        table[:, :-1], table[:, 1:]
    ].sum(1)
    log_p += stats.norm(module["POSITION"].numpy()[table], 0.8).logpdf(x).sum(1)
    shape, members = 4 * module["RATE"].numpy(), np.eye(3)[table].swapaxes(1, 2)
    total, count = members @ y, members.sum(2)
    log_p += (special.gammaln(shape + total) - (shape + total) * np.log(4 + count)).sum(1)
    law = special.softmax(log_p)
    place = RNG.choice(len(table), C, p=law)
    rate = RNG.gamma((shape + total)[place], 1 / (4 + count[place]))
    return game, {"w": torch.as_tensor(table[place]), "B.rate": torch.as_tensor(rate)}, law, 3


def planning(C):
    module = example("planning")
    game = module["twin"]()
    table = assignments(4, 2)
    move = module["MOVE"].numpy()
    log_p = np.log(move[1][table[:, 0]]) + np.log(move[table[:, 0], table[:, 1]])
    steps = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}
    passed = []
    for plan in table:
        place, cells = np.zeros(2, int), []
        for w in plan:
            place = np.clip(place + steps[w], 0, 1)
            cells.append(2 * place[0] + place[1])
        passed.append(cells)
    passed = np.array(passed)
    falls = (passed[:, :, None] == np.arange(4)).any(1)
    good, parts, a = (passed[:, -1:] == 2) & ~falls, [], 2.0
    for pit in (1, 3):
        # Skill has the prior Beta(a, 1); a good plan succeeds with it, another one with 1 - skill.
        share = good @ np.where(np.arange(4) == pit, 0.9, 0.1 / 3)
        log_p += np.log(share * a / (a + 1) + (1 - share) / (a + 1))
        parts.append(share)
    law = special.softmax(log_p)
    place = RNG.choice(len(table), C, p=law)
    start = {"w": torch.as_tensor(table[place])}
    for name, share in zip("AB", parts, strict=True):
        good = RNG.uniform(size=C) < (share * a / (share * a + 1 - share))[place]
        start[f"{name}.skill"] = torch.as_tensor(np.where(good, RNG.beta(a + 1, 1, C), RNG.beta(a, 2, C)))
    return game, start, law, 4


def video(C):
    module = example("video")
    game = module["twin"]()
    x, pictures = (arg.numpy() for arg in game.agents[0].args)
    y = game.agents[1].args[0].numpy()
    table, T = assignments(3, 4), 4
    log_p = np.log(module["START"].numpy())[table[:, 0]] + np.log(module["MOVE"].numpy())[
        table[:, :-1], table[:, 1:]
    ].sum(1)
    seen = np.logaddexp(
        np.log(0.8) + stats.norm(pictures, 1).logpdf(x[:, None]).sum(-1),
        np.log(0.2) + stats.norm(pictures, 2).logpdf(x[:, None]).sum(-1),
    )
    log_p += seen[np.arange(T), table].sum(1)
    for path, w in enumerate(table):
        for k in range(3):
            members = y[w == k]
            if n := len(members):
                log_p[path] += stats.multivariate_normal(np.zeros(n), np.eye(n) + 4).logpdf(members.T).sum()
    law = special.softmax(log_p)
    w = draw(table, law, C)
    signs = {f"w_{t}": w[:, t] for t in range(T)}
    data = {f"y_{t}": torch.as_tensor(y[t]).expand(C, -1) for t in range(T)}
    return game, {"w": w, "B.drift": module["redraw"](signs, {}, data)["drift"]}, law, 3


def vae(C):
    """Latents are integrated on a grid: on its square if both objects have one sign, and else object by object."""
    module = example("vae")
    game = module["twin"]()
    table, grid = assignments(3, 2), np.linspace(-6, 6, 1201)
    log_p, start, posteriors = np.log(module["PI"].double().numpy())[table].sum(1), {}, []
    same = table[:, 0] == table[:, 1]
    spread, noise = 0.4**2, 0.3
    one = stats.norm(0, (1 + spread) ** 0.5).logpdf(grid)
    both = stats.multivariate_normal(np.zeros(2), 1 + spread * np.eye(2)).logpdf(
        np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1)
    )
    for player in game.agents:
        decoder = player.args[1]
        pixels = decoder(torch.as_tensor(grid, dtype=torch.float32).unsqueeze(1)).double().numpy()
        seen = stats.norm(pixels, noise).logpdf(player.args[0].numpy()[:, None]).sum(-1)  # (objects, grid)
        apart, joint = one + seen, (both + seen[0][:, None] + seen[1]).ravel()
        posteriors.append((special.softmax(apart, axis=1), special.softmax(joint)))
        step = np.log(grid[1] - grid[0])
        log_p += np.where(same, special.logsumexp(joint), special.logsumexp(apart, axis=1).sum()) + 2 * step
    law = special.softmax(log_p)
    place = RNG.choice(len(table), C, p=law)
    w = table[place]
    for name, (apart, joint) in zip("AB", posteriors, strict=True):
        cells = RNG.choice(len(joint), C, p=joint)
        z = np.stack([grid[cells // len(grid)], grid[cells % len(grid)]], axis=1)
        for n, law_of_one in enumerate(apart):
            z[~same[place], n] = RNG.choice(grid, int((~same[place]).sum()), p=law_of_one)
        members = np.eye(3)[w]  # (C, objects, K)
        precision = 1 + members.sum(1) / spread
        mu = RNG.normal((members * z[:, :, None]).sum(1) / spread / precision, precision**-0.5)
        for site, value in (("mu", mu), ("z", z)):
            start[f"{name}.{site}"] = torch.as_tensor(value, dtype=torch.float32).unsqueeze(-1)
    return game, start | {"w": torch.as_tensor(w)}, law, 3


# The faults that `prove` sees on each twin.
SEEN = dict.fromkeys(("points_and_counts", "topics", "positions", "hidden_markov", "vae"), 4) | {
    "planning": 5,
    "video": 5,
}
LAWS = {law.__name__: law for law in (points_and_counts, topics, hidden_markov, planning, video, vae)}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("chains", [8000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_law_of_the_twin(name, chains):
    game, start, law, K = LAWS[name](chains)
    w = game.play(chains, 2, thin=2, start=start)["w"][:, 0]
    assert (w != start["w"]).any(1).double().mean() > 0.05
    assert p_value(w, K, law) > ALPHA


def normal_law(seen, scale):
    """Mean and covariance of the positions and the offset of the twin: weights of (w_1, w_2, offset) in x and y."""
    prior = np.diag([1.0, 1.0, 1.0])
    design = np.array([[1, 0, 1], [0, 1, 1], [2, 0, 0], [0, 2, 0]], float)
    precision = np.linalg.inv(prior) + design.T @ (design / scale[:, None] ** 2)
    mean = np.linalg.solve(precision, np.linalg.inv(prior) @ [1, 1, 0] + design.T @ (seen / scale**2))
    return mean, np.linalg.inv(precision)


@pytest.mark.parametrize("chains", [8000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_the_law_of_continuous_signs(chains):
    game = example("positions")["twin"]()
    seen = np.concatenate([player.args[0].numpy() for player in game.agents])
    mean, covariance = normal_law(seen, np.array([0.5, 0.5, 1.5, 1.5]))
    exact = torch.as_tensor(RNG.multivariate_normal(mean, covariance, chains))
    samples = game.play(chains, 3, thin=3, start={"w": exact[:, :2], "A.offset": exact[:, 2]})
    drawn = torch.cat([samples["w"][:, 0], samples["A.offset"]], dim=1).numpy()
    assert (drawn != exact.numpy()).any(1).mean() > 0.5
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (drawn - mean).T)
    p_values = [stats.kstest(part, "norm").pvalue for part in whitened]
    p_values.append(stats.kstest((whitened**2).sum(0), stats.chi2(3).cdf).pvalue)
    assert min(p_values) * len(p_values) > ALPHA


def test_a_gaussian_guide_is_the_posterior_of_the_speaker():
    game = example("positions")["twin"]()
    player, beliefs = game.agents[0], {"offset": torch.full((50,), 0.3, dtype=torch.float64)}
    (step,), w = game.steps, torch.zeros(50, 2, dtype=torch.float64)
    drawn = player.gaussian(w, beliefs, step)
    expected = (1.0 + 4 * (player.args[0] - 0.3)) / 5
    assert float((drawn.mean.squeeze(-1) - expected).abs().max()) < 1e-12
    assert float((drawn.precision - 5.0).abs().max()) < 1e-12
    w = player.propose(w, beliefs, step)
    v = player.log_density(w, beliefs, "objects").total - player.log_guide(w, beliefs, step)
    assert w.shape == v.shape == (50, 2) and float(v.std(0).max()) < 1e-12


def linked(x, noise, spread):
    """Positions that follow each other, as one vector."""
    offset = pyro.sample("offset", dist.Normal(torch.zeros((), dtype=torch.float64), spread))
    w = pyro.sample("w", dist.MultivariateNormal(torch.ones(3, dtype=torch.float64), COVARIANCE))
    pyro.sample("x", dist.Normal(w.cumsum(-1) + offset, noise).to_event(1), obs=x)


COVARIANCE = torch.tensor([[1.0, 0.6, 0.1], [0.6, 1.2, -0.3], [0.1, -0.3, 0.8]], dtype=torch.float64)


def test_the_law_of_a_gaussian_vector():
    """Two agents with their own offsets, one sign of three numbers; the law is a normal distribution."""
    chains = 8000
    seen = torch.tensor([[0.3, 1.9, 2.2], [-0.5, 1.1, 4.0]], dtype=torch.float64)
    scales = ((0.5, 1.0), (0.9, 0.4))
    players = [ProgramPlayer(linked, x, *s, guide="gaussian", steps=2) for x, s in zip(seen, scales, strict=True)]
    game = NamingGame(dict(zip("AB", players, strict=True)))
    precision = np.zeros((5, 5))
    precision[:3, :3] = np.linalg.inv(COVARIANCE.numpy())
    right = precision @ [1, 1, 1, 0, 0]
    for m, (x, (noise, spread)) in enumerate(zip(seen.numpy(), scales, strict=True)):
        design = np.zeros((3, 5))
        design[:, :3], design[:, 3 + m] = np.tril(np.ones((3, 3))), 1
        precision += design.T @ design / noise**2
        precision[3 + m, 3 + m] += 1 / spread**2
        right += design.T @ x / noise**2
    covariance = np.linalg.inv(precision)
    mean = covariance @ right
    exact = torch.as_tensor(RNG.multivariate_normal(mean, covariance, chains))
    start = {"w": exact[:, :3], "A.offset": exact[:, 3], "B.offset": exact[:, 4]}
    samples = game.play(chains, 3, thin=3, start=start)
    drawn = torch.cat([samples["w"][:, 0], samples["A.offset"], samples["B.offset"]], dim=1).numpy()
    assert (drawn[:, 0] != exact[:, 0].numpy()).mean() > 0.3
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), (drawn - mean).T)
    p_values = [stats.kstest(part, "norm").pvalue for part in whitened]
    p_values.append(stats.kstest((whitened**2).sum(0), stats.chi2(5).cdf).pvalue)
    assert min(p_values) * len(p_values) > ALPHA


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.slow
def test_prove_sees_the_faults(name):
    proof = prove(example(name)["twin"]())
    assert proof.passed, str(proof)
    assert sum(seen is True for seen in proof.faults.values()) >= SEEN[name], str(proof)
