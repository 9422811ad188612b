"""What `compare` leaves, made up: its summary.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METRICS = ("ari", "ari_after_burn_in", "accuracy", "kappa", "kappa_matched", "acceptance", "seconds")


def comparison(folder: Path, *, names: Sequence[str] = ("com", "no-com"), error: str = "a loss is not finite") -> Path:
    """A folder of rows `names` of three seeds. The last run failed with `error`; the first row is the baseline."""
    rows = []
    for place, name in enumerate(names):
        runs: list[dict[str, Any]] = []
        for seed in range(3):
            numbers: dict[str, float | None] = dict.fromkeys(METRICS, 0.8 - 0.1 * place + 0.01 * seed)
            if place:
                numbers["acceptance"] = None
            runs.append(
                {"seed": seed, "folder": f"{name}-seed{seed}", "status": "done", "error": None, "numbers": numbers}
            )
        if place == len(names) - 1:
            runs[-1] |= {"status": "failed", "error": error, "numbers": None}
        known = {
            metric: [run["numbers"][metric] for run in runs if run["numbers"] and run["numbers"][metric] is not None]
            for metric in METRICS
        }
        rows.append(
            {
                "row": name,
                "mode": name,
                "variant": None,
                "settings": {},
                "runs": runs,
                "statistics": {metric: _spread(values) for metric, values in known.items()},
                "paired": {
                    metric: {"mean": -0.1, "low": -0.12, "high": -0.08, "won": 0, "lost": 2, "of": 2}
                    for metric in ("ari", "kappa")
                }
                if place
                else None,
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    summary = {"baseline": names[0], "settings": {"dataset": "digits"}, "rows": rows}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def _spread(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"count": 0, "mean": None, "sd": None, "low": None, "high": None, "worst": None}
    mean = sum(values) / len(values)
    return {
        "count": len(values), "mean": mean, "sd": 0.01, "low": mean - 0.02, "high": mean + 0.02, "worst": min(values)
    }  # fmt: skip
