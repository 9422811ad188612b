"""Build the agents, the game and the schedule of a run from its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from mhng.experiment.data.combinations import columns
from mhng.experiment.data.objects import Objects
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.agent_spec import AgentSpec
from mhng.experiment.training.graphs import Edges, meetings_of
from mhng.inference.initialization import Start
from mhng.inference.members import Member, agent_streams
from mhng.inference.rounds import Schedule, make_member
from mhng.inference.spec import Game
from mhng.models.agent import Agent
from mhng.models.grammar import Markov
from mhng.models.multimodal import Multimodal
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES
from mhng.models.sign_prior import SignPrior, parse_sign_prior

# The most log likelihoods of objects that a trace stores: 200 MB.
POINTWISE_LIMIT = 5 * 10**7


def schedule_of(config: Config, *, jitter: float = 0.0) -> Schedule:
    """The numbers of epochs, rounds and sweeps, and the options of learning. jitter: see `AgentSpec.jitter`.

    Settings that the data have yet to decide count as 0, for an estimate of memory before the data are loaded.
    """
    start = Start(config.start, config.starts)
    if config.words > 1:  # additional sentences would be too many; the entropy was not tried with sentences
        start = replace(start, excess=1, entropy=0.0)
    return Schedule(
        epochs=config.epochs or 0,
        round_epochs=config.round_epochs or 0,
        rounds=config.rounds,
        sweeps=config.sweeps,
        round_sweeps=config.round_sweeps,
        chains=config.chains,
        start=start,
        batch_size=config.batch_size or 0,
        lr=config.lr,
        jitter=jitter,
        columns=columns(config.dataset),
        keep_means=config.keep in ("all", "components"),
        pointwise_limit=POINTWISE_LIMIT if config.keep == "all" else 0,
        percept=config.percept,
        # Parts of the user may do what cannot be captured.
        cuda_graphs=config.cuda_graphs and not any(is_plugin(getattr(config, name)) for name in FAMILIES),
    )


def game_of(config: Config, device: torch.device, known: Sequence[Edges | None] = ()) -> Game:
    """The rules of the game. Raises UsageError for graphs.

    known: the edges of each graph in a resumed run, as in `graphs.meetings_of`.
    """
    meetings = meetings_of(
        config.graphs,
        config.agents,
        config.seed,
        synchronous=config.synchronous,
        round_sweeps=schedule_of(config).sweeps_between(),
        known=known,
    )
    rules = tuple(settings.acceptance for settings in config.per_agent.values())
    log_prior = torch.full((config.signs,), 1 / config.signs, dtype=torch.float64, device=device).log()
    return Game(
        log_prior,
        config.mode,
        config.listener_state,
        rules[0] if len(set(rules)) == 1 else rules,
        config.split_merge,
        meetings,
        config.recursion,
        config.inner_start,
        sign_prior_of(config),
        newcomers=config.newcomers,
        sentences=config.sentences,
        turns=config.turns,
    )


def sign_prior_of(config: Config) -> SignPrior | None:
    """The prior of pi, or of sentences; None if the probabilities are known and equal."""
    if config.sentences is not None and config.grammar == "markov":
        return Markov(config.sentences)
    return parse_sign_prior(config.weights)


def build_members(agents: Sequence[AgentSpec], objects: Objects, device: torch.device) -> list[Member]:
    """The agents with fresh weights, each with its view of the objects."""
    return [build_member(spec, view, device) for spec, view in zip(agents, objects.views, strict=True)]


def build_member(spec: AgentSpec, view: torch.Tensor, device: torch.device) -> Member:
    """One agent with fresh weights and its view (N, *shape) of the objects."""
    streams = agent_streams(spec.settings.seed, spec.name, device)
    agent = build_agent(spec, streams["init"], device)
    return make_member(spec.name, agent, view.to(device), streams, schedule_of(spec.settings, jitter=spec.jitter))


def build_agent(spec: AgentSpec, generator: torch.Generator, device: torch.device) -> Agent:
    """The model of one agent, with weights drawn from `generator`."""
    settings = spec.settings
    options: dict[str, Any] = {
        "signs": settings.signs,
        "latent": spec.latent_dim,
        "network": settings.network,
        "likelihood": settings.likelihood,
        "mixture": settings.mixture if settings.words == 1 else spec.parts.mixture,
        "guide": settings.guide,
        "weights": sign_prior_of(settings),
        "prior": spec.prior,
        "fits_scale": spec.fits_scale,
        "noise": settings.noise,
        "generator": generator,
        "device": device,
    }
    if len(spec.shapes) == 1:
        return Agent(spec.shapes[0], **options)
    return Multimodal(spec.shapes, fusion=settings.fusion, **options)
