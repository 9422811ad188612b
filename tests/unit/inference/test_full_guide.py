"""With a correlated posterior of z, the full guide reaches the evidence and the diagonal guide does not."""

import pytest
import torch
from torch import nn

from mhng.inference.svi import Learner, elbo
from mhng.models.agent import Agent
from mhng.models.likelihoods import FixedGaussian
from mhng.models.mixtures.gaussians import Components
from mhng.models.registry import GUIDES, load_variant
from mhng.models.rng import stream
from tests.checks import ALPHA, z_test

N, D, L = 400, 4, 3
NOISE = 0.45


class Linear(nn.Module):
    """x = A z; A is known and stays."""

    def __init__(self, A):
        super().__init__()
        self.register_buffer("A", A)

    def forward(self, z):
        return z @ self.A.T


class LinearEncoder(nn.Module):
    """The guide's own layer on x and nothing before it."""

    def __init__(self, guide):
        super().__init__()
        self.head = load_variant(GUIDES[guide])(D, L)

    def forward(self, x):
        return self.head(x)


def problem():
    """One component with correlated axes, seen through a matrix whose columns are not orthogonal."""
    A = torch.tensor([[1.1, 1.0, 0.1], [0.9, 1.3, -0.7], [1.2, 0.9, 0.4], [0.3, -0.1, 1.2]])
    tril = torch.tensor([[0.9, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.4, 0.3, 1.1]], dtype=torch.float64)
    phi = Components(torch.tensor([[0.3, -0.8, 0.5]], dtype=torch.float64), tril.unsqueeze(0))
    z = phi.mu + torch.randn(N, L, generator=stream(0, "z"), dtype=torch.float64) @ tril.T
    x = z.float() @ A.T + NOISE * torch.randn(N, D, generator=stream(0, "x"))
    return A, phi, x


def learned(guide, A, phi, x):
    """ELBO per object of the last epochs, and the agent."""
    one = Agent(
        (D,), signs=1, latent=L, likelihood="gaussian-fixed", noise=NOISE, guide=guide, generator=stream(0, "A/init")
    )
    assert isinstance(one.likelihood, FixedGaussian)
    one.encoder, one.decoder = LinearEncoder(guide), Linear(A)
    # What q's spread is of needs no learning of x: it is the same for all objects.
    nn.init.zeros_(one.encoder.head.weight)
    nn.init.zeros_(one.encoder.head.bias)
    told = []
    signs = torch.zeros(N, dtype=torch.int64)
    Learner(one, x, stream(0, "A/learn"), batch_size=N, lr=0.05).learn(
        300, signs, phi, on_epoch=lambda epoch, loss: told.append(-loss.total)
    )
    return sum(told[-20:]) / 20, one


def test_the_full_guide_reaches_the_evidence_and_the_diagonal_one_stops_at_its_gap():
    A, phi, x = problem()
    covariance = phi.scale_tril[0] @ phi.scale_tril[0].T
    evidence = torch.distributions.MultivariateNormal(
        phi.mu[0] @ A.double().T, A.double() @ covariance @ A.double().T + NOISE**2 * torch.eye(D)
    )
    log_evidence = float(evidence.log_prob(x.double()).mean())
    precision = torch.linalg.inv(covariance) + A.double().T @ A.double() / NOISE**2
    # The best diagonal q has the posterior's precisions, and misses (sum log P_ii - log det P) / 2.
    gap = float(precision.diagonal().log().sum() - precision.logdet()) / 2
    assert gap > 0.5
    full, one = learned("full", A, phi, x)
    diagonal, _ = learned("diagonal", A, phi, x)
    # 400 objects, one draw each in 20 epochs: a standard error below 0.02.
    assert full == pytest.approx(log_evidence, abs=0.06)
    assert diagonal == pytest.approx(log_evidence - gap, abs=0.08)
    factor = one.encode(x[:1])[1][0].double().detach()
    torch.testing.assert_close(factor @ factor.T, torch.linalg.inv(precision), rtol=0.1, atol=0.01)


def test_the_kl_of_a_full_guide_agrees_with_draws():
    one = Agent((4,), signs=2, latent=L, likelihood="gaussian", guide="full", generator=stream(0, "A/init"))
    nn.init.normal_(one.encoder.head.weight, std=0.3, generator=stream(0, "weight"))
    x = torch.randn(1, 4, generator=stream(0, "x"))
    phi = one.mixture.draw(stream(0, "phi"), one.mixture.posterior(one.mixture.empty_statistics(2)))
    found = elbo(one, x, stream(0, "bound"), torch.tensor([1]), phi).kl
    loc, factor = (part.double().detach() for part in one.encode(x))
    assert (factor.tril(-1) != 0).sum() == L * (L - 1) / 2
    q = torch.distributions.MultivariateNormal(loc[0], scale_tril=factor[0])
    p = torch.distributions.MultivariateNormal(phi.mu[1], scale_tril=phi.scale_tril[1])
    z = one._guide.reparameterize(
        loc.expand(50_000, -1),
        factor.expand(50_000, -1, -1),
        torch.randn(50_000, L, generator=stream(0, "noise"), dtype=torch.float64),
    )
    ratios = (q.log_prob(z) - p.log_prob(z)).unsqueeze(1).numpy()
    assert z_test(ratios, torch.tensor([found]).numpy()) > ALPHA
    # The specimen: the KL of the diagonal of the factor alone.
    wrong = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(loc[0], scale_tril=factor[0].diagonal().diag()), p
    )
    assert z_test(ratios, wrong.unsqueeze(0).numpy()) < ALPHA
