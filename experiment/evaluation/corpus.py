"""The command `corpus RUN`: write the agents' signs as messages, for tools that study emergent languages.

One JSON object per line, for each object and speaker (with --draws all also for each chain and draw):

    {"object": 0, "index": 1732, "speaker": "A", "message": [3], "label": 7, "round": 30, "chain": 0, "draw": 49}

A message is a list with one sign, or with the words of a sentence. `object` is the object's position in the run,
`index` its position in the data set,
`label` the index of its class or null. `draw` is the sweep of the last round's game, counted from 0.

last    the final draw of chain 0, as in signs.npz
all     every draw in posterior.nc. Signs are exchangeable: chains number them differently, and a chain can renumber
        them over time. All draws are therefore renumbered to agree best with the last draw of chain 0, which keeps its
        numbers (`mhng.experiment.metrics.relabel`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.metrics.relabel import renumber
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import check_out, write_out


def corpus(path: Path, *, draws: str = "last", out: Path | None = None, trust_plugins: bool = False) -> int:
    """Write the messages to `out`, or to stdout; returns their number. Raises UsageError before writing anything."""
    if out is not None:
        check_out(out, [path / file for file in (run_folder.MANIFEST, *run_folder.RUN_FILES)])
    run = SavedRun(path, trust_plugins=trust_plugins)
    if draws == "last":
        signs, sweeps = np.stack(list(run.signs.values()))[None, None], [run.config.sweeps - 1]
    else:
        signs, sweeps = _relabelled_draws(run)
    lines = (json.dumps(message) + "\n" for message in messages(run, signs, sweeps, run.summary.get("rounds")))
    write_out(lines, out)
    if out is not None:
        C, D, M, N = signs.shape
        print(f"Corpus: {out}: {signs.size} messages ({M} speakers, {N} objects, chains x draws: {C} x {D})")
    return signs.size


def messages(run: SavedRun, signs: NDArray[Any], sweeps: list[int], round: int | None) -> Iterator[dict[str, Any]]:
    """One message per line of the corpus. signs: (C, D, M, N); sweeps: the sweep of each of the D draws."""
    index, labels, sentences = run.index, run.labels, run.config.sentences
    for (c, d, m, n), sign in np.ndenumerate(signs):
        yield {
            "object": n,
            "index": int(index[n]),
            "speaker": run.agents[m],
            "message": [int(sign)] if sentences is None else sentences.digits(int(sign)),
            "label": None if labels is None else int(labels[n]),
            "round": round,
            "chain": c,
            "draw": sweeps[d],
        }


def _relabelled_draws(run: SavedRun) -> tuple[NDArray[Any], list[int]]:
    """All draws in posterior.nc, (C, D, M, N), in the numbering of chain 0's last draw; and the draws' sweeps."""
    if run.config.sentences is not None:
        raise UsageError("--draws all does not support sentences of several words; pass --draws last")
    signs, permutation = run.draws("signs"), run.draws("relabel")
    file = run.folder.file(run_folder.POSTERIOR)
    if signs is None or permutation is None:
        raise UsageError(f"--draws all: {file} holds no signs; train with --keep signs or all, or pass --draws last")
    if signs.shape[2:] != (len(run.agents), len(run.index)):
        raise UsageError(f"{file} is damaged: its signs are not those of the objects in {run_folder.SIGNS}")
    # First to the pivot's numbering, then back by the inverse of the permutation of chain 0's last draw.
    inverse = np.broadcast_to(np.argsort(permutation[:1, -1:], axis=-1), permutation.shape)
    towards = np.take_along_axis(inverse, permutation.astype(np.intp), axis=-1)
    return renumber(signs, towards), run.posterior["posterior"]["draw"].values.tolist()
