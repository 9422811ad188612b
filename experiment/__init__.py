"""One experiment, from settings and data to scores, pictures and pages. The public names are in `mhng`."""
