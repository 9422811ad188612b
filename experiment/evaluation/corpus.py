"""`corpus RUN`: what the agents said, as messages for the tools that study emergent languages.

One JSON object a line, one for each object and speaker (and, with --draws all, each chain and draw):

    {"object": 0, "index": 1732, "speaker": "A", "message": [3], "label": 7, "round": 30, "chain": 0, "draw": 49}

A message is a list of signs, here always of one. `object` is the object's place in the run, `index` that in its data
set, `label` the index of its class or null; `draw` is the sweep of the last round's game, from 0.

last    the final draw of chain 0, as in signs.npz
all     every draw in posterior.nc. Chains number their signs as they please, and a chain may renumber them on its
        way; so that a sign means one thing throughout, all draws are renumbered to agree best with the last draw of
        chain 0, whose own numbers stay (`mhng.experiment.metrics.relabel`)
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
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.signs import FinalSigns, read_signs
from mhng.experiment.settings.config import resolve
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.output import check_out, write_out

DRAWS = ("last", "all")


def corpus(path: Path, *, draws: str = "last", out: Path | None = None, trust_plugins: bool = False) -> int:
    """Write the messages to `out`, or to stdout; returns how many. Bad input is a `UsageError`; nothing is written."""
    if out is not None:
        check_out(out, [path / file for file in (run_folder.MANIFEST, *run_folder.RUN_FILES)])
    with RunFolder.open(path, lock=False) as folder:
        config = resolve({}, folder.file(run_folder.CONFIG), trust_plugins=trust_plugins)
        final = read_signs(folder, agent_names(config.agents), config.signs)
        folder.result(run_folder.SUMMARY)
        round = folder.read_json(run_folder.SUMMARY).get("rounds")
        if draws == "last":
            signs, sweeps = np.stack(list(final.signs.values()))[None, None], [config.sweeps - 1]
        else:
            signs, sweeps = _kept(folder, final)
    write_out((json.dumps(message) + "\n" for message in messages(final, signs, sweeps, round)), out)
    if out is not None:
        C, D, M, N = signs.shape
        print(f"Corpus: {out}: {signs.size} messages ({M} speakers, {N} objects, chains x draws: {C} x {D})")
    return signs.size


def messages(final: FinalSigns, signs: NDArray[Any], sweeps: list[int], round: int | None) -> Iterator[dict[str, Any]]:
    """The lines: signs (C, D, M, N) of the draws called `sweeps`."""
    for (c, d, m, n), sign in np.ndenumerate(signs):
        yield {
            "object": n,
            "index": int(final.index[n]),
            "speaker": list(final.signs)[m],
            "message": [int(sign)],
            "label": None if final.labels is None else int(final.labels[n]),
            "round": round,
            "chain": c,
            "draw": sweeps[d],
        }


def _kept(folder: RunFolder, final: FinalSigns) -> tuple[NDArray[Any], list[int]]:
    """The signs of all kept draws, (C, D, M, N), in the numbers of chain 0's last one; and the draws' sweeps."""
    from mhng.experiment.runs.posterior import load_posterior

    file = folder.result(run_folder.POSTERIOR)
    posterior = load_posterior(file)["posterior"]
    if "signs" not in posterior.data_vars:
        raise UsageError(f"--draws all: {file} holds no signs; train with --keep signs or all, or give --draws last")
    signs, permutation = posterior["signs"].values, posterior["relabel"].values
    if signs.shape[2:] != (len(final.signs), len(final.index)):
        raise UsageError(f"{file} is damaged: its signs are not of the objects in {run_folder.SIGNS}")
    # First to the pivot's numbers, then by the inverse of what chain 0's last draw took to get there.
    back = np.broadcast_to(np.argsort(permutation[:1, -1:], axis=-1), permutation.shape)
    towards = np.take_along_axis(back, permutation.astype(np.intp), axis=-1)
    return renumber(signs, towards), posterior["draw"].values.tolist()
