"""`recall RUN`: what do the agents mean by a sign, and does the one imagine what the other saw?

    recall         of each agent and sign: the image at the component's mean, and draws around it
    cross recall   A sees an object and says its sign (`mhng.experiment.evaluation.naming`); B, who has not looked,
    imagines it

An agent with several modalities imagines in each of them, and each is scored and drawn by itself, as "A (0)" and
"A (90)"; what it says comes from all of them.

Pictures are drawn for people; the scores are for machines, and use labels for nothing else. A classifier of the
listener's own views (`mhng.experiment.evaluation.classifier`) looks at imagined images: is the one of sign k of the
class that k is
matched to, is the one of A's object of the class of that object? The listener's image is also compared with what it
would have seen itself, in pixels, and its sign's mean with its own percept; the same with signs dealt out at random to
the objects is what an image without a message would reach.

Notation: M agents, N objects, K signs, L latent dimensions, T temperature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.modalities import are_there
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching
from mhng.experiment.evaluation.classifier import Judge, train_judge
from mhng.experiment.evaluation.imagination import check_temperature, heard, meant
from mhng.experiment.evaluation.naming import say
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.restore import Trained, load_trained
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.text import decimal
from mhng.models.rng import stream

# Pictures with more cells could not be looked at.
MOST_DRAWS = 100
MOST_PAIRS = 20
MOST_SIGNS = 50


class Eye(NamedTuple):
    """A modality of an agent: the agent's place and name, the modality's place and title, and what to call it here."""

    m: int
    name: str
    number: int
    title: str
    label: str  # the agent's name, if it has but one

    def of(self, trained: Trained, x: Tensor) -> Tensor:
        """The observations of this modality among those of the agent: (B, C, H, W)."""
        return trained.agents[self.name].split(x)[self.number]


class Gallery(NamedTuple):
    """What is drawn: images in [0, 1], of the signs `shown`, in grey."""

    shown: NDArray[np.int64]  # (S,) the signs that have a row
    captions: dict[str, list[str]]  # of each eye: what each of these signs names
    recalled: dict[str, NDArray[np.float32]]  # of each eye: (S, 1 + draws, H, W), the mean first
    saw: dict[str, NDArray[np.float32]]  # by direction "A->B": (S, pairs, H, W), NaN where there is no object
    imagined: dict[str, NDArray[np.float32]]


def recall(
    path: Path,
    *,
    temperature: float = 1.0,
    count: int = 8,
    pairs: int = 4,
    data_root: Path | None = None,
    data: str | None = None,
    as_json: bool = False,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Imagine, score, draw, write and print; returns what recall.json holds."""
    check_temperature("--temperature", temperature)
    for flag, value, most in (("--count", count, MOST_DRAWS), ("--pairs", pairs, MOST_PAIRS)):
        if not 1 <= value <= most:
            raise UsageError(f"{flag} must be 1 to {most}; it is {value}")
    trained = load_trained(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    trained.check_images("has no images to recall")
    report, gallery = examine(trained, temperature=temperature, count=count, pairs=pairs)
    report["pictures"] = _draw(trained, gallery)
    plain: dict[str, Any] = to_plain(report)
    trained.folder.write_json(run_folder.RECALL, plain)
    if as_json:
        print(json.dumps(plain, allow_nan=False, ensure_ascii=False, indent=2))
    else:
        for line in lines(plain):
            print(line)
    return plain


def examine(trained: Trained, *, temperature: float, count: int, pairs: int) -> tuple[dict[str, Any], Gallery]:
    """The scores, and the images to draw. Random numbers come from streams of the run's seed that are its own."""
    objects, config, names = trained.objects, trained.config, list(trained.agents)
    said = say(list(trained.agents.values()), trained.components, objects.views).signs
    shown = _shown(said, config.signs)
    eyes = eyes_of(trained)
    views = {eye.label: eye.of(trained, objects.views[eye.m]) for own in eyes for eye in own}
    judges = {eye.label: _judge(trained, eye, views[eye.label]) for own in eyes for eye in own}
    draws = 0 if temperature == 0 else count
    agents, captions, recalled = {}, {}, {}
    for m, eye in ((m, eye) for m, seeing in enumerate(eyes) for eye in seeing):
        own = _Vocabulary(trained, m)
        label = eye.label
        captions[label] = [own.captions[k] for k in shown]
        agents[label], recalled[label] = _recalled(trained, eye, own, judges[label], temperature, draws, shown)
    cross, saw, imagined = {}, {}, {}
    for speaker, listener in permutations(range(len(names)), 2):
        signs = said[speaker]
        wanted = [np.flatnonzero(signs == k)[:pairs] for k in shown]
        heard_by = {}
        for eye in eyes[listener]:
            direction = f"{names[speaker]}->{eye.label}"
            cross[direction], heard_by[eye.label] = _cross(
                trained, names[speaker], signs, eye, judges[eye.label], temperature, wanted
            )
        # Every modality of either is in some panel; one that stands alone is in all.
        for at in range(max(len(eyes[speaker]), len(eyes[listener]))):
            seeing, hearing = (own[min(at, len(own) - 1)] for own in (eyes[speaker], eyes[listener]))
            panel, view = f"{seeing.label}->{hearing.label}", views[seeing.label]
            saw[panel] = _grid(wanted, pairs, {int(n): view[n] for row in wanted for n in row})
            imagined[panel] = _grid(wanted, pairs, heard_by[hearing.label])
    report = {
        "run": str(trained.folder.path),
        "mode": config.mode,
        "round": trained.round,
        "objects": objects.count,
        "temperature": temperature,
        "draws": draws,
        "agents": agents,
        "cross": cross,
    }
    return report, Gallery(shown, captions, recalled, saw, imagined)


def eyes_of(trained: Trained) -> list[list[Eye]]:
    """The modalities of each agent."""
    found: list[list[Eye]] = []
    for m, (name, senses) in enumerate(zip(trained.agents, trained.objects.senses, strict=True)):
        titles = [sense.title.replace("->", " to ") for sense in senses]  # an arrow stands for a direction
        labels = [name] if len(senses) == 1 else [f"{name} ({title})" for title in titles]
        found.append([Eye(m, name, i, *both) for i, both in enumerate(zip(titles, labels, strict=True))])
    return found


def _judge(trained: Trained, eye: Eye, view: Tensor) -> Judge | None:
    """Who judges what is imagined in a modality: taught by the objects that have it."""
    labels = trained.objects.labels
    if labels is None:
        return None
    there = are_there(view)
    name = eye.name if eye.label == eye.name else f"{eye.name}/{eye.number + 1}"
    return train_judge(view[there], labels[there.numpy()], stream(trained.config.seed, f"{name}/recall/judge"))


# -- words -------------------------------------------------------------------------------------------


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for a reader."""
    T = report["temperature"]
    return [
        f"Run: {report['run']}; mode {report['mode']}, {report['objects']} objects, temperature {T:g}",
        *score_lines(report),
        f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['pictures'])}",
    ]


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """What the scores say, a line an agent and two a direction."""
    found = []
    for name, own in report["agents"].items():
        judge = own["judge_accuracy"]
        if judge is None:
            found.append(f"Agent {name}: no classifier could be trained, so its images are not judged")
            continue
        draws = "" if own["draws_right"] is None else f", and {own['draws_right']:.1%} of draws"
        found.append(
            f"Agent {name}: the image at the mean is judged to be of the sign's class for {own['means_right']} of "
            f"{own['signs_matched']} signs{draws}; the classifier is right on {judge:.1%} of views new to it"
        )
    for direction, own in report["cross"].items():
        speaker, listener = direction.split("->")
        draws = "" if own["accuracy_draws"] is None else f", {own['accuracy_draws']:.1%} by draws"
        judged = (
            "not judged"
            if own["accuracy_means"] is None
            else f"of the right class for {own['accuracy_means']:.1%} of objects by means{draws}"
        )
        found.append(f"{speaker} sees and says, {listener} imagines: {judged}")
        found.append(
            f"  from {listener}'s own view {decimal(own['pixel_distance'])} in pixels (RMS; signs dealt at random "
            f"{decimal(own['pixel_distance_shuffled'])}), from its own percept {decimal(own['latent_distance'], 2)} "
            f"({decimal(own['latent_distance_shuffled'], 2)})"
        )
    return found


# -- one agent, one direction ------------------------------------------------------------------------


class _Vocabulary:
    """What agent m's final signs name, in the run."""

    def __init__(self, trained: Trained, m: int) -> None:
        K, labels, names = trained.config.signs, trained.objects.labels, trained.objects.class_names
        self.objects = np.bincount(trained.signs[m], minlength=K)
        if labels is None:
            self.matched = np.full(K, -1)
            self.captions = [f"{number} objects" for number in self.objects]
            return
        counts = matching.table(trained.signs[m], labels, K, len(names))
        self.matched = matching.matching(counts)
        self.captions = matching.captions(counts, names)


def _recalled(
    trained: Trained,
    eye: Eye,
    own: _Vocabulary,
    judge: Judge | None,
    temperature: float,
    draws: int,
    shown: NDArray[np.int64],
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """The scores of an eye, and its images of the signs `shown`: (S, 1 + draws, H, W)."""
    K = trained.config.signs
    columns = []
    judged = np.full((1 + draws, K), -1)
    for column, chunks in enumerate(meant(trained, eye.name, draws, temperature)):
        images = []
        for part, whole in chunks:
            chunk = eye.of(trained, whole)
            if judge is not None:
                judged[column, part] = judge.classes(chunk)
            here = (shown >= part.start) & (shown < part.stop)
            images.append(_grey(chunk[shown[here] - part.start]))
        columns.append(np.concatenate(images))
    matched = own.matched >= 0
    right = (judged == own.matched)[:, matched]
    classes = trained.objects.class_names
    scores: dict[str, Any] = {
        "judge_accuracy": None if judge is None else judge.held_out,
        "signs_matched": int(matched.sum()),
        "means_right": None if judge is None else int(right[0].sum()),
        "draws_right": float(right[1:].mean()) if judge is not None and right[1:].size else None,
        "signs": [
            {
                "sign": k,
                "objects": int(own.objects[k]),
                "names": own.captions[k],
                "class": classes[own.matched[k]] if own.matched[k] >= 0 else None,
                "mean_judged": None if judge is None else classes[judged[0, k]],
            }
            for k in range(K)
        ],
    }
    return scores, np.stack(columns, axis=1)


def _cross(
    trained: Trained,
    speaker: str,
    signs: NDArray[np.int64],
    eye: Eye,
    judge: Judge | None,
    temperature: float,
    wanted: list[NDArray[np.intp]],
) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Scores of a listener's eye that hears the speaker's signs (N,), and what it imagines of the objects `wanted`."""
    config, labels = trained.config, trained.objects.labels
    agent, components = trained.agents[eye.name], trained.components[eye.m]
    whole = trained.objects.views[eye.m]
    view = eye.of(trained, whole)
    there = are_there(view)
    spoken = torch.from_numpy(signs)
    shuffle = stream(config.seed, f"{speaker}->{eye.name}/recall/shuffle")
    random = spoken[torch.randperm(len(spoken), generator=shuffle)]
    means = eye.of(trained, agent.decode(components.mu))
    z = agent.perceive(whole, None).places
    kept: dict[int, Tensor] = {}
    some = np.concatenate([np.array([], dtype=np.intp), *wanted])
    right = 0
    for part, everything in heard(trained, speaker, eye.name, spoken, temperature):
        chunk = eye.of(trained, everything)
        kept |= {int(n): chunk[n - part.start] for n in some[(some >= part.start) & (some < part.stop)]}
        if judge is not None and labels is not None and temperature > 0:
            right += int((judge.classes(chunk) == labels[part]).sum())
    judged = judge is not None and labels is not None
    scores = {
        "accuracy_means": float((judge.classes(means)[signs] == labels).mean()) if judge is not None else None,
        "accuracy_draws": right / len(signs) if judged and temperature > 0 else None,
        "judge_accuracy": None if judge is None else judge.held_out,
        "pixel_distance": _pixels(means, spoken[there], view[there]),
        "pixel_distance_shuffled": _pixels(means, random[there], view[there]),
        "latent_distance": float((components.mu[spoken] - z).norm(dim=1).mean()),
        "latent_distance_shuffled": float((components.mu[random] - z).norm(dim=1).mean()),
    }
    return scores, kept


def _pixels(means: Tensor, signs: Tensor, view: Tensor) -> float:
    """The root mean square over pixels of image minus view, averaged over objects."""
    total = 0.0
    for ids in torch.arange(len(signs)).split(1024):
        total += float((means[signs[ids]] - view[ids]).flatten(1).square().mean(1).sqrt().double().sum())
    return total / len(signs)


# -- pictures ----------------------------------------------------------------------------------------


def _shown(said: NDArray[np.int64], K: int) -> NDArray[np.int64]:
    """The signs that get a row: all, or those most used, by number."""
    used = np.bincount(said.ravel(), minlength=K)
    return np.sort(np.argsort(-used, kind="stable")[:MOST_SIGNS])


def _grey(images: Tensor) -> NDArray[np.float32]:
    """(B, C, H, W) -> (B, H, W) in [0, 1]; a Gaussian decoder may mean values beyond."""
    grey: NDArray[np.float32] = images.mean(1).clamp(0, 1).numpy()
    return grey


def _grid(wanted: list[NDArray[np.intp]], pairs: int, images: Mapping[int, Tensor]) -> NDArray[np.float32]:
    """The images of the objects in each row, left-aligned: (S, pairs, H, W)."""
    shape = next(iter(images.values())).shape
    grid = np.full((len(wanted), pairs, *shape[1:]), np.nan, dtype=np.float32)
    for r, row in enumerate(wanted):
        for c, n in enumerate(row):
            grid[r, c] = _grey(images[int(n)][None])[0]
    return grid


def _stacked(own: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Images (S, P, H, W) of each modality E, below each other for each sign: (S * E, P, H, W), small ones centred."""
    if len(own) == 1:
        return own[0]
    S, P = own[0].shape[:2]
    H, W = (max(sizes) for sizes in zip(*(images.shape[2:] for images in own), strict=True))
    ground = np.full((S, len(own), P, H, W), np.nan, dtype=np.float32)
    for e, images in enumerate(own):
        h, w = images.shape[2:]
        top, left = (H - h) // 2, (W - w) // 2
        ground[:, e, :, top : top + h, left : left + w] = images
    return ground.reshape(S * len(own), P, H, W)


def _draw(trained: Trained, gallery: Gallery) -> list[str]:
    """The pictures, in plots/; their names."""
    from mhng.experiment.plots import recall as recall_plots
    from mhng.experiment.plots import training as training_plots

    folder = trained.folder.file(run_folder.PLOTS)
    rows = {
        name: [f"sign {k}: {caption}" for k, caption in zip(gallery.shown, captions, strict=True)]
        for name, captions in gallery.captions.items()
    }
    drawn = []
    for eyes in eyes_of(trained):
        own = [gallery.recalled[eye.label] for eye in eyes]
        images = _stacked(own)
        columns = ["mean", *(f"draw {d}" for d in range(1, images.shape[1]))]
        heads = rows[eyes[0].label]
        if len(eyes) > 1:  # a row for each modality, and the sign beside the first
            beside = [[f"{head} ({eyes[0].title})", *(f"({eye.title})" for eye in eyes[1:])] for head in heads]
            heads = [head for group in beside for head in group]
        drawn.append(f"recall_{eyes[0].name}.png")
        training_plots.plot_images(folder / drawn[-1], images, heads, columns)
    panels = []
    for direction, saw in gallery.saw.items():
        speaker, listener = direction.split("->")
        panels.append(recall_plots.Direction(speaker, listener, rows[speaker], saw, gallery.imagined[direction]))
    drawn.append("cross_recall.png")
    recall_plots.plot_cross(folder / drawn[-1], panels)
    return drawn
