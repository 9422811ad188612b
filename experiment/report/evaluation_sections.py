"""Page sections that use the trained agents and their data: confusion matrices, latent map, recall.

The confusion matrices need only the labels in signs.npz. Without the data set they show class numbers, not names.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.evaluation import matching
from mhng.experiment.evaluation.projection import Projection, project
from mhng.experiment.metrics import partitions
from mhng.experiment.plots.latent_map import plot_map
from mhng.experiment.plots.training import alike, plot_confusion
from mhng.experiment.report.drawing import ChartRenderer, image_strip
from mhng.experiment.report.page import ImageRows, Picture, Section, Table, cells, number
from mhng.experiment.training.saved_run import SavedRun
from mhng.models.languages import MOST_TABLE

if TYPE_CHECKING:
    from mhng.experiment.evaluation.recall import Gallery

CONFUSION_TITLE = "Confusion matrices of signs and classes"
MAP_TITLE = "Latent space"
RECALL_TITLE = "Images recalled from signs"

_DRAWS = 8
_PAIRS = 4
_MAX_DIRECTIONS = 6  # pairs of agents with images; the table has all pairs
_MAX_CLASSES_WITHOUT_COLOUR_BAR = 30
_CONFUSION_WIDTH = 4.1  # inches; letters have the size of other charts


# -- confusion ---------------------------------------------------------------------------------------


def confusion(renderer: ChartRenderer, run: SavedRun, class_names: tuple[str, ...] | None) -> Section:
    """One confusion matrix per agent. class_names: None shows class numbers."""
    if run.labels is None:
        return Section("confusion", CONFUSION_TITLE, missing="The objects have no labels.")
    order = np.stack(list(run.signs.values()))
    names = class_names or tuple(str(number) for number in range(int(run.labels.max()) + 1))
    K = int(run.settings["signs"])
    if K > MOST_TABLE:
        return Section("confusion", CONFUSION_TITLE, missing=f"The {K:,} sentences are too many for a picture.")
    pictures = []
    for name in run.agents:
        signs = run.signs[name]
        alt = (
            f"Confusion matrix of agent {name}: ARI {number(partitions.ari(signs, run.labels), 2)}, accuracy "
            f"{number(partitions.accuracy(signs, run.labels), 2)}, {K} signs, {len(names)} classes."
        )
        pictures.append(renderer.chart(_confusion_plot(signs, run.labels, name, names, K, order), alt))
    paragraphs = [
        "A row is a class, a column is a sign. A cell is the percentage of the objects of the class that have the "
        "sign. The columns follow the best one-to-one matching of all agents' signs with the classes: perfect signs "
        "give a diagonal, and agents with different signs differ."
    ]
    if class_names is None:
        paragraphs.append("The classes are numbered, because their names require the data set.")
    return Section("confusion", CONFUSION_TITLE, paragraphs, pictures=[pictures])


def _confusion_plot(
    signs: NDArray[Any], labels: NDArray[Any], name: str, names: tuple[str, ...], K: int, order: NDArray[Any]
) -> Callable[[Any], None]:
    bar = max(len(names), K) > _MAX_CLASSES_WITHOUT_COLOUR_BAR
    return lambda path: plot_confusion(
        path, signs[None], labels, [name], names, K, bar=bar, order=order, min_width=_CONFUSION_WIDTH
    )


# -- latent map --------------------------------------------------------------------------------------


def latent_map(renderer: ChartRenderer, run: SavedRun, kind: str) -> Section:
    """Scatter plots of each agent's latents (means of q(z | x)), coloured by final sign and by class."""
    labels, K = run.objects.labels, run.config.signs
    class_names = run.objects.class_names
    pictures: list[list[Picture]] = []
    shown = 0
    for m, (name, agent) in enumerate(run.models.items()):
        z = agent.perceive(run.objects.views[m], None).z.numpy()
        projection = project(z, kind, run.config.seed)
        shown = len(projection.shown)
        signs = run.signs[name]
        sign_colours = matching.sign_colours(signs, labels, K, len(class_names))
        colourings = [("sign", signs, [str(k) for k in range(K)], sign_colours)]
        if labels is not None:
            colourings.append(("class", labels, list(class_names), list(range(len(class_names)))))
        pictures.append([])
        for group_name, groups, names, colours in colourings:
            used = len(np.unique(groups[projection.shown]))
            alt = (
                f"Latents of agent {name}, projected by {projection.method}: {shown} objects, coloured by "
                f"{group_name} ({used} in use)."
            )
            caption = f"Latents of agent {name}, coloured by {group_name}"
            pictures[-1].append(renderer.chart(_map_plot(projection, groups, names, colours), alt, caption))
    N = run.objects.count
    paragraphs = [
        f"Latents (means of q(z given x)) of {'all' if shown == N else f'{shown:,} of'} {N:,} objects, projected to "
        "two dimensions. "
        + (
            "t-SNE preserves neighbourhoods; distances between groups have no meaning."
            if kind == "tsne"
            else "The axes are the first two principal components; --map tsne shows neighbourhoods instead."
        )
    ]
    if labels is not None:
        paragraphs.append("A sign has the colour of its matched class. Signs without a class are grey.")
    return Section("map", MAP_TITLE, paragraphs, pictures=pictures)


