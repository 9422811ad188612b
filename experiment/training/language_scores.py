"""Scores of the agents' sentences, for summary.json and the command `language`.

    evidence    log p(z | sentences) of each agent under every meaning, in nats. `over_holistic` is the gain of the
                meaning `positions` over a mean for every sentence: compositionality without labels
    seen        scores of the final sentences (`mhng.experiment.metrics.language`), for objects with attributes
    unseen      combinations held out by --hold-out: each agent, and both together, say the most probable sentence.
                The words are read by the matching fitted on the seen objects
    found       reference games: the listener picks the object that its own latents fit best to the speaker's
                sentence, among 10 and among 100 objects; by pair of agents, for seen and unseen objects. With more
                than four agents, each speaks to the next one. "10 of other values": no other object has the attributes
                of the target, and the listener picks by p(w | z)
    decoded     the listener tells the attributes from the sentence alone: a linear classifier of each attribute
                (ridge regression), fitted on the listener's latents of seen objects, reads the latent that the
                sentence means

z are the means of q(z | x). Parameters of sentences are posterior means given the final sentences. So the scores draw
no parameters. Labels are used for scores only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.combinations import attributes_of, held_combinations
from mhng.experiment.data.objects import Objects
from mhng.experiment.metrics.language import Decoder, Ints, fit_decoder
from mhng.experiment.metrics.language import language as score
from mhng.experiment.settings.schema import Config
from mhng.experiment.util.jsonable import to_plain
from mhng.models.agent import Agent
from mhng.models.languages import MEANINGS, Sentences
from mhng.models.mixtures.additive import Additive, additive
from mhng.models.percepts import Percepts
from mhng.models.rng import random_integer, stream
from mhng.models.word_belief import most_probable

CANDIDATES = (10, 100)

# With more agents, each speaks to the next one only, in place of all others.
_MOST_AGENTS = 4

# Objects beyond these, chosen at random, take no part in reference games and decoding.
MOST_OBJECTS = 1000


@dataclass(frozen=True)
class Speaker:
    """An agent's language after a run, on the CPU.

    signs: final sentences (N,). mixture: of the run's meaning. parameters: posterior means given the sentences. z:
    latents (N, L). evidence: log p(z | sentences) under every meaning, in nats.
    """

    agent: Agent
    signs: NDArray[np.int64]
    mixture: Any
    parameters: Any
    z: Tensor
    evidence: dict[str, float]

    def perceive(self, view: Tensor) -> Tensor:
        """Latents of observations (N, *shape): (N, L)."""
        return self.agent.perceive(view.to(self.agent.log_pi.device), None).z.cpu()

    def belief(self, z: Tensor) -> Any:
        """The belief about sentences of objects with latents z (N, L), with one chain."""
        one_chain = type(self.parameters)(*(part.unsqueeze(0) for part in self.parameters))
        return Percepts(z, self.mixture, check=False).belief(one_chain)

    def fits(self, z: Tensor, signs: Tensor) -> Tensor:
        """log p(z_n | w) of latents (N, L) under each of the sentences (B,): (N, B)."""
        used, place = signs.unique(return_inverse=True)
        features = self.mixture.features(z)
        if isinstance(self.mixture, Additive):
            table = self.mixture.log_prob_table(features, self.parameters, used)
        else:
            table = self.mixture.log_prob_table(features, self.parameters)[:, used]
        return table[:, place]

    def log_marginal(self, z: Tensor) -> Tensor:
        """log p(z_n) of latents (N, L): (N,). With too many sentences for a table, that of the best sentence."""
        belief = self.belief(z)
        sentences = getattr(self.mixture, "sentences", None)
        if sentences is None or sentences.fits_table:
            total: Tensor = (belief.table[0] + self.log_pi).logsumexp(-1)
            return total
        best: Tensor = belief.pointwise(belief.best(self.log_pi))[0]
        return best

    def means(self, signs: Tensor) -> Tensor:
        """The latents that sentences (B,) mean: (B, L)."""
        if isinstance(self.mixture, Additive):
            return self.mixture.sentence_means(self.parameters, signs)
        means: Tensor = self.mixture.means(self.parameters)[signs]
        return means

    @property
    def log_pi(self) -> Tensor:
        """log p(w) of every sentence: (K,)."""
        return self.agent.log_pi.cpu()


def fit_speakers(
    config: Config, objects: Objects, agents: Mapping[str, Agent], signs: Mapping[str, NDArray[np.int64]]
) -> dict[str, Speaker]:
    """The language of each agent, by name. signs: its final sentences, (N,)."""
    assert config.sentences is not None
    return {
        name: _fit(config, config.sentences, agent, view, signs[name])
        for (name, agent), view in zip(agents.items(), objects.views, strict=True)
    }


def language_scores(
    config: Config,
    objects: Objects,
    speakers: Mapping[str, Speaker],
    load_held_out: Callable[[], Objects | None],
) -> dict[str, Any]:
    """All scores as plain values.

    load_held_out: returns the objects that --hold-out keeps from the agents, or None.
    """
    sentences = config.sentences
    assert sentences is not None
    labels = objects.labels
    attributes = None if labels is None else attributes_of(objects.class_names, labels)
    words = {name: _words(sentences, torch.from_numpy(speaker.signs)) for name, speaker in speakers.items()}
    report: dict[str, Any] = {
        "agents": {
            name: {
                "evidence": speaker.evidence,
                "over_holistic": _gain(speaker.evidence, "holistic"),
                "over_bag": _gain(speaker.evidence, "bag"),
                "seen": None if attributes is None else score(words[name], attributes),
            }
            for name, speaker in speakers.items()
        },
        "seen": _understood(config, speakers, {name: speaker.z for name, speaker in speakers.items()}, attributes),
        "unseen": None,
    }
    if attributes is not None and (held := load_held_out()) is not None:
        decoders = {name: fit_decoder(words[name], attributes) for name in speakers}
        report["unseen"] = _unseen(config, sentences, speakers, held, decoders, attributes)
    plain: dict[str, Any] = to_plain(report)
    return plain


def _gain(evidence: Mapping[str, float], over: str) -> float | None:
    """Nats of `positions` over another meaning; None if that has no evidence."""
    return evidence["positions"] - evidence[over] if over in evidence else None


def _words(sentences: Sentences, signs: Tensor) -> Ints:
    words: Ints = sentences.split(signs).numpy()
    return words


def _fit(config: Config, sentences: Sentences, agent: Agent, view: Tensor, signs: NDArray[np.int64]) -> Speaker:
    """An agent's language."""
    z = agent.perceive(view.to(agent.log_pi.device), None).z.cpu()
    prior = {name: torch.as_tensor(getattr(agent.mixture, name)).cpu() for name in ("m0", "W")}
    prior |= {name: getattr(agent.mixture, name) for name in ("beta", "nu")}
    said = torch.from_numpy(np.asarray(signs, dtype=np.int64)).unsqueeze(0)
    evidence = {}
    for meaning in MEANINGS:
        if meaning == "pairs" and not sentences.fits_table:
            continue  # as many parameters as sentences
        mixture = additive(sentences, meaning)(agent.latent, **prior)
        if meaning == "holistic" and not sentences.fits_table:
            evidence[meaning] = float(mixture.evidence_of(z, said[0]))
            continue
        features = mixture.features(z)
        evidence[meaning] = float(mixture.log_evidence(features, said, sentences.count))
        if meaning == config.meaning:
            own, parameters = mixture, _posterior_mean(mixture, features, said, sentences.count)
    return Speaker(agent, said[0].numpy(), own, parameters, z, evidence)


