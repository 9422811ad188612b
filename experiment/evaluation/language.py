"""The command `language RUN`: what the agents' sentences are worth.

evidence    log p(z | sentences) of each agent under every meaning, in nats. `over_holistic` is the gain of the
            meaning `positions` over a mean for every sentence: compositionality without labels
seen        scores of the final sentences (`mhng.experiment.metrics.language`), for objects with attributes
unseen      combinations held out by --hold-out: each agent, and both together, say the most probable sentence. The
            words are read by the matching fitted on the seen objects
found       reference games about unseen objects: the listener picks the object that its own latents fit best to the
            speaker's sentence, among 10 and among 100
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.combinations import attributes_of, held_combinations
from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.language import Decoder, Ints, fit_decoder
from mhng.experiment.metrics.language import language as score
from mhng.experiment.training.prepare import load_held_out
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import print_report
from mhng.experiment.util.text import decimal
from mhng.models.languages import MEANINGS, Sentences
from mhng.models.mixtures.additive import additive
from mhng.models.rng import random_integer, stream
from mhng.models.torch_defaults import torch_defaults

CANDIDATES = (10, 100)


def language(path: Path, *, as_json: bool = False, trust_plugins: bool = False) -> dict[str, Any]:
    """Score the sentences of the run in `path` and print them; returns the report. Raises UsageError."""
    report = language_report(SavedRun(path, trust_plugins=trust_plugins))
    print_report(report, report_lines, as_json=as_json)
    return report


@torch_defaults()
def language_report(run: SavedRun) -> dict[str, Any]:
    """The scores of a run's sentences as plain values. Raises UsageError for a run of single signs."""
    config, sentences = run.config, run.config.sentences
    if sentences is None:
        raise UsageError(f"{run.path} has single signs; language requires a run with --words 2 or more")
    words = run.words
    attributes = None if run.labels is None else attributes_of(run.objects.class_names, run.labels)
    report: dict[str, Any] = {
        "run": str(run.path),
        "words": config.words,
        "vocabulary": config.vocabulary,
        "meaning": config.meaning,
        "objects": run.objects.count,
        "kappa_slots": [
            partitions.mean_pairwise_kappa(np.stack([words[name][:, slot] for name in run.agents]))
            for slot in range(config.words)
        ],
        "agents": {},
        "unseen": None,
    }
    for m, name in enumerate(run.agents):
        evidence = _evidence(run, sentences, m)
        report["agents"][name] = {
            "evidence": evidence,
            "over_holistic": evidence["positions"] - evidence["holistic"],
            "over_bag": evidence["positions"] - evidence["bag"],
            "seen": None if attributes is None else score(words[name], attributes),
        }
    held = load_held_out(config)
    if held is not None and attributes is not None:
        decoders = {name: fit_decoder(words[name], attributes) for name in run.agents}
        report["unseen"] = _unseen(run, sentences, held, decoders)
    return report


def _evidence(run: SavedRun, sentences: Sentences, m: int) -> dict[str, float]:
    """The log evidence of an agent's final sentences under every meaning."""
    name = run.agents[m]
    agent = run.models[name]
    z = agent.perceive(run.objects.views[m], None).z
    prior = agent.mixture
    signs = torch.from_numpy(run.signs[name]).unsqueeze(0)
    result = {}
    for meaning in MEANINGS:
        mixture = additive(sentences, meaning)(agent.latent, m0=prior.m0, beta=prior.beta, nu=prior.nu, W=prior.W)
        result[meaning] = float(mixture.log_evidence(mixture.features(z), signs, sentences.count))
    return result


def _unseen(run: SavedRun, sentences: Sentences, held: Objects, decoders: Mapping[str, Decoder]) -> dict[str, Any]:
    """Scores for held-out combinations."""
    assert held.labels is not None
    attributes = attributes_of(held.class_names, held.labels)
    assert attributes is not None
    tables = {
        name: run.models[name].perceive(view, None).log_prob_table(run.parameters[name])
        for name, view in zip(run.agents, held.views, strict=True)
    }
    said = {name: table.argmax(-1) for name, table in tables.items()}
    together = torch.stack(list(tables.values())).sum(0).argmax(-1)
    every = np.array([name.split() for name in held.class_names], dtype=np.int64)
    kinds = held_combinations(every, run.config.hold_out, run.config.seed)[held.labels]
    generator = np.random.RandomState(random_integer(stream(run.config.seed, "language/candidates")))
    first, second = run.agents
    return {
        "objects": held.count,
        "combinations": len(np.unique(held.labels)),
        "all_right": {
            name: _all_right(sentences, signs, decoders[name], attributes, kinds) for name, signs in said.items()
        }
        | {"together": _all_right(sentences, together, decoders[first], attributes, kinds)},
        "found": {
            f"{speaker}->{listener}": {
                str(count): _found(tables[listener], said[speaker], count, generator)
                for count in CANDIDATES
                if count <= held.count
            }
            for speaker, listener in ((first, second), (second, first))
        },
    }


def _all_right(
    sentences: Sentences, signs: Tensor, decoder: Decoder, attributes: Ints, kinds: Ints
) -> dict[str, float | None]:
    """Share of objects whose attributes all follow from the sentence: in and out of distribution."""
    right = (decoder.decode(sentences.split(signs).numpy()) == attributes).all(1)
    kinds_of = {"in": kinds == 1, "out": kinds == 2}
    return {name: float(right[which].mean()) if which.any() else None for name, which in kinds_of.items()}


def _found(table: Tensor, said: Tensor, count: int, generator: np.random.RandomState) -> float:
    """Share of objects that a listener with `table` (N, K) finds among `count`, given sentences `said` (N,)."""
    N = len(table)
    fits = table.numpy()[:, said.numpy()]  # object, sentence of target
    found: list[bool] = []
    for target in range(N):
        others: NDArray[Any] = generator.choice(N - 1, count - 1, replace=False)
        others = others + (others >= target)
        found.append(bool(fits[target, target] > fits[others, target].max()))
    return float(np.mean(found))


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as printed lines."""
    slots = ", ".join(f"word {slot} {decimal(kappa, 3)}" for slot, kappa in enumerate(report["kappa_slots"], 1))
    lines = [
        f"Run: {report['run']}",
        f"Sentences of {report['words']} words from {report['vocabulary']}, meaning {report['meaning']}; "
        f"{report['objects']} objects",
        f"Kappa: {slots}",
    ]
    for name, row in report["agents"].items():
        lines.append(
            f"Agent {name}: positions over holistic {row['over_holistic']:+.1f} nats, over bag {row['over_bag']:+.1f}"
        )
        if (seen := row["seen"]) is not None:
            scores = ", ".join(f"{kind} {decimal(seen[kind], 3)}" for kind in ("topsim", "posdis", "bosdis"))
            lines.append(
                f"  seen: all words right {decimal(seen['all_right'], 3)}; {scores}; {seen['messages']} sentences, "
                f"entropy {decimal(seen['entropy'], 2)} bits"
            )
    if (unseen := report["unseen"]) is not None:
        lines.append(f"Unseen: {unseen['objects']} objects with {unseen['combinations']} combinations")
        for name, shares in unseen["all_right"].items():
            who = name if name == "together" else f"agent {name}"
            outside = "" if shares["out"] is None else f", out of distribution {decimal(shares['out'], 3)}"
            lines.append(f"  all words right, {who}: {decimal(shares['in'], 3)}{outside}")
        for pair, shares in unseen["found"].items():
            counts = ", ".join(f"among {count} {decimal(share, 3)}" for count, share in shares.items())
            lines += [f"  found, {pair}: {counts}"] if counts else []
    return lines
