"""The objects of a study as the person and the partner see them, and what both know at the beginning.

    creatures       drawn creatures: the person sees the body, the partner the ornaments
    NAME            a data set of images: the partner's pictures are turned by 45 degrees
    DIR             image files; DIR,DIR: those of the person, and those of the partner with the same names
    RUN             two agents of a run: the partner is one, and the person takes the place of the other
    FILE.py:NAME    two agents of a game of Pyro programs, with pictures in a folder

Bots that stand for a person need a table of their own. It is that of the other agent, so that the law of a game can
be enumerated. Without a run, each side has a Gaussian mixture over features of its pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mhng.experiment.data.custom.dataset import Files
from mhng.experiment.data.images import SUFFIXES, read_image
from mhng.experiment.data.loading import load
from mhng.experiment.data.registry import DATASETS
from mhng.experiment.errors import UsageError
from mhng.experiment.people import creatures
from mhng.experiment.people.partner import MixturePartner
from mhng.experiment.people.person import PersonSide
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.paths import typed_path
from mhng.models.clustering import kmeans
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream

# Pixels of the shorter side of a served picture, and the most of the longer side.
_SIDE, _LONGEST = 240, 960
# Features of a picture: its number of principal components, and the most pictures that they are fitted to.
_COMPONENTS, _FITTED = 6, 5000
# Standard deviation of a component of standardised features, under the mean of its prior.
_SPREAD = 0.5
_IMAGE_SIZE = 64


class Sides(NamedTuple):
    """Both sides of N objects. pictures of the partner may be absent. partner: as partner.pt holds it."""

    person_pictures: Sequence[Image.Image]
    partner_pictures: Sequence[Image.Image]
    person: PersonSide
    partner: dict[str, Any]
    source: str


def sides_of_data(typed: str, objects: int, signs: int, seed: int, data_root: Path | None = None) -> Sides:
    """The sides of `objects` objects of a data set, folders or creatures. Raises UsageError."""
    generator = np.random.RandomState(seed % 2**32)
    if typed == "creatures":
        drawn = creatures.draw_features(objects, signs, generator)
        pictures = [creatures.body_picture(row) for row in drawn.body]
        hidden = [creatures.ornament_picture(row) for row in drawn.ornament]
        return _with_mixtures(pictures, hidden, drawn.body, drawn.ornament, signs, seed, typed)
    if typed in DATASETS and typed not in ("npz", "csv", "folder"):
        found = load(typed, data_root=data_root, download=False, limit=None, views=(0.0, 45.0), seed=seed)
    else:
        parts = typed.split(",")
        if len(parts) > 2 or not all(parts):
            raise UsageError(f"--data is {typed!r}; expected one folder, or those of the person and of the partner")
        folders = tuple(typed_path(part, "--data") for part in parts)
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"--data is {typed!r}; expected creatures, a data set of images, or a folder")
        files = Files(folders, image_size=_IMAGE_SIZE, channels=3)
        found = load("folder", data_root=None, download=False, limit=None, views=(0.0, 0.0), seed=seed, files=files)
        typed = ",".join(folder.absolute().name for folder in folders)  # the data set holds no paths
    if found.views[0].dim() != 4:
        raise UsageError(f"--data {typed}: its objects are features; expected images")
    if objects > found.count:
        raise UsageError(f"--objects is {objects}; {typed} has {found.count}")
    features = [_components(view.flatten(1).double().numpy()) for view in found.views]
    chosen = _chosen(found.labels, found.count, objects, signs, generator)
    pictures, hidden = ([_enlarged(view[n].numpy()) for n in chosen] for view in found.views)
    return _with_mixtures(pictures, hidden, features[0][chosen], features[1][chosen], signs, seed, typed)


def sides_of_run(
    run: SavedRun, agent: str | None, objects: int, seed: int, pictures: Path | None = None
) -> tuple[Sides, int]:
    """The sides of objects of a run, and the number of its signs. agent: the partner (default: the first agent)."""
    if run.config.words > 1:
        raise UsageError(f"{run.path} is a run of sentences; a study requires single signs")
    partner, person = agents_of(run.agents, agent)
    places = {name: m for m, name in enumerate(run.agents)}
    view = run.objects.views[places[person]]
    if objects > len(view):
        raise UsageError(f"--objects is {objects}; {run.path} has {len(view)}")
    K, generator = run.config.signs, np.random.RandomState(seed % 2**32)
    labels = run.labels
    chosen = np.arange(objects) if pictures else _chosen(labels, len(view), objects, K, generator)
    if pictures is not None:
        shown = read_pictures(pictures, objects)
        hidden: Sequence[Image.Image] = ()
    elif view.dim() == 4:
        shown = [_enlarged(view[n].numpy()) for n in chosen]
        own = run.objects.views[places[partner]]
        hidden = [_enlarged(own[n].numpy()) for n in chosen] if own.dim() == 4 else []
    else:
        raise UsageError(
            f"agent {person} of {run.path} has features or several images of an object; --pictures DIR gives a "
            "picture of each"
        )
    models, parameters = run.models, run.parameters
    rows = np.concatenate([chosen, np.setdiff1d(np.arange(len(view)), chosen)])
    z = {name: models[name].perceive(run.objects.views[places[name]], None).z[rows] for name in {partner, person}}
    native, other = (
        MixturePartner(
            models[name].mixture, z[name], parameters[name], models[name].log_pi, run.signs[name][rows], objects
        )
        for name in (partner, person)
    )
    known = PersonSide(z[person][:objects].numpy(), np.array(other.belief.log_prior), np.array(other.belief.table))
    return Sides(shown, hidden, known, native.state(), f"run {run.path.name}, partner {partner}"), K


def agents_of(names: Sequence[str], agent: str | None) -> tuple[str, str]:
    """The partner, and the agent whose place the person takes. Raises UsageError for an unknown agent."""
    partner = names[0] if agent is None else agent
    if partner not in names:
        raise UsageError(f"--agent is {partner!r}; expected one of {', '.join(names)}")
    return partner, names[(list(names).index(partner) + 1) % len(names)]


def read_pictures(folder: Path, objects: int) -> list[Image.Image]:
    """The first `objects` pictures of a folder, in the order of their names. Raises UsageError."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise UsageError(f"--pictures {folder} cannot be read: {error.strerror}") from error
    if len(files) < objects:
        raise UsageError(
            f"--pictures {folder} holds {len(files)} pictures; expected one for each of {objects} objects"
        )
    return [_enlarged(read_image(file, "--pictures")) for file in files[:objects]]


