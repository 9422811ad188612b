"""The command `recall RUN`: decode the agents' signs into images, and score the images.

    recall         for each agent and sign: the image at the component mean, and images at latents drawn around it
    cross recall   the speaker names an object (`mhng.experiment.evaluation.naming`); the listener, which does not see
                   the object, decodes that sign

An agent with several modalities decodes each of them. Each is scored and drawn separately, as "A (0)" and "A (90)";
the agent's sign comes from all of them.

Scores: a classifier of the listener's own views (`mhng.experiment.evaluation.classifier`) predicts the class of each
decoded image. For recall it should be the class matched to the sign, for cross recall the class of the object. Cross
recall also measures the distance from the listener's own view, in pixels, and from the listener's own latent. As a
baseline, the same distances are computed with the signs permuted over the objects. Labels are used for scores only.

Notation: M agents, N objects, K signs, S drawn signs, L latent dimensions, T temperature.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.modalities import is_present
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching
from mhng.experiment.evaluation.classifier import Classifier, train_classifier
from mhng.experiment.evaluation.imagination import check_temperature, recall_across, recall_signs
from mhng.experiment.evaluation.naming import infer_signs
from mhng.experiment.evaluation.new_objects import require_images
from mhng.experiment.evaluation.picturing import Images, to_pixels
from mhng.experiment.evaluation.recall_sentences import recall_sentences
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import print_report
from mhng.experiment.util.text import decimal
from mhng.models.rng import stream

# Limits on the cells of a picture
MAX_DRAWS = 100
MAX_PAIRS = 20
MAX_SIGNS = 50

Ints = NDArray[np.int64]


class Modality(NamedTuple):
    """A modality of an agent. label: the agent's name, with the title if the agent has several modalities."""

    m: int  # the agent's number
    agent: str
    number: int
    title: str
    label: str

    def select(self, run: SavedRun, x: Tensor) -> Tensor:
        """The observations of this modality (B, C, H, W) among all observations of the agent."""
        return run.models[self.agent].split(x)[self.number]


class Gallery(NamedTuple):
    """Images in [0, 1] of the signs `shown`, keyed by modality label or by direction "A->B".

    Grey images are (H, W), colour images (H, W, 3).
    """

    shown: Ints  # (S,) the drawn signs
    titles: list[str]  # their numbers, or the words of sentences
    captions: dict[str, list[str]]  # by modality: what each sign names
    recalled: dict[str, Images]  # by modality: (S, 1 + draws, H, W), the mean first
    saw: dict[str, Images]  # by direction: the speaker's views, (S, pairs, H, W), NaN where there is no object
    imagined: dict[str, Images]  # by direction: the images that the listener decodes


