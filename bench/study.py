"""Response times of the study page: bots that play at once against one server, on this machine.

    python bench/study.py [--bots 50] [--trials 200]

Every bot sends its next request as soon as it has the answer, so this is more than as many people do. A trial is an
offer or a proposal, and takes two requests. Prints percentiles of the time of a request, and checks the logs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from mhng.experiment.people.bots import Bot
from mhng.experiment.people.client import Answer, Http
from mhng.experiment.people.design import Design
from mhng.experiment.people.new import write_study
from mhng.experiment.people.person import read_person
from mhng.experiment.people.session import replay
from mhng.experiment.people.sides import sides_of_data
from mhng.experiment.people.study import Study

HOME = Path(__file__).resolve().parents[1]


class Timed:
    """A connection that notes the time of every request, in seconds."""

    def __init__(self, transport: Http, times: list[float]) -> None:
        self.transport, self.times = transport, times

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        begun = time.perf_counter()
        answer = self.transport.send(method, path, headers, body)
        self.times.append(time.perf_counter() - begun)
        return answer


def measure(bots: int, trials: int, folder: Path) -> np.ndarray:
    """Times of all requests, sorted."""
    design = Design(
        name="bench", seed=0, source="creatures", partners=("mh",), blocks=2, offers=trials // 2, objects=10, signs=4,
        groups=4, languages=("en",),
    )  # fmt: skip
    write_study(folder, design, sides_of_data("creatures", 10, 4, 0), {"en": "Consent"})
    person, times, failures = read_person(folder, design), [], []
    command = [sys.executable, str(HOME / "cli.py"), "study", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=HOME) as server:
        try:
            match = re.search(r"http://\S+:\d+", server.stdout.readline())

            def play(number: int) -> None:
                try:
                    with closing(Http(match[0])) as transport:
                        Bot("mh", person, number=number).play(Timed(transport, times))
                except Exception as error:
                    failures.append(error)

            threads = [threading.Thread(target=play, args=(number,)) for number in range(bots)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            server.terminate()
    assert not failures, failures
    study = Study.open(folder)
    sessions = [replay(study, name, study.logs.read(name)) for name in study.logs.participants()]
    assert len(sessions) == bots and all(session.finished for session in sessions)
    return np.sort(times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bots", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        times = 1000 * measure(arguments.bots, arguments.trials, Path(folder) / "study")
        seconds = time.perf_counter() - begun
    p50, p95, p99 = np.percentile(times, (50, 95, 99))
    print(
        f"{arguments.bots} bots, {arguments.trials} trials each: {len(times)} requests in {seconds:.0f} s; "
        f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, longest {times[-1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
