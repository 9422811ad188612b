"""Trial runs of a user's code when a game is made: errors name agent, site and shapes.

The program and the guide run with simulated values, and the beliefs function is called once, so that a mistake is
seen before the game is played.
"""

from __future__ import annotations

import site as packages
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from mhng.inference.programs.sites import is_density, plates_of

# Frames in these folders are not the user's.
_LIBRARIES = (
    *packages.getsitepackages(),
    str(Path(__file__).resolve().parents[1]),
    str(Path(torch.__file__).parents[1]),
)


@contextmanager
def user_errors(agent: str, what: str) -> Iterator[None]:
    """Raise errors of the user's code as ValueError in one line that names the agent and `what` failed.

    Errors that name the agent already pass.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # the code may raise anything
        if isinstance(error, ValueError) and str(error).startswith("agent "):
            raise
        reason = next(iter(str(error).splitlines()), "")[:200]
        if type(error) is ValueError and reason.startswith("discrete site"):
            raise ValueError(f"agent {agent}: {reason}") from error
        if "used as indices" in reason:  # a Bernoulli sign is a float
            reason += "; use w.long() as an index, or a Categorical sign"
        raise ValueError(f"agent {agent}: {what}{_line(error)}: {type(error).__name__}: {reason}") from error


def _line(error: BaseException) -> str:
    """The last line of the user's file in the traceback, as a text; empty without one."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_LIBRARIES, "<")) and Path(frame.filename).is_file()
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def traced(agent: str, what: str, program: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run a program once, unseen by outer handlers, and return its trace; errors name its last site.

    Raises:
        ValueError: the program fails.
    """
    tracer = poutine.trace(program)
    with poutine.block(), torch.no_grad():
        try:
            return tracer.get_trace(*args, **kwargs)
        except Exception as error:  # the program may raise anything
            nodes = [(name, node) for name, node in tracer.trace.nodes.items() if is_density(node) and "value" in node]
            last = ""
            if nodes:
                name, node = nodes[-1]
                last = f" after site {name!r} of shape {shape_of(node['value'])}"
            with user_errors(agent, f"{what} fails{last}"):
                raise error


def check_observations(agent: str, trace: Any) -> None:
    """Check the observations of a traced program. Raises ValueError that names agent and site."""
    observed = {name: node for name, node in trace.nodes.items() if is_density(node) and node["is_observed"]}
    if not observed:
        raise ValueError(f"agent {agent}: the program has no observed site; pass the observations by obs=")
    for name, node in observed.items():
        where, value, distribution = f"agent {agent}: site {name!r}", node["value"], node["fn"]
        if not isinstance(value, Tensor):
            raise ValueError(f"{where}: obs= is of type {type(value).__name__}; expected a tensor (torch.as_tensor)")
        if value.is_floating_point() and node["mask"] is None and value.isnan().any():
            index = tuple(value.isnan().nonzero()[0].tolist())
            raise ValueError(f"{where}: observation {index} is not a number; remove it, or use poutine.mask")
        plates = plates_of(node)
        expected = _in_plates(distribution.batch_shape, plates) if plates else tuple(distribution.batch_shape)
        shapes = (
            f"the observations have shape {shape_of(value)}, and the distribution has batch shape "
            f"{tuple(distribution.batch_shape)} and event shape {tuple(distribution.event_shape)}"
        )
        try:
            actual = torch.broadcast_shapes(_batch(value, distribution), distribution.batch_shape)
        except RuntimeError:
            actual = None
        if actual is None or tuple(actual) != expected:
            plate = ", ".join(f"{plate.name!r} of size {plate.size}" for plate in plates)
            raise ValueError(
                f"{where}: {shapes}; expected log densities of shape {expected}"
                + (f", as in plate {plate}" if plate else "")
                + "; reshape the observations, or pass .to_event(...)"
            )
        if node["mask"] is None:
            with user_errors(agent, f"site {name!r} ({shapes}) has no log density"):
                distribution.log_prob(value)


def _in_plates(batch: Sequence[int], plates: Sequence[Any]) -> tuple[int, ...]:
    """The batch shape that plates leave: 1 in dimensions without a plate."""
    sizes = {plate.dim: plate.size for plate in plates}
    depth = max(len(batch), *(-dim for dim in sizes))
    shape = [sizes.get(dim, 1) for dim in range(-depth, 0)]
    return tuple(shape)


def _batch(value: Tensor, distribution: Any) -> torch.Size:
    """The shape of a value without its event dimensions."""
    return value.shape[: value.dim() - len(distribution.event_shape)]


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a tensor; () for other values."""
    return tuple(getattr(value, "shape", ()))
