"""Tables of programs equal closed formulas and the native mixtures; nuisance sites are summed out."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.indexing import Vindex

from mhng import NamingGame, Percepts, ProgramPlayer, turns
from mhng.inference.programs.density import density
from mhng.models.distributions import Counts
from mhng.models.registry import MIXTURES, load_variant
from mhng.models.rng import stream
from tests.proofs.models.test_mixture_contract import PRIORS

K, L, N = 3, 2, 6
PI = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64)
Z = torch.randn(N, L, generator=stream(0, "z"), dtype=torch.float64)
COUNTS = torch.tensor([[3.0, 1], [0, 2], [5, 0], [1, 1], [2, 4], [0, 0]], dtype=torch.float64)


def signs():
    return pyro.sample("w", dist.Categorical(PI))


def gaussian(z, phi):
    with pyro.plate("objects", N):
        w = signs()
        pyro.sample("z", dist.MultivariateNormal(phi.mu[w], scale_tril=phi.scale_tril[w]), obs=z)


def student_t(z, phi):
    with pyro.plate("objects", N):
        w, freedom = signs(), torch.tensor(3.7, dtype=torch.float64)
        pyro.sample("z", dist.MultivariateStudentT(freedom, phi.mu[w], scale_tril=phi.scale_tril[w]), obs=z)


def dirichlet(z, phi):
    with pyro.plate("objects", N):
        w = signs()
        pyro.sample("z", Counts(9, logits=phi.log_theta[w]), obs=z)


def head_to_head(z, phi):
    with pyro.plate("objects", N):
        c = pyro.sample("c", dist.Categorical(torch.ones(4, dtype=torch.float64)))
        pyro.sample("z", dist.MultivariateNormal(phi.means[c], scale_tril=phi.scale_tril[c]), obs=z)
        pyro.sample("w", dist.Categorical(logits=phi.log_theta[c]))


FAMILIES = dict.fromkeys(["normal-wishart", "normal-gamma", "spherical", "tied"], gaussian) | {
    "student-t": student_t,
    "dirichlet": dirichlet,
    "head-to-head": head_to_head,
}


def test_every_mixture_of_the_registry_has_a_program():
    assert set(FAMILIES) == set(MIXTURES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_program_of_a_native_mixture_has_its_table(name):
    program = FAMILIES[name]
    z = COUNTS if name == "dirichlet" else Z
    percepts = Percepts(z, load_variant(MIXTURES[name])(L, **PRIORS[name]))
    phi = percepts.from_prior(stream(1, name), 1, K).parameters
    native = percepts.log_prob_table(phi)
    player = ProgramPlayer(program, z, type(phi)(*(part[0] for part in phi)))
    game = NamingGame({"A": player}, prior="each")
    (step,) = game.steps
    table = player.table(torch.zeros(1, N, dtype=torch.int64), {}, step)
    assert (table.likelihood - native).abs().max() < 1e-12
    if program is not head_to_head:
        assert (table.prior - PI.log()).abs().max() < 1e-15


def mixed(x, y):
    """Objects with a hidden category each, words with a hidden topic each, and a global hidden switch."""
    with pyro.plate("objects", 4):
        w = pyro.sample("w", dist.Categorical(PI))
        c = pyro.sample("c", dist.Categorical(logits=LOGITS[w]))
        pyro.sample("x", dist.Normal(MEANS[c], 1.0), obs=x)
        with pyro.plate("words", 5):
            t = pyro.sample("t", dist.Categorical(logits=Vindex(TOPICS)[w, c]))
            pyro.sample("y", dist.Normal(MEANS[t] - 0.3, 0.7), obs=y)


LOGITS = torch.randn(K, 4, generator=stream(2, "logits"), dtype=torch.float64)
MEANS = torch.randn(4, generator=stream(2, "means"), dtype=torch.float64)
TOPICS = torch.randn(K, 4, 3, generator=stream(2, "topics"), dtype=torch.float64)


def test_nuisance_in_nested_plates_is_summed_out():
    x = torch.randn(4, generator=stream(3, "x"), dtype=torch.float64)
    y = torch.randn(5, 4, generator=stream(3, "y"), dtype=torch.float64)
    player = ProgramPlayer(mixed, x, y)
    (step,) = NamingGame({"A": player}).steps
    table = player.table(torch.zeros(2, 4, dtype=torch.int64), {}, step).likelihood
    log_y = dist.Normal(MEANS - 0.3, 0.7).log_prob(y.unsqueeze(-1))[..., :3]  # word, object, topic
    log_y = (log_y[:, :, None, None] + TOPICS.log_softmax(-1)).logsumexp(-1).sum(0)  # object, sign, category
    log_x = dist.Normal(MEANS, 1.0).log_prob(x.unsqueeze(-1))  # object, category
    exact = (LOGITS.log_softmax(-1) + log_x.unsqueeze(1) + log_y).logsumexp(-1)
    assert (table - exact).abs().max() < 1e-12


def hidden_chain(x, signs_of):
    """A hidden Markov chain of nuisance, seen through signs."""
    w = pyro.sample("w", dist.Categorical(PI))
    h = 0
    for t in range(20):
        h = pyro.sample(f"h_{t}", dist.Categorical(logits=TOPICS[:, 0, :][h]))
        pyro.sample(f"x_{t}", dist.Normal(MEANS[h] + signs_of[w], 0.5), obs=x[t])


def test_a_hidden_chain_costs_no_exponential_sum():
    x = torch.randn(20, generator=stream(4, "x"), dtype=torch.float64)
    player = ProgramPlayer(hidden_chain, x, MEANS[1:])
    (step,) = NamingGame({"A": player}).steps
    table = player.table(torch.zeros(1, 1, dtype=torch.int64), {}, step).likelihood[0, 0]
    move = TOPICS[:, 0, :].log_softmax(-1)
    for w in range(K):
        forward = move[0]
        for t in range(20):
            forward = forward + dist.Normal(MEANS[:3] + MEANS[1 + w], 0.5).log_prob(x[t])
            if t < 19:
                forward = (forward.unsqueeze(1) + move).logsumexp(0)
        assert abs(table[w] - forward.logsumexp(0)) < 1e-12


def test_a_redrawn_nuisance_site_has_its_conditional():
    x = torch.randn(4, generator=stream(3, "x"), dtype=torch.float64)
    y = torch.randn(5, 4, generator=stream(3, "y"), dtype=torch.float64)
    player = ProgramPlayer(mixed, x, y, nuisance="redraw")
    NamingGame({"A": player})
    w = torch.tensor([[0, 2, 1, 0]])
    held = {"c": torch.tensor([[1, 3, 0, 2]]), "t": torch.randint(3, (1, 5, 4), generator=stream(5, "t"))}
    site = next(site for site in player.redrawn if site.name == "c")
    logits = player.nuisance_logits(w, held, site)[0]  # category, object
    values = {"w": w[0], "t": held["t"][0]}
    for n in range(4):
        joint = [
            density(mixed, (x, y), {}, player.sites, values | {"c": held["c"][0].index_fill(0, torch.tensor([n]), c)})
            for c in range(4)
        ]
        exact = torch.stack([part.total for part in joint])
        assert (logits[:, n].log_softmax(0) - exact.log_softmax(0)).abs().max() < 1e-12


def test_a_redrawn_nuisance_site_remains_an_index_in_pyros_kernels():
    x, y = torch.zeros(4, dtype=torch.float64), torch.zeros(5, 4, dtype=torch.float64)
    game = NamingGame({"A": ProgramPlayer(mixed, x, y, nuisance="redraw")})
    game.setup(0)
    params = game.sample(game.initial_params)
    assert params["A.c"].unique().tolist() != [0] and set(params["A.c"].unique().tolist()) <= {0, 1, 2, 3}


def test_programs_that_branch_run_in_a_loop():
    def branching(x):
        with pyro.plate("objects", 3):
            w = pyro.sample("w", dist.Categorical(PI))
            mean = MEANS[w] if bool((w == 2).any()) else MEANS[w] + 1.0
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    x = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"agent A: the program does not run under vmap .*; remove .item\(\)"):
        NamingGame({"A": ProgramPlayer(branching, x)}, turn=turns.whole())
    player = ProgramPlayer(branching, x, vmap=False)
    (step,) = NamingGame({"A": player}, turn=turns.whole()).steps
    table = player.table(torch.zeros(1, 3, dtype=torch.int64), {}, step).likelihood[0, 0]
    for index, w in enumerate(step.values):
        mean = MEANS[w] + (0.0 if (w == 2).any() else 1.0)
        assert abs(table[index] - dist.Normal(mean, 1.0).log_prob(x).sum()) < 1e-12
