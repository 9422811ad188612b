"""The trace of a game, and the named arrays that are made of it: what may be read off it without knowing a sign.

Shapes: C chains, T sweeps, M agents, N objects, K signs, L latent dimensions. ArviZ takes the two leading axes for
(chain, draw), always: every array here has them, also with one chain.

A permutation of the sign numbers leaves the posterior unchanged, so R-hat of "sign 3" compares nothing with
nothing. What is diagnosed here is invariant to it: the log joint, the collapsed log evidence, the shares of objects
per sign in descending order, whether two given objects share a sign, ARI between successive draws, acceptance,
kappa; and, once the draws are renumbered to one of them (`mhng.experiment.metrics.relabel`), each sign's share and
mean. It all holds within one round, where the percepts stand still; from round to round the target itself moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.relabel import relabel, reorder

# The pairs of objects whose co-assignment is followed: the same ones in every run with as many objects.
_PAIRS_SEED = 20230101

# What is large in a file, and is left out if it is not wanted.
KEPT = {"all": ("signs", "mu"), "signs": ("signs",), "components": ("mu",), "none": ()}


@dataclass(frozen=True, eq=False)
class RoundTrace:
    """One round's game, as host arrays. A wrong shape is a ValueError that names the field."""

    signs: NDArray[Any]  # (C, T, M, N) each agent's sign for each object after each sweep, 0..K-1
    accepted: NDArray[Any]  # (C, T, M) proposals accepted with agent m as the listener, of N
    log_joint: NDArray[Any]  # (C, T)
    log_evidence: NDArray[Any]  # (C, T)
    agent_names: tuple[str, ...]
    signs_count: int  # K
    mode: str
    alone: NDArray[Any] | None = None  # (C, T, M, N) each agent's own best sign, where signs are shared
    means: NDArray[Any] | None = None  # (C, T, M, K, L) the means of each agent's components, if they were kept
    heard: NDArray[Any] | None = None  # (T, M) in how many encounters agent m was the listener; None: in one

    @property
    def spoken(self) -> NDArray[Any]:
        """(C, T, M, N) what kappa compares: the signs, or where they are one, what each says alone."""
        return self.signs if self.alone is None else self.alone

    def accepted_by_direction(self, chain: int, sweep: int) -> dict[str, int]:
        """Proposals accepted in one sweep, by direction ("A->B")."""
        listeners, directions = _directions(self.agent_names)
        counts = self.accepted[chain, sweep, listeners].tolist()
        return dict(zip(directions, counts, strict=True))

    def acceptance(self) -> NDArray[np.float64]:
        """(C, T, directions) the share of proposals that were accepted; NaN where there was none."""
        listeners, _ = _directions(self.agent_names)
        N = self.signs.shape[-1]
        heard = np.ones_like(self.accepted[0]) if self.heard is None else np.where(self.heard > 0, self.heard, np.nan)
        shares: NDArray[np.float64] = self.accepted[..., listeners] / (N * heard[:, listeners])
        return shares

    def __post_init__(self) -> None:
        if self.signs.ndim != 4 or 0 in self.signs.shape[2:]:
            raise ValueError(f"signs must be (chains, sweeps, agents, objects); its shape is {self.signs.shape}")
        C, T, M, _ = self.signs.shape
        expected = {"accepted": (C, T, M), "log_joint": (C, T), "log_evidence": (C, T)}
        for field, shape in expected.items():
            if getattr(self, field).shape != shape:
                raise ValueError(f"{field} must have the shape {shape}; it is {getattr(self, field).shape}")
        if self.heard is not None and self.heard.shape != (T, M):
            raise ValueError(f"heard must have the shape {(T, M)}; it is {self.heard.shape}")
        if len(set(self.agent_names)) != M or len(self.agent_names) != M:
            raise ValueError(f"agent_names must be {M} different names; they are {self.agent_names}")
        if self.signs.size and not 0 <= self.signs.min() <= self.signs.max() < self.signs_count:
            raise ValueError(f"signs must lie in 0..{self.signs_count - 1}; some are {self.signs.max()}")
        if self.means is not None and self.means.shape[:-1] != (C, T, M, self.signs_count):
            raise ValueError(f"means must have the shape {(C, T, M, self.signs_count, 'L')}; it is {self.means.shape}")


class Variables(NamedTuple):
    """Named arrays with named axes, of either group: what both ArviZ and `diagnostics.summary` are made from."""

    posterior: dict[str, NDArray[Any]]
    sample_stats: dict[str, NDArray[Any]]
    dims: dict[str, list[str]]  # of each variable, after chain and draw
    coords: dict[str, list[Any]]
    pivot: tuple[int, int] | None = None  # chain and draw (sweep) that all others are renumbered to


