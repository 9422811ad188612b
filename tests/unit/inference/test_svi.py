"""SVI on a model with known evidence; every tensor of every agent is trained."""

import pytest
import torch
from torch import nn

from mhng.inference.svi import Learner, NotFiniteError, elbo
from mhng.models import likelihoods
from mhng.models.agent import Agent
from mhng.models.mixtures.gaussians import Components
from mhng.models.networks import Encoder
from mhng.models.rng import stream

N, D, L, K = 400, 5, 2, 3


class LinearEncoder(Encoder):
    """q(z | x) with a scale of its own for every class, and a loc linear in x and a shift by class; x carries
    its class in its last K entries."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.loc = nn.Linear(D + K, L)
        self.log_scale = nn.Linear(K, L)

    def forward(self, x):
        return self.loc(x), self.log_scale(x[:, D:]).exp()


class LinearDecoder(nn.Module):
    """x = A z for the D observed numbers; the class is given back without a doubt, and adds a constant."""

    def __init__(self, A):
        super().__init__()
        self.A = nn.Parameter(A)

    def forward(self, z):
        return z @ self.A.T


class Likelihood(likelihoods.Likelihood):
    noise = 0.5

    def forward(self, output):
        from pyro import distributions as dist

        return dist.Normal(output, self.noise).to_event(1)


def problem():
    """Linear-Gaussian data with diagonal posteriors, so that a diagonal q can be exact."""
    basis = torch.linalg.qr(torch.randn(D, L, generator=stream(0, "A")))[0]
    A = basis * torch.tensor([1.5, 0.7])
    mu = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [0.3, -2.0]], dtype=torch.float64)
    scale = torch.tensor([[0.5, 1.2], [1.0, 0.3], [0.8, 0.8]], dtype=torch.float64)
    signs = torch.randint(K, (N,), generator=stream(0, "signs"))
    z = mu[signs] + scale[signs] * torch.randn(N, L, generator=stream(0, "z"), dtype=torch.float64)
    x = z.float() @ A.T + 0.5 * torch.randn(N, D, generator=stream(0, "x"))
    return A, Components(mu, scale.diag_embed()), signs, x


class Blind(Agent):
    """An agent whose decoder explains only the first D numbers of an observation."""

    def model(self, x=None, **rest):
        return super().model(None if x is None else x[:, :D], **rest)


def test_the_bound_reaches_the_evidence_of_a_linear_gaussian_model():
    A, phi, signs, x = problem()
    one = Blind((D,), signs=K, latent=L, likelihood="gaussian", generator=stream(0, "A/init"))
    one.encoder, one.decoder, one.likelihood = LinearEncoder(), LinearDecoder(A.clone()), Likelihood()
    one.decoder.A.requires_grad_(False)
    seen = torch.cat([x, nn.functional.one_hot(signs, K).float()], dim=1)

    covariance = A.double() @ (phi.scale_tril @ phi.scale_tril.mT)[signs] @ A.double().T + 0.25 * torch.eye(D)
    mean = phi.mu[signs] @ A.double().T
    evidence = torch.distributions.MultivariateNormal(mean, covariance).log_prob(x.double()).mean()

    # The exact posterior, written into the encoder: precision of z is A^T A / noise^2 + scale^-2, diagonal here.
    precision = (A.T @ A).diagonal().double() / 0.25 + phi.scale_tril.diagonal(dim1=-2, dim2=-1) ** -2
    before = elbo(one, seen, stream(0, "bound"), signs, phi)
    with torch.no_grad():
        shift = phi.mu * phi.scale_tril.diagonal(dim1=-2, dim2=-1) ** -2 / precision
        one.encoder.loc.weight.zero_()
        one.encoder.loc.bias.zero_()
        one.encoder.log_scale.weight.copy_(-precision.log().T / 2)
        one.encoder.log_scale.bias.zero_()
    # loc depends on the class beyond a shift: precision differs by class, so each class is scored by itself
    total = 0.0
    for k in range(K):
        chosen = signs == k
        with torch.no_grad():
            one.encoder.loc.weight[:, :D] = (A.T.double() / 0.25 / precision[k].unsqueeze(1)).float()
            one.encoder.loc.bias.copy_(shift[k])
        loss = elbo(one, seen[chosen], stream(k, "bound"), signs[chosen], phi)
        total += -loss.total * int(chosen.sum()) / N
    assert -before.total < float(evidence) - 0.5
    # The reconstruction is one draw per object; its spread around the expectation is all that is left.
    assert total == pytest.approx(float(evidence), abs=0.05)


def test_learning_reaches_the_evidence_of_a_linear_gaussian_model():
    A, phi, _, _ = problem()
    one = Blind((D,), signs=1, latent=L, likelihood="gaussian", generator=stream(0, "A/init"))
    one.encoder, one.decoder, one.likelihood = LinearEncoder(), LinearDecoder(A.clone()), Likelihood()
    one.decoder.A.requires_grad_(False)
    phi = Components(phi.mu[:1], phi.scale_tril[:1])
    signs = torch.zeros(N, dtype=torch.int64)
    z = phi.mu[signs] + torch.randn(N, L, generator=stream(1, "z"), dtype=torch.float64) @ phi.scale_tril[0].T
    x = z.float() @ A.T + 0.5 * torch.randn(N, D, generator=stream(1, "x"))
    seen = torch.cat([x, nn.functional.one_hot(signs, K).float()], dim=1)
    covariance = A.double() @ phi.scale_tril[0] @ phi.scale_tril[0].T @ A.double().T + 0.25 * torch.eye(D)
    law = torch.distributions.MultivariateNormal(phi.mu[0] @ A.double().T, covariance)
    evidence = float(law.log_prob(x.double()).mean())
    told = []
    student = Learner(one, seen, stream(0, "A/learn"), batch_size=50, lr=0.03)
    student.learn(60, signs, phi, on_epoch=lambda epoch, loss: told.append(-loss.total))
    assert told[0] < evidence - 0.5
    # 400 objects, one draw each: the last ten epochs' mean has a standard error below 0.02.
    assert sum(told[-10:]) / 10 == pytest.approx(evidence, abs=0.08)


def test_the_kl_is_the_closed_form_with_a_full_precision():
    one = Agent((4,), signs=K, latent=3, likelihood="gaussian", generator=stream(0, "A/init"))
    x = torch.randn(20, 4, generator=stream(0, "x"))
    phi = one.mixture.draw(stream(0, "phi"), one.mixture.posterior(one.mixture.empty_statistics(K)))
    signs = torch.randint(K, (20,), generator=stream(0, "signs"))
    found = elbo(one, x, stream(0, "bound"), signs, phi).kl
    loc, scale = (part.double() for part in one.encoder(x))
    q = torch.distributions.MultivariateNormal(loc, scale_tril=scale.diag_embed())
    p = torch.distributions.MultivariateNormal(phi.mu[signs], scale_tril=phi.scale_tril[signs])
    expected = torch.distributions.kl_divergence(q, p).mean()
    assert found == pytest.approx(float(expected.detach()), rel=1e-6)


def learner(name, x, batch_size=16, lr=1e-3, **changes):
    options = {"signs": K, "latent": 2, "generator": stream(0, f"{name}/init")} | changes
    one = Agent(tuple(x.shape[1:]), **options)
    return Learner(one, x, stream(0, f"{name}/learn"), batch_size=batch_size, lr=lr)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_tensor_of_every_agent_moves(likelihood, network):
    """Public case 1: the second agent learns as the first does."""
    x = torch.rand(40, 1, 8, 8, generator=stream(0, "x"))
    for name in ("A", "B"):
        one = learner(name, x, likelihood=likelihood, network=network)
        before = {key: value.clone() for key, value in one.agent.named_parameters()}
        assert before
        one.learn(2)
        for key, value in one.agent.named_parameters():
            assert not torch.equal(before[key], value), f"agent {name}: {key} did not move"


def test_an_agent_learns_the_same_beside_another_as_alone():
    x = torch.rand(40, 1, 8, 8, generator=stream(0, "x"))
    alone = learner("B", x)
    alone.learn(2)
    other, beside = learner("A", x), learner("B", x)
    for _ in range(2):
        other.learn(1)
        beside.learn(1)
    for a, b in zip(alone.agent.parameters(), beside.agent.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("batch_size", [1, 6, 59, 60, 61, 1000])
def test_losses_are_per_object_whatever_the_batch_size(batch_size):
    """Public cases 28 and r4: with a step of almost nothing every batch size reports the same loss."""
    x = torch.rand(60, 1, 4, 4, generator=stream(0, "x"))
    told = []
    learner("A", x, batch_size=batch_size, lr=1e-12).learn(1, on_epoch=lambda epoch, loss: told.append(loss))
    one = learner("A", x)
    signs = torch.zeros(60, dtype=torch.int64)
    phi = Components(torch.zeros(1, 2).double(), torch.eye(2).double().unsqueeze(0))
    expected = elbo(one.agent, x, stream(1, "bound"), signs, phi)
    assert told[0].total == pytest.approx(expected.total, abs=0.05)
    assert told[0].kl == pytest.approx(expected.kl, abs=1e-4)


@pytest.mark.parametrize("lr", [1e4, 1e8, 1e38])
def test_a_loss_that_is_not_finite_stops_with_its_place(lr):
    x = torch.rand(40, 1, 4, 4, generator=stream(0, "x"))
    with pytest.raises(NotFiniteError, match=r"epoch \d+, batch \d+"):
        learner("A", x, lr=lr, likelihood="gaussian").learn(200)
