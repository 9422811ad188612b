"""Look at a finished run: how far do its agents agree, on what do they not, and what did they mean?

    python examples/look_at_a_run.py runs/com-mnist5k-seed0 [disagreements.png]

A row of the picture is an object that the agents call by different signs: how A sees it, how B sees it, and what each
means by the sign that it chose.
"""

import sys
from pathlib import Path

import numpy as np

from mhng import load_run
from mhng.experiment.errors import UsageError
from mhng.experiment.plots.training import plot_images

COLUMNS = ["A sees", "B sees", "A means", "B means"]
MOST = 8  # rows


def main(path: str, picture: str = "disagreements.png") -> None:
    """Print what there is to know, and draw."""
    run = load_run(path)
    print(run)
    a, b = run.signs["A"], run.signs["B"]
    kappa = run.history.sweeps["kappa"]
    print(f"Agreement: {(a == b).mean():.1%} of {len(a)} objects; kappa from {kappa[0]:.3f} to {kappa[-1]:.3f}")
    apart = np.flatnonzero(a != b)
    if run.labels is not None:
        for k, name in enumerate(run.objects.class_names):
            own = run.labels == k
            print(f"  class {name}: {own[apart].sum()} of {own.sum()} objects have two names")
    pairs, counts = np.unique(np.stack([a, b])[:, apart], axis=1, return_counts=True)
    for n in np.argsort(-counts, kind="stable")[:3]:
        print(f"  {counts[n]} times A says {pairs[0, n]} where B says {pairs[1, n]}")
    if not len(apart) or any(view.dim() != 4 for view in run.objects.views):
        print("No picture: the agents agree on everything, or see no images.")
        return

    shown = apart[:MOST]
    means = {k: run.recall(k, draws=0) for k in np.unique([a[shown], b[shown]])}
    seen_by_a, seen_by_b = (view[shown].numpy() for view in run.objects.views)
    rows = [
        [seen_by_a[r], seen_by_b[r], means[a[n]]["A"].mean, means[b[n]]["B"].mean]  # each (C, H, W)
        for r, n in enumerate(shown)
    ]
    names = [f"{run.index[n]}: A {a[n]}, B {b[n]}" for n in shown]
    plot_images(Path(picture), np.asarray(rows).mean(2), names, COLUMNS)  # mean over channels: grey
    print(f"Picture: {picture}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/look_at_a_run.py RUN [PICTURE.png]")
    try:
        main(*sys.argv[1:])
    except UsageError as error:
        sys.exit(f"look_at_a_run: {error}")
