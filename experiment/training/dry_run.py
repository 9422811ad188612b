"""`train --dry-run`: print what a run would do, and write nothing.

The time is that of a few steps and sweeps on this machine, times their number.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch

from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import memory_estimate
from mhng.experiment.training.build import build_member, build_members, schedule_of
from mhng.experiment.training.console import Printer
from mhng.experiment.training.defaults import describe
from mhng.experiment.training.prepare import Prepared
from mhng.experiment.util.memory import GIB, available_memory
from mhng.experiment.util.text import duration
from mhng.inference.game import init, play
from mhng.inference.initialization import Start, initial_signs, most_signs, part_sizes
from mhng.inference.rounds import Threads
from mhng.inference.spec import Game
from mhng.models.torch_defaults import torch_defaults, torch_threads

# Batches of an epoch that is timed, and sweeps of the game
_BATCHES, _SWEEPS = 5, 2


class Seconds(NamedTuple):
    """Time of a run on this machine, in seconds."""

    learning: float
    game: float


@torch_defaults()
def report(
    config: Config, prepared: Prepared, game: Game, device: torch.device, threads: Threads, printer: Printer
) -> None:
    """Print data, choices, settings, memory and time of a run."""
    objects = prepared.objects
    printer.objects(objects, config.views, config.signs)
    for line in describe(config, prepared.reasons):
        printer.write(line)
    printer.write("\n" + settings.to_toml(config, prepared.reasons))
    size = memory_estimate.host_bytes(config, prepared.agents, objects, device)
    free = available_memory()
    printer.write(f"Threads: learning {threads.learning}, game {threads.game}")
    of = "" if free is None else f", {free / GIB:.3g} GiB are available"
    printer.write(f"Memory: about {size / GIB:.2g} GiB beside the program{of}")
    if config.engine == "ray":
        printer.write("Time: not measured with --engine ray")
    else:
        seconds = foresee(config, prepared, game, device, threads)
        printer.write(
            f"Time: about {duration(sum(seconds))}, as this machine is now (learning {duration(seconds.learning)}, "
            f"game {duration(seconds.game)})"
        )
    printer.write("Dry run: nothing was written")


def foresee(config: Config, prepared: Prepared, game: Game, device: torch.device, threads: Threads) -> Seconds:
    """Measure a few steps of learning and sweeps of the game, and multiply.

    Mergers and moves of starts are not counted.
    """
    schedule = schedule_of(config)
    N = prepared.objects.count
    learning = 0.0
    for spec, view in zip(prepared.agents, prepared.objects.views, strict=True):
        size = spec.settings.batch_size or 1
        member = build_member(spec, view[: _BATCHES * size], device)
        if member.learns:
            with torch_threads(threads.learning):
                member.learner.learn(1)  # the first steps are slower
                began = time.perf_counter()
                member.learner.learn(1)
                per_step = (time.perf_counter() - began) / math.ceil(len(member.x) / size)
            epochs = schedule.epochs + schedule.rounds * schedule.round_epochs
            learning += per_step * epochs * math.ceil(N / size)
    members = build_members(prepared.agents, prepared.objects, device)
    began = time.perf_counter()
    players = [member.perceive() for member in members]
    perceiving = (time.perf_counter() - began) * (1 + schedule.rounds / 2)
    streams = [member.play_stream for member in members]
    signs, _ = initial_signs(Start("prior", tries=1), game, players, streams, schedule.chains)
    state = init(players, streams, signs, game.K, game.mode)
    with torch_threads(threads.game):
        play(game, players, streams, state, 1)
        began = time.perf_counter()
        play(game, players, streams, state, _SWEEPS)
        per_sweep = (time.perf_counter() - began) / _SWEEPS
    start = schedule.start
    merging = start.before * most_signs(start, game.K) / game.K if start.kind == "merge" else 0
    in_turn = sum(part_sizes(start, game, N, schedule.chains)[:: threads.processes]) / schedule.chains
    starting = start.tries * (merging + start.after) * in_turn
    sweeps = schedule.rounds * schedule.sweeps_between() + schedule.sweeps + starting
    return Seconds(learning, perceiving + per_sweep * sweeps)
