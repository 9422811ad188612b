"""`compare --engine ray`: what a cluster is asked for, what is done where a worker dies, and whole grids on nodes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.comparison import process_pool, ray_pool
from mhng.experiment.comparison.process_pool import Task
from mhng.experiment.comparison.ray_pool import RETRIES, allocate, run_tasks
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training import ray_cluster

HOME = Path(__file__).resolve().parents[2]
SETTINGS = [
    "--dataset", "digits", "--limit", "100", "--batch-size", "20", "--lr", "3e-3", "--latent-dim", "4",
    "--jitter", "0", "--epochs", "30", "--round-epochs", "1", "--sweeps", "4", "--burn-in", "1", "--starts", "1",
    "--chains", "1",
    "--device", "cpu",
]  # fmt: skip

on_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the package ray: pip install 'mh-naming-game[ray]'"
)


# -- a cluster that is none ------------------------------------------------------------------------


class RayError(Exception):
    """As of the package."""


class WorkerCrashedError(RayError):
    """As of the package."""


class NodeDiedError(RayError):
    """As of the package."""


class RayTaskError(RayError):
    """As of the package."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("many\nlines")
        self.cause = cause


class FakeRay(types.ModuleType):
    """Stands for the package: tasks end as `results` says, in the order in which they were sent; None: not at all."""

    exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *results: object, sizes: tuple[float, ...] = (4,)) -> None:
        super().__init__("ray")
        self.results = list(results)
        self.sizes = sizes
        self.sent: list[list[str]] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.options: dict[str, int] = {}
        self.function: Any = None

    def is_initialized(self) -> bool:
        return False

    def nodes(self) -> list[dict[str, Any]]:
        found = [{"Alive": size >= 0, "Resources": {"CPU": abs(size)}} for size in self.sizes]
        return [*found, {"Alive": True, "Resources": {}}]

    def remote(self, **options: int) -> Callable[[Any], Any]:
        self.options = options

        def keep(function: Any) -> Any:
            self.function = function
            return types.SimpleNamespace(remote=self.send)

        return keep

    def send(self, command: list[str], log: str) -> int:
        self.sent.append(command)
        return len(self.sent) - 1

    def wait(self, refs: list[int], num_returns: int = 1, timeout: float = 0) -> tuple[list[int], list[int]]:
        ended = [ref for ref in refs if self.results[ref] is not None]
        return ended, [ref for ref in refs if ref not in ended]

    def get(self, ref: int) -> object:
        if isinstance(self.results[ref], Exception):
            raise self.results[ref]  # type: ignore[misc]
        return self.results[ref]

    def cancel(self, ref: int, force: bool = False) -> None:
        self.cancelled.append((ref, force))


def run_on(
    fake: FakeRay, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 1, goes_on: bool = True
) -> tuple[dict[int, int | str], list[tuple[int, str]]]:
    """How each task ended, and what was asked for again."""
    monkeypatch.setitem(sys.modules, "ray", fake)
    ends: dict[int, int | str] = {}
    asked: list[tuple[int, str]] = []

    def retry(index: int, reason: str) -> Task | None:
        asked.append((index, reason))
        return Task(["resume", str(index)], folder / f"{index}.log") if goes_on else None

    tasks = [Task(["train", str(index)], folder / f"{index}.log") for index in range(count)]
    run_tasks(tasks, jobs=2, threads=3, on_end=ends.__setitem__, retry=retry)
    assert list(folder.glob(".cluster-*")) == []
    return ends, asked


@pytest.mark.parametrize(
    ("sizes", "runs", "jobs", "threads", "found"),
    [
        ((8,), 2, None, None, (2, 4)),
        ((8,), 20, None, None, (8, 1)),
        ((8, 8), 3, None, None, (3, 4)),  # not 5 each, of which a node has room for one
        ((8, 8, -64), 20, None, 3, (4, 3)),  # one node is gone
        ((8, 2.5), 20, 1, None, (1, 8)),
        ((2,), 20, 5, None, (5, 1)),  # they take turns
        ((4,), 20, 5, 2, (5, 2)),
    ],
)
def test_runs_share_the_resources_of_the_cluster(
    sizes: tuple[float, ...], runs: int, jobs: int | None, threads: int | None, found: tuple[int, int]
) -> None:
    assert allocate(FakeRay(sizes=sizes), runs, jobs, threads) == found


@pytest.mark.parametrize(("sizes", "threads"), [((4, 8, -16), 9), ((), None)])
def test_threads_for_which_no_node_has_room_are_refused(sizes: tuple[float, ...], threads: int | None) -> None:
    with pytest.raises(
        UsageError, match=rf"^--threads is {threads or 1}; the largest node of the cluster has [08] CPUs$"
    ):
        allocate(FakeRay(sizes=sizes), 3, None, threads)


