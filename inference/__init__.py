"""How signs are agreed on and parameters learned: proposals, the MH game, starts, SVI and the rounds of both.

Here are only the names that a user may choose from, so that reading them does not import torch.
"""

MODES = ("com", "no-com", "all", "gibbs", "variational")
LISTENER_STATES = ("chain", "shared", "speaker-sample")
STARTS = ("prior", "kmeans", "merge", "split")
RULES = ("mh", "tempered:T", "constant:P", "numerator", "subtraction", "binary")
RECURSIONS = ("exact", "os", "ll:T")
INNER_STARTS = ("listener", "own")
NEWCOMERS = ("keep", "take")
PERCEPTS = ("draw", "mean")
