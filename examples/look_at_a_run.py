"""Find the objects on which the agents of a finished run disagree, and draw them.

    python examples/look_at_a_run.py runs/com-mnist5k-seed0 [disagreements.png]

Each row of the picture is an object with two signs: A's view, B's view, and the image that each agent decodes from its
own sign.
"""

import sys
from pathlib import Path

import numpy as np

from mhng import load_run
from mhng.experiment.errors import UsageError
from mhng.experiment.plots.training import plot_images

COLUMNS = ["A sees", "B sees", "A means", "B means"]
MAX_ROWS = 8


def main(path: str, picture: str = "disagreements.png") -> None:
    """Print the disagreements between agents A and B, and draw the first of them."""
    run = load_run(path)
    print(run)
    a, b = run.signs["A"], run.signs["B"]
    kappa = run.history.sweeps["kappa"]
    print(f"Agreement: {(a == b).mean():.1%} of {len(a)} objects; kappa from {kappa[0]:.3f} to {kappa[-1]:.3f}")
    differ = np.flatnonzero(a != b)
    if run.labels is not None:
        for k, name in enumerate(run.objects.class_names):
            in_class = run.labels == k
            print(f"  class {name}: {in_class[differ].sum()} of {in_class.sum()} objects have two signs")
    pairs, counts = np.unique(np.stack([a, b])[:, differ], axis=1, return_counts=True)
    for n in np.argsort(-counts, kind="stable")[:3]:
        print(f"  {counts[n]} times A says {pairs[0, n]} where B says {pairs[1, n]}")
    if not len(differ) or any(view.dim() != 4 for view in run.objects.views):
        print("No picture: there is no disagreement, or the observations are not images.")
        return

    shown = differ[:MAX_ROWS]
    means = {k: run.recall(k, draws=0) for k in np.unique([a[shown], b[shown]])}
    view_a, view_b = (view[shown].numpy() for view in run.objects.views)
    rows = [
        [view_a[r], view_b[r], means[a[n]]["A"].mean, means[b[n]]["B"].mean]  # images (C, H, W)
        for r, n in enumerate(shown)
    ]
    names = [f"{run.index[n]}: A {a[n]}, B {b[n]}" for n in shown]
    plot_images(Path(picture), np.asarray(rows).mean(2), names, COLUMNS)  # the mean over channels is grey
    print(f"Picture: {picture}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/look_at_a_run.py RUN [PICTURE.png]")
    try:
        main(*sys.argv[1:])
    except UsageError as error:
        sys.exit(f"look_at_a_run: {error}")
