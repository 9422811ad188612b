"""Agents: networks, likelihoods, guides, mixtures, and the Pyro model and guide that combine them."""

if not __name__.startswith("mhng."):
    raise ImportError(f"{__name__} is a part of mhng; write: from mhng import load_run, train")
