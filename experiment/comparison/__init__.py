"""Comparison of runs: a grid of modes, seeds and variants, its processes, statistics and tables."""