def recall(
    path: Path,
    *,
    sentences: Sequence[str] | None = None,
    temperature: float = 1.0,
    count: int = 8,
    pairs: int = 4,
    data_root: Path | None = None,
    data: str | None = None,
    as_json: bool = False,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Decode, score, draw, write and print; returns the contents of recall.json. Raises UsageError.

    sentences: decode these sentences, such as "3,7", in place of all signs (`recall_sentences`); recall.json stays.
    """
    check_temperature("--temperature", temperature)
    for option, value, largest in (("--count", count, MAX_DRAWS), ("--pairs", pairs, MAX_PAIRS)):
        if not 1 <= value <= largest:
            raise UsageError(f"{option} is {value}; expected 1 to {largest}")
    run = SavedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    if not os.access(run.path, os.W_OK):
        raise UsageError(f"{run.path} cannot be written; recall writes {run_folder.RECALL} and pictures into it")
    if sentences is not None:
        return recall_sentences(run, sentences, temperature=temperature, count=count, as_json=as_json)
    require_images(run, "has no images to recall")
    report, gallery = evaluate(run, temperature=temperature, count=count, pairs=pairs)
    report["pictures"] = _draw(run, gallery)
    plain: dict[str, Any] = to_plain(report)
    run.folder.write_json(run_folder.RECALL, plain)
    print_report(plain, report_lines, as_json=as_json)
    return plain


def evaluate(run: SavedRun, *, temperature: float, count: int, pairs: int) -> tuple[dict[str, Any], Gallery]:
    """Decode and score; returns the report and the images to draw.

    count: draws per sign. pairs: objects per sign in the cross picture. The random streams follow from the run's
    seed and are used for nothing else.
    """
    signs = infer_signs(run, run.objects.views).signs
    shown = _most_used_signs(signs, run.config.signs)
    modalities = modalities_of(run)
    flat = [modality for group in modalities for modality in group]
    views = {modality.label: modality.select(run, run.objects.views[modality.m]) for modality in flat}
    classifiers = {modality.label: _train(run, modality, views[modality.label]) for modality in flat}
    draws = 0 if temperature == 0 else count
    agents, captions, recalled = {}, {}, {}
    for group in modalities:
        vocabulary = _Vocabulary(run, group[0].agent)
        for modality in group:
            label = modality.label
            captions[label] = [vocabulary.captions[k] for k in shown]
            agents[label], recalled[label] = _evaluate_recall(
                run, modality, vocabulary, classifiers[label], temperature, draws, shown
            )
    cross, saw, imagined = {}, {}, {}
    for speaker, listener in permutations(range(len(run.agents)), 2):
        spoken = signs[speaker]
        drawn = [np.flatnonzero(spoken == k)[:pairs] for k in shown]
        decoded = {}
        for modality in modalities[listener]:
            label, name = modality.label, run.agents[speaker]
            cross[f"{name}->{label}"], decoded[label] = _evaluate_cross(
                run, name, spoken, modality, classifiers[label], temperature, drawn
            )
        # Modalities of the two agents are paired by number; an agent with fewer repeats its last one.
        for i in range(max(len(modalities[speaker]), len(modalities[listener]))):
            seen, heard = (group[min(i, len(group) - 1)] for group in (modalities[speaker], modalities[listener]))
            panel, view = f"{seen.label}->{heard.label}", views[seen.label]
            saw[panel] = _grid(drawn, pairs, {int(n): view[n] for row in drawn for n in row})
            imagined[panel] = _grid(drawn, pairs, decoded[heard.label])
    report = {
        "run": str(run.path),
        "mode": run.config.mode,
        "round": run.round,
        "objects": run.objects.count,
        "temperature": temperature,
        "draws": draws,
        "agents": agents,
        "cross": cross,
    }
    titles = matching.sign_titles(run.config.sentences, shown)
    return report, Gallery(shown, titles, captions, recalled, saw, imagined)


def modalities_of(run: SavedRun) -> list[list[Modality]]:
    """The modalities of each agent."""
    result: list[list[Modality]] = []
    for m, (name, senses) in enumerate(zip(run.agents, run.objects.modalities, strict=True)):
        titles = [sense.title.replace("->", " to ") for sense in senses]  # an arrow separates speaker and listener
        labels = [name] if len(senses) == 1 else [f"{name} ({title})" for title in titles]
        result.append([Modality(m, name, i, *both) for i, both in enumerate(zip(titles, labels, strict=True))])
    return result


# -- printed lines -----------------------------------------------------------------------------------


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as printed lines."""
    T = report["temperature"]
    return [
        f"Run: {report['run']}; mode {report['mode']}, {report['objects']} objects, temperature {T:g}",
        *score_lines(report),
        f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['pictures'])}",
    ]


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """The scores as printed lines: one per agent and two per direction."""
    lines = []
    for name, row in report["agents"].items():
        accuracy = row["judge_accuracy"]
        if accuracy is None:
            lines.append(f"Agent {name}: images not scored; no classifier could be trained")
            continue
        draws = "" if row["draws_right"] is None else f", draws {row['draws_right']:.1%}"
        lines.append(
            f"Agent {name}: images with the class of their sign: means {row['means_right']} of "
            f"{row['signs_matched']}{draws} (held-out accuracy of the classifier {accuracy:.1%})"
        )
    for direction, row in report["cross"].items():
        speaker, listener = direction.split("->")
        draws = "" if row["accuracy_draws"] is None else f", draws {row['accuracy_draws']:.1%}"
        classes = "not scored" if row["accuracy_means"] is None else f"means {row['accuracy_means']:.1%}{draws}"
        lines.append(f"{speaker} speaks, {listener} decodes: images with the class of the object: {classes}")
        lines.append(
            f"  distance from {listener}'s own view {decimal(row['pixel_distance'])} (RMS over pixels; permuted signs "
            f"{decimal(row['pixel_distance_shuffled'])}), from its own latent {decimal(row['latent_distance'], 2)} "
            f"(permuted signs {decimal(row['latent_distance_shuffled'], 2)})"
        )
    return lines