def test_a_run_whose_worker_died_resumes_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(WorkerCrashedError(), 3, NodeDiedError(), -signal.SIGKILL, 0)
    ends, asked = run_on(fake, tmp_path, monkeypatch, count=2)
    assert ends == {0: 0, 1: 3}  # one that failed by itself is not tried again
    assert asked == [(0, "its worker died"), (0, "its node was lost"), (0, "killed by SIGKILL")]
    assert fake.sent == [["train", "0"], ["train", "1"], *[["resume", "0"]] * 3]
    assert fake.options == {"num_cpus": 3, "max_retries": 0}


def test_a_run_that_dies_repeatedly_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay(*[WorkerCrashedError()] * 10)
    ends, asked = run_on(fake, tmp_path, monkeypatch)
    assert ends == {0: f"its worker died (attempt {RETRIES + 1}, the last)"} and len(asked) == RETRIES


def test_a_run_that_was_done_before_its_worker_died_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends, _ = run_on(FakeRay(WorkerCrashedError()), tmp_path, monkeypatch, goes_on=False)
    assert ends == {0: 0}


@pytest.mark.parametrize(
    ("result", "kind", "said"),
    [
        ("/runs on n7 is missing", UsageError, "--engine ray: /runs on n7 is missing; all nodes must share"),
        (RayTaskError(OSError(28, "No space left on device")), RunError, "0 could not be started: .*No space left"),
    ],
)
def test_a_node_that_cannot_run_ends_the_grid_in_one_line(
    result: object, kind: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay(result, None)
    with pytest.raises(kind, match=said) as caught:
        run_on(fake, tmp_path, monkeypatch, count=3)
    assert "\n" not in str(caught.value) and len(fake.sent) == 2
    # The one that ran was interrupted, and killed when it did not end.
    assert (1, False) in fake.cancelled and fake.cancelled[-1] == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_node_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_pool, "_VISIBLE_SECONDS", 0.2)
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr(ray_pool, "run_on_node", lambda *given: started.append(given) or 7)
    fake = FakeRay(0)
    (tmp_path / ".cluster-0").touch()  # of a command that was killed
    run_on(fake, tmp_path, monkeypatch)
    said = fake.function([sys.executable, str(HOME / "cli.py"), "train"], "0.log")
    assert said == f"{tmp_path} on {os.uname().nodename} is missing or another folder"
    with ray_pool._token_file(tmp_path) as token:
        ray_pool._remote_function(fake, 3, token)
        assert "/no/python is missing on" in fake.function(["/no/python", str(HOME / "cli.py")], "0.log")
        assert started == []
        command = [sys.executable, str(HOME / "cli.py"), "train", "/no/flag"]
        assert fake.function(command, "0.log") == 7 and started == [(command, "0.log", 3)]
        monkeypatch.setattr(process_pool, "HOME", "/no/folder")
        ray_pool._remote_function(fake, 3, token)
        assert "/no/folder is missing on" in fake.function([sys.executable, "-m", "mhng"], "0.log")
        assert len(started) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a program with its parent")
def test_a_run_ends_with_the_worker_that_was_killed(tmp_path: Path) -> None:
    """Else it would go on alone and hold its folder, and could not be tried again."""
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    worker = (
        f"import sys; sys.path.insert(0, {str(HOME)!r})\nfrom mhng.experiment.comparison.ray_pool import run_on_node\n"
        f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [2])\n"  # as Ray does
        f"run_on_node([sys.executable, '-c', {child!r}], 'log', 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", worker], cwd=tmp_path)
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and log.read_text().splitlines()[1:] != [], process)
    pid = int(log.read_text().splitlines()[1])
    blocked = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk")]
    assert int(blocked[0].split()[1], 16) == 0  # it can be interrupted
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pid))


