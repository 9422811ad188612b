"""Presets: groups of settings with a name. The file of --config and flags override them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.errors import UsageError
from mhng.experiment.util.text import suggestion


class Preset(NamedTuple):
    """Settings by field name, as typed, and a note that is printed before the run and kept in its manifest."""

    settings: Mapping[str, str]
    note: str


PRESETS = {
    "quick": Preset(
        {"limit": "1000", "epochs": "15", "round_epochs": "1", "rounds": "3", "sweeps": "20", "starts": "2"},
        "preset quick: few objects and short learning, to see what a run does; its scores are no result",
    ),
    # is0383kk/SymbolEmergence-VAE-GMM, main.py and cnn_vae_module_mnist.py, which state all but the size of the steps
    # of the article.
    "paper": Preset(
        {
            "dataset": "mnist", "limit": "10000", "views": "0,45", "signs": "10", "latent_dim": "12",
            "network": "conv-large", "likelihood": "bernoulli", "batch_size": "10", "lr": "1e-3", "epochs": "50",
            "rounds": "0", "sweeps": "50", "jitter": "0", "listener_state": "speaker-sample", "start": "prior",
            "starts": "1", "prior": "m0=0,beta=1,nu=12,W=0.1",
        },
        "preset paper: settings of the public reference code of Taniguchi et al. (2023), as far as they are known; "
        "there the network has one more layer, and batches keep the order of the data",
    ),
}  # fmt: skip

# Data whose number of objects is not known before they are read.
_NO_LIMIT = (*custom_dataset.KINDS, "synthetic")


def find(name: str) -> Preset:
    """The preset called `name`. Raises UsageError."""
    if name not in PRESETS:
        raise UsageError(f"--preset is {name!r}; expected one of {', '.join(PRESETS)}{suggestion(name, PRESETS)}")
    return PRESETS[name]


def settings_of(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Settings of the preset `name`, as typed, that are not among the values `given`. Raises UsageError."""
    settings = {field: value for field, value in find(name).settings.items() if field not in given}
    if given.get("dataset", settings.get("dataset")) in _NO_LIMIT:
        settings.pop("limit", None)
    if "latent_dim" in given or given.get("mixture", "normal-wishart") != "normal-wishart":
        settings.pop("prior", None)  # its nu is L
    if given.get("likelihood") == "identity":
        settings.pop("network", None)
    return settings
