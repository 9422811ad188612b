"""Learning: stochastic variational inference of one agent's networks, its signs and components held fixed.

The bound is Pyro's TraceMeanField_ELBO of `Agent.model` and `Agent.guide`,

    log p(x) >= E_q[log p(x | z)] - KL(q(z | x) || N(mu_w, Lambda_w^-1)),

with w the agent's own sign for the object, by dataset index. The KL of a Gaussian, diagonal or full, from a full one
is in closed form; that of a mixture of Gaussians is estimated by the draw of z that the reconstruction is of. The
scale is the same in every round: nats per object, whatever the batch size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor

from inference.jitter import moved
from models.agent import Agent
from models.randomness import global_draws_from


class Loss(NamedTuple):
    """Nats per object, averaged over an epoch: loss = -ELBO = kl - reconstruction."""

    reconstruction: float
    kl: float

    @property
    def total(self) -> float:
        """-ELBO."""
        return self.kl - self.reconstruction


class NotFiniteError(ArithmeticError):
    """A loss was NaN or infinite; says in which epoch (from 1) and batch (from 1)."""


class PartsELBO(TraceMeanField_ELBO):
    """The mean-field ELBO that also keeps its reconstruction term: `reconstruction` of the last evaluation.

    That is the log density of all that is observed: of every modality that an object has.
    """

    reconstruction: Tensor

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[Any, Tensor]:
        loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
        sites = (site for site in model_trace.nodes.values() if site["type"] == "sample" and site["is_observed"])
        self.reconstruction = sum((site["log_prob_sum"].detach() for site in sites), torch.zeros(()))
        return loss, surrogate


class Learner:
    """SVI of one agent on its own observations; the optimiser lives from round to round.

    Args:
        agent: whose networks learn.
        x: (N, *shape) its observations, on the agent's device; of several modalities as in `models.multimodal`.
        generator: the order of objects and the noise of q come from it, and nothing else does.
        batch_size: objects a step; the last batch of an epoch may be smaller.
        lr: Adam's step size.
        jitter: strength of the random movements of images while learning (`inference.jitter`); 0 for vectors.
    """

    def __init__(
        self, agent: Agent, x: Tensor, generator: torch.Generator, *, batch_size: int, lr: float, jitter: float = 0.0
    ) -> None:
        self.agent = agent
        self.x = x
        self.generator = generator
        self.batch_size = batch_size
        self.jitter = jitter
        parameters = list(agent.parameters())
        self.optimiser = torch.optim.Adam(parameters, lr=lr, fused=True) if parameters else None

    def learn(
        self,
        epochs: int,
        signs: Tensor | None = None,
        components: Any = None,
        each: Callable[[int, Loss], None] = lambda epoch, loss: None,
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
        done: int = 0,
    ) -> None:
        """`epochs` epochs given signs (N,) and components; without them z has the mixture's standard prior, N(0, I).

        done: how many of them are over already. `each` is told epoch and loss at the end of every epoch. Raises
        NotFiniteError.
        """
        if self.optimiser is None:
            return
        N = len(self.x)
        if signs is None or components is None:
            signs = torch.zeros(N, dtype=torch.int64, device=self.x.device)
            components = self.agent.mixture.standard(self.x.device)
        for epoch in progress(range(done + 1, epochs + 1)):
            each(epoch, self._epoch(epoch, signs, components))

    def _epoch(self, epoch: int, signs: Tensor, components: Any) -> Loss:
        assert self.optimiser is not None
        N = len(self.x)
        parts = PartsELBO()
        # The loss module asks for every parameter of model and guide by walking them: once an epoch, not a step.
        bound = parts(self.agent.model, self.agent.guide)
        order = torch.randperm(N, generator=self.generator, device=self.generator.device)
        steps: list[Tensor] = []
        with global_draws_from(self.generator), warnings.catch_warnings():
            # Of a NaN Pyro warns, or a distribution refuses it; both mean one thing here, and it is said once.
            warnings.filterwarnings("ignore", "Encountered NaN", UserWarning)
            for index in order.split(self.batch_size):
                x = moved(self.x[index], self.agent.shapes, self.generator, self.jitter)
                try:
                    loss = bound(x, objects=N, index=index, signs=signs, components=components) / N
                except ValueError as error:
                    if self.agent.is_finite(x):
                        raise
                    raise _not_finite(epoch, steps) from error
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                # Of the whole data set, so a batch counts by its share of the objects.
                steps.append(torch.stack([loss.detach(), parts.reconstruction / N]) * len(index) / N)
        told = torch.stack(steps)
        if not told.isfinite().all():
            raise _not_finite(epoch, steps)
        loss_sum, reconstruction = told.sum(0).tolist()
        return Loss(reconstruction=reconstruction, kl=loss_sum + reconstruction)


def _not_finite(epoch: int, steps: list[Tensor]) -> NotFiniteError:
    """Names the first batch whose loss was not finite: one of `steps`, or the one after them."""
    batch = 1 + next((n for n, step in enumerate(steps) if not step.isfinite().all()), len(steps))
    return NotFiniteError(f"the loss was not finite in epoch {epoch}, batch {batch}")


@torch.no_grad()
def bound(
    agent: Agent,
    x: Tensor,
    generator: torch.Generator,
    signs: Tensor,
    components: Any,
    chunk: int = 1024,
) -> Loss:
    """The ELBO's parts per object over all of x (N, *shape), one draw of z each; nothing is learned."""
    N = len(x)
    parts = PartsELBO()
    module = parts(agent.model, agent.guide)
    total = reconstruction = 0.0
    with global_draws_from(generator):
        for index in torch.arange(N, device=x.device).split(chunk):
            loss = module(x[index], objects=N, index=index, signs=signs, components=components)
            total += float(loss) * len(index) / N**2
            reconstruction += float(parts.reconstruction) * len(index) / N**2
    return Loss(reconstruction, total + reconstruction)
