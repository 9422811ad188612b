"""Meanings of the words of a run: tables of meanings, images of sentences as words change, and their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mhng.experiment.data.combinations import attributes_of
from mhng.experiment.evaluation.picturing import picture_latents
from mhng.experiment.metrics.language import Decoder, Ints, fit_decoder
from mhng.experiment.metrics.partitions import contingency
from mhng.experiment.training.language_scores import Speaker
from mhng.experiment.training.saved_run import SavedRun

if TYPE_CHECKING:
    from mhng.experiment.plots.language import Imagined, Words

# Words of a slot in a picture of images: the most frequent ones.
MOST_WORDS = 12


def attributes_of_run(run: SavedRun) -> Ints | None:
    """The attributes (N, A) of the objects; None without."""
    return None if run.labels is None else attributes_of(run.objects.class_names, run.labels)


def meanings(words: Ints, attributes: Ints) -> list[Words]:
    """For each slot, its words that occur against the values of an attribute, in the order of their main values.

    The attribute is the one that the slot is matched with. A slot without a match has the attribute that one-to-one
    matched words tell most often.
    """
    from mhng.experiment.plots.language import Words

    decoder = fit_decoder(words, attributes)
    result = []
    for slot in range(words.shape[1]):
        attribute = _attribute_of(decoder, words, attributes, slot)
        table = contingency(words[:, slot], attributes[:, attribute])
        used = np.flatnonzero(table.sum(1))
        shares = table[used] / table[used].sum(1, keepdims=True)
        order = np.lexsort((-shares.max(1), shares.argmax(1)))
        values = [str(value) for value in range(shares.shape[1])]
        result.append(Words(slot, [str(word) for word in used[order]], attribute, values, shares[order]))
    return result


def _attribute_of(decoder: Decoder, words: Ints, attributes: Ints, slot: int) -> int:
    if slot in decoder.slots:
        return decoder.slots.index(slot)
    single = [fit_decoder(words[:, [slot]], column[:, None]).decode(words[:, [slot]]) for column in attributes.T]
    return int(np.argmax([(told[:, 0] == column).mean() for told, column in zip(single, attributes.T, strict=True)]))


def imagined(run: SavedRun, speakers: Mapping[str, Speaker]) -> dict[str, Imagined]:
    """For each agent with images, the images of sentences as the first and the second word change.

    Words of other slots are those of the most frequent sentence. An agent decodes the latent that a sentence means.
    """
    from mhng.experiment.plots.language import Imagined

    sentences = run.config.sentences
    assert sentences is not None
    attributes, result = attributes_of_run(run), {}
    said = np.unique(np.concatenate([speaker.signs for speaker in speakers.values()]))
    for m, (name, speaker) in enumerate(speakers.items()):
        picture = picture_latents(run, m)
        if picture is None:
            continue
        words = run.words[name]
        tables = None if attributes is None else meanings(words, attributes)
        shown, names = zip(*(_shown(words, slot, tables) for slot in (0, 1)), strict=True)
        common, counts = np.unique(speaker.signs, return_counts=True)
        base = sentences.digits(int(common[counts.argmax()]))
        grid = torch.tensor([[[a, b, *base[2:]] for b in shown[1]] for a in shown[0]])
        signs = sentences.join(grid)
        images = picture(speaker.means(signs.flatten()))
        rest = "".join(f", word {slot + 1} is {word}" for slot, word in enumerate(base) if slot > 1)
        result[name] = Imagined(
            f"images that agent {name} imagines for a sentence{rest}",
            names[0],
            names[1],
            images.reshape(*signs.shape, *images.shape[1:]),
            ~np.isin(signs.numpy(), said),
            "word 1" + " (its value)" * (tables is not None),
            "word 2" + " (its value)" * (tables is not None),
        )
    return result


def _shown(words: Ints, slot: int, tables: list[Words] | None) -> tuple[list[int], list[str]]:
    """The most frequent words of a slot, in the order of their values, and their names with these values."""
    used, counts = np.unique(words[:, slot], return_counts=True)
    frequent = set(used[np.argsort(-counts, kind="stable")[:MOST_WORDS]].tolist())
    if tables is None:
        return sorted(frequent), [str(word) for word in sorted(frequent)]
    table = tables[slot]
    kept = [(int(word), table.values[row.argmax()]) for word, row in zip(table.names, table.shares, strict=True)]
    kept = [(word, value) for word, value in kept if word in frequent]
    return [word for word, _ in kept], [f"{word} ({value})" for word, value in kept]


def base_meaning(evidence: Mapping[str, float]) -> str:
    """The meaning that others are compared with: holistic, or bag where sentences are too many."""
    return "holistic" if "holistic" in evidence else "bag"


def pictures_of(
    run: SavedRun, report: Mapping[str, Any], speakers: Mapping[str, Speaker]
) -> dict[str, Callable[[Path], object]]:
    """Functions that draw the pictures of sentences into a file, by file name. report: `language_report`."""
    from mhng.experiment.plots import language as plots

    evidence = {name: row["evidence"] for name, row in report["agents"].items()}
    base = base_meaning(next(iter(evidence.values())))
    jobs: dict[str, Callable[[Path], object]] = {
        "evidence.png": partial(plots.plot_evidence, agents=evidence, base=base)
    }
    attributes = attributes_of_run(run)
    if attributes is not None:
        tables = {name: meanings(run.words[name], attributes) for name in run.agents}
        jobs["vocabulary.png"] = partial(plots.plot_vocabulary, agents=tables)
    for name, grid in imagined(run, speakers).items():
        jobs[f"imagined_{name}.png"] = partial(plots.plot_imagined, grid=grid)
    return jobs
