"""One experiment, from settings and data to scores, pictures and pages. The public names are in `mhng`."""

if not __name__.startswith("mhng."):
    raise ImportError(f"{__name__} is a part of mhng; write: from mhng import load_run, train")
