"""Trace of a game as host arrays, and the label-invariant quantities derived from it for diagnostics.

Shapes: C chains, T sweeps, M agents, N objects, K signs, L latent dimensions. ArviZ reads the two leading axes as
(chain, draw), so every array here has both, also with one chain.

The posterior is invariant to permutations of sign numbers, so R-hat for "sign 3" is meaningless. Diagnostics use
invariant quantities: log joint, collapsed log evidence, sorted shares of objects per sign, co-assignment of pairs of
objects, ARI between successive draws, acceptance, kappa. After relabelling (`mhng.experiment.metrics.relabel`) they
also use the share and the mean of each sign. All this holds within one round, where the latents are fixed. From round
to round the target distribution changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.relabel import find_pivot, relabel, reorder
from mhng.models.languages import MOST_TABLE

# Seed for the pairs of objects in co_assignment: the same pairs in all runs with the same number of objects.
_PAIRS_SEED = 20230101

# Large variables of posterior.nc by value of --keep. z: in observed_data and log_likelihood.
KEPT = {"all": ("signs", "mu", "z"), "signs": ("signs",), "components": ("mu",), "none": ()}

# Sentences whose shares are stored if all are too many.
_RANKS = 100

# Most numbers stored in observed_data.
_LARGEST_Z = 5 * 10**7


@dataclass(frozen=True, eq=False)
class RoundTrace:
    """Trace of the game of one round, as host arrays. Raises ValueError naming a field with a wrong shape."""

    signs: NDArray[Any]  # (C, T, M, N) signs after each sweep, 0..K-1
    accepted: NDArray[Any]  # (C, T, M) proposals that agent m accepted as the listener
    log_joint: NDArray[Any]  # (C, T)
    log_evidence: NDArray[Any]  # (C, T)
    log_p_z: NDArray[Any]  # (C, T, M) log p(z | w, phi) of each agent
    log_p_phi: NDArray[Any]  # (C, T, M) log p(phi) of each agent
    agent_names: tuple[str, ...]
    signs_count: int  # K
    mode: str
    best_signs: NDArray[Any] | None = None  # (C, T, M, N) best sign of each agent alone, if signs are shared
    means: NDArray[Any] | None = None  # (C, T, M, K, L) component means, if kept
    encounters: NDArray[Any] | None = None  # (T, M) encounters with agent m as the listener; None: one per sweep
    pointwise: NDArray[Any] | None = None  # (C, T, M, N) log p(z_n | w_n, phi), if kept
    latents: tuple[NDArray[Any], ...] | None = None  # (N, L) of each agent, if known
    beliefs: Mapping[str, NDArray[Any]] | None = None  # (C, T, ...) of Pyro programs, by name

    @property
    def kappa_signs(self) -> NDArray[Any]:
        """(C, T, M, N) signs for kappa: `signs`, or `best_signs` if all agents share their signs."""
        return self.signs if self.best_signs is None else self.best_signs

    def accepted_by_direction(self, chain: int, sweep: int) -> dict[str, int]:
        """Accepted proposals in one sweep, by direction ("A->B")."""
        listeners, directions = _directions(self.agent_names)
        counts = self.accepted[chain, sweep, listeners].tolist()
        return dict(zip(directions, counts, strict=True))

    def acceptance(self) -> NDArray[np.float64]:
        """(C, T, directions) share of accepted proposals; NaN without proposals."""
        listeners, _ = _directions(self.agent_names)
        N = self.signs.shape[-1]
        encounters = np.ones_like(self.accepted[0]) if self.encounters is None else self.encounters
        encounters = np.where(encounters > 0, encounters, np.nan)
        shares: NDArray[np.float64] = self.accepted[..., listeners] / (N * encounters[:, listeners])
        return shares

    def __post_init__(self) -> None:
        if self.signs.ndim != 4 or 0 in self.signs.shape[2:]:
            raise ValueError(f"signs must be (chains, sweeps, agents, objects); its shape is {self.signs.shape}")
        C, T, M, _ = self.signs.shape
        expected = {
            "accepted": (C, T, M), "log_joint": (C, T), "log_evidence": (C, T), "log_p_z": (C, T, M),
            "log_p_phi": (C, T, M), "pointwise": self.signs.shape,
        }  # fmt: skip
        for field, shape in expected.items():
            if getattr(self, field) is not None and getattr(self, field).shape != shape:
                raise ValueError(f"{field} must have the shape {shape}; it is {getattr(self, field).shape}")
        if self.encounters is not None and self.encounters.shape != (T, M):
            raise ValueError(f"encounters must have the shape {(T, M)}; it is {self.encounters.shape}")
        if len(set(self.agent_names)) != M or len(self.agent_names) != M:
            raise ValueError(f"agent_names must be {M} different names; they are {self.agent_names}")
        if self.signs.size and not 0 <= self.signs.min() <= self.signs.max() < self.signs_count:
            raise ValueError(f"signs must lie in 0..{self.signs_count - 1}; some are {self.signs.max()}")
        if self.means is not None and self.means.shape[:-1] != (C, T, M, self.signs_count):
            raise ValueError(f"means must have the shape {(C, T, M, self.signs_count, 'L')}; it is {self.means.shape}")


class Variables(NamedTuple):
    """Named arrays with named axes in groups, as input for ArviZ and `diagnostics.summary`."""

    groups: dict[str, dict[str, NDArray[Any]]]
    dims: dict[str, list[str]]  # axes of each variable after chain and draw, which groups of data lack
    coords: dict[str, list[Any]]
    pivot: tuple[int, int] | None = None  # chain and draw (sweep) of the pivot for relabelling


def to_variables(
    trace: RoundTrace,
    burn_in: int,
    *,
    thin: int = 1,
    pairs: int = 200,
    keep: str = "all",
    objects: Mapping[str, NDArray[Any]] | None = None,
) -> Variables:
    """Convert every `thin`-th sweep after the first `burn_in` sweeps to named arrays.

    keep: which of the large variables signs, mu and z to include (`KEPT`). pairs: number of pairs in co_assignment.
    objects: arrays (N,) for constant_data. Raises UsageError if no sweep is left after burn-in.

    Group posterior, axes after (chain, draw). They do not depend on the numbering of signs, are few, and vary in
    every chain, so that `arviz.summary` needs no selection:
      log_p_z (agent)                  log p(z | w, phi) of the agent's latents
      log_p_phi (agent)                log p(phi) of the agent's components

    Group sample_stats:
      lp, log_evidence                 log joint; log p(z | w) with phi integrated out
      acceptance_rate (direction)      share of accepted proposals
      kappa                            mean over pairs of agents, raw signs (`RoundTrace.kappa_signs`); absent if M = 1
      successive_ari (agent)           ARI against the sweep before, also if that sweep is thinned out; NaN at sweep 0

    Group components:
      component_share (agent, rank)    share of objects per sign in descending order; rank 1 is the largest
      weight (agent, sign)             share of objects per relabelled sign; absent, as mu and relabel are, with more
                                       than 4,096 sentences
      mu (agent, sign, latent)         component means by relabelled sign

    Group signs:
      signs (agent, object)            raw signs
      relabel (sign)                   the permutation: new number of each raw sign; in `no-com` (agent, sign)
      co_assignment (agent, pair)      1 if the agent gives one sign to both objects of a pair such as "12-873";
                                       absent if N = 1

    Group beliefs: draws of the beliefs of Pyro programs, "AGENT.SITE".

    Group log_likelihood: z (agent, object), log p(z_n | w_n, phi) given the drawn sign. Group observed_data:
    z (agent, object, latent), padded with NaN where an agent has fewer dimensions. Group constant_data: `objects`.

    The coordinate `draw` is the number of the sweep, from 0.
    """
    C, T, M, N = trace.signs.shape
    K = trace.signs_count
    if not 0 <= burn_in < T:
        raise UsageError(f"--burn-in is {burn_in}; expected 0 to {T - 1} (--sweeps - 1), so that draws are left")
    if thin < 1:
        raise UsageError(f"--thin is {thin}; expected 1 or more")
    sweeps = np.arange(T)[burn_in::thin]
    kept = trace.signs[:, sweeps]
    kappa_signs = trace.kappa_signs[:, sweeps]
    _, directions = _directions(trace.agent_names)
    first, second = object_pairs(N, pairs)

    together = trace.mode != "no-com"  # agents without communication have no common code
    renumbered = None if K > MOST_TABLE else relabel(kept, trace.log_joint[:, sweeps], K, together=together)

    posterior = {name: np.asarray(getattr(trace, name)[:, sweeps], np.float64) for name in ("log_p_z", "log_p_phi")}
    components: dict[str, NDArray[Any]] = {}
    raw: dict[str, NDArray[Any]] = {}
    if renumbered is None:
        components["component_share"] = _largest_shares(kept)
    else:
        components["component_share"] = np.ascontiguousarray(np.sort(renumbered.weight, axis=-1)[..., ::-1])
        components["weight"] = renumbered.weight
        raw["relabel"] = renumbered.permutation
    dims = {
        "log_p_z": ["agent"],
        "log_p_phi": ["agent"],
        "component_share": ["agent", "rank"],
        "weight": ["agent", "sign"],
        "relabel": ["sign"] if together else ["agent", "sign"],
    }
    if len(first):
        raw["co_assignment"] = (kept[..., first] == kept[..., second]).astype(np.int8)
        dims["co_assignment"] = ["agent", "pair"]
    if "signs" in KEPT[keep]:
        raw["signs"] = kept.astype(np.int8 if K <= 127 else kept.dtype)
        dims["signs"] = ["agent", "object"]
    if "mu" in KEPT[keep] and trace.means is not None and renumbered is not None:
        components["mu"] = reorder(trace.means[:, sweeps], renumbered.permutation)
        dims["mu"] = ["agent", "sign", "latent"]
    sample_stats: dict[str, NDArray[Any]] = {
        "lp": np.asarray(trace.log_joint[:, sweeps], dtype=np.float64),
        "log_evidence": np.asarray(trace.log_evidence[:, sweeps], dtype=np.float64),
        "acceptance_rate": trace.acceptance()[:, sweeps],
        "successive_ari": _successive_ari(trace.signs, sweeps),
    }
    dims |= {"acceptance_rate": ["direction"], "successive_ari": ["agent"]}
    if M > 1:
        sample_stats["kappa"] = np.array(
            [[partitions.mean_pairwise_kappa(draw) for draw in chain] for chain in kappa_signs]
        )
    coords: dict[str, list[Any]] = {
        "chain": list(range(C)),
        "draw": sweeps.tolist(),
        "agent": list(trace.agent_names),
        "rank": list(range(1, components["component_share"].shape[-1] + 1)),
        "sign": list(range(K)),
        "direction": directions,
        "pair": [f"{i}-{j}" for i, j in zip(first, second, strict=True)],
    }
    groups = {"posterior": posterior, "sample_stats": sample_stats, "components": components, "signs": raw}
    if "z" in KEPT[keep]:
        if trace.pointwise is not None:
            groups["log_likelihood"] = {"z": trace.pointwise[:, sweeps]}
        if trace.latents is not None and sum(z.size for z in trace.latents) <= _LARGEST_Z:
            groups["observed_data"] = {"z": _padded(trace.latents)}
    if "mu" in KEPT[keep] and trace.beliefs:
        groups["beliefs"] = {name: values[:, sweeps] for name, values in trace.beliefs.items()}
    if objects:
        groups["constant_data"] = dict(objects)
    dims |= {"z": ["agent", "object"]} | {name: ["object"] for name in objects or ()}
    coords["object"] = list(range(N))
    latent = [components["mu"].shape[-1]] if "mu" in components else []
    latent += [groups["observed_data"]["z"].shape[-1]] if "observed_data" in groups else []
    coords["latent"] = list(range(max(latent, default=0)))
    pivot = find_pivot(trace.log_joint[:, sweeps])
    return Variables(groups, dims, coords, (pivot[0], int(sweeps[pivot[1]])))


def _largest_shares(signs: NDArray[Any]) -> NDArray[np.float64]:
    """Shares of the objects with the most frequent signs, in descending order: (C, D, M, N) -> (C, D, M, _RANKS)."""
    shares = np.zeros((*signs.shape[:3], _RANKS))
    for place in np.ndindex(signs.shape[:3]):
        counts = np.sort(np.unique(signs[place], return_counts=True)[1])[::-1][:_RANKS]
        shares[*place, : len(counts)] = counts / signs.shape[-1]
    return shares


def _padded(latents: tuple[NDArray[Any], ...]) -> NDArray[np.float32]:
    """Latents (N, L) of M agents as one array (M, N, largest L), NaN where an agent has fewer dimensions."""
    L = max(z.shape[1] for z in latents)
    result = np.full((len(latents), len(latents[0]), L), np.nan, dtype=np.float32)
    for m, z in enumerate(latents):
        result[m, :, : z.shape[1]] = z
    return result


def _directions(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Listeners in the order of their turns, and the names of the directions."""
    if len(names) == 2:
        return [1, 0], [f"{names[0]}->{names[1]}", f"{names[1]}->{names[0]}"]
    return list(range(len(names))), [f"others->{name}" for name in names]


def object_pairs(objects: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Choose `count` different pairs i < j of `objects` objects, or all pairs; the same at every call."""
    total = objects * (objects - 1) // 2
    if total <= count:
        code = np.arange(total)
    else:
        code = np.sort(np.random.default_rng(_PAIRS_SEED).choice(total, count, replace=False))
    # In the order (0,1), (0,2), (1,2), (0,3), ... pair (i, j) has the code j (j - 1) / 2 + i.
    j = np.floor((1 + np.sqrt(1 + 8.0 * code)) / 2).astype(np.intp)
    j -= j * (j - 1) // 2 > code  # correct a root that was rounded up
    return code - j * (j - 1) // 2, j


def _successive_ari(signs: NDArray[Any], sweeps: NDArray[np.intp]) -> NDArray[np.float64]:
    """ARI between each kept sweep and the sweep before it: signs (C, T, M, N) -> (C, kept, M)."""
    C, _, M, _ = signs.shape
    result = np.full((C, len(sweeps), M), np.nan)
    for c in range(C):
        for m in range(M):
            for draw, t in enumerate(sweeps):
                if t > 0:
                    result[c, draw, m] = partitions.successive_ari(signs[c, t - 1 : t + 1, m])[0]
    return result
