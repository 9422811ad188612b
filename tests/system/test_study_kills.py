"""A server that is killed at any moment loses no answer that it has confirmed, and keeps none twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from mhng.experiment.errors import RunError
from mhng.experiment.people.bots import Bot
from mhng.experiment.people.client import Client, Http
from mhng.experiment.people.log import Logs
from mhng.experiment.people.person import read_person
from mhng.experiment.people.serve import write_demo
from mhng.experiment.people.session import replay
from mhng.experiment.people.study import Study

# A server that has imported everything forks one child for each life, so a hundred lives take minutes, not an hour.
LIVES = """
import os, signal, sys
from mhng.experiment.people import serve
from mhng.experiment.people.study import Study
import uvicorn, mhng.experiment.people.app
from pathlib import Path
for line in sys.stdin:
    child = os.fork()
    if not child:
        up = lambda text: print("up", os.getpid(), flush=True)
        serve.serve(Study.open(Path(sys.argv[1])), port=int(sys.argv[2]), ready=up)
        os._exit(0)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


class Player(threading.Thread):
    """A bot that goes on after a server has died: it asks for the present page, and answers it again."""

    def __init__(self, url: str, bot: Bot, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.bot, self.stop = url, bot, stop
        self.sessions: list[tuple[str, list[int]]] = []  # tokens, and numbers of pages with confirmed answers
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                with closing(Http(self.url)) as transport:
                    self.session(Client(transport), [])
        except BaseException as error:
            self.failure = error

    def session(self, client: Client, confirmed: list[int]) -> None:
        begun = self.patiently(lambda: client.post("/begin", {"agree": "yes", "language": "en", "bot": "mh"}))
        if begun is None:
            return
        self.sessions.append((client.cookies["study"], confirmed))
        while not self.stop.is_set():
            page = self.patiently(lambda: client.get("/page"))
            if page is None or page.data["kind"] == "end":
                return
            form = self.bot.answer(page)
            reply = self.patiently(lambda form=form: client.post("/page", form))
            if reply is not None:
                assert reply.status == 303, reply
                confirmed.append(int(form["index"]))

    def patiently(self, send):
        while not self.stop.is_set():
            try:
                return send()
            except RunError:
                time.sleep(0.01)
        return None


def killed(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Kill the server `kills` times while three bots play; returns numbers of sessions and confirmed answers."""
    moments, stop = random.Random(seed), threading.Event()
    person = read_person(folder, Study.open(folder).design)
    port = free_port()
    command = [sys.executable, "-c", LIVES, str(folder), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdin is not None and keeper.stdout is not None
        players = [Player(f"http://127.0.0.1:{port}", Bot("mh", person, seed=seed, number=n), stop) for n in range(3)]
        for life in range(kills + 1):
            keeper.stdin.write("live\n")
            keeper.stdin.flush()
            pid = int(keeper.stdout.readline().split()[1])
            if life == 0:
                for player in players:
                    player.start()
            time.sleep(moments.uniform(0.05, 0.4))
            if life == kills:
                stop.set()
                for player in players:
                    player.join(60)
            subprocess.run(["kill", "-9", str(pid)], check=True)
            assert keeper.stdout.readline().strip() == "dead"
        keeper.stdin.close()
    assert [player.failure for player in players] == [None] * 3
    study, known = Study.open(folder), {}
    Logs(folder).repair()
    for participant in study.logs.participants():
        events = study.logs.read(participant)
        replay(study, participant, events)  # every line once, in order, with the draws of the design
        assert [event["index"] for event in events] == list(range(len(events)))
        known[participant] = len(events)
    sessions = [session for player in players for session in player.sessions]
    for token, confirmed in sessions:
        assert len(set(confirmed)) == len(confirmed)
        # A confirmed answer is kept. An answer that was kept without a confirmation is found at the next look.
        assert set(confirmed) <= set(range(known[study.participant(token)]))
    return len(sessions), sum(len(confirmed) for _, confirmed in sessions)


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    write_demo(tmp_path / "study")
    sessions, answers = killed(tmp_path / "study", 3, seed=0)
    assert sessions >= 3 and answers > 10


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_a_hundred_kills(tmp_path: Path) -> None:
    write_demo(tmp_path / "study")
    sessions, answers = killed(tmp_path / "study", 100, seed=1)
    print(f"{sessions} sessions, {answers} confirmed answers")
    assert answers > 1000


def test_a_stopped_server_prints_nothing_more(tmp_path: Path) -> None:
    write_demo(tmp_path / "study")
    home = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(home / "cli.py"), "study", "serve", str(tmp_path / "study"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("Study demo: http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
        assert "Traceback" not in process.stderr.read()
