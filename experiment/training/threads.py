"""Threads of a run: one for small networks and games, more where they save time (`bench/threads.py` measures it).

Sums depend on the number of threads in their last digits. The rule depends on sizes and on available cores only, so
the same settings give the same numbers on machines with enough cores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mhng.experiment.settings.schema import Config
from mhng.experiment.training.agent_spec import AgentSpec
from mhng.experiment.training.build import build_agent
from mhng.experiment.util.cores import AUTO, thread_limit
from mhng.inference.copies import can_fork
from mhng.inference.rounds import Threads
from mhng.models.rng import stream

# Work for which one more thread saves time: objects of a batch times parameters of a network, and in a sweep the
# entries of all features times signs.
LEARNING_WORK = 5 * 10**7
GAME_WORK = 10**7


def plan_threads(config: Config, agents: Sequence[AgentSpec], N: int, device: torch.device) -> Threads:
    """The threads of a run of these agents with N objects."""
    limit = thread_limit(config.threads)
    if config.engine == "ray":  # agents compute side by side, each on its share
        limit = max(1, limit // config.agents)
    forks = config.engine == "local" and device.type == "cpu" and can_fork()
    processes = min(limit, config.agents) if forks else 1
    share = limit // processes
    if config.threads != AUTO:
        return Threads(learning=share, game=limit, processes=processes)
    if device.type == "cuda":
        return Threads(learning=1, game=1)
    learning = max(min(spec.settings.batch_size or N, N) * _parameters(spec) for spec in agents)
    L = max(spec.latent_dim for spec in agents)
    game = config.chains * N * config.table_width * (1 + L + math.comb(L + 1, 2))
    return Threads(_share(learning, LEARNING_WORK, share), _share(game, GAME_WORK, limit), processes)


def _share(work: int, least: int, limit: int) -> int:
    return min(limit, max(1, work // least))


def _parameters(spec: AgentSpec) -> int:
    """Number of parameters of an agent's networks."""
    return sum(part.numel() for part in build_agent(spec, stream(0, "size"), torch.device("cpu")).parameters())
