"""The command `play FILE.py:NAME`: a game between Pyro programs as an ordinary run folder.

`diagnose`, `report`, `corpus`, `compare` and `load_run` read it as any other run. The programs have observations of
any kind, so the folder holds no objects, latents or checkpoint. `config.toml` names the file, which is not copied.

In the results, log p(z | w) of an agent stands for log p(x | w, theta) of its program, phi for its beliefs theta, and
the log evidence is log p(x, theta | w) of all agents. The first --burn-in sweeps are the warm-up of the kernels.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mhng.experiment.data.objects import Objects
from mhng.experiment.data.views import parse_view
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import SETTINGS, Config, flag
from mhng.experiment.settings.validation import notes
from mhng.experiment.training.console import Printer
from mhng.experiment.training.game_file import errors_of, load_game
from mhng.experiment.training.loop import record_status
from mhng.experiment.training.manifest import common_fields
from mhng.experiment.training.results import sweep_rows, to_round_trace, write_results
from mhng.experiment.util.cores import AUTO, thread_limit
from mhng.inference.rounds import Played, Threads
from mhng.inference.trace import Trace
from mhng.models.rng import seeded_global_rng, stream
from mhng.models.torch_defaults import torch_defaults, torch_threads

if TYPE_CHECKING:
    from mhng.inference.programs.naming_game import GameState, NamingGame


@torch_defaults()
def play_program(
    config: Config,
    *,
    command_line: Sequence[str] = (),
    printer: Printer | None = None,
    callbacks: Sequence[Callable[[dict[str, Any]], object]] = (),
    option: str = "--run-dir",
    dry: bool = False,
) -> dict[str, Any]:
    """Play the game of --program and return the summary. Raises UsageError before anything is written.

    option: the flag of the run folder. dry: print what the run would do, write nothing and return nothing.
    """
    printer, started = printer or Printer(), time.monotonic()
    game, derived = check_program(config)
    given, config = config, replace(config, **derived)
    for text in notes(config):
        printer.note(f"note: {text}")
    assert config.program is not None
    file, _, name = config.program.rpartition(":")
    count = sum(site.size for site in game.signs)
    if dry:
        printer.write(f"Agents: {', '.join(game.players)}\nObjects: {count}, signs: {config.signs}\n")
        printer.write(f"{settings.to_toml(config)}\nDry run: nothing was written")
        return {}
    checksum = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    objects = Objects(f"{Path(file).name}:{name}", (), None, (), np.arange(count), checksum=checksum)
    # Programs may be of any size, so auto leaves them one thread.
    threads = 1 if config.threads == AUTO else thread_limit(config.threads)
    path = config.run_dir or run_folder.new_path(f"{Path(file).stem}-{name}-seed{config.seed}")
    with torch_threads(threads), RunFolder.create(path, overwrite=config.overwrite, option=option) as folder:
        both = Threads(learning=threads, game=threads)
        manifest = common_fields(given, config, objects, {}, torch.device("cpu"), both, command_line)
        folder.start_manifest(manifest | {"agents": list(game.players)})
        folder.write_text(run_folder.CONFIG, settings.to_toml(config))
        with record_status(folder):
            with errors_of(Path(file), RunError):
                trace, beliefs = _play(game, config, printer)
            played = Played(0, trace, trace.signs[:, -1], (), None)
            host = replace(to_round_trace(played, list(game.players), config), beliefs=beliefs)
            rows = sweep_rows(0, host, played, None)
            folder.append_metrics(rows)
            for callback in callbacks:
                for row in rows:
                    callback(dict(row))
            printer.sweeps(rows)
            summary = write_results(
                folder,
                config,
                objects,
                host,
                rows,
                dict.fromkeys(game.players),
                settings=settings.plain(config) | {"exact": game.exact},
                nats={},
                edges=None,
                round=0,
                seconds=round(time.monotonic() - started, 1),
                device="cpu",
            )
            printer.summary(summary, str(folder.path))
            printer.write("diagnose and report require --trust-plugins, because they know the game by its file")
    return summary


def check_program(config: Config) -> tuple[NamingGame, dict[str, Any]]:
    """Load the game of --program, and the settings that it decides. Raises UsageError."""
    assert config.program is not None
    game = load_game(config.program)
    if game.continuous:
        raise UsageError(
            f"{config.program} has continuous signs; a run folder holds discrete ones; use game.play and to_arviz"
        )
    if len(game.players) < 2:
        raise UsageError(f"{config.program} has one agent; play requires two or more")
    derived = {
        "signs": max(site.K for site in game.signs),
        "agents": len(game.players),
        "listener_state": game.state,
        "recursion": game.recursion,
    }
    for name, value in derived.items():
        given = getattr(config, name)
        if given != value and (name in config.given or given != SETTINGS[name].default):
            raise UsageError(f"{flag(name)} is {given}, but {config.program} has {value}; leave the flag out")
    return game, derived | {"views": (parse_view(0.0),) * len(game.players)}


def _play(game: NamingGame, config: Config, printer: Printer) -> tuple[Trace, dict[str, Any]]:
    """Play as `NamingGame.play` does, and record every sweep; the draws of beliefs by name, (C, T, ...)."""
    rows: list[dict[str, Tensor]] = []
    with seeded_global_rng(stream(config.seed, "programs")), ExitStack() as stack:
        game.setup(config.burn_in)
        state = game.start(config.chains)
        before = [torch.zeros(1) for _ in game.agents]
        progress = printer.progress({"game": config.sweeps}, {})
        stack.callback(progress.close)
        for number in progress.count(range(config.sweeps), "game", "sweeps"):
            offered = list(game.offered)
            state = game.sweep(state, number < config.burn_in)
            now = [count.expand(config.chains) for count in game.accepted]
            rows.append(
                _row(game, state)
                | {
                    "accepted": torch.stack([a - b for a, b in zip(now, before, strict=True)], dim=1),
                    "offered": torch.tensor([a - b for a, b in zip(game.offered, offered, strict=True)]),
                }
            )
            before = now
    kept: Mapping[str, Tensor] = {
        name: torch.stack([row[name] for row in rows], dim=0 if name == "offered" else 1) for name in rows[0]
    }
    M, D = len(game.agents), kept["signs"].shape[-1]
    none = torch.zeros(config.chains, config.sweeps, dtype=torch.int64)
    trace = Trace(
        signs=kept["signs"],
        best_signs=kept.get("preferred"),
        accepted=kept["accepted"].long(),
        encounters=kept["offered"] / D,  # shares of acceptance are for each sign
        messages=none + D * M * (M - 1) * len(game.turns),
        not_a_number=none,
        splits=none,
        log_likelihood=kept["log_likelihood"],
        log_density=kept["log_beliefs"],
        pointwise=None,
        log_joint=kept["log_joint"],
        evidence=kept["log_evidence"],
        means=None,
    )
    return trace, {name: value.numpy() for name, value in kept.items() if "." in name and name not in game.sign_keys}


def _row(game: NamingGame, state: GameState) -> dict[str, Tensor]:
    """What is recorded of a state: tensors (C, ...)."""
    M = len(game.agents)
    parts = game.log_joint(state)
    likelihood = torch.stack([density.likelihood for density, _ in parts], dim=1)
    priors = torch.stack([density.prior for density, _ in parts], dim=1)
    beliefs = torch.stack([part for _, part in parts], dim=1)
    has_beliefs = torch.tensor([bool(player.sites.beliefs) for player in game.agents])
    row = {
        "signs": state.signs.expand(-1, M, -1).to(torch.int16),
        "log_likelihood": likelihood - beliefs,
        "log_beliefs": torch.where(has_beliefs, beliefs, torch.nan),
        "log_joint": likelihood.sum(1) + (priors.sum(1) if game.prior == "each" else priors.mean(1)),
        "log_evidence": likelihood.sum(1),
    }
    if game.state == "shared":
        row["preferred"] = torch.stack([game.preferred(m, state) for m in range(M)], dim=1).to(torch.int16)
    return row | game.named(state)
