"""A verdict in words on three different things: did the chains converge, do the agents agree, are they right?

None follows from another. Chains that converged have found what the model believes, not what is true; agents can
agree on nonsense; and a vocabulary can be right in one chain while the others are elsewhere.

    converged   R-hat, ESS and a common basin, of quantities that do not depend on labels
    agreed      Cohen's kappa between agents
    right       adjusted Rand index against labels, where there are any

The thresholds are conventions; their sources stand beside them. Numbers in, words out: nothing here reads a file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.diagnostics.basins import Basins
from mhng.experiment.metrics.thresholds import KAPPA, KAPPA_PARTLY
from mhng.experiment.util.agent_names import agent_names

# Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), "Rank-normalization, folding, and localization: an improved
# R-hat for assessing convergence of MCMC", section 4: R-hat below 1.01, and a bulk ESS of 100 for each chain.
RHAT = 1.01
ESS_PER_CHAIN = 100

# Steinley (2004), "Properties of the Hubert-Arabie adjusted Rand index": from 0.8 good, from 0.65 moderate recovery.
ARI = 0.8
ARI_PARTLY = 0.65

# Below this ARI between its own draws a chain is nowhere in particular. Our own choice.
DRIFTING = 0.2

# Rules of acceptance by which the posterior stays what it is
_KEEP = ("mh", "numerator")

# Reported, not judged: the worst of hundreds of R-hats is over any limit by chance.
NOT_JUDGED = ("co_assignment", "mu")


class Target(NamedTuple):
    """What the chains sample. kind: exact, near (not quite the posterior) or none."""

    kind: str
    words: str


class Verdict(NamedTuple):
    """answer: yes, partly, not yet, no, unknown or no target. words: sentences. next: what to do, with flags."""

    answer: str
    words: list[str]
    next: list[str]


def target(settings: Mapping[str, Any]) -> Target:
    """What a game with these settings is a sampler of."""
    mode, state, rules = settings["mode"], settings["listener-state"], rules_of(settings)
    if mode == "no-com":
        return Target("exact", "The target is each agent's own posterior: nobody speaks.")
    if mode == "gibbs":
        return Target("exact", "The target is the joint posterior of all agents.")
    if mode == "variational":
        climbs = settings.get("meet", "together") == "together" or settings.get("agents", 2) == 2
        climbs = climbs and not settings.get("synchronous", False)
        how = (
            "it climbs to a maximum of a lower bound of the log evidence, and what posterior.nc holds is the way there"
            if climbs
            else "what posterior.nc holds is a way, which in pairs is the ascent of no bound"
        )
        return Target("none", f"Mode variational samples nothing: {how}.")
    if mode == "all":
        return Target(
            "none", "Mode all has no target: every proposal is accepted, so no posterior is what its chains sample."
        )
    if state == "speaker-sample":
        return Target(
            "none",
            "Listener state speaker-sample has no target: it is no chain of the posterior (docs/correctness.md).",
        )
    if biased := {name: rule for name, rule in rules.items() if rule not in _KEEP}:
        name, rule = next(iter(biased.items()))
        whose = "" if len(set(rules.values())) == 1 else f" of agent {name}"
        words = f"Acceptance rule {rule}{whose} has no target: only mh and numerator keep the posterior."
        return Target("none", words)
    if settings.get("agents", 2) > 2 and (bias := _bias_of_many(settings)):
        return bias
    if state == "chain":
        return Target(
            "near",
            "The target is close to the joint posterior, but not exactly it: with redrawn parameters every agent "
            "follows its own copy of the signs (docs/correctness.md); --listener-state shared is exact.",
        )
    return Target("exact", "The target is the joint posterior of all agents.")


def rules_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """The acceptance rule of each agent, its own where it has one."""
    own = settings.get("agent") or {}
    return {
        name: own.get(name, {}).get("acceptance", settings["acceptance"])
        for name in agent_names(settings.get("agents", 2))
    }


def _remedy(settings: Mapping[str, Any]) -> str:
    """Flags by which such a game would sample a posterior."""
    flags = ["--mode com"] if settings["mode"] == "all" else []
    if settings.get("agents", 2) > 2 and settings.get("meet", "together") != "together":
        flags.append("--meet together" + (" without --meet-later" if settings.get("meet-later") else ""))
    if settings["listener-state"] != "shared":
        flags.append("--listener-state shared")
    if any(rule not in _KEEP for rule in rules_of(settings).values()):
        flags.append("--acceptance mh" + (" of every agent" if settings.get("agent") else ""))
    return " ".join(flags)


def _bias_of_many(settings: Mapping[str, Any]) -> Target | None:
    """What meetings of more than two agents make of the target; None where they sample the posterior."""
    meet, recursion = settings.get("meet", "together"), settings.get("recursion", "os")
    inner_start = settings.get("inner-start", "listener")
    if meet != "together":
        return Target(
            "none",
            f"Agents that meet in pairs (--meet {meet}) have no target: each pair knows its own percepts alone, and "
            "the joint posterior of all is not what their chains sample; --meet together is for that.",
        )
    if inner_start == "own" and recursion != "exact":
        return Target(
            "near",
            "The target is close to the joint posterior, but not exactly it: inner games that begin at the agents' "
            "own signs have a bias, which falls with the T of ll:T (docs/correctness.md); --inner-start listener has "
            "none.",
        )
    return None


def converged(
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
    basins: Basins | None,
    signs: NDArray[Any] | None = None,
) -> Verdict:
    """From `diagnostics.summary_of`, `basins.compare` and the signs (C, D, M, N); None where the file holds none."""
    if settings["mode"] == "variational":
        return _at_rest(settings, basins, signs)
    C, D = summary["chains"], summary["draws"]
    found = target(settings)
    words: list[str] = []
    advice: list[str] = []
    judged = {name: row for name, row in summary["quantities"].items() if not name.startswith(NOT_JUDGED)}
    rhat, rhat_of = _worst(judged, "rhat", max)
    ess, ess_of = _worst(judged, "ess", min)
    apart = [name for name, row in judged.items() if row["stuck_apart"]]
    still = [name for name, row in judged.items() if row["constant_chains"] == 1 and not row["stuck_apart"]]
    some = [name for name, row in judged.items() if 0 < row["constant_chains"] < 1]

    trouble = False
    if basins is None:
        words.append("Whether chains share a basin cannot be said without signs in posterior.nc.")
        advice.append("--keep signs (or all), to see whether chains share a basin")
    elif C > 1:
        words.append(_basin_words(basins))
        trouble = len(basins.evidence) > 1
    if apart:
        words.append(
            f"Chains stand still at different values of {_some(apart)}: stuck apart, R-hat would be infinite."
        )
        trouble = True
    if some:
        words.append(f"Some chains are constant and others are not in {_some(some)}: no ESS is given for those.")
    if still:
        words.append(
            f"All chains are constant, at one value, in {len(still)} of {len(judged)} quantities ({_some(still)}): "
            "that is no perfect ESS. Either the posterior is that sure, or no chain has moved."
        )
    if C > 1 and D >= 4:
        parts = [f"Largest R-hat {rhat:.3f} ({rhat_of}; limit {RHAT})"] if rhat is not None else []
        parts += [f"smallest bulk ESS {ess:.0f} ({ess_of}; {ESS_PER_CHAIN * C} wanted)"] if ess is not None else []
        if parts:
            words.append(", ".join(parts) + ".")

    enough = rhat is not None and rhat <= RHAT and ess is not None and ess >= ESS_PER_CHAIN * C
    if C == 1:
        words.append("With one chain R-hat has no meaning, and nobody can tell whether another would end elsewhere.")
        advice.append("--chains 4")
        answer = "unknown"
    elif trouble:
        answer = "no"
        advice += _out_of_a_basin(settings, basins)
    elif D < 4 or not enough:
        answer = "not yet"
        words.append(f"{D} draws a chain are too few to say more.")
        advice.append(f"--sweeps {_more_sweeps(settings, D, C, rhat, ess)} (now {settings['sweeps']})")
    else:
        answer = "yes"
    words.append(found.words)
    if found.kind == "none":
        words.append("Chains can be compared with each other all the same; that is no convergence to anything.")
        answer = "no target"
        words.insert(0, words.pop(words.index(found.words)))
        advice = [f"{_remedy(settings)}, which samples a posterior", *(["--chains 4"] if C == 1 else [])]
    words.append("All this is of the last round alone: across rounds, and of raw signs, R-hat means nothing.")
    return Verdict(answer, words, advice)


def _at_rest(settings: Mapping[str, Any], basins: Basins | None, signs: NDArray[Any] | None) -> Verdict:
    """Of a game without chance: whether its names have ceased to change, and whether chains stand at one place."""
    words, advice, answer = [target(settings).words], [], "unknown"
    if signs is None:
        words.append("Whether names still change cannot be said without signs in posterior.nc.")
        advice.append("--keep signs (or all)")
    elif signs.shape[1] < 2:
        words.append("Of one sweep that was kept nothing can be said.")
        advice.append(f"--sweeps {settings['burn-in'] + 10 * settings['thin']} (now {settings['sweeps']})")
    else:
        C, D = signs.shape[:2]
        changed = int((signs[:, 1:] != signs[:, :-1]).any((2, 3)).any(0).sum())
        if not changed:
            answer = "yes"
            words.append(f"No name changed in the {D} sweeps that were kept.")
        elif D > 2 and changed == D - 1 and (signs[:, 2:] == signs[:, :-2]).all():
            answer = "no"
            words.append("Names go round in a circle: each sweep undoes the one before.")
            advice.append("a game that is not --synchronous")
        else:
            answer = "not yet"
            times = "once" if changed == 1 else f"{changed} times"
            words.append(f"Names still changed {times} in the {D} sweeps that were kept.")
            advice.append(f"--sweeps {2 * settings['sweeps']} (now {settings['sweeps']})")
        if C == 1:
            advice.append("--chains 4, to see whether others end elsewhere")
        elif basins is not None:
            words.append(_basin_words(basins))
            if len(basins.evidence) > 1:
                answer = "no"
                advice += _out_of_a_basin(settings, basins)
    words.append("R-hat and ESS are of draws and have no meaning here.")
    return Verdict(answer, words, advice)


def agreed(settings: Mapping[str, Any], kappas: Sequence[float], summary: Mapping[str, Any]) -> Verdict:
    """kappas: each chain's mean over its draws. summary: that of summary.json."""
    low, high, mean = min(kappas), max(kappas), sum(kappas) / len(kappas)
    spread = f" (chains: {low:.3f} to {high:.3f})" if len(kappas) > 1 else ""
    if settings["mode"] == "no-com":
        matched = summary["kappa_matched"]
        return Verdict(
            "no",
            [
                f"Nobody spoke: kappa {mean:.3f}{spread} of raw signs is chance. After the best renumbering it is "
                f"{matched:.3f}, which is what their partitions have in common."
            ],
            ["--mode com, for agents that talk"],
        )
    answer = "yes" if mean > KAPPA else "partly" if mean > KAPPA_PARTLY else "no"
    alone = summary["kappa_of"] != "signs"
    what = "between what each would say alone" if alone else "between their signs"
    words = [f"kappa {what} is {mean:.3f}{spread}; above {KAPPA} counts as agreement."]
    if alone:
        words.insert(0, "The signs are shared, so agents agree on them by construction.")
        if answer != "yes":
            words.append("An agent that confuses classes cannot name them alone; that is not the game's failure.")
    if max(own["signs_used"] for own in summary["agents"].values()) == 1:
        words.append("One sign is used for everything: that agreement is trivial.")
        answer = "unknown"
    advice = []
    if answer in ("no", "partly") and not alone:
        if settings["mode"] == "all":
            advice = ["rejection (--mode com): without it one agent's guesses overrule what the other can tell apart"]
        else:
            advice = ["more --sweeps or --rounds; if kappa stays low, the agents' percepts have little in common"]
    return Verdict(answer, words, advice)


