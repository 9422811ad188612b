"""A run, from files to pictures: settings, data, run folder, scores and diagnostics."""
