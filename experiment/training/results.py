"""Results of a round: the trace as host arrays, rows of metrics, the summary and its warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.objects import Objects
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.latents import REMEDY, collapse
from mhng.experiment.metrics.thresholds import MAX_SHARE
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.posterior import save_posterior
from mhng.experiment.runs.trace import RoundTrace
from mhng.experiment.settings.config import data_name
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.graphs import Edges, pairs_by_distance
from mhng.experiment.util.agent_names import agent_names
from mhng.inference.rounds import Played
from mhng.inference.svi import Loss


def to_round_trace(played: Played, names: Sequence[str], config: Config) -> RoundTrace:
    """Copy the trace of a round to host arrays."""
    trace = played.trace
    return RoundTrace(
        signs=trace.signs.cpu().numpy(),
        best_signs=None if trace.best_signs is None else trace.best_signs.cpu().numpy(),
        accepted=trace.accepted.cpu().numpy(),
        log_joint=trace.log_joint.cpu().numpy(),
        log_evidence=trace.evidence.cpu().numpy(),
        log_p_z=trace.log_likelihood.cpu().numpy(),
        log_p_phi=trace.log_density.cpu().numpy(),
        pointwise=None if trace.pointwise is None else trace.pointwise.cpu().numpy(),
        latents=None if played.latents is None else tuple(z.cpu().numpy() for z in played.latents),
        agent_names=tuple(names),
        signs_count=config.signs,
        mode=config.mode,
        means=None if trace.means is None else trace.means.cpu().numpy(),
        encounters=trace.encounters.numpy() if config.mode in ("com", "all") else None,
    )


def sweep_rows(
    round: int,
    trace: RoundTrace,
    played: Played,
    labels: NDArray[Any] | None,
    groups: Sequence[Sequence[int]] = (),
    edges: Edges | None = None,
) -> list[dict[str, Any]]:
    """Rows of metrics: one per sweep, from chain 0.

    groups: agents that are connected at the start of the run. edges: the encounter graph of the round, or None.
    """
    rows = []
    pairs = _pairs_by_distance(edges, len(trace.agent_names))
    kappa_signs = trace.kappa_signs[0]
    communicates = trace.mode in ("com", "all")
    acceptance = trace.acceptance()[0]
    not_a_number, splits = played.trace.not_a_number[0].tolist(), played.trace.splits[0].tolist()
    messages = played.trace.messages[0].tolist()
    for t, signs in enumerate(trace.signs[0]):
        kappas = partitions.kappa_matrix(kappa_signs[t])
        rows.append(
            {
                "kind": "sweep",
                "round": round,
                "sweep": t + 1,
                "agents": {
                    name: {"ari": partitions.ari(agent_signs, labels)}
                    for name, agent_signs in zip(trace.agent_names, signs, strict=True)
                },
                "kappa": partitions.mean_of_pairs(kappas),
                **_by_group(kappas, groups),
                **_by_distance(kappas, pairs),
                "accepted": (accepted := trace.accepted_by_direction(0, t)) if communicates else None,
                # NaN for an agent without encounters in this sweep
                "acceptance": (
                    {
                        name: share if share == share else None
                        for name, share in zip(accepted, acceptance[t].tolist(), strict=True)
                    }
                    if communicates
                    else None
                ),
                "messages": messages[t],
                "not_a_number": not_a_number[t],
                "splits": splits[t],
                "log_joint": float(trace.log_joint[0, t]),
                "log_evidence": float(trace.log_evidence[0, t]),
            }
        )
    return rows


def write_results(
    folder: RunFolder,
    config: Config,
    objects: Objects,
    trace: RoundTrace,
    rows: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, Loss | None],
    *,
    settings: Mapping[str, Any],
    round: int,
    **more: Any,
) -> dict[str, Any]:
    """Write the signs, the draws and the summary of the last round; returns the summary.

    settings: for the attributes of posterior.nc. more: further arguments of `summarise`.
    """
    arrays = {f"signs_{name}": trace.signs[0, -1, m] for m, name in enumerate(trace.agent_names)}
    if objects.files is not None:
        arrays["files"] = np.array(objects.files)
    folder.write_npz(run_folder.SIGNS, index=objects.indices, label=objects.labels, round=round, **arrays)
    save_posterior(
        folder.file(run_folder.POSTERIOR),
        trace,
        burn_in=config.burn_in,
        settings=settings,
        round=round,
        thin=config.thin,
        keep=config.keep,
        objects={"index": objects.indices} | ({} if objects.labels is None else {"label": objects.labels}),
    )
    summary = summarise(config, objects, trace, rows, bounds, round=round, **more)
    folder.write_json(run_folder.SUMMARY, summary)
    return summary


def summarise(
    config: Config,
    objects: Objects,
    trace: RoundTrace,
    rows: Sequence[Mapping[str, Any]],
    bounds: Mapping[str, Loss | None],
    *,
    nats: Mapping[str, float],
    edges: Edges | None,
    agreement: int | None = None,
    round: int,
    seconds: float,
    device: str,
    traffic: Mapping[str, int] | None = None,
    language: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Content of summary.json: scores of the final draw in chain 0, and means over sweeps after burn-in (`*_mean`).

    kappa is the mean over all pairs of agents. messages is the number of signs sent per sweep. edges: the encounter
    graph at the end, or None. nats: `latent_nats` of the agents that learn. agreement: sweeps until the agents agree.
    traffic: bytes per sweep, for agents in separate processes. language: scores of sentences (`language_scores`).
    """
    kept = rows[config.burn_in :]
    last = rows[-1]
    signs, kappa_signs = trace.signs[0, -1], trace.kappa_signs[0, -1]
    kappas = partitions.kappa_matrix(kappa_signs)
    agents = {}
    for m, name in enumerate(trace.agent_names):
        loss = bounds[name]
        agents[name] = {
            "ari": last["agents"][name]["ari"],
            "ari_mean": _mean([row["agents"][name]["ari"] for row in kept]),
            "nmi": partitions.nmi(signs[m], objects.labels),
            "accuracy": partitions.accuracy(signs[m], objects.labels),
            "elbo": None if loss is None else -loss.total,
            "reconstruction": None if loss is None else loss.reconstruction,
            "kl": None if loss is None else loss.kl,
            "latent_nats": nats.get(name),
            "signs_used": len(np.unique(signs[m])),
        }
    return {
        "mode": config.mode,
        "seed": config.seed,
        "dataset": data_name(config),
        "objects": objects.count,
        "signs": config.signs,
        "chains": config.chains,
        "chain": 0,  # the chain of all scores below
        "rounds": round,
        "seconds": seconds,
        "device": device,
        "agents": agents,
        "perceives": modality_records(objects),
        "kappa": last["kappa"],
        "kappa_mean": _mean([row["kappa"] for row in kept]),
        "kappa_of": "what each agent would say alone" if trace.best_signs is not None else "signs",
        "kappa_matched": float(np.mean([partitions.matched_kappa(a, b) for a, b in combinations(kappa_signs, 2)])),
        **_of_sentences(config, kappa_signs, language),
        "kappa_matrix": kappas.tolist(),
        "kappa_fleiss": partitions.fleiss_kappa(kappa_signs),
        **{name: last[name] for name in ("kappa_within", "kappa_between") if name in last},
        "kappa_by_distance": _by_distance(kappas, _pairs_by_distance(edges, config.agents)).get("kappa_by_distance"),
        "sweeps_to_agreement": agreement,
        "messages": _mean([row["messages"] for row in kept]),
        "traffic": traffic,
        "acceptance": (
            {name: _mean([row["acceptance"][name] for row in kept]) for name in last["acceptance"]}
            if last["acceptance"]
            else None
        ),
        "log_joint": last["log_joint"],
        "log_evidence": last["log_evidence"],
        "log_evidence_mean": _mean([row["log_evidence"] for row in kept]),
        "warnings": warnings_of(config, trace, nats),
    }