def to_variables(trace: RoundTrace, burn_in: int, *, thin: int = 1, pairs: int = 200, keep: str = "all") -> Variables:
    """The trace without its first `burn_in` sweeps, every `thin`-th draw, as named arrays.

    Group posterior: log_joint, log_evidence (chain, draw); component_share (chain, draw, agent, rank), the
    share of objects per sign in descending order, rank 1 being the largest; co_assignment (chain, draw,
    agent, pair), 1 where the agent has one sign for both objects of a pair such as "12-873" (`pairs` of them,
    the same in every run with N objects; absent if N = 1).

    With relabelled signs: weight (chain, draw, agent, sign), the share of objects with each, and mu (chain, draw,
    agent, sign, latent), the components' means. relabel (chain, draw, sign), or in `no-com` (chain, draw, agent,
    sign), is the permutation: the new number of raw sign `sign`. signs (chain, draw, agent, object) are raw.
    keep: which of signs and mu there are (`KEPT`).

    Group sample_stats: acceptance (chain, draw, direction), the share of proposals accepted; kappa (chain,
    draw), of raw signs (`RoundTrace.spoken`), mean over pairs of agents, absent with one agent; successive_ari
    (chain, draw, agent), each draw against the sweep before it, kept or not (NaN at sweep 0).

    The coordinate `draw` is the sweep, from 0.
    """
    C, T, M, N = trace.signs.shape
    K = trace.signs_count
    if not 0 <= burn_in < T:
        raise UsageError(
            f"--burn-in must be from 0 to --sweeps - 1 = {T - 1}, so that draws are left; it is {burn_in}"
        )
    if thin < 1:
        raise UsageError(f"--thin must be 1 or more; it is {thin}")
    sweeps = np.arange(T)[burn_in::thin]
    kept = trace.signs[:, sweeps]
    spoken = trace.spoken[:, sweeps]
    _, directions = _directions(trace.agent_names)
    first, second = object_pairs(N, pairs)

    together = trace.mode != "no-com"  # agents that never spoke have no common code to renumber
    renumbered = relabel(kept, trace.log_joint[:, sweeps], K, together=together)

    posterior: dict[str, NDArray[Any]] = {
        "log_joint": np.asarray(trace.log_joint[:, sweeps], dtype=np.float64),
        "log_evidence": np.asarray(trace.log_evidence[:, sweeps], dtype=np.float64),
        "component_share": np.ascontiguousarray(np.sort(renumbered.weight, axis=-1)[..., ::-1]),
        "weight": renumbered.weight,
        "relabel": renumbered.permutation,
    }
    dims = {
        "component_share": ["agent", "rank"],
        "weight": ["agent", "sign"],
        "relabel": ["sign"] if together else ["agent", "sign"],
    }
    if len(first):
        posterior["co_assignment"] = (kept[..., first] == kept[..., second]).astype(np.int8)
        dims["co_assignment"] = ["agent", "pair"]
    if "signs" in KEPT[keep]:
        posterior["signs"] = kept.astype(np.int8 if K <= 127 else np.int16)
        dims["signs"] = ["agent", "object"]
    if "mu" in KEPT[keep] and trace.means is not None:
        posterior["mu"] = reorder(trace.means[:, sweeps], renumbered.permutation)
        dims["mu"] = ["agent", "sign", "latent"]
    sample_stats: dict[str, NDArray[Any]] = {
        "acceptance": trace.acceptance()[:, sweeps],
        "successive_ari": _successive_ari(trace.signs, sweeps),
    }
    dims |= {"acceptance": ["direction"], "successive_ari": ["agent"]}
    if M > 1:
        sample_stats["kappa"] = np.array(
            [[partitions.mean_pairwise_kappa(draw) for draw in chain] for chain in spoken]
        )
    coords: dict[str, list[Any]] = {
        "chain": list(range(C)),
        "draw": sweeps.tolist(),
        "agent": list(trace.agent_names),
        "rank": list(range(1, K + 1)),
        "sign": list(range(K)),
        "direction": directions,
        "pair": [f"{i}-{j}" for i, j in zip(first, second, strict=True)],
    }
    if "signs" in posterior:
        coords["object"] = list(range(N))
    if "mu" in posterior:
        coords["latent"] = list(range(posterior["mu"].shape[-1]))
    return Variables(posterior, sample_stats, dims, coords, (renumbered.pivot[0], int(sweeps[renumbered.pivot[1]])))


def _directions(names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Listeners in the order of their turns, and their names: of two agents the other one speaks."""
    if len(names) == 2:
        return [1, 0], [f"{names[0]}->{names[1]}", f"{names[1]}->{names[0]}"]
    return list(range(len(names))), [f"others->{name}" for name in names]


def object_pairs(objects: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`count` different pairs i < j of `objects` objects, or all there are: the same at every call."""
    total = objects * (objects - 1) // 2
    if total <= count:
        code = np.arange(total)
    else:
        code = np.sort(np.random.default_rng(_PAIRS_SEED).choice(total, count, replace=False))
    # pairs in the order (0,1), (0,2), (1,2), (0,3), ...: pair (i, j) has the code j (j - 1) / 2 + i
    j = np.floor((1 + np.sqrt(1 + 8.0 * code)) / 2).astype(np.intp)
    j -= j * (j - 1) // 2 > code  # where the root was rounded up
    return code - j * (j - 1) // 2, j


def _successive_ari(signs: NDArray[Any], sweeps: NDArray[np.intp]) -> NDArray[np.float64]:
    """ARI of each kept sweep against the sweep before it: signs (C, T, M, N) -> (C, kept, M)."""
    C, _, M, _ = signs.shape
    result = np.full((C, len(sweeps), M), np.nan)
    for c in range(C):
        for m in range(M):
            for draw, t in enumerate(sweeps):
                if t > 0:
                    result[c, draw, m] = partitions.successive_ari(signs[c, t - 1 : t + 1, m])[0]
    return result
