"""Verdicts on a run: did the chains converge, do the agents agree, are the signs right?

    converged   R-hat, ESS and a common basin, for label-invariant quantities
    agreed      Cohen's kappa between agents
    right       adjusted Rand index (ARI) with the labels, if there are any

The three are independent. Converged chains sample what the model believes, which can be wrong. Agents can agree on
meaningless signs. One chain can be right while others are in another basin.

The thresholds are conventions; their sources are cited. The functions take numbers and return text; they read no file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.diagnostics.basins import Basins
from mhng.experiment.diagnostics.target import is_on_graph, options_with_target, target
from mhng.experiment.metrics.latents import REMEDY
from mhng.experiment.metrics.thresholds import KAPPA, KAPPA_PARTLY, MAX_SHARE, MIN_DRAWS
from mhng.experiment.util.text import decimal, decimal_beside

# Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021), "Rank-normalization, folding, and localization: an improved
# R-hat for assessing convergence of MCMC", section 4: R-hat below 1.01, and a bulk ESS of 100 for each chain.
RHAT = 1.01
ESS_PER_CHAIN = 100

# Steinley (2004), "Properties of the Hubert-Arabie adjusted Rand index": from 0.8 good, from 0.65 moderate recovery.
ARI = 0.8
ARI_PARTLY = 0.65

# Distance in the encounter graph explains disagreement if kappa falls by more than this with it. Our choice.
KAPPA_FALL = 0.2

# A chain whose draws have a smaller mean ARI with each other is in no basin. Our choice.
DRIFTING = 0.2

# Reported but not judged: the worst of hundreds of R-hats exceeds any limit by chance.
NOT_JUDGED = ("co_assignment", "mu")


class Verdict(NamedTuple):
    """answer: yes, partly, not yet, no, unknown or no target. words: sentences. next: next steps, with options."""

    answer: str
    words: list[str]
    next: list[str]


# -- converged? --------------------------------------------------------------------------------------


def converged(
    settings: Mapping[str, Any],
    summary: Mapping[str, Any],
    basins: Basins | None,
    signs: NDArray[Any] | None = None,
    play: str = "",
) -> Verdict:
    """Judge convergence.

    play: the command that plays with the agents of the run, such as "play RUN"; empty if they are not finished.
    summary: from `summarise_posterior`. basins: from `compare_chains`. signs: (C, D, M, N). Both are None if
    posterior.nc holds no signs.
    """
    if settings["mode"] == "variational":
        return _converged_variational(settings, basins, signs, play)
    C, D = summary["chains"], summary["draws"]
    chains_target = target(settings)
    judged = {name: row for name, row in summary["quantities"].items() if not name.startswith(NOT_JUDGED)}
    rhat, rhat_name = _worst(judged, "rhat", max)
    ess, ess_name = _worst(judged, "ess", min)
    # Fewer draws show neither constancy nor basins.
    words, apart = _constancy(judged) if D >= MIN_DRAWS else ([], False)
    advice: list[str] = []

    if basins is None:
        words.insert(0, "Whether the chains share a basin is unknown: posterior.nc holds no signs.")
        advice.append(_command(play, "--keep signs (or all), to compare the basins of the chains"))
    elif C > 1 and D >= MIN_DRAWS:
        words.insert(0, _basin_words(basins))
    if C > 1 and D >= MIN_DRAWS:
        parts, required = [], ESS_PER_CHAIN * C
        if rhat is not None:
            parts.append(f"largest R-hat {decimal_beside(rhat, RHAT)} ({rhat_name}; limit {RHAT})")
        if ess is not None:
            parts.append(f"smallest bulk ESS {decimal_beside(ess, required, 0)} ({ess_name}; required {required})")
        if parts:
            text = ", ".join(parts)
            words.append(f"{text[0].upper()}{text[1:]}.")

    enough = rhat is not None and rhat <= RHAT and ess is not None and ess >= ESS_PER_CHAIN * C
    if D < MIN_DRAWS:
        answer = "not yet"
        draws = "1 draw per chain is" if D == 1 else f"{D} draws per chain are"
        words.append(f"{draws} too few; R-hat and ESS need at least {MIN_DRAWS}.")
        advice.append(_command(play, _enough_sweeps(settings)))
        advice += [_command(play, "--chains 4")] if C == 1 else []
    elif C == 1:
        answer = "unknown"
        words.append("R-hat needs several chains; another chain could end in another basin.")
        advice.append(_command(play, "--chains 4"))
    elif apart or (basins is not None and len(basins.evidence) > 1):
        answer = "no"
        advice += _better_starts(settings, play)
    elif not enough:
        answer = "not yet"
        words.append(f"{D} draws per chain are too few.")
        advice.append(_command(play, f"--sweeps {_more_sweeps(settings, D, C, rhat, ess)} (now {settings['sweeps']})"))
    else:
        answer = "yes"
    if not chains_target.known:
        answer = "no target"
        words = [
            chains_target.words,
            *words,
            "Chains can still be compared, but converge to no known target.",
        ]
        advice = [_command(play, f"{options_with_target(settings)}, which samples a posterior")]
        if is_on_graph(settings):
            advice = [
                f"{advice[0]}; that game has no graph",
                "judge a game on a graph by kappa_by_distance over sweeps and seeds: pairs have no joint posterior",
            ]
        advice += [_command(play, "--chains 4")] if C == 1 else []
    else:
        words.append(chains_target.words)
    words.append("These diagnostics use the last round only. R-hat is not meaningful across rounds or for raw signs.")
    return Verdict(answer, words, advice)


def _command(play: str, options: str) -> str:
    """The options, after the command that needs no new training if there is one."""
    return f"{play} {options}" if play else options


def _constancy(rows: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], bool]:
    """Sentences on constant chains, and whether some quantity is constant at different values."""
    apart = [name for name, row in rows.items() if row["stuck_apart"]]
    constant = [name for name, row in rows.items() if row["constant_chains"] == 1 and not row["stuck_apart"]]
    mixed = [name for name, row in rows.items() if 0 < row["constant_chains"] < 1]
    words = []
    if apart:
        words.append(f"All chains are constant, at different values, in {_listed(apart)}: R-hat would be infinite.")
    if mixed:
        words.append(f"Some chains are constant in {_listed(mixed)}; no ESS is given for these.")
    if constant:
        words.append(
            f"All chains are constant, at one value, in {len(constant)} of {len(rows)} quantities "
            f"({_listed(constant)}). Their ESS is undefined: the posterior is concentrated, or no chain has moved."
        )
    return words, bool(apart)


def _converged_variational(
    settings: Mapping[str, Any], basins: Basins | None, signs: NDArray[Any] | None, play: str
) -> Verdict:
    """Judge a deterministic game: whether the signs have stopped changing, and whether chains share a basin."""
    words, advice, answer = [target(settings).words], [], "unknown"
    if signs is None:
        words.append("Whether the signs still change is unknown: posterior.nc holds no signs.")
        advice.append(_command(play, "--keep signs (or all)"))
    elif signs.shape[1] < 2:
        words.append("Only one sweep was kept; at least two are needed.")
        enough = settings["burn-in"] + 10 * settings["thin"]
        advice.append(_command(play, f"--sweeps {enough} (now {settings['sweeps']})"))
    else:
        C, D = signs.shape[:2]
        changed = int((signs[:, 1:] != signs[:, :-1]).any((2, 3)).any(0).sum())
        if not changed:
            answer = "yes"
            words.append(f"No sign changed in the {D} kept sweeps.")
        elif D > 2 and changed == D - 1 and (signs[:, 2:] == signs[:, :-2]).all():
            answer = "no"
            words.append("The signs alternate: each sweep undoes the one before.")
            advice.append(_command(play, "--no-synchronous") if play else "a game without --synchronous")
        else:
            answer = "not yet"
            words.append(f"Signs changed in {changed} of the {D - 1} steps between kept sweeps.")
            advice.append(_command(play, f"--sweeps {2 * settings['sweeps']} (now {settings['sweeps']})"))
        if C == 1:
            advice.append(_command(play, "--chains 4, to see whether other chains end in other basins"))
        elif basins is not None:
            words.append(_basin_words(basins))
            if len(basins.evidence) > 1:
                answer = "no"
                advice += _better_starts(settings, play)
    words.append("R-hat and ESS apply to samples only.")
    return Verdict(answer, words, advice)


def _basin_words(basins: Basins) -> str:
    C = len(basins.chains)
    pairs = [basins.agreement[:, a, b].mean() for a in range(C) for b in range(a)]
    between = f"mean ARI between chains {sum(pairs) / len(pairs):.3f}" if pairs else ""
    within = float(np.mean(np.diagonal(basins.agreement, axis1=1, axis2=2)))
    if within < DRIFTING:
        return f"No chain keeps its partition (ARI between draws of one chain {within:.3f}), so there are no basins."
    if len(basins.evidence) == 1:
        return f"The chains share a basin ({between})."
    best = [str(chain) for chain, basin in zip(basins.chains, basins.basin, strict=True) if basin == 0]
    chains = ("chain " if len(best) == 1 else "chains ") + ", ".join(best[:8]) + ("..." if len(best) > 8 else "")
    gap = basins.evidence[0] - basins.evidence[1]
    return (
        f"The {C} chains are in {len(basins.evidence)} different basins ({between}). The best log evidence, "
        f"{basins.evidence[0]:.1f} nats, is in {chains}; the next basin is {gap:.1f} nats lower."
    )


def _start_options(settings: Mapping[str, Any]) -> list[str]:
    """Options of a better initialisation."""
    starts = settings["starts"]
    if settings["start"] != "merge":
        options = [f"--start merge --starts {max(starts, 20)} (now {settings['start']}, {starts})"]
    else:
        options = [f"--starts {5 * starts} (now {starts})"]
    if settings["start"] != "split" and settings.get("words", 1) == 1:
        options.append("--start split, whose moves lead between basins (for hundreds of objects)")
    return options


def _better_starts(settings: Mapping[str, Any], play: str) -> list[str]:
    if settings.get("program"):
        return ["other turns, such as larger blocks, or another kernel of beliefs (docs/programs.md)"]
    advice = [_command(play, options) for options in _start_options(settings)]
    return [*advice, "longer chains seldom help: sweeps rarely lead from one basin to another"]


def _enough_sweeps(settings: Mapping[str, Any]) -> str:
    """Options that leave `ESS_PER_CHAIN` draws per chain."""
    sweeps, thin = settings["sweeps"], settings["thin"]
    options = f"--sweeps {settings['burn-in'] + ESS_PER_CHAIN}"
    return f"{options} (now {sweeps})" if thin == 1 else f"{options} --thin 1 (now {sweeps}, {thin})"


def _more_sweeps(settings: Mapping[str, Any], D: int, C: int, rhat: float | None, ess: float | None) -> int:
    """The number of sweeps that gives the required ESS, if it grows in proportion; rounded up to two digits."""
    factor = 4.0 if ess is None else 1.2 * ESS_PER_CHAIN * C / max(ess, 1)
    if rhat is not None and rhat > RHAT:
        factor = max(factor, 2.0)
    sweeps = settings["burn-in"] + settings["thin"] * D * max(factor, 1.5)
    step = 10 ** max(0, int(math.log10(sweeps)) - 1)
    return math.ceil(sweeps / step) * step


def _worst(rows: Mapping[str, Mapping[str, Any]], key: str, choose: Callable[..., str]) -> tuple[float | None, str]:
    """The worst value of a diagnostic, by `choose` (min or max), and the quantity that has it."""
    known = {name: row[key] for name, row in rows.items() if row[key] is not None}
    name = choose(known, key=known.__getitem__, default="")
    return known.get(name), name


def _listed(names: Sequence[str]) -> str:
    """At most four names; names that differ only in brackets count once."""
    short = list(dict.fromkeys(name.split("[")[0] for name in names))
    return ", ".join(short[:4]) + ("..." if len(short) > 4 else "")


# -- agreed? right? ----------------------------------------------------------------------------------


def agreed(
    settings: Mapping[str, Any],
    kappas: Sequence[float],
    summary: Mapping[str, Any],
    largest: Mapping[str, float] | None = None,
    play: str = "",
) -> Verdict:
    """Judge the agreement of the agents.

    kappas: mean over the draws of each chain. summary: summary.json. largest: by agent, the mean share of objects
    that have the most frequent sign. play: as in `converged`.
    """
    low, high, mean = min(kappas), max(kappas), sum(kappas) / len(kappas)
    spread = f" (chains: {low:.3f} to {high:.3f})" if len(kappas) > 1 else ""
    if settings["mode"] == "no-com":
        matched = summary["kappa_matched"]
        return Verdict(
            "no",
            [
                f"There was no communication, so kappa {mean:.3f}{spread} of raw signs is at chance level. After the "
                f"best renumbering it is {matched:.3f}: the similarity of the partitions."
            ],
            [_command(play, "--mode com, for agents that communicate")],
        )
    answer = "yes" if mean > KAPPA else "partly" if mean > KAPPA_PARTLY else "no"
    shared = summary["kappa_of"] != "signs"
    between = "the agents' own most probable signs" if shared else "the agents' signs"
    words = [f"kappa between {between} is {decimal_beside(mean, KAPPA)}{spread}; above {KAPPA} counts as agreement."]
    if shared:
        words.insert(0, "The signs are shared, so they agree by construction.")
        if answer != "yes":
            words.append("This kappa is low if agents alone cannot distinguish the classes, even after a good game.")
    used = [row["signs_used"] for row in summary["agents"].values()]
    if max(used) == 1:
        words.append("All objects have the same sign, so the agreement is trivial.")
        answer = "unknown"
    elif largest and (share := min(largest.values())) > MAX_SHARE:
        words.append(f"One sign covers {share:.1%} of the objects, so the agreement is nearly trivial.")
        answer = "unknown"
    if min(used) < settings["signs"]:
        count = f"{min(used)} to {max(used)}" if min(used) < max(used) else f"{max(used)}"
        words.append(f"{count} of {settings['signs']} signs {'is' if max(used) == 1 else 'are'} used.")
    advice = []
    if answer in ("no", "partly") and not shared:
        by_distance = {int(edges): value for edges, value in (summary.get("kappa_by_distance") or {}).items()}
        if (between_groups := summary.get("kappa_between")) is not None:
            within = decimal(summary["kappa_within"])
            words.append(
                f"The graph has groups that do not meet: kappa {within} within groups, {decimal(between_groups)} "
                "between them (chain 0, last sweep)."
            )
            advice = [
                _command(play, f"--meet complete, or another graph that joins the groups (now {settings['meet']})")
            ]
        elif settings["mode"] == "all":
            advice = [
                _command(play, "--mode com, where the listener can reject a proposal that contradicts its own latents")
            ]
        elif len(by_distance) > 1 and by_distance[1] - by_distance[max(by_distance)] > KAPPA_FALL:
            words.append(_distance_words(by_distance))
            advice = [
                _command(play, f"--meet complete or small-world:P, for shorter paths (now {settings['meet']})"),
                "more sweeps rarely join dialects; docs/community.md measures how far a sign travels",
            ]
        else:
            advice = [
                _command(play, f"--sweeps {2 * settings['sweeps']} (now {settings['sweeps']}), or train more --rounds")
                + "; if kappa stays low, the agents' latents have little in common"
            ]
    return Verdict(answer, words, advice)


def _more_signs(settings: Mapping[str, Any], classes: int) -> str:
    """The option that allows a sign, or a sentence, for each class."""
    words = settings.get("words", 1)
    if words == 1:
        return f"--signs {classes} (now {settings['signs']}, for {classes} classes)"
    vocabulary = settings["vocabulary"]
    needed = next(V for V in range(vocabulary + 1, classes + 1) if V**words >= classes)
    return f"--vocabulary {needed} (now {vocabulary}: {settings['signs']} sentences for {classes} classes)"


def _distance_words(by_distance: Mapping[int, float]) -> str:
    """A sentence on kappa by distance in the encounter graph, of neighbours first."""
    distances = sorted(by_distance)
    shown = distances if len(distances) <= 4 else [*distances[:3], distances[-1]]
    kappas = ", ".join(f"{by_distance[d]:.2f} at {d} {'edge' if d == 1 else 'edges'}" for d in shown)
    return f"Distance in the graph explains kappa: {kappas} (chain 0, last sweep)."


def right(
    settings: Mapping[str, Any],
    aris: Mapping[str, Sequence[float]] | None,
    classes: int | None,
    used: int | None = None,
    play: str = "",
    collapse: str | None = None,
    objects: int | None = None,
) -> Verdict:
    """Judge the signs by the labels, by the worst agent.

    aris: by agent, one value per chain, chain 0 first; None without labels. used: the most signs that an agent uses.
    objects: N.
    play: as in `converged`. collapse: a clause on collapsed latents (`mhng.experiment.metrics.latents`).
    """
    if collapse is not None:
        judged = right(settings, aris, classes, used, play, objects=objects)
        sentence = f"{collapse[0].upper()}{collapse[1:]}, so signs cannot tell objects apart."
        return Verdict(judged.answer, [sentence, *judged.words], [REMEDY])
    if aris is None:
        return Verdict("unknown", ["The objects have no labels."], [])
    if classes == 1:
        return Verdict("unknown", ["All objects have the same label."], [])
    if classes == objects and classes is not None:
        advice = ["language RUN scores sentences"] if settings.get("words", 1) > 1 else []
        return Verdict("unknown", ["All objects have different labels."], advice)
    worst = min(values[0] for values in aris.values())
    answer = "yes" if worst >= ARI else "partly" if worst >= ARI_PARTLY else "no"
    by_agent = ", ".join(f"{name} {decimal_beside(values[0], ARI)}" for name, values in aris.items())
    words = [f"ARI with the labels, chain 0: {by_agent}; {ARI} or more for all agents counts as good."]
    if len(next(iter(aris.values()))) > 1:
        pooled = [value for values in aris.values() for value in values]
        words.append(f"Over all chains: {min(pooled):.3f} to {max(pooled):.3f}. Labels are used for scores only.")
    advice = []
    if answer != "yes":
        if classes is not None and classes > settings["signs"]:
            advice.append(_more_signs(settings, classes))
        elif classes is not None and used is not None and used < classes:
            words.append(f"{used} of {settings['signs']} signs for {classes} classes: some classes share a sign.")
            advice += [_command(play, options) for options in _start_options(settings)]
        elif settings["likelihood"] != "identity":
            advice.append("better latents (--epochs, --jitter, --latent-dim, --network) matter more than the game")
    return Verdict(answer, words, advice)
