"""The run folder: manifest, checkpoint, signs, metrics, trace and posterior, as files."""
