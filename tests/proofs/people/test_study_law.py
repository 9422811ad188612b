"""Bots that play a study through its pages have the enumerated law of two agents; wrong servers do not.

Given fixed tables the objects are independent, and each of both has a chain of signs for an object:

    the participant's sign   an offer moves it by P: the partner proposes, the participant accepts by its rule
    the partner's sign       a proposal moves it by Q: the participant proposes, the partner accepts by that of MH

After V visits of an object the signs have the laws start P^V and start Q^V.
"""

import threading
import time
from contextlib import closing

import numpy as np
import pytest
from scipy import stats

from mhng.experiment.people import draws
from mhng.experiment.people.bots import Bot
from mhng.experiment.people.client import Http
from mhng.experiment.people.session import Session
from tests.checks import ALPHA, chi_square
from tests.studies import PARTNER, PERSON, PRIOR, K, N, Served, logged, person, served, table_study

# Offers in the sessions of a test, and visits of each object in a short session.
OFFERS, SESSIONS, VISITS = 300, 3, 3
RULES = ("mh", "numerator", "subtraction", "binary", "constant:0.3", "tempered:4")


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch):
    monkeypatch.setattr("mhng.experiment.people.log.os.fsync", lambda descriptor: None)


def normalised(logits):
    weights = np.exp(logits)
    return weights / weights.sum(-1, keepdims=True)


def acceptance(rule, q):
    """(K, K) the probability of taking column j in place of row i, written out for this test."""
    new, old = np.broadcast_to(q, (K, K)), np.broadcast_to(q[:, None], (K, K))
    kind, _, number = rule.partition(":")
    return {
        "mh": lambda: np.minimum(1, new / old),
        "numerator": lambda: new,
        "subtraction": lambda: np.clip((new - old + 1) / 2, 0, 1),
        "binary": lambda: (new >= old).astype(float),
        "constant": lambda: np.full((K, K), float(number)),
        "tempered": lambda: np.minimum(1, (new / old) ** (1 / float(number))),
    }[kind]()


def chain(proposal, accept):
    """(K, K) transitions of the listener's sign."""
    moves = proposal[None] * accept
    np.fill_diagonal(moves, 0)
    return moves + np.diag(1 - moves.sum(1))


def chains(rule, n):
    """P and Q of object n."""
    P = chain(normalised(PRIOR + PARTNER[n]), acceptance(rule, normalised(PERSON[n])))
    Q = chain(normalised(PRIOR + PERSON[n]), acceptance("mh", normalised(PARTNER[n])))
    return P, Q


def moves_of(path, rule, kind=Session, sessions=SESSIONS):
    """The moves of bots that play in this process."""
    study = table_study(path, offers=OFFERS)
    with served(study, kind) as site:
        for number in range(sessions):
            site.play(rule, number, known=True)
    return moves_in(study)


def moves_in(study):
    """(2, N, K, K) moves from sign to sign of the participants and of their partners, by object, from the logs."""
    counts = np.zeros((2, N, K, K))
    for events in logged(study).values():
        partner = [0, 1, 2]
        for event in events:
            if event["kind"] == "offer":
                after = event["offered"] if event["answer"] == "take" else event["sign"]
                counts[0, event["object"], event["sign"], after] += 1
            elif event["kind"] == "proposal":
                n, before = event["object"], partner[event["object"]]
                partner[n] = event["offered"] if event["accepted"] else before
                counts[1, n, before, partner[n]] += 1
    return counts


def p_value(counts, rule):
    """The chi-square test of all moves, each row of a chain with its own total."""
    total, freedom = 0.0, 0
    for n in range(N):
        for side, law in enumerate(chains(rule, n)):
            expected = counts[side, n].sum(1, keepdims=True) * law
            assert (counts[side, n][law < 1e-12] == 0).all(), "what is impossible was drawn"
            used = expected > 2
            total += ((counts[side, n] - expected)[used] ** 2 / expected[used]).sum()
            freedom += int((used.sum(1) - 1).clip(0).sum())
    return stats.chi2.sf(total, freedom)


@pytest.mark.parametrize("rule", RULES)
def test_bots_move_as_the_enumerated_chains_of_their_rule(tmp_path, rule):
    counts = moves_of(tmp_path, rule, sessions=SESSIONS if rule == "mh" else 1)
    assert p_value(counts, rule) > ALPHA
    others = [other for other in RULES if other != rule]
    if rule == "mh":  # the sample tells the rules apart
        impossible = [other for other in others if _rejects(counts, other)]
        assert impossible == others


def _rejects(counts, rule):
    try:
        return p_value(counts, rule) < ALPHA
    except AssertionError:
        return True


@pytest.mark.slow
def test_twenty_thousand_bots_have_the_enumerated_law(tmp_path):
    signs = []
    with served(table_study(tmp_path, offers=VISITS * N)) as site:
        for number in range(20_000):
            session = site.play("mh", number, known=True)
            signs.append([session.signs, session.partner_signs])
    signs = np.array(signs)  # (bots, 2, N)
    for n in range(N):
        starts = np.full(K, 1 / K), np.eye(K)[n]
        for side, (start, moves) in enumerate(zip(starts, chains("mh", n), strict=True)):
            law = start @ np.linalg.matrix_power(moves, VISITS)
            assert chi_square(np.bincount(signs[:, side, n], minlength=K), law) > ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Session, "Peeks"])
def test_two_hundred_bots_by_http_have_the_enumerated_law(tmp_path, kind):
    import uvicorn

    study = table_study(tmp_path, offers=VISITS * N)
    site = Served(study, Peeks if kind == "Peeks" else kind)
    config = uvicorn.Config(site.transport.app, "127.0.0.1", 0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        for number in range(200):
            with closing(Http(f"http://127.0.0.1:{port}")) as transport:
                Bot("mh", person(), known=True, number=number).play(transport)
    finally:
        server.should_exit = True
        thread.join()
        site.transport.close()
    assert (p_value(moves_in(study), "mh") > ALPHA) == (kind is Session)


def test_metropolis_hastings_leads_to_the_product_of_both():
    for n in range(N):
        for moves in chains("mh", n):
            law = normalised(PRIOR + PARTNER[n] + PERSON[n])
            np.testing.assert_allclose(law @ moves, law, atol=1e-15)


class Peeks(Session):
    """The partner knows what the participant sees."""

    def offered(self):
        n = self.place.object
        return draws.choice(list(PRIOR + PARTNER[n] + PERSON[n]), self.uniform("offer"))


class AcceptsAsSpeaker(Session):
    """The partner offers its draw only if its own ratio accepts it, else the participant's sign."""

    def offered(self):
        n, drawn = self.place.object, super().offered()
        accepted = self.belief.accepts("mh", n, drawn, self.signs[n], self.uniform("own ratio"))
        return drawn if accepted else self.signs[n]


class Forgets(Session):
    """The partner compares a proposal with the sign of the beginning, not with its sign."""

    def replies(self, proposed):
        n = self.place.object
        return self.belief.accepts("mh", n, proposed, self.study.partner.signs[n], self.uniform("reply"))


class PriorTwice(Session):
    """The partner counts the prior twice."""

    def offered(self):
        n = self.place.object
        return draws.choice(list(2 * PRIOR + PARTNER[n]), self.uniform("offer"))


@pytest.mark.parametrize("kind", [Peeks, AcceptsAsSpeaker, Forgets, PriorTwice])
def test_a_wrong_server_is_rejected(tmp_path, kind):
    assert p_value(moves_of(tmp_path, "mh", kind), "mh") < ALPHA
