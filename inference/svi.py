"""Stochastic variational inference: an agent learns its networks, with its signs and components fixed.

The objective is Pyro's TraceMeanField_ELBO of `Agent.model` and `Agent.guide`,

    log p(x_n) >= E_q[log p(x_n | z_n)] - KL(q(z_n | x_n) || N(mu_w, Lambda_w^-1)),   w = w_n the agent's sign,

in nats per object, in every round and for every batch size. The KL between Gaussians, diagonal or full, is in closed
form. For other mixtures it is estimated with the draw of z that the reconstruction uses.
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

from mhng.inference.augmentation import jitter_modalities
from mhng.inference.cuda_graphs import ReplayedStep
from mhng.models.agent import Agent
from mhng.models.rng import seeded_global_rng


class Loss(NamedTuple):
    """The two terms of the ELBO, in nats per object, averaged over an epoch: -ELBO = kl - reconstruction."""

    reconstruction: float
    kl: float

    @property
    def total(self) -> float:
        """-ELBO."""
        return self.kl - self.reconstruction


class NotFiniteError(ArithmeticError):
    """A loss is NaN or infinite; the message has the epoch and the batch, both from 1."""


class PartsELBO(TraceMeanField_ELBO):
    """The mean-field ELBO with access to its reconstruction term.

    The loss stays on the device: reading its value at every step would make the host wait for a GPU.
    """

    reconstruction: Tensor  # of the last evaluation: log p(x | z), summed over the observed modalities

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """-ELBO, with one draw of z."""
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
            except NotImplementedError:  # estimated with the draw of z
                kl.append(q["score_parts"].entropy_term.sum() - site["log_prob_sum"])
        reconstruction = torch.stack(observed).sum()
        self.reconstruction = reconstruction.detach()
        loss = torch.stack(kl).sum() - reconstruction
        return loss.detach(), loss


class Learner:
    """SVI for one agent and its observations. The optimiser's state is kept between rounds.

    Args:
        agent: the agent whose networks learn.
        x: (N, *shape) observations, on the agent's device; for several modalities see `mhng.models.multimodal`.
        generator: source of the order of objects and of the noise of q; nothing else draws from it.
        batch_size: objects per step; the last batch of an epoch may be smaller.
        lr: step size of Adam.
        jitter: strength of the random movements of images (`mhng.inference.augmentation`); 0 for vectors.
        columns: pictures side by side in an image, which `jitter` moves independently.
        cuda_graphs: on a CUDA device, whether steps are captured and replayed (`mhng.inference.cuda_graphs`).
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
        columns: int = 1,
        cuda_graphs: bool = True,
    ) -> None:
        self.agent = agent
        self.x = x
        self.generator = generator
        self.batch_size = batch_size
        self.jitter = jitter
        self.columns = columns
        parameters = list(agent.parameters())
        on_cuda = x.device.type == "cuda"
        self.optimiser = torch.optim.Adam(parameters, lr=lr, fused=True, capturable=on_cuda) if parameters else None
        self._parts = PartsELBO()
        self._objective = self._parts(agent.model, agent.guide)
        self._given: tuple[Tensor, Any] | None = None  # signs and components, at fixed addresses
        self._steps = ReplayedStep(self._step, generator) if on_cuda and cuda_graphs else None

    def learn(
        self,
        epochs: int,
        signs: Tensor | None = None,
        components: Any = None,
        on_epoch: Callable[[int, Loss], None] = lambda epoch, loss: None,
        done: int = 0,
    ) -> None:
        """Run all of `train_epochs`, with a callback after each epoch."""
        for epoch, loss in self.train_epochs(epochs, signs, components, done):
            on_epoch(epoch, loss)

    def train_epochs(
        self, epochs: int, signs: Tensor | None = None, components: Any = None, done: int = 0
    ) -> Iterator[tuple[int, Loss]]:
        """Train for `epochs` epochs given signs (N,) and components; yields each epoch, from 1, with its loss.

        Without signs, z has the mixture's standard prior, N(0, I).

        Args:
            done: epochs that are already completed.

        Raises:
            NotFiniteError: a loss is NaN or infinite.
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
        """Copy signs and components to the addresses that a captured step reads."""
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
        """Learn from the objects in `index` (B,); returns loss and reconstruction per object, (2,)."""
        assert self.optimiser is not None and self._given is not None
        N = len(self.x)
        signs, components = self._given
        x = jitter_modalities(self.x[index], self.agent.shapes, self.generator, self.jitter, self.columns)
        loss = self._objective(x, objects=N, index=index, signs=signs, components=components) / N
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return torch.stack([loss.detach(), self._parts.reconstruction / N])

    def _epoch(self, epoch: int) -> Loss:
        N = len(self.x)
        order = torch.randperm(N, generator=self.generator, device=self.generator.device)
        step = self._step if self._steps is None else self._steps
        results: list[Tensor] = []
        with seeded_global_rng(self.generator):
            first, *rest = order.split(self.batch_size)
            with warnings.catch_warnings():
                # Pyro warns of NaN, or a distribution raises ValueError; both become a NotFiniteError.
                warnings.filterwarnings("ignore", "Encountered NaN", UserWarning)
                try:
                    results.append(self._step(first))
                except ValueError as error:
                    if self.agent.is_finite(self.x[first]):
                        raise
                    raise NotFiniteError(f"the loss was not finite in epoch {epoch}, batch 1") from error
            # The first batch was validated; each check would make the host wait for a GPU.
            with pyro.validation_enabled(False):
                results.extend(step(index) for index in rest)
        losses = torch.stack(results)
        finite = losses.isfinite().all(1)
        if not finite.all():
            batch = 1 + int((~finite).nonzero()[0])
            raise NotFiniteError(f"the loss was not finite in epoch {epoch}, batch {batch}")
        # Batches are weighted by their number of objects.
        sizes = torch.tensor([len(index) for index in (first, *rest)], dtype=losses.dtype, device=losses.device)
        loss, reconstruction = (sizes @ losses / N).tolist()
        return Loss(reconstruction=reconstruction, kl=loss + reconstruction)


@torch.no_grad()
def elbo(
    agent: Agent,
    x: Tensor,
    generator: torch.Generator,
    signs: Tensor,
    components: Any,
    chunk: int = 1024,
) -> Loss:
    """The terms of the ELBO per object over all of x (N, *shape), with one draw of z each."""
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
