"""Agents: networks, likelihoods, guides, mixtures, and the Pyro model and guide that combine them."""
