"""Data sets and views: what the agents of a run observe."""
