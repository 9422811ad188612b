"""The statistics of naming games with people, for Python: `from mhng import behaviour`.

behaviour.fit(DATA)                   which rule people follow; `.report` holds the results as plain values
behaviour.power(69, 100)              what a study of this size can show
behaviour.load(DATA)                  the trials in a Psych-DS folder, a CSV file or a study folder
behaviour.Study.load(DIR)             a study folder; `.trials` and `.design`
behaviour.simulated("mh", 20, 100)    trials of simulated participants
"""

from __future__ import annotations

from mhng.experiment.people.fit import Fit, fit
from mhng.experiment.people.power import power
from mhng.experiment.people.reading import Study, load
from mhng.experiment.people.simulated import simulated
from mhng.experiment.people.trials import Trials, save

__all__ = ["Fit", "Study", "Trials", "fit", "load", "power", "save", "simulated"]
