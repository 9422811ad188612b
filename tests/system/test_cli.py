"""The door: exit codes, one clear line, from any folder, interrupted and read by a reader that leaves."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mhng
from mhng import cli
from tests.runs import SMALL_FLAGS

HOME = Path(__file__).resolve().parents[2]


def call(*arguments, cwd, home=HOME, **options):
    return subprocess.run(
        [sys.executable, str(home / "cli.py"), *arguments], cwd=cwd, capture_output=True, text=True, **options
    )


def without_warnings(text):
    """The lines on stderr without those on the signs of a tiny run."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("warning: agent "))


def test_it_works_from_any_folder_with_any_name(tmp_path):
    done = call("train", *SMALL_FLAGS, "--run-dir", "Ünï 実験 dir", cwd=tmp_path)
    assert (done.returncode, without_warnings(done.stderr)) == (0, "")
    assert (tmp_path / "Ünï 実験 dir" / "summary.json").exists()
    assert "Kappa: " in done.stdout and [p.name for p in tmp_path.iterdir()] == ["Ünï 実験 dir"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["trian"], "train"),
        (["train", "--modes=com"], "did you mean --mode?"),
        (["train", "extra"], "'extra'"),
        (["train", "--mode"], "--mode"),
        (["train", "--download=0"], "--download"),
        (["train", "--resume", "nowhere"], "nowhere"),
        (["train", "--resume", "x", "--epochs", "3"], "--resume"),
        (["data", "--data-root", __file__], "--data-root"),
        (["name"], "RUN"),
        (["name", "nowhere"], "--images --new --split"),
        (["name", "nowhere", "--images", "x", "--split", "test"], "not allowed"),
        (["name", "nowhere", "--image", "x"], "--images"),
        (["name", "nowhere", "--split", "train"], "'train'"),
        (["name", "nowhere", "--split", "test"], "nowhere"),
        (["name", "nowhere", "--split", "test", "--limit", "few"], "--limit"),
        (["recall", "nowhere"], "nowhere"),
        (["recall", "nowhere", "--temperature", "-1"], "--temperature"),
        (["recall", "nowhere", "--temperature", "hot"], "--temperature"),
        (["recall", "nowhere", "--pair", "2"], "did you mean --pairs?"),
        (["corpus"], "RUN"),
        (["corpus", "nowhere"], "nowhere"),
        (["corpus", "nowhere", "--draws", "some"], "'some'"),
        (["report"], "RUN"),
        (["report", "nowhere"], "nowhere"),
        (["report", "nowhere", "--map", "umap"], "--map"),
        (["report", "nowhere", "--output", "x"], "did you mean --out?"),
        (["compare"], "--out"),
        (["compare", "--out", "x", "--mode", "com"], "did you mean --modes?"),
        (["compare", "--out", "x", "--epochs", "3"], "flags of train stand after --"),
        (["compare", "--out", "x", "--jobs", "two"], "--jobs"),
        (
            ["compare", "--out", "x", "--", "--epoch", "3"],
            "after --: unknown argument '--epoch'; did you mean --epochs?",
        ),
        (["models", "--x"], "'--x'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, said, tmp_path, monkeypatch, capsys):
    """The shape of a command line; test_bad_inputs.py has the values of settings."""
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert said in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_no_traceback(unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(HOME / "cli.py"), "models"],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
    assert done.returncode == 1 and "No space left" in done.stderr and done.stderr.count("\n") == 1


def test_a_closed_pipe_and_closed_streams_are_no_traceback(tmp_path):
    door = f"'{sys.executable}' '{HOME / 'cli.py'}'"
    left = subprocess.run(["bash", "-c", f"{door} models | true; exit ${{PIPESTATUS[0]}}"], capture_output=True)
    assert left.returncode in (0, 1) and left.stderr == b""
    command = f"{door} train {' '.join(SMALL_FLAGS)} --rounds 0 --run-dir run <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True).returncode == 0
    assert mhng.load_run(tmp_path / "run").round == 0 and mhng.load_run(tmp_path / "run").posterior


class Lost(io.StringIO):
    """A terminal that was closed, or the full disk of a log."""

    def write(self, text):
        raise OSError(5, "Input/output error")


def test_a_lost_stdout_fails_only_commands_that_print(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", Lost())
    lost = "note: stdout cannot be written (Input/output error); the results are in files\n"
    for words in (["train", *SMALL_FLAGS, "--run-dir", "run"], ["corpus", "run", "--out", "x"], ["report", "run"]):
        assert cli.main(words) == 0
        assert capsys.readouterr().err.endswith(lost)
    assert len((tmp_path / "x").read_text().splitlines()) == 120
    for words in (["corpus", "run"], ["models"], ["diagnose", "run", "--no-plots"]):
        assert cli.main(words) == 1
        assert capsys.readouterr().err == f"mhng {words[0]}: [Errno 5] Input/output error\n"
    assert mhng.load_run(tmp_path / "run").status == "done"


def test_a_closed_stdout_is_one_line_of_commands_that_only_print(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["train", *SMALL_FLAGS, "--run-dir", "run"]) == 0
    assert cli.main(["corpus", "run", "--out", "x"]) == 0
    assert without_warnings(capsys.readouterr().err) == ""
    for words in (["corpus", "run"], ["models"], ["name", "run", "--split", "rest", "--limit", "3"]):
        assert cli.main(words) == 0
        assert capsys.readouterr().err.endswith(f"mhng {words[0]}: stdout is closed, so nothing was printed\n")


def test_characters_that_stdout_cannot_encode_end_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for encoding in ("ascii", "cp1252"):
        stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stdout)
        assert cli.main(["train", *SMALL_FLAGS, "--run-dir", f"実験-{encoding}"]) == 0
        assert f"Run folder: \\u5b9f\\u9a13-{encoding} (".encode() in stdout.buffer.getvalue()
        assert mhng.load_run(f"実験-{encoding}").status == "done"


def test_the_version_and_the_name_of_the_program_are_those_that_were_called(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert (stop.value.code, capsys.readouterr().out) == (0, f"mhng {mhng.__version__}\n")
    assert call("--version", cwd=tmp_path).stdout == f"mhng {mhng.__version__}\n"
    assert call("name", "nowhere", cwd=tmp_path).stderr.startswith("cli.py name: ")
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    for name, program in (("mhng", "mhng"), ("mhng.cli", "cli.py")):
        done = subprocess.run(
            [sys.executable, "-m", name, "recall", "nowhere"],
            cwd=tmp_path, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.startswith(f"{program} recall: ")


def test_an_interrupt_before_the_arguments_are_read_is_one_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", interrupted)
    assert cli.main(["models"]) == 130
    assert capsys.readouterr().err == "mhng: interrupted\n"


def test_a_path_with_a_line_break_makes_one_line(capsys):
    assert cli.main(["train", "--config", "new\nline.toml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_control_characters_and_long_names_are_escaped_and_cut(capsys):
    assert cli.main(["train", "--config", "\x1b[2J\x07\u202e.toml"]) == 2
    err = capsys.readouterr().err
    assert "\\x1b[2J\\x07\\u202e.toml" in err and err.rstrip("\n").isprintable()
    assert cli.main(["train", "--config", "x" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 7000


def test_the_variants_and_data_sets_are_listed(capsys, tmp_path):
    assert cli.main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("conv-large", "bernoulli", "normal-wishart"))
    assert cli.main(["data", "--data-root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "mnist5k" in out and "--download" in out


@pytest.mark.parametrize("words", [["models"], ["train", *SMALL_FLAGS], ["report", "run"]], ids=lambda words: words[0])
def test_a_folder_that_is_gone_is_one_line(words, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        assert cli.main(words) == 2
    finally:
        os.chdir(tmp_path)
    assert capsys.readouterr() == (
        "",
        f"mhng {words[0]}: the current folder does not exist any more; change to another folder\n",
    )


def test_python_without_docstrings_is_one_line(tmp_path):
    for words in (["train", *SMALL_FLAGS], ["models"]):
        done = subprocess.run(
            [sys.executable, "-OO", str(HOME / "cli.py"), *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (2, f"cli.py {words[0]}: {mhng.NO_DOCSTRINGS}\n")
    assert list(tmp_path.iterdir()) == []
    code = "import mhng\ntry: mhng.load_run\nexcept ImportError as error: print(error)"
    environment = os.environ | {"PYTHONPATH": str(HOME), "PYTHONOPTIMIZE": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == f"{mhng.NO_DOCSTRINGS}\n"


def test_too_little_memory_is_one_line(monkeypatch, capsys):
    for error, said in (
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), " to load the packages; raise the"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "\n"),
        (MemoryError("Unable to allocate 8.00 GiB for an array"), "\n"),
    ):

        def greedy(*_, error=error):
            raise error

        monkeypatch.setitem(cli._COMMANDS, "models", greedy)
        assert cli.main(["models"]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"mhng models: not enough memory{said}") and err.count("\n") == 1


def test_a_package_that_cannot_be_imported_is_one_line(monkeypatch, capsys):
    def broken(*_):
        raise ModuleNotFoundError("No module named 'numpy.typing'; 'numpy' is not a package")

    monkeypatch.setitem(cli._COMMANDS, "models", broken)
    assert cli.main(["models"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("mhng models: a package cannot be imported: No module named 'numpy.typing'")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TORCH_LOGS", "nonsense", "(ValueError: Invalid log settings: nonsense, must be"),
        ("PYTORCH_JIT", "nonsense", "(ValueError: Unknown setting of PYTORCH_JIT. Try using 0 or 1.)"),
    ],
)
def test_an_environment_variable_that_torch_refuses_is_one_line(variable, value, said, tmp_path):
    done = subprocess.run(
        [sys.executable, str(HOME / "cli.py"), "train", *SMALL_FLAGS], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {variable: value},
    )  # fmt: skip
    expected = f"cli.py train: torch cannot be imported with the environment variable {variable}={value} {said}"
    assert done.returncode == 2 and done.stderr.startswith(expected) and done.stderr.count("\n") == 1
    assert done.stderr.endswith("; correct or unset it\n") and list(tmp_path.iterdir()) == []


def test_ctrl_c_is_one_line_and_the_run_resumes(tmp_path):
    arguments = [*SMALL_FLAGS, "--run-dir", "run", "--rounds", "4000"]
    process = subprocess.Popen(
        [sys.executable, str(HOME / "cli.py"), "train", *arguments], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    waited = time.monotonic()
    while not (tmp_path / "run" / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() - waited < 120
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    continued = "cli.py train: interrupted; continue: python cli.py train --resume run"
    assert process.returncode == 130 and err.splitlines()[-1] == continued
    assert '"interrupted"' in (tmp_path / "run" / "manifest.json").read_text()


def test_a_user_package_called_models_is_never_imported(tmp_path):
    for name in ("models", "inference", "experiment", "cli"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the user file was imported')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{HOME}"}
    done = subprocess.run(
        [sys.executable, str(HOME / "cli.py"), "models"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    for module in ("experiment", "models", "inference"):
        done = subprocess.run(
            [sys.executable, "-c", f"from {module} import load_run"], cwd=HOME, capture_output=True, text=True
        )
        said = f"ImportError: {module} is a part of mhng; write: from mhng import load_run, train"
        assert done.stderr.splitlines()[-1] == said
    code = "from mhng import Game, NormalWishart, Percepts, init, load_run, play"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
