"""`recall RUN`: what do the agents mean by a sign, and does the one imagine what the other saw?

    recall         of each agent and sign: the image at the component's mean, and draws around it
    cross recall   A sees an object and says its sign (`experiment.meaning.naming`); B, who has not looked, imagines it

Pictures are drawn for people; the scores are for machines, and use labels for nothing else. A classifier of the
listener's own views (`experiment.meaning.judge`) looks at imagined images: is the one of sign k of the class that k is
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

from experiment import store
from experiment.errors import UsageError
from experiment.meaning import vocabulary
from experiment.meaning.imagination import check_temperature, heard, meant
from experiment.meaning.judge import Judge, train_judge
from experiment.meaning.naming import say
from experiment.meaning.trained import Trained, load_trained
from experiment.show import number
from experiment.store import to_plain
from models.randomness import stream

# Pictures with more cells could not be looked at.
MOST_DRAWS = 100
MOST_PAIRS = 20
MOST_SIGNS = 50


class Gallery(NamedTuple):
    """What is drawn: images in [0, 1], of the signs `shown`, in grey."""

    shown: NDArray[np.int64]  # (S,) the signs that have a row
    captions: dict[str, list[str]]  # of each agent: what each of these signs names
    recalled: dict[str, NDArray[np.float32]]  # of each agent: (S, 1 + draws, H, W), the mean first
    saw: dict[str, NDArray[np.float32]]  # by direction "A->B": (S, pairs, H, W), NaN where there is no object
    imagined: dict[str, NDArray[np.float32]]


def recall(
    path: Path,
    *,
    temperature: float = 1.0,
    count: int = 8,
    pairs: int = 4,
    data_root: Path | None = None,
    as_json: bool = False,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Imagine, score, draw, write and print; returns what recall.json holds."""
    check_temperature("--temperature", temperature)
    for flag, value, most in (("--count", count, MOST_DRAWS), ("--pairs", pairs, MOST_PAIRS)):
        if not 1 <= value <= most:
            raise UsageError(f"{flag} must be 1 to {most}; it is {value}")
    trained = load_trained(path, data_root=data_root, trust_plugins=trust_plugins)
    trained.check_images("has no images to recall")
    report, gallery = examine(trained, temperature=temperature, count=count, pairs=pairs)
    report["pictures"] = _draw(trained, gallery)
    plain: dict[str, Any] = to_plain(report)
    trained.folder.write_json(store.RECALL, plain)
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
    judges = {
        name: None
        if objects.labels is None
        else train_judge(view, objects.labels, stream(config.seed, f"{name}/recall/judge"))
        for name, view in zip(names, objects.views, strict=True)
    }
    draws = 0 if temperature == 0 else count
    agents, captions, recalled = {}, {}, {}
    for m, name in enumerate(names):
        own = _Vocabulary(trained, m)
        captions[name] = [own.captions[k] for k in shown]
        agents[name], recalled[name] = _recalled(trained, m, own, judges[name], temperature, draws, shown)
    cross, saw, imagined = {}, {}, {}
    for speaker, listener in permutations(range(len(names)), 2):
        direction = f"{names[speaker]}->{names[listener]}"
        signs, view = said[speaker], objects.views[speaker]
        wanted = [np.flatnonzero(signs == k)[:pairs] for k in shown]
        judge = judges[names[listener]]
        cross[direction], images = _cross(trained, direction, signs, listener, judge, temperature, wanted)
        saw[direction] = _grid(wanted, pairs, {int(n): view[n] for row in wanted for n in row})
        imagined[direction] = _grid(wanted, pairs, images)
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