def right(settings: Mapping[str, Any], aris: Mapping[str, Sequence[float]] | None, categories: int | None) -> Verdict:
    """aris: for each agent one value a chain, chain 0 first; None without labels."""
    if aris is None:
        return Verdict("unknown", ["The objects have no labels: nothing says what is right."], [])
    mean = sum(own[0] for own in aris.values()) / len(aris)
    answer = "yes" if mean >= ARI else "partly" if mean >= ARI_PARTLY else "no"
    each = ", ".join(f"{name} {own[0]:.3f}" for name, own in aris.items())
    words = [f"ARI with the labels, chain 0: {each}; from {ARI} on counts as good."]
    if len(next(iter(aris.values()))) > 1:
        every = [value for own in aris.values() for value in own]
        words.append(f"Over all chains: {min(every):.3f} to {max(every):.3f}. Labels took no part in any of it.")
    advice = []
    if answer != "yes":
        if categories is not None and categories > settings["signs"]:
            advice.append(f"--signs {categories} (now {settings['signs']}, for {categories} classes)")
        elif settings["likelihood"] != "identity":
            advice.append("better percepts (--epochs, --jitter, --latent-dim, --network) decide more than the game")
    return Verdict(answer, words, advice)


def _basin_words(basins: Basins) -> str:
    C = len(basins.chains)
    off = [basins.agreement[:, a, b].mean() for a in range(C) for b in range(a)]
    between = f"mean ARI between chains {sum(off) / len(off):.3f}" if off else ""
    within = float(np.mean(np.diagonal(basins.agreement, axis1=1, axis2=2)))
    if within < DRIFTING:
        return f"No chain stays with one partition (ARI between draws of one chain {within:.3f}): there are no basins."
    if len(basins.evidence) == 1:
        return f"The chains share a basin ({between})."
    best = [str(chain) for chain, name in zip(basins.chains, basins.basin, strict=True) if name == 0]
    gap = basins.evidence[0] - basins.evidence[1]
    named = ("chain " if len(best) == 1 else "chains ") + ", ".join(best[:8]) + ("..." if len(best) > 8 else "")
    return (
        f"The {C} chains sit in {len(basins.evidence)} different basins ({between}). The best evidence, "
        f"{basins.evidence[0]:.1f} nats, is in {named}; the next basin has {gap:.1f} less."
    )


