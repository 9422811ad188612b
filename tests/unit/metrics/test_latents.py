"""Collapse of latents, from the rows of metrics.jsonl."""

from mhng.experiment.metrics.latents import collapse, latent_nats


def row(agent: str, round: int, kl: float) -> dict[str, object]:
    return {"kind": "epoch", "agent": agent, "round": round, "kl": kl}


def test_nats_are_those_of_the_last_epochs_of_round_0() -> None:
    rows = [row("A", 0, 9.0), row("A", 0, 4.0), row("B", 0, 0.1), {"kind": "sweep", "round": 0}, row("A", 1, 0.2)]
    assert latent_nats(rows) == {"A": 4.0, "B": 0.1}
    assert latent_nats([row("A", 1, 3.0), {"kind": "epoch"}]) == {}


def test_agents_with_less_than_a_nat_have_collapsed() -> None:
    assert collapse({"A": 1.1, "B": 2.0}, 10) is None and collapse({}, 10) is None
    clause = collapse({"A": 0.06, "B": 0.1, "C": 3.0}, 10)
    assert clause == "the percepts of agents A, B hold 0.06, 0.1 nats after round 0: the latents have collapsed"
    assert collapse({"A": 0.8}, 2) is None and collapse({"A": 0.6}, 2) is not None
