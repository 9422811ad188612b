"""Whether a run will fit into memory: asked before anything is written.

Counted is what lies there at one time: the percepts with all products of two dimensions, the tables of the game and
those it works with, or those of the starts, and the trace of a round, which stays where the game is played until the
round is over and becomes arrays of the host then. What networks and libraries take for themselves is not counted.
docs/reliability.md holds the count beside what large runs really took.

Shapes: C chains, T sweeps, M agents, N objects, K signs, L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.settings.schema import Config
from mhng.experiment.util.memory import GIB, available_memory

if TYPE_CHECKING:
    import torch

    from mhng.experiment.data.objects import Objects


# A row of metrics as a Python dictionary, one a sweep. Measured with tracemalloc: 1.4 kB with two agents.
_ROW = 1_400


# Tables as large as an agent's that exist at one time beside those of the agents: one for each that it had before the
# sweep, and so many while signs are drawn from one.
_WORKING = 3


class Need(NamedTuple):
    """Bytes."""

    trace: int  # where the game is played
    tables: int  # there too: log p(z | w), one for each agent's belief
    host: int  # what is made of the trace for the run folder
    percepts: int = 0  # of all agents
    making: int = 0  # beside the percepts, while the last of them are made
    working: int = 0  # what a sweep takes beside the tables
    start: int = 0  # tables, working tables and trace while a start is made, at which time the others are not there

    @property
    def played(self) -> int:
        """The most at one time where the game is played."""
        return self.percepts + max(self.making, self.start, self.trace + self.tables + self.working)


def needed(config: Config, N: int, latents: Sequence[int]) -> Need:
    """What one round takes, and what is made of its trace for the run folder; latents: L of each agent.

    The means of agents with unequal L are not kept.
    """
    L = latents[0] if len(set(latents)) == 1 else 0
    widths = _widths(config, latents)
    C, T, M, K = config.chains, config.sweeps, config.agents, config.signs
    shared = config.mode == "gibbs" or (config.mode in ("com", "all") and config.listener_state == "shared")
    signs = 2 * C * T * M * N * (2 if shared else 1)
    means = 8 * C * T * M * K * L if config.keep in ("all", "components") else 0
    trace = signs + means + 8 * C * T * (M + 5) + 8 * T * M
    share = -(-(T - config.burn_in) // config.thin) / T  # of the draws that posterior.nc takes
    one = 8 * C * N * K
    return Need(
        trace=trace,
        tables=M * one,
        host=int(share * (signs + means)) + _ROW * T,
        percepts=sum(8 * N * (latent + width) for latent, width in zip(latents, widths, strict=True)),
        making=2 * 8 * N * max(widths),
        working=(M + _WORKING) * one,
        start=_start(config, N),
    )


def _widths(config: Config, latents: Sequence[int]) -> list[int]:
    """How many numbers the features of a percept are, of each agent (`mhng.models.mixtures.Features`)."""
    from mhng.experiment.training.compatibility import parts_of

    widths = []
    for own, latent in zip(config.per_agent.values(), latents, strict=False):  # fewer where no L is known yet
        try:
            widths.append(parts_of(own)["mixture"](latent, **own.prior.values).feature_dim)
        except ValueError:  # of hyperparameters, which are complained of elsewhere
            widths.append(latent)
    return widths


def _start(config: Config, N: int) -> int:
    """Tables, working tables and trace of the starts that are played together (`mhng.inference.initialization`)."""
    from mhng.inference.initialization import Start, most_signs, tries_per_batch

    start = Start(config.start, tries=config.starts)
    candidates = config.chains * tries_per_batch(start, N, config.signs, config.chains)
    # In mode no-com each agent starts alone.
    M = 1 if config.mode == "no-com" else config.agents
    traces = 2 * candidates * M * N * max(start.before, start.after)
    return (2 * M + _WORKING) * 8 * candidates * N * most_signs(start, config.signs) + traces


def foretold(config: Config, objects: Objects, latents: Sequence[int], device: torch.device) -> int:
    """Bytes that a run takes on the host beyond what this program takes for itself: `check` with its views."""
    need = needed(config, objects.count, latents)
    views = sum(view.nbytes for view in {id(view): view for view in objects.views}.values())
    return views + need.host + (need.trace if device.type == "cuda" else need.played)


def check(config: Config, N: int, latents: Sequence[int], device: torch.device) -> None:
    """UsageError naming the flags whose values would make it fit, if the run would not."""
    need = needed(config, N, latents)
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        _compare(config, N, latents, need, need.played, free, f"memory of {device}")
        # The trace is copied to the host, where it takes as much again (and the tables are not).
        _compare(config, N, latents, need, need.trace + need.host, available_memory(), "memory")
    else:
        _compare(config, N, latents, need, need.played + need.host, available_memory(), "memory")


def _compare(
    config: Config, N: int, latents: Sequence[int], need: Need, size: int, there: int | None, what: str
) -> None:
    if there is None or size <= there:
        return
    told = f"need about {_gib(size)} of {what} and {_gib(there)} are available"
    trace, tables = need.trace + need.host, max(need.tables + need.working, need.start)
    percepts = need.percepts + need.making
    if trace >= max(tables, percepts):
        raise UsageError(f"--chains {config.chains} and --sweeps {config.sweeps} {told}: give fewer of either")
    if percepts >= tables:
        give = "--reduce" if config.likelihood == "identity" else "a smaller --latent-dim"
        raise UsageError(f"{N} percepts of {max(latents)} dimensions {told}: give {give}, or a smaller --limit")
    give = ", or --start kmeans" if need.start == tables and config.start == "merge" else ""
    raise UsageError(
        f"{N} objects, --signs {config.signs} and --chains {config.chains} {told}: give fewer of them{give}"
    )


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB" if size < 1000 * GIB else f"{size / GIB:,.0f} GiB"
