"""Whether the trace of a run will fit into memory: asked before anything is written.

The whole trace of a round stays where the game is played until the round is over, and becomes arrays of the host
then. What is counted is what certainly exists at one time; the peak is higher, so a run that passes may still be
too large, but none is refused that would fit.

Shapes: C chains, T sweeps, M agents, N objects, K signs, L latent dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiment.config import Config
from experiment.errors import UsageError

if TYPE_CHECKING:
    import torch

GIB = 2**30
_MEMINFO = Path("/proc/meminfo")

# A row of metrics as a Python dictionary, one a sweep. Measured with tracemalloc: 1.4 kB with two agents.
_ROW = 1_400


class Need(NamedTuple):
    """Bytes."""

    trace: int  # where the game is played
    tables: int  # there too
    host: int  # what is made of the trace for the run folder


def needed(config: Config, N: int, latents: Sequence[int]) -> Need:
    """What one round's trace takes, and what is made of it for the run folder; latents: L of each agent.

    The means of agents with unequal L are not kept.
    """
    L = latents[0] if len(set(latents)) == 1 else 0
    C, T, M, K = config.chains, config.sweeps, config.agents, config.signs
    shared = config.mode == "gibbs" or (config.mode in ("com", "all") and config.listener_state == "shared")
    signs = 2 * C * T * M * N * (2 if shared else 1)
    means = 8 * C * T * M * K * L if config.keep in ("all", "components") else 0
    trace = signs + means + 8 * C * T * (M + 5) + 8 * T * M
    tables = 8 * C * M * N * K  # log p(z | w), one for each agent's belief
    share = -(-(T - config.burn_in) // config.thin) / T  # of the draws that posterior.nc takes
    return Need(trace, tables, int(share * (signs + means)) + _ROW * T)


def check(config: Config, N: int, latents: Sequence[int], device: torch.device) -> None:
    """UsageError naming --chains and --sweeps if the run's trace would not fit, --reduce if the percepts would not."""
    _check_percepts(config, N, latents, device)
    need = needed(config, N, latents)
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        _compare(config, need.trace + need.tables, free, f"memory of {device}")
        # The trace is copied to the host, where it takes as much again (and the tables are not).
        _compare(config, need.trace + need.host, available(), "memory")
    else:
        _compare(config, need.trace + need.tables + need.host, available(), "memory")


def _check_percepts(config: Config, N: int, latents: Sequence[int], device: torch.device) -> None:
    """The game works with all products of two dimensions of a percept (`models.mixtures.Features`)."""
    size = sum(8 * N * (1 + L + L * (L + 1) // 2) for L in latents)
    there = available()
    if device.type == "cuda":
        import torch

        there, _ = torch.cuda.mem_get_info(device)
    if there is not None and size > there:
        give = "--reduce" if config.likelihood == "identity" else "a smaller --latent-dim"
        raise UsageError(
            f"{N} percepts of {max(latents)} dimensions need {_gib(size)} of memory and {_gib(there)} are available: "
            f"give {give}, or a smaller --limit"
        )


def available() -> int | None:
    """Bytes of the host's memory that a new program could use; None where the system does not tell."""
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _compare(config: Config, need: int, there: int | None, what: str) -> None:
    if there is not None and need > there:
        raise UsageError(
            f"--chains {config.chains} and --sweeps {config.sweeps} need at least {_gib(need)} of {what} and "
            f"{_gib(there)} are available: give fewer of either"
        )


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB" if size < 1000 * GIB else f"{size / GIB:,.0f} GiB"