# -- scores ------------------------------------------------------------------------------------------


class _Vocabulary:
    """Describe the final signs of an agent: objects, matched class (-1: none) and caption of each sign."""

    def __init__(self, run: SavedRun, agent: str) -> None:
        K, labels, class_names = run.config.signs, run.objects.labels, run.objects.class_names
        signs = run.signs[agent]
        self.objects = np.bincount(signs, minlength=K)
        if labels is None:
            self.matched = np.full(K, -1)
            self.captions = [f"{count} objects" for count in self.objects]
            return
        counts = matching.contingency_table(signs, labels, K, len(class_names))
        self.matched = matching.match_signs(counts)
        self.captions = matching.captions(counts, class_names)


def _train(run: SavedRun, modality: Modality, view: Tensor) -> Classifier | None:
    """Train the classifier of a modality on the objects that have it. None without labels."""
    labels = run.objects.labels
    if labels is None:
        return None
    present = is_present(view)
    name = modality.agent if modality.label == modality.agent else f"{modality.agent}/{modality.number + 1}"
    generator = stream(run.config.seed, f"{name}/recall/judge")
    return train_classifier(view[present], labels[present.numpy()], generator)


def _evaluate_recall(
    run: SavedRun,
    modality: Modality,
    vocabulary: _Vocabulary,
    classifier: Classifier | None,
    temperature: float,
    draws: int,
    shown: Ints,
) -> tuple[dict[str, Any], Images]:
    """Recall scores of a modality, and its images of the signs `shown`: (S, 1 + draws, H, W[, 3])."""
    K = run.config.signs
    columns = []
    predicted = np.full((1 + draws, K), -1)
    for column, chunks in enumerate(recall_signs(run, modality.agent, draws, temperature)):
        images = []
        for part, x in chunks:
            chunk = modality.select(run, x)
            if classifier is not None:
                predicted[column, part] = classifier.predict(chunk)
            here = (shown >= part.start) & (shown < part.stop)
            images.append(to_pixels(chunk[shown[here] - part.start]))
        columns.append(np.concatenate(images))
    matched = vocabulary.matched >= 0
    right = (predicted == vocabulary.matched)[:, matched]
    class_names, sentences = run.objects.class_names, run.config.sentences
    scores: dict[str, Any] = {
        "judge_accuracy": None if classifier is None else classifier.held_out,
        "signs_matched": int(matched.sum()),
        "means_right": None if classifier is None else int(right[0].sum()),
        "draws_right": float(right[1:].mean()) if classifier is not None and right[1:].size else None,
        "signs": [
            {
                "sign": k,
                **({} if sentences is None else {"words": sentences.digits(k)}),
                "objects": int(vocabulary.objects[k]),
                "names": vocabulary.captions[k],
                "class": class_names[vocabulary.matched[k]] if vocabulary.matched[k] >= 0 else None,
                "mean_judged": None if classifier is None else class_names[predicted[0, k]],
            }
            for k in range(K)
        ],
    }
    return scores, np.stack(columns, axis=1)


