"""The section of diagnostics, and the three answers at the head of the page: from `mhng.experiment.posterior`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.diagnostics.diagnose import Run, monitors, table_rows
from mhng.experiment.plots import diagnostics as plots
from mhng.experiment.report.drawing import Studio
from mhng.experiment.report.page import Answer, Picture, Section, Table, cells, number

_TONES = {"yes": "good", "partly": "fair", "not yet": "fair", "no": "bad"}


def answers(report: Mapping[str, Any]) -> list[Answer]:
    """report: of `diagnose.examine`."""
    return [
        Answer(question, part["answer"], part["words"], _TONES.get(part["answer"], "none"))
        for question, part in (
            ("Converged?", report["verdict"]["converged"]),
            ("Agreed?", report["verdict"]["agreed"]),
            ("Right?", report["verdict"]["right"]),
        )
    ]


def diagnostics(studio: Studio, run: Run, report: Mapping[str, Any]) -> Section:
    """The table of R-hat and ESS, and the pictures of `diagnose`."""
    rows = [
        cells(
            [
                name, number(row["mean"], 4), number(row["sd"], 4), number(row["mcse"], 4), number(row["rhat"]),
                number(row["ess"], 0), f"{row['constant_chains']:.0%}",
            ]
        )
        for name, row in table_rows(report).items()
    ]  # fmt: skip
    C, D = report["chains"], report["draws"]
    words = [
        f"Of the last round: {C} {'chain' if C == 1 else 'chains'} of {D} draws. What is diagnosed does not depend on "
        "how signs are numbered."
    ]
    if report["rhat_note"]:
        words.append(f"R-hat is {report['rhat_note']}.")
    return Section(
        "diagnostics",
        "Diagnostics",
        words,
        tables=[
            Table(["quantity", "mean", "sd", "MCSE", "R-hat", "ESS bulk", "constant chains"], rows, "Chains and draws")
        ],
        pictures=_pictures(studio, run, report),
    )


def _pictures(studio: Studio, run: Run, report: Mapping[str, Any]) -> list[list[Picture]]:
    """In groups: chains of scalars, sizes of signs, co-assignment, agreement of chains."""
    draws = run.data["posterior"]["draw"].values
    scalars = monitors(run)
    acceptance = run.array("acceptance")
    if acceptance is not None and run.settings["mode"] in ("com", "all"):
        directions = [str(name) for name in run.data["sample_stats"]["direction"].values]
        scalars |= {f"accepted, {name}": acceptance[:, :, d] for d, name in enumerate(directions)}
    C = report["chains"]
    chains = [
        studio.chart(
            partial(plots.plot_monitor, name=name, chains=values, draws=draws),
            f"{name} over the draws of {'one chain' if C == 1 else f'{C} chains'}: from {_ends(values)}.",
        )
        for name, values in scalars.items()
    ]
    return [chains, *_of_signs(studio, run), *_of_chains(studio, run, report)]


def _ends(values: NDArray[Any]) -> str:
    known = values[np.isfinite(values)]
    return f"{number(float(known.min()))} to {number(float(known.max()))}" if known.size else "nothing to nothing"


def _of_signs(studio: Studio, run: Run) -> list[list[Picture]]:
    """How large the signs are, and which objects share one; a picture an agent."""
    weight, signs, permutation = run.array("weight"), run.array("signs"), run.array("relabel")
    assert weight is not None and permutation is not None
    sizes, together = [], []
    for m, name in enumerate(run.names):
        own = weight[:, :, m : m + 1]
        mean = own.mean((0, 1, 2))
        alt = f"Sizes of agent {name}'s signs: shares of objects from {mean.min():.1%} to {mean.max():.1%}."
        sizes.append(studio.chart(partial(plots.plot_components, weight=own, names=[name], least=5), alt))
        if signs is None:
            continue
        # in no-com each agent has a permutation of its own
        new = permutation[:, :, m : m + 1] if permutation.ndim == 4 else permutation
        draw = partial(plots.plot_co_assignment, signs=signs[:, :, m : m + 1], permutation=new, names=[name])
        count = signs.shape[0] * signs.shape[1]
        alt = f"How often two objects share a sign of agent {name}, over {count} draws: objects sorted by sign."
        together.append(studio.chart(draw, alt))
    return [sizes, together]


def _of_chains(studio: Studio, run: Run, report: Mapping[str, Any]) -> list[list[Picture]]:
    """How alike the partitions of different chains are; a picture an agent."""
    basins = report["basins"]
    if basins is None or len(basins["chains"]) < 2:
        return []
    agreement = np.array(basins["agreement"])
    pictures = []
    for m, name in enumerate(run.names):
        off = agreement[m][~np.eye(agreement.shape[1], dtype=bool)]
        alt = f"Agreement of chains, agent {name}: ARI between chains from {off.min():.2f} to {off.max():.2f}."
        draw = partial(plots.plot_agreement, agreement=agreement[m : m + 1], chains=basins["chains"], names=[name])
        pictures.append(studio.chart(draw, alt))
    return [pictures]