def _with_mixtures(
    pictures: Sequence[Image.Image],
    hidden: Sequence[Image.Image],
    seen: NDArray[np.float64],
    unseen: NDArray[np.float64],
    K: int,
    seed: int,
    source: str,
) -> Sides:
    """Sides with a Gaussian mixture over the features of each. Their signs begin at the partner's clusters."""
    z = [torch.from_numpy(_standardised(features)) for features in (seen, unseen)]
    L = z[0].shape[1]
    family = NormalWishart(L, beta=0.1, nu=L + 2, W=1 / ((L + 2) * _SPREAD**2))
    signs = kmeans(z[1], K, seed % 2**31, None)
    log_pi = torch.full((K,), 1 / K, dtype=torch.float64).log()
    native = []
    for side, name in ((z[0], "person"), (z[1], "partner")):
        phi = Percepts(side, family).redraw(stream(seed, f"study/{name}"), signs.unsqueeze(0), K).parameters
        native.append(MixturePartner(family, side, type(phi)(*(part[0] for part in phi)), log_pi, signs.tolist()))
    person, partner = native
    known = PersonSide(z[0].numpy(), np.array(person.belief.log_prior), np.array(person.belief.table))
    return Sides(pictures, hidden, known, partner.state(), source)


def _chosen(
    labels: NDArray[np.int64] | None, count: int, objects: int, classes: int, generator: np.random.RandomState
) -> NDArray[np.int64]:
    """Objects at random; with labels, of the first `classes` classes, each equally often as far as it goes."""
    shuffled = generator.permutation(count)
    if labels is None:
        return shuffled[:objects]
    rank = np.zeros(count, dtype=np.int64)  # how many objects of its class come before an object
    seen: dict[int, int] = {}
    for place, n in enumerate(shuffled):
        label = int(labels[n])
        rank[place] = seen.get(label, 0)
        seen[label] = int(rank[place]) + 1
    kept = set(sorted(seen)[:classes])
    later = np.array([int(labels[n]) not in kept for n in shuffled])
    chosen = shuffled[np.lexsort((rank, later))][:objects]
    return generator.permutation(chosen)


def _components(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Principal components (N, L) of pixels (N, D)."""
    from sklearn.decomposition import PCA

    count = min(_COMPONENTS, *pixels.shape)
    return np.asarray(PCA(count, random_state=0).fit(pixels[:_FITTED]).transform(pixels))


def _standardised(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Features with mean 0, and variance 1 where they vary."""
    spread = features.std(0)
    return np.asarray((features - features.mean(0)) / np.where(spread > 0, spread, 1))


def _enlarged(pixels: NDArray[np.float32]) -> Image.Image:
    """An image (C, H, W) in [0, 1] as a picture whose sides have 240 to 960 pixels, as far as its shape allows."""
    grey = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    image = Image.fromarray(grey[0] if len(grey) == 1 else np.ascontiguousarray(grey.transpose(1, 2, 0)))
    scale = max(1, min(-(-_SIDE // min(image.size)), _LONGEST // max(image.size)))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    image.thumbnail((_LONGEST, _LONGEST))
    return image