def _evaluate_cross(
    run: SavedRun,
    speaker: str,
    signs: Ints,
    modality: Modality,
    classifier: Classifier | None,
    temperature: float,
    drawn: list[NDArray[np.intp]],
) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Cross-recall scores of a listener's modality for the speaker's signs (N,), and the images of objects `drawn`."""
    labels = run.objects.labels
    agent, parameters = run.models[modality.agent], run.parameters[modality.agent]
    x = run.objects.views[modality.m]
    view = modality.select(run, x)
    present = is_present(view)
    spoken = torch.from_numpy(signs)
    generator = stream(run.config.seed, f"{speaker}->{modality.agent}/recall/shuffle")
    permuted = spoken[torch.randperm(len(spoken), generator=generator)]
    components = agent.mixture.means(parameters)
    means = modality.select(run, agent.decode(components))
    z = agent.perceive(x, None).places
    images: dict[int, Tensor] = {}
    objects = np.concatenate([np.array([], dtype=np.intp), *drawn])
    right = 0
    for part, decoded in recall_across(run, speaker, modality.agent, spoken, temperature):
        chunk = modality.select(run, decoded)
        images |= {int(n): chunk[n - part.start] for n in objects[(objects >= part.start) & (objects < part.stop)]}
        if classifier is not None and labels is not None and temperature > 0:
            right += int((classifier.predict(chunk) == labels[part]).sum())
    scored = classifier is not None and labels is not None
    scores = {
        "accuracy_means": None if classifier is None else float((classifier.predict(means)[signs] == labels).mean()),
        "accuracy_draws": right / len(signs) if scored and temperature > 0 else None,
        "judge_accuracy": None if classifier is None else classifier.held_out,
        "pixel_distance": _pixel_distance(means, spoken[present], view[present]),
        "pixel_distance_shuffled": _pixel_distance(means, permuted[present], view[present]),
        "latent_distance": float((components[spoken] - z).norm(dim=1).mean()),
        "latent_distance_shuffled": float((components[permuted] - z).norm(dim=1).mean()),
    }
    return scores, images


def _pixel_distance(means: Tensor, signs: Tensor, view: Tensor) -> float:
    """RMS over pixels of the difference between each object's view and its sign's image, averaged over objects."""
    total = 0.0
    for ids in torch.arange(len(signs)).split(1024):
        total += float((means[signs[ids]] - view[ids]).flatten(1).square().mean(1).sqrt().double().sum())
    return total / len(signs)


# -- pictures ----------------------------------------------------------------------------------------


def _most_used_signs(signs: Ints, K: int) -> Ints:
    """The signs to draw, sorted: all K, or the `MAX_SIGNS` most used."""
    counts = np.bincount(signs.ravel(), minlength=K)
    return np.sort(np.argsort(-counts, kind="stable")[:MAX_SIGNS])


def _grid(rows: list[NDArray[np.intp]], pairs: int, images: Mapping[int, Tensor]) -> Images:
    """The images of the objects in each row, left-aligned: (S, pairs, H, W[, 3])."""
    shape = to_pixels(next(iter(images.values()))[None]).shape[1:]
    grid = np.full((len(rows), pairs, *shape), np.nan, dtype=np.float32)
    for r, row in enumerate(rows):
        for c, n in enumerate(row):
            grid[r, c] = to_pixels(images[int(n)][None])[0]
    return grid


def _draw(run: SavedRun, gallery: Gallery) -> list[str]:
    """Draw the pictures into plots/; returns their names."""
    pictures = pictures_of(run, gallery)
    for name, draw in pictures.items():
        draw(run.folder.file(run_folder.PLOTS) / name)
    return list(pictures)


def pictures_of(run: SavedRun, gallery: Gallery) -> dict[str, Callable[[Path], object]]:
    """Functions that draw the pictures into a file, by file name."""
    from mhng.experiment.plots import recall as recall_plots
    from mhng.experiment.plots import training as training_plots

    rows = {
        label: [f"{title}: {caption}" for title, caption in zip(gallery.titles, captions, strict=True)]
        for label, captions in gallery.captions.items()
    }
    pictures: dict[str, Callable[[Path], object]] = {}
    for modalities in modalities_of(run):
        # The modalities of a sign stand below each other.
        images = np.stack(
            [*training_plots.alike([gallery.recalled[modality.label] for modality in modalities])], axis=1
        )
        images = images.reshape(-1, *images.shape[2:])
        columns = ["mean", *(f"draw {d}" for d in range(1, images.shape[1]))]
        titles = rows[modalities[0].label]
        if len(modalities) > 1:  # one row per modality; the first also names the sign
            later = [f"({modality.title})" for modality in modalities[1:]]
            titles = [text for title in titles for text in (f"{title} ({modalities[0].title})", *later)]
        pictures[f"recall_{modalities[0].agent}.png"] = partial(
            training_plots.plot_images, images=images, row_names=titles, column_names=columns
        )
    panels = []
    for direction, saw in gallery.saw.items():
        speaker, listener = direction.split("->")
        panels.append(recall_plots.Direction(speaker, listener, rows[speaker], saw, gallery.imagined[direction]))
    pictures["cross_recall.png"] = partial(recall_plots.plot_cross, directions=panels)
    return pictures