# -- words -------------------------------------------------------------------------------------------


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report for a reader."""
    T = report["temperature"]
    return [
        f"Run: {report['run']}; mode {report['mode']}, {report['objects']} objects, temperature {T:g}",
        *score_lines(report),
        f"Pictures: {Path(report['run']) / store.PLOTS}: {', '.join(report['pictures'])}",
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
            f"  from {listener}'s own view {number(own['pixel_distance'])} in pixels (RMS; signs dealt at random "
            f"{number(own['pixel_distance_shuffled'])}), from its own percept {number(own['latent_distance'], 2)} "
            f"({number(own['latent_distance_shuffled'], 2)})"
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
        counts = vocabulary.table(trained.signs[m], labels, K, len(names))
        self.matched = vocabulary.matching(counts)
        self.captions = vocabulary.captions(counts, names)


def _recalled(
    trained: Trained,
    m: int,
    own: _Vocabulary,
    judge: Judge | None,
    temperature: float,
    draws: int,
    shown: NDArray[np.int64],
) -> tuple[dict[str, Any], NDArray[np.float32]]:
    """Agent m's scores, and its images of the signs `shown`: (S, 1 + draws, H, W)."""
    name, K = list(trained.agents)[m], trained.config.signs
    columns = []
    judged = np.full((1 + draws, K), -1)
    for column, chunks in enumerate(meant(trained, name, draws, temperature)):
        images = []
        for part, chunk in chunks:
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
    direction: str,
    signs: NDArray[np.int64],
    listener: int,
    judge: Judge | None,
    temperature: float,
    wanted: list[NDArray[np.intp]],
) -> tuple[dict[str, Any], dict[int, Tensor]]:
    """Scores of a listener that hears the speaker's signs (N,), and what it imagines of the objects `wanted`."""
    config, labels = trained.config, trained.objects.labels
    agent, components = list(trained.agents.values())[listener], trained.components[listener]
    view = trained.objects.views[listener]
    spoken = torch.from_numpy(signs)
    random = spoken[torch.randperm(len(spoken), generator=stream(config.seed, f"{direction}/recall/shuffle"))]
    means = agent.imagine(components.mu)
    z = agent.perceive(view, None).places
    kept: dict[int, Tensor] = {}
    some = np.concatenate([np.array([], dtype=np.intp), *wanted])
    right = 0
    speaker, _, hearer = direction.partition("->")
    for part, chunk in heard(trained, speaker, hearer, spoken, temperature):
        kept |= {int(n): chunk[n - part.start] for n in some[(some >= part.start) & (some < part.stop)]}
        if judge is not None and labels is not None and temperature > 0:
            right += int((judge.classes(chunk) == labels[part]).sum())
    judged = judge is not None and labels is not None
    scores = {
        "accuracy_means": float((judge.classes(means)[signs] == labels).mean()) if judge is not None else None,
        "accuracy_draws": right / len(signs) if judged and temperature > 0 else None,
        "judge_accuracy": None if judge is None else judge.held_out,
        "pixel_distance": _pixels(means, spoken, view),
        "pixel_distance_shuffled": _pixels(means, random, view),
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


def _draw(trained: Trained, gallery: Gallery) -> list[str]:
    """The pictures, in plots/; their names."""
    from experiment import plots
    from experiment.meaning import recall_plots

    folder = trained.folder.file(store.PLOTS)
    rows = {
        name: [f"sign {k}: {caption}" for k, caption in zip(gallery.shown, captions, strict=True)]
        for name, captions in gallery.captions.items()
    }
    drawn = []
    for name, images in gallery.recalled.items():
        columns = ["mean", *(f"draw {d}" for d in range(1, images.shape[1]))]
        drawn.append(f"recall_{name}.png")
        plots.plot_images(folder / drawn[-1], images, rows[name], columns)
    panels = []
    for direction, saw in gallery.saw.items():
        speaker, listener = direction.split("->")
        panels.append(recall_plots.Direction(speaker, listener, rows[speaker], saw, gallery.imagined[direction]))
    drawn.append("cross_recall.png")
    recall_plots.plot_cross(folder / drawn[-1], panels)
    return drawn