def _posterior_mean(mixture: Any, features: Any, signs: Tensor, K: int) -> Any:
    """Parameters of sentences at their posterior mean given sentences (1, N)."""
    if isinstance(mixture, Additive):
        parameters: Any = mixture.best_parameters(features, signs)
    else:
        parameters = mixture.posterior_mean(mixture.posterior(mixture.sufficient_statistics(features, signs, K)))
    return type(parameters)(*(part[0] for part in parameters))


def _unseen(
    config: Config,
    sentences: Sentences,
    speakers: Mapping[str, Speaker],
    held: Objects,
    decoders: Mapping[str, Decoder],
    seen: Ints,
) -> dict[str, Any]:
    """Scores for held-out combinations. seen: attributes of the seen objects."""
    assert held.labels is not None
    attributes = attributes_of(held.class_names, held.labels)
    assert attributes is not None
    every = np.array([name.split() for name in held.class_names], dtype=np.int64)
    kinds = held_combinations(every, config.hold_out, config.seed)[held.labels]
    z = {name: speaker.perceive(view) for (name, speaker), view in zip(speakers.items(), held.views, strict=True)}
    beliefs = {name: speaker.belief(z[name]) for name, speaker in speakers.items()}
    said = {name: most_probable(sentences, [belief], speakers[name].log_pi) for name, belief in beliefs.items()}
    first = next(iter(speakers))
    together = most_probable(sentences, list(beliefs.values()), speakers[first].log_pi)

    def right(signs: Tensor, name: str) -> dict[str, float | None]:
        return _by_kind((decoders[name].decode(_words(sentences, signs)) == attributes).all(1), kinds)

    return {
        "objects": held.count,
        "combinations": len(np.unique(held.labels)),
        "all_right": {name: right(signs, name) for name, signs in said.items()} | {"together": right(together, first)},
        **_understood(config, speakers, z, seen, said, attributes, kinds),
    }


