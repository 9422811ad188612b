"""The agents, the game and the schedule that the settings describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from mhng.experiment.data.objects import Objects
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.graphs import Edges, meetings_of
from mhng.inference.initialization import Start
from mhng.inference.rounds import Member, Schedule, agent_streams, make_member
from mhng.inference.spec import Game
from mhng.models.agent import Agent
from mhng.models.multimodal import Multimodal
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES
from mhng.models.sign_prior import parse_sign_prior


def _latent(config: Config, shape: tuple[int, ...]) -> int:
    return shape[0] if config.likelihood == "identity" else config.latent_dim


def schedule_of(config: Config) -> Schedule:
    """How long everything takes, from the settings."""
    return Schedule(
        epochs=config.epochs,
        round_epochs=config.round_epochs,
        rounds=config.rounds,
        sweeps=config.sweeps,
        round_sweeps=config.round_sweeps,
        chains=config.chains,
        start=Start(config.start, tries=config.starts),
        batch_size=config.batch_size,
        lr=config.lr,
        jitter=config.jitter,
        keep_means=config.keep in ("all", "components"),
        percept=config.percept,
        cuda_graphs=_captured(config),
    )


def _captured(config: Config) -> bool:
    """Whether work on a GPU may be captured: what parts of the user's own ask of it is unknown."""
    return config.cuda_graphs and not any(is_plugin(getattr(config, name)) for name in FAMILIES)


def game_of(config: Config, device: torch.device, known: Sequence[Edges | None] = ()) -> Game:
    """The rules of the game, with a uniform prior of signs. UsageError from `graphs.meetings_of`.

    known: the edges of each graph, as in `graphs.meetings_of`.
    """
    meetings = meetings_of(
        config.graphs,
        config.agents,
        config.seed,
        synchronous=config.synchronous,
        round_sweeps=schedule_of(config).sweeps_between(),
        known=known,
    )
    rules = tuple(own.acceptance for own in config.per_agent.values())
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
        parse_sign_prior(config.weights),
        newcomers=config.newcomers,
    )


def build_members(config: Config, objects: Objects, device: torch.device) -> list[Member]:
    """The agents A, B, ... with fresh weights. Each sees its own view of the objects and nothing else."""
    each = zip(config.per_agent.items(), objects.views, strict=True)
    return [build_member(own, name, view, objects.shapes(m), device) for m, ((name, own), view) in enumerate(each)]


def build_member(
    own: Config, name: str, view: torch.Tensor, shapes: tuple[tuple[int, ...], ...], device: torch.device
) -> Member:
    """The agent called `name`, with its own settings and its own view; shapes: of each modality."""
    streams = agent_streams(own.seed, name, device)
    agent = build_agent(own, shapes, streams["init"], device)
    schedule = schedule_of(own if any(len(shape) == 3 for shape in shapes) else replace(own, jitter=0.0))
    return make_member(name, agent, view.to(device), streams, schedule)


def build_agent(
    own: Config, shapes: tuple[tuple[int, ...], ...], generator: torch.Generator, device: torch.device
) -> Agent:
    """One agent with its own settings, fresh weights drawn from `generator`; shapes: of each modality."""
    made: dict[str, Any] = {
        "signs": own.signs,
        "latent": _latent(own, shapes[0]),
        "network": own.network,
        "likelihood": own.likelihood,
        "mixture": own.mixture,
        "guide": own.guide,
        "weights": own.weights,
        "prior": dict(own.prior.values),
        "noise": own.noise,
        "generator": generator,
        "device": device,
    }
    return Agent(shapes[0], **made) if len(shapes) == 1 else Multimodal(shapes, fusion=own.fusion, **made)
