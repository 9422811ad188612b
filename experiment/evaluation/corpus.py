"""The command `corpus RUN`: write the agents' signs as messages, for tools that study emergent languages.

A message is a list with one sign, or with the words of a sentence. There is one for each object and speaker (with
--draws all also for each chain and draw). Formats:

jsonl       one JSON object per line:
            {"object": 0, "index": 1732, "speaker": "A", "message": [3], "label": 7, "round": 3, "chain": 0, "draw": 9}
            `object` is the object's position in the run, `index` its position in the data set, `label` the index of
            its class or null. `draw` is the sweep of the last round's game, counted from 0
xferbench   the message alone, one JSON array of integers per line (Boldt and Mortensen 2024, XferBench)
elcc        a folder with the layout of the Emergent Language Corpus Collection (Boldt and Mortensen 2024, ELCC):
            systems/mh-naming-game/metadata.yml describes the game, data/RUN/corpus.jsonl there has the messages as for
            xferbench, data/RUN/metadata.json the scores. JSON is YAML, so metadata.yml holds JSON
csar        pairs of a message and its meaning, one JSON array per line (Boldt and Mortensen 2025, CSAR):
            [[3, 7], ["1=4", "2=0"]]. The meaning lists the values of the attributes, or the name of the class

Draws:

last    the final draw of chain 0, as in signs.npz
all     every draw in posterior.nc. Signs are exchangeable: chains number them differently, and a chain can renumber
        them over time. All draws are therefore renumbered to agree best with the last draw of chain 0, which keeps its
        numbers (`mhng.experiment.metrics.relabel`). In sentences, words and slots are exchangeable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.combinations import attributes_of
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics.relabel import renumber, renumber_words
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import data_name
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import check_out, write_out
from mhng.experiment.util.paths import check_new_folder

SYSTEM = "mh-naming-game"

# Data sets that a program draws, by the beginning of their names
_DRAWN = ("synthetic", "attributes:", "sprites")

Messages = Iterator[dict[str, Any]]


def corpus(
    path: Path, *, form: str = "jsonl", draws: str = "last", out: Path | None = None, trust_plugins: bool = False
) -> int:
    """Write the messages to `out`, or to stdout; returns their number. Raises UsageError before writing anything.

    form: one of FORMATS; elcc writes a folder `out`.
    """
    run = SavedRun(path, trust_plugins=trust_plugins)
    if form == "elcc":
        if out is None:
            raise UsageError("--format elcc writes a folder; pass --out DIR")
        check_new_folder(out, "--out")
    elif out is not None:
        check_out(out, run.inputs)
    lines_of = FORMATS[form](run)
    if draws == "last":
        signs, sweeps = np.stack(list(run.signs.values()))[None, None], [run.config.sweeps - 1]
    else:
        signs, sweeps = _relabelled_draws(run)
    lines = (line + "\n" for line in map(lines_of, messages(run, signs, sweeps, run.summary.get("rounds"))))
    if form == "elcc":
        assert out is not None
        _write_elcc(run, lines, out)
    else:
        write_out(lines, out)
    if out is not None:
        C, D, M, N = signs.shape
        print(f"Corpus: {out}: {signs.size} messages ({M} speakers, {N} objects, chains x draws: {C} x {D})")
    return signs.size


def messages(run: SavedRun, signs: NDArray[Any], sweeps: list[int], round: int | None) -> Messages:
    """All messages. signs: (C, D, M, N); sweeps: the sweep of each of the D draws."""
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
    exchangeable = _exchangeable(run.config)
    by_sign = exchangeable == "sentences"
    signs, permutation = run.draws("signs"), run.draws("relabel") if by_sign else np.empty(0)
    file = run.folder.file(run_folder.POSTERIOR)
    if signs is None or permutation is None:
        raise UsageError(f"--draws all: {file} holds no signs; train with --keep signs or all, or pass --draws last")
    if signs.shape[2:] != (len(run.agents), len(run.index)):
        raise UsageError(f"{file} is damaged: its signs are not those of the objects in {run_folder.SIGNS}")
    sweeps = run.posterior["posterior"]["draw"].values.tolist()
    if not by_sign:
        return _renumbered_words(run.config, signs, exchangeable), sweeps
    # First to the pivot's numbering, then back by the inverse of the permutation of chain 0's last draw.
    inverse = np.broadcast_to(np.argsort(permutation[:1, -1:], axis=-1), permutation.shape)
    towards = np.take_along_axis(inverse, permutation.astype(np.intp), axis=-1)
    return renumber(signs, towards), sweeps


def _exchangeable(config: Config) -> str:
    """What can be renumbered without a change of the law: "sentences" as wholes, or a `kind` of `renumber_words`."""
    if config.sentences is None or (config.meaning == "holistic" and config.grammar == "none"):
        return "sentences"
    if config.grammar == "markov":
        return "words"
    return "bag" if config.meaning == "bag" else "slots"


def _renumbered_words(config: Config, signs: NDArray[Any], kind: str) -> NDArray[Any]:
    """Sentences (C, D, M, N) whose words agree best with the last draw of chain 0."""
    language = config.sentences
    assert language is not None
    S, V = language.words, language.vocabulary
    words = np.stack([language.word(signs.astype(np.int64), slot) for slot in range(S)], axis=-1)
    M = signs.shape[2]
    groups = [[m] for m in range(M)] if config.mode == "no-com" else [list(range(M))]  # with a vocabulary each
    for group in groups:
        pivot = words[0, -1, group].reshape(-1, S)
        for c, d in np.ndindex(signs.shape[:2]):
            new = renumber_words(words[c, d, group].reshape(-1, S), pivot, V, kind)
            words[c, d, group] = new.reshape(len(group), -1, S)
    codes: NDArray[Any] = words @ V ** np.arange(S)[::-1]
    return codes


# -- formats -----------------------------------------------------------------------------------------


def _record(run: SavedRun) -> Callable[[Mapping[str, Any]], str]:
    return json.dumps


def _message(run: SavedRun) -> Callable[[Mapping[str, Any]], str]:
    return lambda message: json.dumps(message["message"])


def _with_meaning(run: SavedRun) -> Callable[[Mapping[str, Any]], str]:
    if run.labels is None:
        raise UsageError(f"--format csar requires objects with labels, their meanings; {run.path} has none")
    names = run.objects.class_names
    attributes = attributes_of(names, np.arange(len(names)))
    if attributes is None:
        meanings = [[name] for name in names]
    else:
        meanings = [[f"{a}={value}" for a, value in enumerate(row, 1)] for row in attributes.tolist()]
    return lambda message: json.dumps([message["message"], meanings[message["label"]]], ensure_ascii=False)


FORMATS: dict[str, Callable[[SavedRun], Callable[[Mapping[str, Any]], str]]] = {
    "jsonl": _record,
    "xferbench": _message,
    "elcc": _message,
    "csar": _with_meaning,
}


def _write_elcc(run: SavedRun, lines: Iterator[str], out: Path) -> None:
    """Write the three files. `metadata.yml` has the keys of the collection's systems."""
    config, variant = run.config, run.path.resolve().name
    images = config.program is None and any(len(sense.shape) == 3 for sense in run.objects.modalities[0])
    language = {"vocabulary": config.signs} if config.sentences is None else {
        "words": config.words, "vocabulary": config.vocabulary, "meaning": config.meaning
    }  # fmt: skip
    about = {
        "origin": {"source": None, "upstream_source": None, "paper": "https://arxiv.org/abs/2205.12392"},
        "system": {
            "game_type": "signalling",
            "game_subtype": "naming",
            "data_source": "synthetic" if config.dataset.startswith(_DRAWN) else "natural",
            "observation_continuous": not config.dataset.startswith("attributes:"),
            "observation_type": "image" if images else "vector",
            "seeding_available": True,
            "multi_step": False,
            "multi_utterance": False,
            "more_than_2_agents": len(run.agents) > 2,
            "symmetric_agents": True,
            "variants": {
                variant: {"dataset": data_name(config), "mode": config.mode, "seed": config.seed, **language}
            },
        },
    }
    scores = {name: run.summary.get(name) for name in ("kappa", "agents", "language")}
    system = out / "systems" / SYSTEM
    data = system / "data" / variant
    for file, content in ((system / "metadata.yml", about), (data / "metadata.json", {"metrics": {"system": scores}})):
        write_out([json.dumps(to_plain(content), indent=2, ensure_ascii=False) + "\n"], file)
    write_out(lines, data / "corpus.jsonl")
