"""Read the partner of a study: an agent with a mixture, or a Pyro program."""

from __future__ import annotations

from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.people.partner import PARTNER, MixturePartner, Partner, load_state, mixture_of


def load_partner(folder: Path, N: int, K: int, *, trust_plugins: bool = False) -> Partner:
    """Read the partner of a study with N objects and K signs. Raises UsageError."""
    file = folder / PARTNER
    state = load_state(file)
    try:
        if state["kind"] == "program":
            from mhng.experiment.people.program_partner import program_partner

            partner: Partner = program_partner(folder, state, trust_plugins=trust_plugins)
        else:
            mixture = mixture_of(state["mixture"])
            parameters = mixture.Parameters(*state["parameters"])
            partner = MixturePartner(
                mixture, state["z"], parameters, state["log_pi"], state["signs"], state["objects"]
            )
        table, signs = partner.belief.table, partner.signs
        if (len(table), len(table[0])) != (N, K) or len(signs) != N or not all(0 <= sign < K for sign in signs):
            raise ValueError(f"{len(table)} objects and {len(table[0])} signs")
    except UsageError:
        raise
    except Exception as error:  # values may be missing, or of any type
        raise UsageError(f"{file} is damaged, or not the partner of this study: {error}") from error
    return partner
