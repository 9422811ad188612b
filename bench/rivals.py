"""Languages of rivals on the same percepts and hold-outs: the table in docs/sentences.md.

    python bench/rivals.py [--sets attributes:2x10 numbers --seeds 0 1 2 3 4 --steps 4000 --methods ours lewis simsiam]

    ours      the Metropolis-Hastings game with sentences: `train` with the settings of `SETS`
    lewis     a Lewis reconstruction game (as in EGG): the sender, a GRU, describes its percept by Gumbel-softmax
              words; the receiver, a GRU, reconstructs its own percept from them. Gradients cross between the agents.
              Loss: cross entropy of each one-hot for `attributes`, squared error for `numbers`
    simsiam   a SimSiam naming game: both agents encode their percepts and describe them by such words; each predicts
              its own representation from both messages (negative cosine). Representations are targets without
              gradients, so no percept is reconstructed

All see the features of the same seen objects, describe held-out objects, and have a vocabulary of ten. Ours have two
words, the rivals three: with two, the Lewis game learned 0.87 of the seen objects only. EGG gives three words for two
attributes too. The rivals train with Adam for --steps steps. The temperature of their words falls from 2 to 0.5; tests
take the most probable words. Speaker A, listener B:

    learned     the listener tells all attributes of seen objects from the message alone: linear classifiers, fitted on
                its percepts or representations of seen objects, read what it predicts
    decoded     the same for unseen objects, in and out of distribution
    right       share of unseen objects whose attributes all follow from the words (matching fitted on seen objects)
    found       the listener finds the object among 10 unseen ones
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mhng.experiment.data.combinations import ATTRIBUTES, attributes_of, held_combinations
from mhng.experiment.metrics.language import fit_decoder, language
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.console import Silent
from mhng.experiment.training.language_scores import fit_readers, share_found
from mhng.experiment.training.prepare import load_held_out, load_objects
from mhng.experiment.training.train import train

WORDS, RIVAL_WORDS, VOCABULARY = 2, 3, 10
SETTINGS = {
    "likelihood": "identity", "rounds": "0", "words": str(WORDS), "vocabulary": str(VOCABULARY), "chains": "1",
    "sweeps": "30",
}  # fmt: skip
SETS = {
    "attributes:2x10": {"hold_out": "egg"},
    "numbers": {"hold_out": "0.2"},
}
SCORES = ("learned", "decoded in", "decoded out", "right in", "right out", "found", "topsim", "posdis")
HIDDEN, REPRESENTATION, BATCH, RATE = 64, 32, 128, 2e-3
HOT, COLD = 2.0, 0.5  # temperatures of words


class Data(NamedTuple):
    """Percepts of both agents (N, D), attributes (N, A), and kinds of unseen objects: 1 in, 2 out of distribution."""

    seen: tuple[Tensor, ...]
    unseen: tuple[Tensor, ...]
    seen_attributes: np.ndarray
    attributes: np.ndarray
    kinds: np.ndarray
    values: int | None  # V, if percepts are A one-hots of V features


class Pair(NamedTuple):
    """A trained pair: messages of A (N, S) for its percepts; what B predicts from messages; B's targets (N, L)."""

    speak: Callable[[Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    likeness: Callable[[Tensor, Tensor], Tensor]  # of targets (N, L) and predictions (M, L): (N, M)


class Speaker(nn.Module):
    """Percepts (N, D) to one-hot words (N, S, V)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.start = nn.Linear(features, HIDDEN)
        self.cell = nn.GRUCell(HIDDEN, HIDDEN)
        self.embed = nn.Linear(VOCABULARY, HIDDEN)
        self.word = nn.Linear(HIDDEN, VOCABULARY)
        self.temperature = HOT

    def forward(self, x: Tensor) -> Tensor:
        """Sample relaxed words in training; take the most probable ones else."""
        state, word, words = self.start(x), x.new_zeros(len(x), VOCABULARY), []
        for _ in range(RIVAL_WORDS):
            state = self.cell(self.embed(word), state)
            logits = self.word(state)
            if self.training:
                word = functional.gumbel_softmax(logits, tau=self.temperature)
            else:
                word = functional.one_hot(logits.argmax(-1), VOCABULARY).to(x.dtype)
            words.append(word)
        return torch.stack(words, dim=1)


class Listener(nn.Module):
    """One-hot words (N, S, V) to predictions (N, L)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.embed = nn.Linear(VOCABULARY, HIDDEN)
        self.read = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.tell = nn.Linear(HIDDEN, features)

    def forward(self, words: Tensor) -> Tensor:
        """Predictions from the state after the last word."""
        told: Tensor = self.tell(self.read(self.embed(words))[1][0])
        return told


def load(config: Config) -> Data:
    """The objects of our run, as its agents observe them."""
    objects, held = load_objects(config).objects, load_held_out(config)
    assert held is not None and held.labels is not None and objects.labels is not None
    every = np.array([name.split() for name in held.class_names], dtype=np.int64)
    matched = ATTRIBUTES.fullmatch(config.dataset)
    return Data(
        tuple(view.float() for view in objects.views),
        tuple(view.float() for view in held.views),
        attributes_of(objects.class_names, objects.labels),
        attributes_of(held.class_names, held.labels),
        held_combinations(every, config.hold_out, config.seed)[held.labels],
        int(matched[2]) if matched else None,
    )


def optimise(agents: nn.Module, loss_of: Callable[[Tensor], Tensor], N: int, steps: int) -> None:
    """Adam steps on batches of objects, with words that become discrete."""
    optimiser = torch.optim.Adam(agents.parameters(), lr=RATE)
    speakers = [module for module in agents.modules() if isinstance(module, Speaker)]
    for step in range(steps):
        for speaker in speakers:
            speaker.temperature = HOT * (COLD / HOT) ** (step / steps)
        loss = loss_of(torch.randint(N, (BATCH,)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    agents.eval()


def lewis(data: Data, steps: int) -> Pair:
    """Train the reconstruction game."""
    A, B = data.seen
    speaker, listener = Speaker(A.shape[1]), Listener(B.shape[1])

    def log_likelihood(told: Tensor, x: Tensor) -> Tensor:
        if data.values is None:
            return -(told - x).square().sum(-1)
        blocks = told.unflatten(-1, (-1, data.values)).log_softmax(-1).flatten(-2)
        return (blocks * x).sum(-1)

    def loss(batch: Tensor) -> Tensor:
        return -log_likelihood(listener(speaker(A[batch])), B[batch]).mean()

    optimise(nn.ModuleList([speaker, listener]), loss, len(A), steps)
    return Pair(speaker, listener, lambda x: x, lambda x, told: log_likelihood(told.unsqueeze(0), x.unsqueeze(1)))


def simsiam(data: Data, steps: int) -> Pair:
    """Train the naming game of two agents."""
    encoders, speakers, listeners = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
    for view in data.seen:
        layers = nn.Linear(view.shape[1], HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()
        encoders.append(
            nn.Sequential(*layers, nn.Linear(HIDDEN, REPRESENTATION), nn.BatchNorm1d(REPRESENTATION, affine=False))
        )
        speakers.append(Speaker(REPRESENTATION))
        listeners.append(Listener(REPRESENTATION))
    agents = nn.ModuleList([encoders, speakers, listeners])

    def loss(batch: Tensor) -> Tensor:
        z = [encoder(view[batch]) for encoder, view in zip(encoders, data.seen, strict=True)]
        messages = [speaker(own) for speaker, own in zip(speakers, z, strict=True)]
        likeness = [
            functional.cosine_similarity(listener(message), own.detach(), dim=-1).mean()
            for listener, own in zip(listeners, z, strict=True)
            for message in messages
        ]
        return -torch.stack(likeness).mean()

    optimise(agents, loss, len(data.seen[0]), steps)
    return Pair(
        lambda x: speakers[0](encoders[0](x)),
        listeners[1],
        encoders[1],
        lambda z, told: functional.cosine_similarity(z.unsqueeze(1), told.unsqueeze(0), dim=-1),
    )


@torch.no_grad()
def evaluate(pair: Pair, data: Data, seed: int) -> dict[str, float | None]:
    """SCORES of a trained pair."""
    words, new = pair.speak(data.seen[0]), pair.speak(data.unseen[0])
    messages, unseen = words.argmax(-1).numpy(), new.argmax(-1).numpy()
    scores = language(messages, data.seen_attributes)
    right = (fit_decoder(messages, data.seen_attributes).decode(unseen) == data.attributes).all(1)
    readers = fit_readers(pair.target(data.seen[1]).double(), data.seen_attributes)

    def decoded(words: Tensor, attributes: np.ndarray) -> np.ndarray:
        told = pair.predict(words).double().numpy()
        return (np.stack([reader.predict(told) for reader in readers], axis=1) == attributes).all(1)

    fits = pair.likeness(pair.target(data.unseen[1]), pair.predict(new)).double().numpy()
    return {
        "learned": float(decoded(words, data.seen_attributes).mean()),
        **by_kind("decoded", decoded(new, data.attributes), data.kinds),
        **by_kind("right", right, data.kinds),
        "found": share_found(fits, 10, np.random.RandomState(seed)),
        "topsim": scores["topsim"],
        "posdis": scores["posdis"],
    }


def by_kind(name: str, right: np.ndarray, kinds: np.ndarray) -> dict[str, float | None]:
    """Shares in and out of distribution."""
    which = {"in": kinds == 1, "out": kinds == 2}
    return {f"{name} {kind}": float(right[mask].mean()) if mask.any() else None for kind, mask in which.items()}


def ours(settings: dict[str, str]) -> dict[str, float | None]:
    """SCORES of our run."""
    with tempfile.TemporaryDirectory() as folder:
        summary = train(resolve(settings | {"run_dir": f"{folder}/run"}), printer=Silent())
    report = summary["language"]
    unseen, seen = report["unseen"], report["agents"]["A"]["seen"]
    right, decoded = unseen["all_right"]["A"], unseen["decoded"]["A->B"]
    return {
        "learned": report["seen"]["decoded"]["A->B"],
        "decoded in": decoded["in"],
        "decoded out": decoded["out"],
        "right in": right["in"],
        "right out": right["out"],
        "found": unseen["found"]["A->B"].get("10"),
        "topsim": seen["topsim"],
        "posdis": seen["posdis"],
    }


def _show(values: list[float | None]) -> str:
    """Mean and worst value of the seeds."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.2f} ({min(known):.2f})" if known else "-"


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=4000, help="steps of a rival (default: 4000)")
    methods = {"ours": None, "lewis": lewis, "simsiam": simsiam}
    parser.add_argument("--methods", nargs="+", default=list(methods), choices=list(methods))
    options = parser.parse_args(arguments)
    print(f"| set | method | {' | '.join(SCORES)} |\n" + "| --- " * (len(SCORES) + 2) + "|")
    for name in options.sets:
        for method in options.methods:
            rows = []
            for seed in options.seeds:
                settings = SETTINGS | SETS[name] | {"dataset": name, "seed": str(seed)}
                if (build := methods[method]) is None:
                    rows.append(ours(settings))
                    continue
                torch.manual_seed(seed)
                data = load(resolve(settings))
                rows.append(evaluate(build(data, options.steps), data, seed))
            cells = [_show([row[score] for row in rows]) for score in SCORES]
            print(f"| {name} | {method} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
