"""The house: which room may import which, who may import what is heavy, and that the door opens quickly."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
ROOMS = {"cli": 3, "experiment": 2, "inference": 1, "models": 0}


def sources():
    files = [HOME / "cli.py"]
    for room in ("experiment", "inference", "models"):
        files += sorted((HOME / room).rglob("*.py"))
    return files


def imports(file):
    """(imported module, line) of every import in a file, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module, node.lineno


def room_of(file):
    return file.relative_to(HOME).parts[0].removesuffix(".py")


def faults(files, read=imports):
    """Imports that go up the house."""
    return [
        f"{file.name}:{line} imports {module}"
        for file in files
        for module, line in read(file)
        if module.split(".")[0] in ROOMS and ROOMS[module.split(".")[0]] > ROOMS[room_of(file)]
    ]


def test_data_walks_one_way_through_the_house():
    assert len(sources()) > 15
    assert faults(sources()) == []


def test_the_door_knows_experiment_and_the_names_only():
    allowed = {"experiment", "models"}
    reached = {module.split(".")[0] for module, _ in imports(HOME / "cli.py")} & set(ROOMS)
    assert reached <= allowed


def test_the_check_sees_an_import_that_goes_up():
    wrong = HOME / "models" / "agent.py"
    assert faults([wrong], lambda _: [("mhng.inference.game", 1)]) == ["agent.py:1 imports mhng.inference.game"]


def test_one_file_imports_matplotlib():
    users = {file.name for file in sources() for module, _ in imports(file) if module.startswith("matplotlib")}
    assert users == {"sheet.py"}


QUICK = [["--help"], ["models"], ["data"]]
QUICK += [[command, "--help"] for command in ("train", "name", "compare", "report")]


@pytest.mark.parametrize("arguments", QUICK)
def test_nothing_heavy_is_imported_to_answer_quickly(arguments, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(HOME)!r}); from mhng import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pyro', 'sklearn', 'arviz', 'matplotlib', 'pandas', 'mlxtend', 'jinja2'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_packages_are_listed_and_files_belong_to_them():
    import tomllib

    listed = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(file.parent.relative_to(HOME).parts) for file in sources() if file.parent != HOME}
    assert found == set(listed)


def test_what_is_no_python_is_installed_too():
    import tomllib

    listed = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    found = {}
    for room in ("experiment", "inference", "models"):
        for file in (HOME / room).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                found.setdefault(".".join(file.parent.relative_to(HOME).parts), set()).add(f"*{file.suffix}")
    assert found == {package: set(patterns) for package, patterns in listed.items()}


def test_the_readmes_example_runs(capsys):
    """An example that is left out of the tests is an example that fails."""
    text = (HOME / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    (game,) = [block for block in blocks if "load_run" not in block]  # that one needs a run: test_loaded.py
    exec(compile(game, "README.md", "exec"), {})
    assert "tensor(" in capsys.readouterr().out


def test_the_readmes_commands_name_files_that_are_there():
    text = (HOME / "README.md").read_text(encoding="utf-8")
    assert ".venv/bin/python cli.py train --mode com" in text
    import re

    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link.startswith("http") or (HOME / link).exists(), link
