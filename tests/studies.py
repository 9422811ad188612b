"""Small studies for tests: a partner with a fixed table, and pages that are read by a client in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from mhng.experiment.people.app import Site
from mhng.experiment.people.bots import Bot
from mhng.experiment.people.client import Client, InProcess
from mhng.experiment.people.design import Design, check_design
from mhng.experiment.people.log import Logs
from mhng.experiment.people.partner import Belief
from mhng.experiment.people.person import PersonSide
from mhng.experiment.people.session import Session
from mhng.experiment.people.sessions import Sessions
from mhng.experiment.people.study import Study

# Objects, signs, a skewed prior, and tables of log likelihoods that disagree.
N, K = 3, 3
PRIOR = np.log([0.5, 0.3, 0.2])
PARTNER = np.log([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.15, 0.25, 0.6]])
PERSON = np.log([[0.3, 0.6, 0.1], [0.25, 0.15, 0.6], [0.5, 0.2, 0.3]])

# Columns of trials that tests write by hand.
TRIAL = (
    "participant", "trial_index", "trial_type", "object", "category", "sign", "offered", "accepted", "sign_after",
)  # fmt: skip


class TablePartner:
    """A partner whose beliefs are a table; a redraw shifts it by the number of its signs."""

    def __init__(
        self, table: np.ndarray = PARTNER, prior: np.ndarray = PRIOR, signs: Sequence[int] = (0, 1, 2)
    ) -> None:
        self.signs = tuple(signs)
        self.belief = Belief(np.broadcast_to(prior, table.shape).tolist(), table.tolist())

    def redraw(self, seed: int, name: str, signs: Sequence[int], belief: Belief) -> Belief:
        counts = np.bincount(signs, minlength=K)
        return belief._replace(table=(np.array(belief.table) + np.log(counts + 1)).tolist())


def picture(n: int) -> bytes:
    """A PNG of its own."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 10 * n + 5).save(buffer, "PNG")
    return buffer.getvalue()


def design(**changes: object) -> Design:
    values = {
        "name": "test", "seed": 5, "source": "tables", "partners": ("known",), "blocks": 1, "offers": 6, "objects": N,
        "signs": K, "groups": 3, "languages": ("en", "ja"), "consent": "0123456789ab",
    }  # fmt: skip
    return check_design(Design(**values | changes))


def table_study(path: Path, *, demo: bool = False, **changes: object) -> Study:
    """A study whose partner is a table."""
    return Study(
        path, design(demo=demo, **changes), TablePartner(), "0123456789abcdef", b"salt" * 8,
        {"en": "# A study\n\nYou may <stop> at any time.", "ja": "研究です。"},
        tuple(map(picture, range(N))), picture(20), tuple(picture(10 + n) for n in range(N)) if demo else (),
    )  # fmt: skip


def person() -> PersonSide:
    """The agent that bots stand in for, in a `table_study`."""
    return PersonSide(None, np.broadcast_to(PRIOR, PERSON.shape), PERSON)


class Served:
    """A study that is served in this process."""

    def __init__(self, study: Study, session: type[Session] = Session) -> None:
        self.study = study
        self.sessions = Sessions(study, session)
        self.transport = InProcess(Site(self.sessions).app())

    def client(self, **form: str) -> Client:
        """A participant who has agreed."""
        client = Client(self.transport)
        answer = client.post("/begin", {"agree": "yes", "language": "en", **form})
        assert answer.status == 303 and client.cookies, answer
        return client

    def play(self, rule: str, number: int, **options: object) -> Session:
        """The session of a bot that has played to the end."""
        participant = Bot(rule, person(), number=number, **options).play(self.transport)
        return self.sessions._open.pop(participant)


@contextmanager
def served(study: Study, session: type[Session] = Session) -> Iterator[Served]:
    one = Served(study, session)
    try:
        yield one
    finally:
        one.transport.close()


def logged(study: Study) -> dict[str, list[dict]]:
    """The events of all participants."""
    logs = Logs(study.path)
    return {participant: logs.read(participant) for participant in logs.participants()}