def _by_kind(right: NDArray[np.bool_], kinds: Ints) -> dict[str, float | None]:
    """Share of objects that are right: in and out of distribution."""
    which = {"in": kinds == 1, "out": kinds == 2}
    return {name: float(right[mask].mean()) if mask.any() else None for name, mask in which.items()}


# -- from speaker to listener ------------------------------------------------------------------------


def _understood(
    config: Config,
    speakers: Mapping[str, Speaker],
    z: Mapping[str, Tensor],
    seen: Ints | None,
    said: Mapping[str, Tensor] | None = None,
    attributes: Ints | None = None,
    kinds: Ints | None = None,
) -> dict[str, Any]:
    """`found` and `decoded` by pair of agents, for objects with latents z (N, L) of each agent.

    seen: attributes of the seen objects, None without. said, attributes, kinds: sentences (N,), attributes and kinds
    of unseen objects; None for the seen ones.
    """
    random = np.random.RandomState(random_integer(stream(config.seed, "language/candidates")))
    N = len(next(iter(z.values())))
    shown = np.sort(random.permutation(N)[:MOST_OBJECTS])
    attributes = seen if attributes is None else attributes
    readers = {} if seen is None else {name: fit_readers(speaker.z, seen) for name, speaker in speakers.items()}
    found, decoded = {}, {}
    for first, second in _pairs(list(speakers)):
        listener, pair = speakers[second], f"{first}->{second}"
        signs = (torch.from_numpy(speakers[first].signs) if said is None else said[first])[shown]
        fits = listener.fits(z[second][shown], signs).numpy()  # object, sentence of target
        found[pair] = {
            str(count): share_found(fits, count, random) for count in CANDIDATES if count <= len(shown)
        }  # fmt: skip
        if attributes is not None:
            combinations = np.unique(attributes[shown], axis=0, return_inverse=True)[1].reshape(-1)
            posterior = fits - listener.log_marginal(z[second][shown]).numpy()[:, None]
            if len(shown) - np.bincount(combinations).max() >= CANDIDATES[0] - 1:
                share = share_found(posterior, CANDIDATES[0], random, combinations)
                found[pair][f"{CANDIDATES[0]} of other values"] = share
        if seen is not None:
            assert attributes is not None
            told = np.stack([reader.predict(listener.means(signs).numpy()) for reader in readers[second]], axis=1)
            right = (told == attributes[shown]).all(1)
            decoded[pair] = float(right.mean()) if kinds is None else _by_kind(right, kinds[shown])
    return {"found": found, "decoded": decoded or None}


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of speaker and listener."""
    if len(names) <= _MOST_AGENTS:
        return list(permutations(names, 2))
    return list(zip(names, [*names[1:], names[0]], strict=True))


def fit_readers(z: Tensor, attributes: Ints) -> list[Any]:
    """A linear classifier of each attribute, fitted on latents z (N, L)."""
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import RidgeClassifier

    return [
        (RidgeClassifier() if np.ptp(column) else DummyClassifier()).fit(z.numpy(), column) for column in attributes.T
    ]


def share_found(
    fits: NDArray[Any], count: int, random: np.random.RandomState, combinations: Ints | None = None
) -> float:
    """Share of targets found among `count` objects. fits (N, N): of objects (rows) with the sentences of targets.

    combinations (N,): the other objects have other ones than the target. None: any other objects.
    """
    if combinations is None:
        combinations = np.arange(len(fits))
    found: list[bool] = []
    for target, combination in enumerate(combinations):
        others = random.choice(np.flatnonzero(combinations != combination), count - 1, replace=False)
        found.append(bool(fits[target, target] > fits[others, target].max()))
    return float(np.mean(found))