def _out_of_a_basin(settings: Mapping[str, Any], basins: Basins | None) -> list[str]:
    starts = settings["starts"]
    if settings["start"] != "merge":
        advice = [f"--start merge --starts {max(starts, 20)} (now {settings['start']}, {starts})"]
    else:
        advice = [f"--starts {5 * starts} (now {starts})"]
    if settings["start"] != "split":
        advice.append("--start split, whose steps lead from one vocabulary to another (for hundreds of objects)")
    return [*advice, "longer chains seldom help: sweeps rarely lead from one basin to another"]


def _more_sweeps(settings: Mapping[str, Any], D: int, C: int, rhat: float | None, ess: float | None) -> int:
    """So many that the smallest ESS would be enough, if it grows in proportion; two digits."""
    factor = 4.0 if ess is None else 1.2 * ESS_PER_CHAIN * C / max(ess, 1)
    if rhat is not None and rhat > RHAT:
        factor = max(factor, 2.0)
    sweeps = settings["burn-in"] + settings["thin"] * D * max(factor, 1.5)
    step = 10 ** max(0, int(math.log10(sweeps)) - 1)
    return math.ceil(sweeps / step) * step


def _worst(rows: Mapping[str, Mapping[str, Any]], key: str, pick: Any) -> tuple[float | None, str]:
    known = {name: row[key] for name, row in rows.items() if row[key] is not None}
    name = pick(known, key=known.__getitem__, default="")
    return known.get(name), name


def _some(names: Sequence[str]) -> str:
    """A few of the names; those that differ only in brackets count once."""
    short = list(dict.fromkeys(name.split("[")[0] for name in names))
    return ", ".join(short[:4]) + ("..." if len(short) > 4 else "")
