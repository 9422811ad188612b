"""What a run's draws say: traces, ArviZ, diagnostics and their verdict."""
