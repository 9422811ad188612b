"""Estimate of the memory of a run, checked before anything is written.

It counts the arrays that exist at the same time: the latents with all products of two dimensions, the tables of log
densities in the game, those of the initialisation, and the trace of a round. The trace stays on the device of the game
until the round ends, and is then copied to the host. Networks and libraries are not counted. docs/reliability.md
compares the estimate with measurements of large runs.

Shapes: C chains, T sweeps, M agents, N objects, K signs, L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.build import schedule_of
from mhng.experiment.util.memory import GIB, available_memory, check_buffers, limited_by

if TYPE_CHECKING:
    import torch

    from mhng.experiment.data.objects import Objects
    from mhng.experiment.training.agent_spec import AgentSpec

# Bytes of a row of metrics, one for each sweep, as a Python dictionary: measured with tracemalloc for two agents.
_ROW = 1_400

# Tables that exist beside two for each agent, before and after the sweep, while signs are sampled from one of them.
_WORKING = 3


class Estimate(NamedTuple):
    """Bytes of memory."""

    trace: int  # on the device of the game
    tables: int  # on the device: log p(z | w) of each agent
    host: int  # arrays for the run folder, made from the trace
    latents: int = 0  # of all agents
    making: int = 0  # temporary, while latents are computed
    working: int = 0  # temporary, during a sweep
    start: int = 0  # tables and trace of the initialisation, before those of the game exist

    @property
    def device(self) -> int:
        """The peak on the device of the game."""
        return self.latents + max(self.making, self.start, self.trace + self.tables + self.working)


def estimate(config: Config, agents: Sequence[AgentSpec], N: int) -> Estimate:
    """Estimate the memory of one round with N objects. Component means are not stored if L differs between agents."""
    latent_dims = [spec.latent_dim for spec in agents]
    L = latent_dims[0] if len(set(latent_dims)) == 1 else 0
    features = [_features(spec, N) for spec in agents]
    C, T, M, K = config.chains, config.sweeps, config.agents, config.signs
    shared = config.mode == "gibbs" or (config.mode in ("com", "all") and config.listener_state == "shared")
    signs = (2 if K <= 2**15 else 4) * C * T * M * N * (2 if shared else 1)
    means = 8 * C * T * M * K * L if config.words == 1 and config.keep in ("all", "components") else 0
    pointwise = 4 * C * T * M * N if schedule_of(config).keeps_pointwise(M, N) else 0
    stored = -(-(T - config.burn_in) // config.thin) / T  # share of the draws in posterior.nc
    table = 8 * C * N * config.table_width
    return Estimate(
        trace=signs + means + pointwise + 8 * C * T * (3 * M + 5) + 8 * T * M,
        tables=M * table,
        host=int(stored * (signs + means + pointwise)) + _ROW * T,
        latents=sum(8 * N * (L + width) for L, (width, _) in zip(latent_dims, features, strict=True)),
        making=max(2 * draws * 8 * N * width for width, draws in features),
        working=(M + _WORKING) * table,
        start=_start(config, N),
    )


def _features(spec: AgentSpec, N: int) -> tuple[int, int]:
    """The number of features of a latent, and the draws of them held together (`mhng.models.percepts`)."""
    from mhng.models.percepts import expected_draws

    try:
        mixture = spec.mixture()
    except ValueError:  # bad hyperparameters, reported elsewhere
        return spec.latent_dim, 1
    draws = 1 if spec.settings.likelihood == "identity" else expected_draws(N, mixture)
    return int(mixture.feature_dim), draws


def _start(config: Config, N: int) -> int:
    """Tables and trace of the initialisations that are played together (`mhng.inference.initialization`)."""
    from mhng.inference.initialization import most_signs, tries_per_batch

    start = schedule_of(config).start
    candidates = config.chains * tries_per_batch(start, N, config.table_width, config.chains)
    # In mode no-com agents are initialised one after another.
    M = 1 if config.mode == "no-com" else config.agents
    traces = 2 * candidates * M * N * max(start.before, start.moves, start.after)
    return (2 * M + _WORKING) * 8 * candidates * N * most_signs(start, config.table_width) + traces


def host_bytes(config: Config, agents: Sequence[AgentSpec], objects: Objects, device: torch.device) -> int:
    """Bytes of a run on the host, with the views of the objects, beyond those of the imported program."""
    need = estimate(config, agents, objects.count)
    views = sum(view.nbytes for view in {id(view): view for view in objects.views}.values())
    return views + need.host + (need.trace if device.type == "cuda" else need.device)


def check(config: Config, agents: Sequence[AgentSpec], N: int, device: torch.device) -> None:
    """Check that a run with N objects fits into memory. Raises UsageError with the flags to change."""
    check_buffers()
    need = estimate(config, agents, N)
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        _check_size(config, agents, N, need, need.device, free, f"memory of {device}")
        # On the host the copy of the trace needs as much again.
        _check_size(config, agents, N, need, need.trace + need.host, available_memory(), "memory")
    else:
        _check_size(config, agents, N, need, need.device + need.host, available_memory(), "memory")


def _check_size(
    config: Config, agents: Sequence[AgentSpec], N: int, need: Estimate, size: int, available: int | None, what: str
) -> None:
    if available is None or size <= available:
        return
    sizes = f"need about {_gib(size)} of {what}, but {_gib(available)} are available"
    sizes += limited_by() if what == "memory" else ""
    trace, tables = need.trace + need.host, max(need.tables + need.working, need.start)
    latents = need.latents + need.making
    if trace >= max(tables, latents):
        raise UsageError(f"--chains {config.chains} and --sweeps {config.sweeps} {sizes}; pass smaller values")
    if latents >= tables:
        L = max(spec.latent_dim for spec in agents)
        remedy = "--reduce" if config.likelihood == "identity" else "a smaller --latent-dim"
        raise UsageError(f"{N} latents with {L} dimensions {sizes}; pass {remedy}, or a smaller --limit")
    remedy = ", or --start kmeans" if need.start == tables and config.start == "merge" else ""
    raise UsageError(
        f"{N} objects, --signs {config.signs} and --chains {config.chains} {sizes}; pass smaller values{remedy}"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB" if size < 1000 * GIB else f"{size / GIB:,.0f} GiB"
