"""Learning: stochastic variational inference of one agent's networks, its signs and components held fixed.

The bound is Pyro's TraceMeanField_ELBO of `Agent.model` and `Agent.guide`,

    log p(x) >= E_q[log p(x | z)] - KL(q(z | x) || N(mu_w, Lambda_w^-1)),

with w the agent's own sign for the object, by dataset index. The KL of a Gaussian, diagonal or full, from a full one
is in closed form; that of a mixture of Gaussians is estimated by the draw of z that the reconstruction is of. The
scale is the same in every round: nats per object, whatever the batch size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from mhng.inference.augmentation import moved
from mhng.inference.cuda_graphs import Steps
from mhng.models.agent import Agent
from mhng.models.rng import seeded_global_rng


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

    That is the log density of all that is observed: of every modality that an object has. The value of the loss is
    never asked for, which would make a GPU wait for the host at every step: who learns looks at it when an epoch ends.
    """

    reconstruction: Tensor

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """-ELBO, of one draw."""
        ((model_trace, guide_trace),) = self._get_traces(model, guide, args, kwargs)
        return self._differentiable_loss_particle(model_trace, guide_trace)[1]

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[Tensor, Tensor]:
        observed, kl = [], []
        for name, site in model_trace.nodes.items():
            if site["type"] != "sample":
                continue
            if site["is_observed"]:
                observed.append(site["log_prob_sum"])
                continue
            q = guide_trace.nodes[name]
            try:
                divergence = kl_divergence(q["fn"], site["fn"])
                kl.append(scale_and_mask(divergence, scale=q["scale"], mask=q["mask"]).sum())
            except NotImplementedError:  # by the draw that the reconstruction is of
                kl.append(q["score_parts"].entropy_term.sum() - site["log_prob_sum"])
        reconstruction = torch.stack(observed).sum()
        self.reconstruction = reconstruction.detach()
        loss = torch.stack(kl).sum() - reconstruction
        return loss.detach(), loss


class Learner:
    """SVI of one agent on its own observations; the optimiser lives from round to round.

    Args:
        agent: whose networks learn.
        x: (N, *shape) its observations, on the agent's device; of several modalities as in `mhng.models.multimodal`.
        generator: the order of objects and the noise of q come from it, and nothing else does.
        batch_size: objects a step; the last batch of an epoch may be smaller.
        lr: Adam's step size.
        jitter: strength of the random movements of images while learning (`mhng.inference.augmentation`); 0 for
        vectors.
        graphs: on a CUDA device, steps are captured and replayed (`mhng.inference.cuda_graphs`).
    """

    def __init__(
        self,
        agent: Agent,
        x: Tensor,
        generator: torch.Generator,
        *,
        batch_size: int,
        lr: float,
        jitter: float = 0.0,
        graphs: bool = True,
    ) -> None:
        self.agent = agent
        self.x = x
        self.generator = generator
        self.batch_size = batch_size
        self.jitter = jitter
        parameters = list(agent.parameters())
        on_cuda = x.device.type == "cuda"
        self.optimiser = torch.optim.Adam(parameters, lr=lr, fused=True, capturable=on_cuda) if parameters else None
        self._parts = PartsELBO()
        self._bound = self._parts(agent.model, agent.guide)
        self._given: tuple[Tensor, Any] | None = None  # signs and components, where every step finds them
        self._steps = Steps(self._step, generator) if on_cuda and graphs else None

    def learn(
        self,
        epochs: int,
        signs: Tensor | None = None,
        components: Any = None,
        each: Callable[[int, Loss], None] = lambda epoch, loss: None,
        done: int = 0,
    ) -> None:
        """All of `learning`; `each` is told epoch and loss at the end of every epoch."""
        for epoch, loss in self.learning(epochs, signs, components, done):
            each(epoch, loss)

    def learning(
        self, epochs: int, signs: Tensor | None = None, components: Any = None, done: int = 0
    ) -> Iterator[tuple[int, Loss]]:
        """`epochs` epochs given signs (N,) and components; without them z has the mixture's standard prior, N(0, I).

        done: how many of them are over already. An epoch is made when it is asked for: its number, from 1, and its
        loss. Raises NotFiniteError.
        """
        if self.optimiser is None:
            return
        if signs is None or components is None:
            signs = torch.zeros(len(self.x), dtype=torch.int64, device=self.x.device)
            components = self.agent.mixture.standard_normal_prior(self.x.device)
        self._hold(signs, components)
        for epoch in range(done + 1, epochs + 1):
            yield epoch, self._epoch(epoch)

    def _hold(self, signs: Tensor, components: Any) -> None:
        """Keep signs and components at the place where a captured step looks for them."""
        components = self.agent.mixture.precompute(components)
        new = (signs, *components)
        old = () if self._given is None else (self._given[0], *self._given[1])
        if [part.shape for part in new] == [part.shape for part in old]:
            for here, there in zip(old, new, strict=True):
                here.copy_(there)
            return
        self._given = signs.clone(), type(components)(*(part.clone() for part in components))
        if self._steps is not None:
            self._steps.forget()

    def _step(self, index: Tensor) -> Tensor:
        """Learn from the objects in `index` (B,); loss and reconstruction, (2,), of the whole data set."""
        assert self.optimiser is not None and self._given is not None
        N = len(self.x)
        signs, components = self._given
        x = moved(self.x[index], self.agent.shapes, self.generator, self.jitter)
        loss = self._bound(x, objects=N, index=index, signs=signs, components=components) / N
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return torch.stack([loss.detach(), self._parts.reconstruction / N])

    def _epoch(self, epoch: int) -> Loss:
        N = len(self.x)
        order = torch.randperm(N, generator=self.generator, device=self.generator.device)
        step = self._step if self._steps is None else self._steps
        told: list[Tensor] = []
        with seeded_global_rng(self.generator):
            first, *others = order.split(self.batch_size)
            with warnings.catch_warnings():
                # Of a NaN Pyro warns, or a distribution refuses it; both mean one thing here, and it is said once.
                warnings.filterwarnings("ignore", "Encountered NaN", UserWarning)
                try:
                    told.append(self._step(first))
                except ValueError as error:
                    if self.agent.is_finite(self.x[first]):
                        raise
                    raise NotFiniteError(f"the loss was not finite in epoch {epoch}, batch 1") from error
            # What Pyro and the distributions check is the same for every batch, and a GPU would wait for each check.
            with pyro.validation_enabled(False):
                told.extend(step(index) for index in others)
        found = torch.stack(told)
        good = found.isfinite().all(1)
        if not good.all():
            batch = 1 + int((~good).nonzero()[0])
            raise NotFiniteError(f"the loss was not finite in epoch {epoch}, batch {batch}")
        # A batch counts by its share of the objects.
        sizes = torch.tensor([len(index) for index in (first, *others)], dtype=found.dtype, device=found.device)
        loss, reconstruction = (sizes @ found / N).tolist()
        return Loss(reconstruction=reconstruction, kl=loss + reconstruction)


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
    with seeded_global_rng(generator):
        for index in torch.arange(N, device=x.device).split(chunk):
            loss = module(x[index], objects=N, index=index, signs=signs, components=components)
            total += float(loss) * len(index) / N**2
            reconstruction += float(parts.reconstruction) * len(index) / N**2
    return Loss(reconstruction, total + reconstruction)