def _of_sentences(config: Config, signs: NDArray[Any], language: Mapping[str, Any] | None) -> dict[str, Any]:
    """The language, its scores, and kappa of the words in each slot, mean over pairs; empty for single signs."""
    if config.sentences is None:
        return {}
    words = np.stack([config.sentences.word(signs.astype(np.int64), slot) for slot in range(config.words)])
    return {
        "words": config.words,
        "vocabulary": config.vocabulary,
        "meaning": config.meaning,
        "grammar": config.grammar,
        "turns": config.turns,
        "kappa_slots": [partitions.mean_pairwise_kappa(slot) for slot in words],
        "language": language,
    }


def _by_group(matrix: NDArray[np.float64], groups: Sequence[Sequence[int]]) -> dict[str, float | None]:
    """Mean kappa within groups and between groups, if there are several groups."""
    if len(groups) < 2:
        return {}
    group = {m: number for number, members in enumerate(groups) for m in members}
    pairs = list(combinations(range(len(matrix)), 2))
    within = [matrix[a, b] for a, b in pairs if group[a] == group[b]]
    between = [matrix[a, b] for a, b in pairs if group[a] != group[b]]
    return {"kappa_within": float(np.mean(within)) if within else None, "kappa_between": float(np.mean(between))}


def modality_records(objects: Objects) -> dict[str, list[dict[str, Any]]]:
    """Modalities of each agent: title, shape of an observation, number of objects without it."""
    names = agent_names(len(objects.modalities))
    by_agent = zip(names, objects.modalities, strict=True)
    return {name: [modality._asdict() for modality in modalities] for name, modalities in by_agent}


def _pairs_by_distance(edges: Edges | None, agents: int) -> dict[int, list[tuple[int, int]]]:
    """Pairs of agents by their distance in the encounter graph; empty without a graph."""
    return {} if edges is None else pairs_by_distance(edges, agents)


def _by_distance(
    matrix: NDArray[np.float64], pairs_by_length: Mapping[int, Sequence[tuple[int, int]]]
) -> dict[str, dict[str, float]]:
    """Mean kappa by distance in the encounter graph."""
    kappas = {
        str(length): float(np.mean([matrix[pair] for pair in pairs])) for length, pairs in pairs_by_length.items()
    }
    return {"kappa_by_distance": kappas} if kappas else {}


def warnings_of(config: Config, trace: RoundTrace, nats: Mapping[str, float]) -> list[str]:
    """Warnings about collapsed signs and collapsed latents, which scores without labels do not show."""
    warnings = []
    for m, name in enumerate(trace.agent_names):
        share = np.bincount(trace.signs[0, -1, m]).max() / trace.signs.shape[-1]
        if config.signs > 1 and share > MAX_SHARE:
            warnings.append(f"agent {name} gives one sign to {share:.0%} of the objects")
    if clause := collapse(nats, config.signs):
        warnings.append(f"{clause}; {REMEDY}")
    return warnings


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
