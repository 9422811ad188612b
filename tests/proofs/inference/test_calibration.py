"""Simulation-based calibration (Talts et al. 2018): the truth's rank among posterior draws is uniform.

Parameters, signs and percepts are drawn from the model, many data sets at once: chain c plays on data set c. Then the
posterior of each is sampled, knowing nothing of the truth, and the rank of the truth among the draws is counted for
scalars that wrong samplers would shift. Draws of a game are thinned, because the test asks for independent ones.

One of the scalars is the log density of the percepts: without a quantity that depends on the data, a sampler that
ignores part of them is calibrated too (Modrak et al. 2023).
"""

import numpy as np
import pytest
import torch

from mhng.inference.game import Game, init, sweep
from mhng.models.mixtures import Features, NormalWishart
from mhng.models.mixtures.gaussians import gaussian_log_prob
from mhng.models.mixtures.normal_wishart import Posterior
from mhng.models.percepts import Percepts
from mhng.models.rng import categorical, stream
from tests.checks import ALPHA, chi_square
from tests.proofs.problems import LOG_PRIOR, K, generators

N, DATA_SETS, DRAWS = 5, 1000, 19

# Components overlap, so that chains mix fast: draws must be independent for ranks to be uniform.
_SCALE = torch.tensor([[0.8, 0.2], [0.2, 0.5]], dtype=torch.float64)
FAMILIES = (
    NormalWishart(2, m0=0.2, beta=3.0, nu=6.5, W=_SCALE),
    NormalWishart(2, m0=-0.1, beta=2.0, nu=5.5, W=2 * _SCALE),
)


class OnItsOwn(Percepts):
    """Chain c sees the percepts z[c] of a data set of its own: z (C, N, L)."""

    def __init__(self, z, mixture):
        self.z, self.mixture = z, mixture
        L = z.shape[-1]
        i, j = torch.triu_indices(L, L)
        values = torch.cat([torch.ones_like(z[..., :1]), z, z[..., i] * z[..., j]], dim=-1)
        self._features = Features(values, z.new_zeros(L))

    @property
    def count(self):
        return self.z.shape[1]


def simulate(seed=0):
    """Signs (C, N), and of each agent the family, parameters (C, K, ...) and percepts (C, N, 2)."""
    generator = stream(seed, "simulate")
    signs = categorical(generator, LOG_PRIOR.expand(DATA_SETS, N, K))
    agents = []
    for family in FAMILIES:
        phi = family.draw(generator, family.posterior(family.empty_statistics(DATA_SETS, K)))
        of = signs.unsqueeze(-1)
        mu = phi.mu.gather(1, of.expand(-1, -1, 2))
        scale = phi.scale_tril.gather(1, of.unsqueeze(-1).expand(-1, -1, 2, 2))
        noise = torch.randn(DATA_SETS, N, 2, 1, generator=generator, dtype=torch.float64)
        agents.append((family, phi, mu + (scale @ noise).squeeze(-1)))
    return signs, agents


def scalars(phi):
    """Of parameters (C, K, ...): a mean, a size, a shape and a product of means, each (C,)."""
    size = phi.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.stack([phi.mu[:, 0, 0], size[:, 1], phi.scale_tril[:, 2, 1, 0], phi.mu[:, 0, 1] * phi.mu[:, 1, 1]], 1)


def smallest_p(truth, draws):
    """The smallest p-value, Bonferroni, that ranks of `truth` (C, F) among `draws` (S, C, F) are uniform."""
    below = (draws < truth).sum(0).numpy()
    ties = (draws == truth).sum(0).numpy()
    ranks = below + np.random.default_rng(0).integers(0, ties + 1)
    law = np.full(DRAWS + 1, 1 / (DRAWS + 1))
    values = [chi_square(np.bincount(column, minlength=DRAWS + 1), law) for column in ranks.T]
    return min(values) * len(values)


# -- parameters given signs ------------------------------------------------------------------------