def _map_plot(
    projection: Projection, groups: NDArray[Any], names: list[str], colours: list[int]
) -> Callable[[Any], None]:
    return lambda path: plot_map(path, projection.points, groups[projection.shown], names, colours, projection.axes)


# -- recall ------------------------------------------------------------------------------------------


def recall(run: SavedRun) -> Section:
    """Images and scores of recall (an agent's own signs) and cross recall (signs of another agent)."""
    senses = [sense for agent_senses in run.objects.modalities for sense in agent_senses]
    vectors = [sense for sense in senses if len(sense.shape) != 3]
    if vectors:
        observations = "All observations" if len(vectors) == len(senses) else "Some observations"
        return Section(
            "recall",
            RECALL_TITLE,
            missing=f"{observations} are feature vectors of {vectors[0].shape[0]} numbers; recall requires images.",
        )
    from mhng.experiment.evaluation.recall import evaluate

    report, gallery = evaluate(run, temperature=1.0, count=_DRAWS, pairs=_PAIRS)
    judged = any(scores["judge_accuracy"] is not None for scores in report["agents"].values())
    paragraphs = [
        "An agent decodes a sign: from the mean of the sign's component, or from draws of the component. "
        + (
            "A classifier, trained on the agent's observations and the labels, classifies the decoded image. It is "
            "correct if its class is the matched class of the sign."
            if judged
            else "No classifier could be trained, so the images have no accuracy."
        ),
        "In cross recall, the speaker's sign of an object is decoded by the listener. Pixel distance (root mean "
        "square) compares the image with the listener's observation. Latent distance compares the sign's mean with "
        "the listener's latent. Baseline values in parentheses use signs that are shuffled between objects.",
    ]
    if len(gallery.saw) > _MAX_DIRECTIONS:
        paragraphs.append(f"Images are shown for {_MAX_DIRECTIONS} of {len(gallery.saw)} pairs of agents.")
    return Section(
        "recall",
        RECALL_TITLE,
        paragraphs,
        tables=_recall_tables(report),
        image_rows=[*_recall_images(gallery), *_cross_recall_images(gallery)],
    )


def _recall_tables(report: dict[str, Any]) -> list[Table]:
    recall_rows = [
        cells(
            [
                f"Agent {name}",
                "–" if row["means_right"] is None else f"{row['means_right']} of {row['signs_matched']}",
                _percent(row["draws_right"]),
                _percent(row["judge_accuracy"]),
            ]
        )
        for name, row in report["agents"].items()
    ]
    cross_rows = []
    for direction, row in report["cross"].items():
        speaker, listener = direction.split("->")
        cross_rows.append(
            cells(
                [
                    f"{speaker} speaks, {listener} imagines",
                    _percent(row["accuracy_means"]),
                    _percent(row["accuracy_draws"]),
                    f"{number(row['pixel_distance'])} ({number(row['pixel_distance_shuffled'])})",
                    f"{number(row['latent_distance'], 2)} ({number(row['latent_distance_shuffled'], 2)})",
                ]
            )
        )
    return [
        Table(
            ["", "correct means", "correct draws", "classifier accuracy on held-out images"],
            recall_rows,
            "Recall: classification of the decoded images",
        ),
        Table(
            ["", "accuracy, means", "accuracy, draws", "pixel distance (shuffled)", "latent distance (shuffled)"],
            cross_rows,
            "Cross recall: accuracy and distances",
        ),
    ]


def _recall_images(gallery: Gallery) -> list[ImageRows]:
    result = []
    for name, images in gallery.recalled.items():
        rows: list[tuple[str, str, Picture]] = []
        for title, text, row_images in zip(gallery.titles, gallery.captions[name], images, strict=True):
            alt = f"Agent {name}, {title} ({text}): image at the mean, {len(row_images) - 1} draws."
            rows.append((title, text, image_strip(row_images, alt)))
        note = (
            "First image: mean of the sign's component; other images: draws. Below the sign: its most frequent class."
        )
        result.append(ImageRows(f"Recall by agent {name}", note, rows))
    return result


def _cross_recall_images(gallery: Gallery) -> list[ImageRows]:
    result = []
    for direction, seen in islice(gallery.saw.items(), _MAX_DIRECTIONS):
        speaker, listener = direction.split("->")
        rows = []
        for title, text, seen_images, imagined_images in zip(
            gallery.titles, gallery.captions[speaker], seen, gallery.imagined[direction], strict=True
        ):
            padded = alike([seen_images[None], imagined_images[None]])[:, 0]
            pairs = np.stack([*padded], axis=1).reshape(-1, *padded.shape[2:])
            known = int(np.isfinite(seen_images.reshape(len(seen_images), -1)[:, 0]).sum())
            if not known:
                continue
            alt = (
                f"{title.capitalize()} ({text}) from {speaker} to {listener}: observed and imagined images of {known} "
                "objects."
            )
            rows.append((title, text, image_strip(pairs, alt, every=2)))
        note = f"Pairs of images: observation of {speaker} (left), image imagined by {listener} from the sign (right)."
        result.append(ImageRows(f"Cross recall: {speaker} speaks, {listener} imagines", note, rows))
    return result


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
