"""The command `recall RUN --sentence 3,7`: what each agent imagines for sentences, said or not.

An image is decoded from the latent that the sentence means, and from latents drawn around it with temperature T
(`mhng.experiment.evaluation.imagination`). Parameters are posterior means given the final sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.imagination import check_temperature
from mhng.experiment.evaluation.language import speakers_of
from mhng.experiment.evaluation.new_objects import require_images
from mhng.experiment.evaluation.picturing import picture_latents
from mhng.experiment.evaluation.vocabulary import attributes_of_run
from mhng.experiment.metrics.language import fit_decoder
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import print_report
from mhng.models.languages import Sentences
from mhng.models.rng import stream
from mhng.models.torch_defaults import torch_defaults

PICTURE = "recall_sentences.png"


def parse_sentence(text: str, sentences: Sentences) -> list[int]:
    """The words of a sentence such as "3,7". Raises UsageError."""
    words = text.split(",")
    expected = f"{sentences.words} words from 0 to {sentences.vocabulary - 1}, such as {_example(sentences)}"
    if len(words) != sentences.words or not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--sentence is {text!r}; expected {expected}")
    numbers = [int(word) for word in words]
    if max(numbers) >= sentences.vocabulary:
        raise UsageError(f"--sentence is {text!r}; expected {expected}")
    return numbers


def _example(sentences: Sentences) -> str:
    return ",".join(str(slot % sentences.vocabulary) for slot in range(sentences.words))


@torch_defaults()
def recall_sentences(
    run: SavedRun, texts: Sequence[str], *, temperature: float, count: int, as_json: bool = False
) -> dict[str, Any]:
    """Decode the sentences, draw the picture and print what they mean; returns the report. Raises UsageError."""
    check_temperature("--temperature", temperature)
    sentences = run.config.sentences
    if sentences is None:
        raise UsageError(f"--sentence requires a run with --words 2 or more; {run.path} has single signs")
    words = np.array([parse_sentence(text, sentences) for text in texts])
    signs = sentences.join(torch.from_numpy(words))
    speakers = speakers_of(run)
    attributes = attributes_of_run(run)
    rows, images = [], []
    report: dict[str, Any] = {"run": str(run.path), "temperature": temperature, "sentences": words.tolist()}
    report["agents"] = {}
    for m, (name, speaker) in enumerate(speakers.items()):
        picture = picture_latents(run, m)
        if picture is None:
            require_images(run, "has no images to recall")
            raise UsageError(f"{run.path} has no images to recall for agent {name}")
        generator = stream(run.config.seed, f"{name}/recall/sentences")
        columns = [speaker.means(signs)]
        for _ in range(0 if temperature == 0 else count):
            columns.append(speaker.mixture.sample_percepts(generator, speaker.parameters, signs, temperature))
        images.append(np.stack([picture(z) for z in columns], axis=1))
        objects = [int((speaker.signs == int(sign)).sum()) for sign in signs]
        told = None if attributes is None else fit_decoder(run.words[name], attributes).decode(words).tolist()
        report["agents"][name] = {"objects": objects, "attributes": told}
        rows += [f"{name}: {' '.join(map(str, row))}" for row in words.tolist()]
    _draw(run, np.concatenate(images), rows)
    report["pictures"] = [PICTURE]
    print_report(report, report_lines, as_json=as_json)
    return report


def _draw(run: SavedRun, images: Any, rows: Sequence[str]) -> None:
    from mhng.experiment.plots.training import plot_images

    columns = ["mean", *(f"draw {d}" for d in range(1, images.shape[1]))]
    plot_images(run.folder.file(run_folder.PLOTS) / PICTURE, images, rows, columns)


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as printed lines."""
    lines = [f"Run: {report['run']}; temperature {report['temperature']:g}"]
    for n, words in enumerate(report["sentences"]):
        for name, row in report["agents"].items():
            count = row["objects"][n]
            who = "no object has it" if not count else f"{count} object{'s have' if count > 1 else ' has'} it"
            told = "" if row["attributes"] is None else f"; its words mean {_values(row['attributes'][n])}"
            lines.append(f"Sentence {' '.join(map(str, words))}, agent {name}: {who}{told}")
    return [*lines, f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['pictures'])}"]


def _values(attributes: Sequence[int]) -> str:
    return " ".join("?" if value < 0 else str(value) for value in attributes)
