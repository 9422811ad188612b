"""`train --engine ray`: the same run with every agent in a process of its own, and what leaves those processes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import loop, ray_agents, ray_cluster
from mhng.experiment.training.train import resume, train
from mhng.inference import initialization

HOME = Path(__file__).resolve().parents[2]
SMALL = Config(
    dataset="digits", limit=80, signs=3, latent_dim=2, epochs=3, round_epochs=1, rounds=2, sweeps=8, round_sweeps=3,
    burn_in=2, starts=2, chains=2, device="cpu", lr=1e-2, batch_size=20, engine="ray",
)  # fmt: skip

on_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the package ray: pip install 'mh-naming-game[ray]'"
)


# -- actors in this process: what they are asked, and what that leads to -------------------------------


class RayError(Exception):
    """As of the package."""


class RayTaskError(RayError):
    """As of the package."""

    def __init__(self, cause):
        super().__init__("many\nlines")
        self.cause = cause


class FakeRay:
    """Stands for the package: an actor answers in this process, at once. Every question is written down.

    dies: numbers of questions (from 0, of all agents) at which the process of the agent that is asked ends.
    """

    exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, dies=()):
        self.asked = []  # (number of the agent, what, arguments, answer)
        self.dies = set(dies)
        self.killed = []

    def remote(self, **_):
        return lambda cls: types.SimpleNamespace(remote=lambda *arguments: FakeActor(self, cls, arguments))

    def cluster_resources(self):
        return {"CPU": 2.0}

    def get(self, reference):
        if isinstance(reference, Exception):
            raise reference
        return reference

    def kill(self, actor):
        self.killed.append(actor)


class FakeActor:
    def __init__(self, ray, cls, arguments):
        self._ray, self._mind = ray, cls(*arguments)
        self._number = "ABC".index(arguments[0].name)
        self._gone = False

    def __getattr__(self, what):
        def remote(*arguments):
            if len(self._ray.asked) in self._ray.dies:
                self._ray.dies.discard(len(self._ray.asked))
                self._gone = True
            if self._gone:
                return iter([RayError("gone")]) if what == "train_epochs" else RayError("gone")
            try:
                answer = getattr(self._mind, what)(*arguments)
                if what == "train_epochs":
                    answer = list(answer)  # it learns now, whoever is listened to first
            except Exception as error:
                failed = RayTaskError(error)
                return iter([failed]) if what == "train_epochs" else failed
            self._ray.asked.append((self._number, what, arguments, answer))
            return iter(answer) if what == "train_epochs" else answer

        return types.SimpleNamespace(options=lambda **_: types.SimpleNamespace(remote=remote))


@pytest.fixture
def ray(monkeypatch):
    made = FakeRay()

    @contextlib.contextmanager
    def cluster(address, cpus):
        yield made

    monkeypatch.setattr(ray_cluster, "cluster", cluster)
    monkeypatch.setattr("mhng.experiment.training.packages.check_ray", lambda flag: None)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    torch.set_num_threads(before)


def contents(folder):
    with np.load(folder / "signs.npz") as arrays:
        signs = {name: arrays[name].tolist() for name in arrays}
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    return signs, (folder / "metrics.jsonl").read_text(), flat(checkpoint)


def flat(tree):
    if isinstance(tree, dict):
        # Times differ, and of a checksum those that depend on them.
        return {key: flat(part) for key, part in tree.items() if key not in ("seconds", "checksums", "checksum")}
    if isinstance(tree, list | tuple):
        return [flat(part) for part in tree]
    return tree.tolist() if isinstance(tree, torch.Tensor) else tree


THREE = resolve({"agents": "3", "views": "0,45,90"}).views
RING = resolve({"agents": "3", "views": "0,45,90", "meet": "ring"}).meet
VARIANTS = {
    "com": {},
    "com, shared": {"listener_state": "shared"},
    "com, speaker-sample": {"listener_state": "speaker-sample", "acceptance": "numerator"},
    "all": {"mode": "all"},
    "no-com": {"mode": "no-com"},
    "started by prior": {"start": "prior"},
    "one start of kmeans": {"start": "kmeans", "starts": 1, "percept": "mean"},
    "three, os": {"agents": 3, "views": THREE},
    "three in a ring": {"agents": 3, "views": THREE, "meet": RING, "synchronous": True},
    "vectors": {"dataset": "synthetic", "likelihood": "identity", "dimension": 2, "limit": None},
    "a mixture with a step of its own": {"mixture": "student-t"},
    "starts in parts": {"chains": 3},
}


def settings(name):
    return replace(SMALL, **VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_run_equals_that_of_one_process(name, ray, tmp_path, monkeypatch):
    monkeypatch.setattr(initialization, "_LARGE", 1)  # so that more than two chains make their starts in parts
    config = settings(name)
    train(replace(config, run_dir=tmp_path / "apart"))
    summary = json.loads((tmp_path / "apart" / "summary.json").read_text())
    train(replace(config, engine="local", run_dir=tmp_path / "here"))
    here = json.loads((tmp_path / "here" / "summary.json").read_text())
    assert contents(tmp_path / "apart") == contents(tmp_path / "here")
    assert here.pop("traffic") is None and (summary.pop("traffic") is not None)
    for one in (here, summary):
        one.pop("seconds")
    assert summary == here
    assert {number for number, *_ in ray.asked} == set(range(config.agents))
    assert any(what == "spawn_streams" for _, what, *_ in ray.asked) == (name == "starts in parts")


def test_only_signs_and_the_prior_go_to_an_agent_in_the_game(ray, tmp_path):
    """Its own components come back to it, from the record; of another it is told signs alone."""
    train(replace(SMALL, run_dir=tmp_path / "run"))
    own = {0: [], 1: []}
    for number, what, arguments, answer in ray.asked:
        if what == "parameters":
            own[number].append(answer)
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                # The prior that everybody knows, of three signs, or of more where a start begins.
                prior = what in ("propose", "best") and argument.size in (3, 6, 9, 15) and np.ptp(argument) == 0
                assert argument.dtype == np.int16 or prior
            elif hasattr(argument, "mu"):
                assert what in ("train_epochs", "elbo")
                assert any(torch.equal(argument.mu, one.mu[0]) for one in own[number])
                assert not any(torch.equal(argument.mu, one.mu[0]) for one in own[1 - number])
            else:
                assert isinstance(argument, int | str | type(None)) or callable(argument)
    # And what it answers is not what it sees: nothing of the size of its percepts but signs.
    for _, what, _, answer in ray.asked:
        parts = answer if isinstance(answer, tuple) else (answer,)
        if what in ("propose", "respond", "best", "clusters", "redraw", "from_prior", "log_likelihood", "merge_gain"):
            assert all(part.dtype.kind in "iu" or part.size <= 4 * 15 for part in parts), what


def test_bytes_are_counted(ray, tmp_path):
    summary = train(replace(SMALL, run_dir=tmp_path / "run"))
    # Two chains, each agent says a sign of two bytes for each of 80 objects.
    assert summary["traffic"]["signs_said"] == 2 * 2 * 2 * 80
    assert summary["traffic"]["all"] > summary["traffic"]["signs_said"]
    three = train(replace(SMALL, agents=3, views=THREE, run_dir=tmp_path / "three"))
    # To each of three listeners the others propose, and before that it tells the one between what it holds.
    assert three["traffic"]["signs_said"] == 2 * 2 * 3 * 3 * 80 == 2 * 2 * three["messages"]


@pytest.mark.parametrize("question", [3, 40, 120, 260])
def test_a_process_that_ends_is_restarted_from_its_last_round(question, ray, tmp_path, capsys):
    train(replace(SMALL, engine="local", run_dir=tmp_path / "here"))
    capsys.readouterr()
    ray.dies = {question}
    train(replace(SMALL, run_dir=tmp_path / "apart"))
    assert not ray.dies and len(ray.killed) == 2 + 2  # those before, and all at the end
    assert contents(tmp_path / "apart") == contents(tmp_path / "here")
    told = capsys.readouterr().err
    assert "the process of agent" in told and told.count("restarting the round") == 1
    assert json.loads((tmp_path / "apart" / "manifest.json").read_text())["status"] == "done"


def test_a_process_that_ends_repeatedly_fails_the_run(ray, tmp_path):
    class Always(set):
        def __contains__(self, _):
            return len(ray.asked) >= 10

        def discard(self, _): ...

    ray.dies = Always()
    with pytest.raises(RunError, match=r"round 0: the process of agent [AB] has ended \(failure 4 in this round"):
        train(replace(SMALL, run_dir=tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"


def test_a_process_that_ends_at_its_start_is_one_line(ray, tmp_path):
    ray.dies = {0}
    with pytest.raises(RunError, match=r"^the process of agent A has ended$"):
        train(replace(SMALL, run_dir=tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"
    raised = RayError("The actor died because of an error raised in its creation task\n  File\nValueError:  no x\n")
    raised.actor_init_failed = True
    with pytest.raises(RunError, match=r"^the process of agent B has ended \(ValueError: no x\)$"):
        ray_agents.ActorHandle(ray, None, "B", ray_agents.Traffic()).get(raised)


def test_without_ray_nothing_is_written(ray, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def cluster(address, cpus):
        raise UsageError(f"--address {address}: no Ray cluster answers")
        yield

    monkeypatch.setattr(ray_cluster, "cluster", cluster)
    with pytest.raises(UsageError, match="--address here:1"):
        train(replace(SMALL, address="here:1", run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("question", [20, -2])
def test_a_process_that_ends_while_the_last_round_is_played_again(rounds, question, ray, tmp_path):
    """It begins where that round does: the newest checkpoint tells of its end."""
    folder, copy = tmp_path / "run", tmp_path / "copy"
    train(replace(SMALL, rounds=rounds, run_dir=folder))
    before = contents(folder)
    (folder / "summary.json").unlink()
    shutil.copytree(folder, copy)
    for one in (copy, folder):
        manifest = one / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"status": "done"', '"status": "failed"'))
    ray.asked.clear()
    resume(copy)
    ray.dies = {question % len(ray.asked)}
    ray.asked.clear()
    resume(folder)
    assert not ray.dies
    assert contents(folder) == contents(copy) == before


def test_repeated_epochs_replace_those_that_were_saved(ray, tmp_path, monkeypatch):
    """From those saved a run that is killed next would go on, and lack their rows."""
    bring, found = loop.TrainingLoop._restart_agents, []

    def bring_back(self):
        self.folder.save_epochs({"done": self.state.done, "learned": {"A": 1}})
        bring(self)
        found.append(self.folder.load_epochs())

    monkeypatch.setattr(loop.TrainingLoop, "_restart_agents", bring_back)
    ray.dies = {40}
    train(replace(SMALL, run_dir=tmp_path / "run"))
    assert found == [None]


def test_an_error_in_an_agent_has_the_usual_message(ray, tmp_path):
    with pytest.raises(RunError, match=r"round 0, agent A: the loss was not finite in epoch \d+, batch \d+") as found:
        train(replace(SMALL, lr=1e30, run_dir=tmp_path / "run"))
    assert "many" not in str(found.value)


@pytest.mark.parametrize(("first", "then"), [("ray", "local"), ("local", "ray")])
def test_a_run_resumes_with_the_other_engine(first, then, ray, tmp_path):
    train(replace(SMALL, rounds=1, engine=first, run_dir=tmp_path / "run"))
    config = tmp_path / "run" / "config.toml"
    text = config.read_text()
    assert f'engine = "{first}"' in text
    config.write_text(text.replace(f'engine = "{first}"', f'engine = "{then}"'))
    resume(tmp_path / "run", rounds=2)
    train(replace(SMALL, engine="local", run_dir=tmp_path / "whole"))
    assert contents(tmp_path / "run")[:2] == contents(tmp_path / "whole")[:2]


def test_deleted_parameters_are_an_error(ray):
    mind = object.__new__(ray_agents.AgentActor)
    mind._serial = 3
    with pytest.raises(AssertionError):
        mind._numbered_belief(2)


# -- processes -----------------------------------------------------------------------------------------

FLAGS = [
    "--dataset", "digits", "--limit", "80", "--signs", "3", "--latent-dim", "2", "--epochs", "3", "--round-epochs",
    "1", "--rounds", "2", "--sweeps", "8", "--round-sweeps", "3", "--burn-in", "2", "--starts", "2", "--chains", "2",
    "--device", "cpu", "--lr", "1e-2", "--batch-size", "20",
]  # fmt: skip


def command(folder, *flags):
    return [sys.executable, str(HOME / "cli.py"), "train", *FLAGS, "--run-dir", str(folder), *flags]


@on_ray
def test_on_a_cluster_of_several_processes(tmp_path):
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(tmp_path / "apart", "--engine", "ray"), env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "Bytes per sweep: 640 for signs between agents" in done.stdout
    assert "ray" not in done.stderr.lower()
    subprocess.run(command(tmp_path / "here"), env=env, capture_output=True, check=True, timeout=240)
    assert contents(tmp_path / "apart") == contents(tmp_path / "here")


@on_ray
def test_a_process_that_is_killed(tmp_path):
    """The run goes on with a new one, and is the run that it would have been; then Ctrl-C ends it tidily."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    long = ("--rounds", "400", "--engine", "ray")
    process = subprocess.Popen(
        command(tmp_path / "run", *long), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: rounds_of(tmp_path / "run") >= 2, process)
        os.kill(actor_processes(process.pid)[0], signal.SIGKILL)
        reached = rounds_of(tmp_path / "run")
        wait_for(lambda: rounds_of(tmp_path / "run") >= reached + 3, process)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130, told
    assert told.count("restarting the round") == 1 and "the process of agent" in told
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    rows = [row for row in RunFolder(tmp_path / "run").read_metrics() if row["round"] < 3]
    train(replace(SMALL, engine="local", rounds=3, run_dir=tmp_path / "here"))
    assert rows == [row for row in RunFolder(tmp_path / "here").read_metrics() if row["round"] < 3]


def wait_for(what, process, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def rounds_of(folder):
    try:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    except (OSError, ValueError):
        return -1
    return max((row["round"] for row in rows if row["kind"] == "sweep"), default=-1)


def actor_processes(pid):
    """The processes of agents that the run's cluster holds."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if (entry / "cmdline").read_bytes().startswith(b"ray::AgentActor") and pid in ancestors(int(entry.name)):
                found.append(int(entry.name))
    return sorted(found)


def ancestors(pid):
    found = []
    while pid > 1:
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
