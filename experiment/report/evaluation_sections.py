"""The sections that need the agents and what they looked at: confusion, latent map, recall.

Without the data set there is still a confusion, of class numbers: a run keeps its objects' labels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.evaluation import matching
from mhng.experiment.metrics import partitions
from mhng.experiment.plots.latent_map import plot_map
from mhng.experiment.plots.training import plot_confusion
from mhng.experiment.report.drawing import Studio, strip
from mhng.experiment.report.page import Picture, Section, Strips, Table, cells, number
from mhng.experiment.report.projection import plane
from mhng.experiment.training.saved_run import SavedRun

if TYPE_CHECKING:
    from mhng.experiment.evaluation.recall import Gallery

_DRAWS = 8
_PAIRS = 4
# Of many agents, who each speak to each, the pictures of these directions are shown; the table has all.
_MOST_DIRECTIONS = 6


def confusion(studio: Studio, run: SavedRun, class_names: tuple[str, ...] | None) -> Section:
    """One matrix an agent. class_names: None, if they are not known, makes them numbers."""
    title = "Signs and classes"
    if run.labels is None:
        return Section("confusion", title, missing="The objects have no labels to hold the signs against.")
    names = class_names or tuple(str(number) for number in range(int(run.labels.max()) + 1))
    K = int(run.settings["signs"])
    pictures = []
    for name in run.agents:
        signs = run.signs[name]
        alt = (
            f"Confusion of agent {name}: ARI {number(partitions.ari(signs, run.labels), 2)}, accuracy "
            f"{number(partitions.accuracy(signs, run.labels), 2)}, {K} signs, {len(names)} classes."
        )
        pictures.append(studio.chart(_confusion(signs, run.labels, name, names, K), alt))
    words = [
        "Of each class (row) the share in per cent that got each sign (column). Signs stand in the order of the best "
        "one-to-one matching: a perfect naming is a diagonal."
    ]
    if class_names is None:
        words.append("Classes go by their numbers, because the data set is not here.")
    return Section("confusion", title, words, pictures=[pictures])


def _confusion(
    signs: NDArray[Any], labels: NDArray[Any], name: str, names: tuple[str, ...], K: int
) -> Callable[[Any], None]:
    few = max(len(names), K) <= 30
    return lambda path: plot_confusion(path, signs[None], labels, [name], names, K, bar=not few)


def latent_map(studio: Studio, run: SavedRun, kind: str) -> Section:
    """Each agent's percepts (the means of q(z | x)) in a plane, by its final signs and by class."""
    labels, K = run.objects.labels, run.config.signs
    class_names = run.objects.class_names
    pictures: list[list[Picture]] = []
    count = 0
    for m, (name, agent) in enumerate(run.models.items()):
        z = agent.perceive(run.objects.views[m], None).z.numpy()
        found = plane(z, kind, run.config.seed)
        count = len(found.shown)
        signs = run.signs[name]
        meant = list(range(K))
        if labels is not None:
            meant = matching.match_signs(matching.contingency_table(signs, labels, K, len(class_names))).tolist()
        ways = [("sign", signs, [str(k) for k in range(K)], meant)]
        if labels is not None:
            ways.append(("class", labels, list(class_names), list(range(len(class_names)))))
        pictures.append([])
        for way, groups, names, colours in ways:
            used = len(np.unique(groups[found.shown]))
            alt = f"Percepts of agent {name} {found.words}: {count} objects, coloured by {way}, {used} of them."
            caption = f"Agent {name}, by {way}"
            pictures[-1].append(studio.chart(_map(found, groups, names, colours), alt, caption))
    N = run.objects.count
    words = [
        f"Where each agent's percepts lie: {'all' if count == N else f'{count:,} of'} {N:,} objects. "
        + (
            "t-SNE keeps neighbours together; distances between groups mean nothing."
            if kind == "tsne"
            else "The two principal components show a part of the variance; --map tsne shows neighbours instead."
        )
    ]
    if labels is not None:
        words.append("A sign has the colour of the class that it is matched to, grey if there is none.")
    return Section("map", "Latent map", words, pictures=pictures)


