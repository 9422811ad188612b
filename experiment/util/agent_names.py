"""Names of agents: A to Z, then AA, AB, ..."""

from __future__ import annotations

from itertools import count, islice, product
from string import ascii_uppercase


def agent_names(agents: int) -> list[str]:
    """Names of the first `agents` agents."""
    endless = ("".join(letters) for length in count(1) for letters in product(ascii_uppercase, repeat=length))
    return list(islice(endless, agents))