def conjugate(change=lambda posterior: posterior, family_of=lambda family: family):
    """The smallest p of one agent's parameters, given the true signs."""
    signs, agents = simulate()
    family, phi, z = agents[0]
    mine = family_of(family)
    player = OnItsOwn(z, mine)
    posterior = change(mine.posterior(mine.sufficient_statistics(player._features, signs, K)))
    generator = stream(0, "posterior")
    draws = torch.stack([scalars(mine.draw(generator, posterior)) for _ in range(DRAWS)])
    return smallest_p(scalars(phi), draws)


def test_an_agents_parameters_are_calibrated():
    assert conjugate() > ALPHA


def other(**changes):
    """The family with other hyperparameters than those that made the data."""

    def build(family):
        given = {"m0": family.m0, "beta": family.beta, "nu": family.nu, "W": family.W}
        return NormalWishart(2, **(given | changes))

    return build


@pytest.mark.parametrize(
    "wrong",
    [
        {"family_of": other(W=torch.eye(2, dtype=torch.float64))},
        {"family_of": other(beta=4.5)},
        {"change": lambda p: p._replace(nu=p.nu + 1)},
        {"change": lambda p: p._replace(beta=0.6 * p.beta)},
        {"change": lambda p: Posterior(*(part.roll(1, 0) for part in p))},
    ],
    ids=["scale", "strength", "one too many degrees of freedom", "mean too loose", "another data set's"],
)
def test_wrong_parameters_are_not_calibrated(wrong):
    assert conjugate(**wrong) < ALPHA


# -- the whole game --------------------------------------------------------------------------------


def whole_game(game, players_of=lambda players: players, burn_in=30, thin=5):
    """The smallest p of signs, their number, and both agents' parameters."""
    signs, agents = simulate()
    players = players_of([OnItsOwn(z, family) for family, _, z in agents])
    own = generators(3)
    begin = torch.randint(K, (DATA_SETS, 2, N), generator=stream(3, "signs"))
    if game.listener_state == "shared" or game.mode == "gibbs":
        begin = begin[:, :1].expand(-1, 2, -1)
    state = init(players, own, begin, K)

    def told(named, phis):
        heard = [
            gaussian_log_prob(OnItsOwn(z, family)._features, phi).gather(-1, named.unsqueeze(-1)).sum((-2, -1))
            for (family, _, z), phi in zip(agents, phis, strict=True)
        ]
        said = [(named == 0).sum(-1), (named[:, 0] == named[:, 1]).long(), named[:, 2], *heard, sum(heard)]
        return torch.cat([torch.stack([one.double() for one in said], dim=1), *map(scalars, phis)], dim=1)

    draws = []
    for t in range(burn_in + DRAWS * thin):
        state, _ = sweep(game, players, own, state)
        if t >= burn_in and (t - burn_in) % thin == thin - 1:
            draws.append(told(state.signs[:, 0], [belief.parameters for belief in state.beliefs]))
    return smallest_p(told(signs, [phi for _, phi, _ in agents]), torch.stack(draws))


@pytest.mark.parametrize("game", [Game(LOG_PRIOR, "com", "shared"), Game(LOG_PRIOR, "gibbs")], ids=["shared", "gibbs"])
def test_the_whole_game_is_calibrated(game):
    assert whole_game(game) > ALPHA


class Deaf(OnItsOwn):
    """Keeps its parameters at a draw from the prior."""

    def redraw(self, generator, signs, K, previous=None):
        return self.from_prior(generator, len(signs), K)


@pytest.mark.parametrize(
    ("game", "players_of"),
    [
        (Game(LOG_PRIOR, "all", "shared"), lambda players: players),
        (Game(torch.zeros(K, dtype=torch.float64).log_softmax(0), "com", "shared"), lambda players: players),
        (Game(LOG_PRIOR, "com", "shared"), lambda players: [players[0], Deaf(players[1].z, players[1].mixture)]),
        (Game(LOG_PRIOR, "com", "speaker-sample"), lambda players: players),
    ],
    ids=["all", "prior ignored", "one agent never learns", "speaker-sample"],
)
def test_games_that_do_not_sample_the_posterior_are_not_calibrated(game, players_of):
    assert whole_game(game, players_of) < ALPHA