def _map(found: Any, groups: NDArray[Any], names: list[str], colours: list[int]) -> Callable[[Any], None]:
    return lambda path: plot_map(path, found.points, groups[found.shown], names, colours, found.axes)


def recall(run: SavedRun) -> Section:
    """What each agent means by each sign, and what one imagines when the other speaks, with scores."""
    title = "Recall"
    senses = [sense for own in run.objects.modalities for sense in own]
    vectors = [sense for sense in senses if len(sense.shape) != 3]
    if vectors:
        who = (
            "The agents look"
            if len(vectors) == len(senses)
            else "Some of what the agents see are images, but they look"
        )
        return Section(
            "recall",
            title,
            missing=f"{who} at feature vectors of {vectors[0].shape[0]} numbers each: there are no images to imagine.",
        )
    from mhng.experiment.evaluation.recall import evaluate

    report, gallery = evaluate(run, temperature=1.0, count=_DRAWS, pairs=_PAIRS)
    judged = any(own["judge_accuracy"] is not None for own in report["agents"].values())
    return Section(
        "recall",
        title,
        [
            "A classifier of each agent's own views, trained on labels that no agent got, looks at what was imagined."
            if judged
            else "No classifier could be trained, so images are not judged.",
            "Pixels (root mean square) and percepts (distance in latent space) are how far what was imagined is from "
            "what the listener would have seen itself; at random: with signs dealt out to the objects by chance.",
            *(
                [f"Of {len(gallery.saw)} directions {_MOST_DIRECTIONS} are shown."]
                if len(gallery.saw) > _MOST_DIRECTIONS
                else []
            ),
        ],
        tables=_recall_tables(report),
        strips=[*_recalled(gallery), *_crossed(gallery)],
    )


def _recall_tables(report: dict[str, Any]) -> list[Table]:
    own = [
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
    cross = []
    for direction, row in report["cross"].items():
        speaker, listener = direction.split("->")
        cross.append(
            cells(
                [
                    f"{speaker} says, {listener} imagines",
                    _percent(row["accuracy_means"]),
                    _percent(row["accuracy_draws"]),
                    f"{number(row['pixel_distance'])} ({number(row['pixel_distance_shuffled'])})",
                    f"{number(row['latent_distance'], 2)} ({number(row['latent_distance_shuffled'], 2)})",
                ]
            )
        )
    return [
        Table(["", "means right", "draws right", "classifier right on new views"], own, "A sign's image"),
        Table(
            ["", "right by mean", "right by draw", "pixels off (at random)", "percept off (at random)"],
            cross,
            "Across agents",
        ),
    ]


def _recalled(gallery: Gallery) -> list[Strips]:
    found = []
    for name, images in gallery.recalled.items():
        rows: list[tuple[str, str, Picture]] = []
        for k, words, own in zip(gallery.shown, gallery.captions[name], images, strict=True):
            alt = f"Agent {name}, sign {k} ({words}): the mean and {len(own) - 1} draws around it."
            rows.append((f"sign {k}", words, strip(own, alt)))
        note = "The image at the sign's mean, then draws around it. Beside each sign the class it names most."
        found.append(Strips(f"What agent {name} means", note, rows))
    return found


def _crossed(gallery: Gallery) -> list[Strips]:
    found = []
    for direction, saw in islice(gallery.saw.items(), _MOST_DIRECTIONS):
        speaker, listener = direction.split("->")
        rows = []
        for k, words, seen, heard in zip(
            gallery.shown, gallery.captions[speaker], saw, gallery.imagined[direction], strict=True
        ):
            pairs = np.stack([seen, heard], axis=1).reshape(-1, *seen.shape[1:])
            there = int(np.isfinite(seen[:, 0, 0]).sum())
            if not there:
                continue
            alt = (
                f"{speaker} said sign {k} ({words}) of {there} objects: what {speaker} saw, what {listener} imagined."
            )
            rows.append((f"sign {k}", words, strip(pairs, alt, every=2)))
        note = f"Pairs: what {speaker} saw, and what {listener} imagined on hearing the sign."
        found.append(Strips(f"{speaker} sees and says, {listener} imagines", note, rows))
    return found


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
