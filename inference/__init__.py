"""Inference: the naming game, its initialisation, SVI of the networks, and the rounds that alternate them.

This file has only the values of settings, so that `--help` does not import torch.
"""

if not __name__.startswith("mhng."):
    raise ImportError(f"{__name__} is a part of mhng; write: from mhng import load_run, train")

MODES = ("com", "no-com", "all", "gibbs", "variational")
LISTENER_STATES = ("chain", "shared", "speaker-sample")
STARTS = ("prior", "kmeans", "merge", "split", "slots")
RULES = ("mh", "tempered:T", "constant:P", "numerator", "subtraction", "binary")
RECURSIONS = ("exact", "os", "ll:T")
INNER_STARTS = ("listener", "own")
NEWCOMERS = ("keep", "take")
PERCEPTS = ("draw", "mean")