# -- what is refused -------------------------------------------------------------------------------


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that is said, before anything is written."""
    assert cli.main(["compare", "--out", "grid", *arguments, "--", *SETTINGS]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and not Path("grid").exists()
    return err


def test_without_the_package_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    said = "--engine ray requires ray: pip install 'mh-naming-game[ray]'"
    assert refused(["--engine", "ray"], capsys) == f"mhng compare: {said}\n"


def test_an_address_at_which_there_is_no_cluster_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--address a:1 requires --engine ray" in refused(["--address", "a:1"], capsys)
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    with socket.socket() as taken:  # it does not listen
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(["--engine", "ray", "--address", nobody], capsys)
        assert f"--address {nobody}: no Ray cluster answers (Connection refused)" in said
    for wrong in ("here", "ray://a:1", ":1", "a:b"):
        assert f"--address {wrong}: expected HOST:PORT" in refused(["--engine", "ray", "--address", wrong], capsys)
    monkeypatch.setenv(ray_cluster.ADDRESS, "a:b")
    assert "RAY_ADDRESS=a:b: expected HOST:PORT" in refused(["--engine", "ray"], capsys)


# -- whole grids -----------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < 120
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(folder: str) -> int:
    """The process that has started the run of `folder`; 0 if there is none."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().decode().split("\0")
            if "train" in words and any(word.endswith(f"={folder}") for word in words):
                return int((place / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def started(arguments: list[str], place: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(HOME / "cli.py"), "compare", "--modes", "com", "--engine", "ray", *arguments]
    return subprocess.Popen(command, cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@on_ray
def test_a_grid_on_a_cluster_equals_that_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*SETTINGS, "--rounds", "1"]
    process = started(["--out", "grid", "--seeds", "0-1", "--jobs", "2", "--threads", "1", "--", *words], tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out == (tmp_path / "grid" / "table.md").read_text()
    ends = [line.partition("] ") for line in err.splitlines()]  # nothing of Ray's is among them
    assert [number for number, _, _ in ends] == ["[1/2", "[2/2"]
    assert {name.partition(", ARI")[0] for _, _, name in ends} == {"com, seed 0: done", "com, seed 1: done"}
    assert list((tmp_path / "grid").glob(".cluster-*")) == []
    monkeypatch.setattr("mhng.experiment.training.loop.TrainingLoop._draw", lambda _: None)
    for seed in (0, 1):
        own, run = tmp_path / f"own{seed}", tmp_path / "grid" / f"com-seed{seed}"
        assert cli.main(["train", "--mode", "com", "--seed", str(seed), *words, "--run-dir", str(own)]) == 0
        assert (run / "metrics.jsonl").read_bytes() == (own / "metrics.jsonl").read_bytes()
        with np.load(run / "signs.npz") as found, np.load(own / "signs.npz") as expected:
            assert sorted(found.files) == sorted(expected.files)
            for name in found.files:
                np.testing.assert_array_equal(found[name], expected[name])
            assert len(set(found["signs_A"].tolist())) > 1


NODES = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
first = cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.add_node(num_cpus=1)
cluster.remove_node(first, allow_graceful=False)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def nodes() -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a cluster that has one node for runs, and what puts another in its place."""
    with subprocess.Popen(
        [sys.executable, "-c", NODES],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | ray_cluster.SETTINGS,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        lines = process.stdin

        def lose() -> None:
            lines.write("\n")
            lines.flush()

        yield process.stdout.readline().strip(), lose
        process.communicate("\n\n")


@on_ray
def test_a_run_whose_node_is_lost_resumes_on_another(nodes: tuple[str, Callable[[], None]], tmp_path: Path) -> None:
    address, lose = nodes
    words = ["--address", address, "--", *SETTINGS, "--rounds", "100"]
    process = started(["--out", "grid", "--seeds", "0", *words], tmp_path)
    run = tmp_path / "grid" / "com-seed0"
    wait_until(lambda: (run / run_folder.CHECKPOINT).exists(), process)
    lose()
    log = run.with_suffix(".log")
    wait_until(lambda: "--resume=grid/com-seed0" in log.read_text(), process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err.splitlines()[0] == "com, seed 0: its node was lost; retrying"


@on_ray
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc")
def test_a_worker_that_was_killed_is_replaced_and_ctrl_c_ends_all(tmp_path: Path) -> None:
    words = ["--jobs", "1", "--threads", "1", "--", *SETTINGS, "--rounds", "4000"]
    folder = tmp_path / "grid" / "com-seed0"
    process = started(["--out", str(tmp_path / "grid"), "--seeds", "0-1", *words], tmp_path)
    wait_until(lambda: (folder / run_folder.CHECKPOINT).exists(), process)
    worker = parent_of(str(folder))
    os.kill(worker, signal.SIGKILL)
    log, rows = folder.with_suffix(".log"), folder / run_folder.METRICS
    wait_until(lambda: f"--resume={folder}" in log.read_text(), process)
    size = rows.stat().st_size
    wait_until(lambda: rows.stat().st_size > size + 1000, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        "com, seed 0: its worker died; retrying",
        "0 of 2 runs are done; run the same command again to continue",
        "cli.py compare: interrupted",
    ]
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    assert log.read_text().splitlines()[-1].startswith("mhng train: interrupted; continue: ")
    assert parent_of(str(folder)) == 0 and not folder.with_name("com-seed1.log").exists()
