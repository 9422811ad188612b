"""The house: each folder stands on a floor and imports only from floors below its own."""

import ast
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]

# A folder imports from its own files and from lower floors. Folders of one floor do not know each other.
FLOORS = {
    "models": 1,
    "models/mixtures": 1,
    "experiment/metrics": 1,
    "experiment/errors.py": 1,
    "inference": 2,
    "inference/programs": 2,
    "experiment/util": 2,
    "experiment/data": 3,
    "experiment/data/builtin": 3,
    "experiment/data/custom": 3,
    "experiment/runs": 3,
    "experiment/plots": 3,
    "experiment/settings": 4,
    "experiment/training": 5,
    "experiment/diagnostics": 6,
    "experiment/evaluation": 6,
    "experiment/comparison": 6,
    "experiment/people": 6,
    "experiment/report": 7,
    "experiment/api.py": 7,
    "experiment/__init__.py": 8,
    "mhng": 8,
    "cli.py": 8,
}
# A folder and the folders inside it are one room.
INNER = ("/mixtures", "/programs", "/builtin", "/custom")
ROOMS = {place: next((place.removesuffix(end) for end in INNER if place.endswith(end)), place) for place in FLOORS}
ROOMS["cli.py"] = "mhng"


def sources():
    """Every file of the program, relative to the checkout."""
    files = [Path("cli.py")]
    for room in ("mhng", "experiment", "inference", "models"):
        files += sorted(file.relative_to(HOME) for file in (HOME / room).rglob("*.py"))
    return files


def module_of(file):
    """models/agent.py -> mhng.models.agent."""
    parts = file.with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[:1] == ("mhng",) else ("mhng", *parts))


def imports(file):
    """Pairs (imported module, line), with imports inside functions."""
    known = {module_of(other) for other in sources()}
    for node in ast.walk(ast.parse((HOME / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in known else node.module), node.lineno


def place_of(file):
    """The entry of FLOORS for a file: the file itself, or its folder."""
    return file.as_posix() if file.as_posix() in FLOORS else file.parent.as_posix()


def files_by_module():
    return {module_of(file): file for file in sources() if file != Path("cli.py")}


def faults(files, read=imports):
    """Imports from a higher floor, or from another room on the same floor."""
    modules, found = files_by_module(), []
    for file in files:
        own = place_of(file)
        for module, line in read(file):
            if module not in modules:
                assert not module.startswith("mhng"), f"{file}:{line} imports {module}, which is no file"
                continue
            other = place_of(modules[module])
            if FLOORS[other] > FLOORS[own] or (FLOORS[other] == FLOORS[own] and ROOMS[other] != ROOMS[own]):
                found.append(f"{file}:{line} imports {module}")
    return found


def circle(edges):
    """A circle of files in a mapping file -> imported files, or None."""
    state: dict = {}

    def visit(file, path):
        state[file] = "open"
        for other in sorted(edges[file]):
            if state.get(other) == "open":
                return [*path[path.index(other) :], other]
            if other not in state and (found := visit(other, [*path, other])):
                return found
        state[file] = "done"
        return None

    for file in sorted(edges):
        if file not in state and (found := visit(file, [file])):
            return found
    return None


def test_every_file_has_a_floor():
    assert len(sources()) > 15
    assert {place_of(file) for file in sources()} == set(FLOORS)
    assert max(FLOORS.values()) <= 8


def test_imports_go_downwards_only():
    assert faults(sources()) == []


def test_no_files_import_each_other_in_a_circle():
    modules = files_by_module()
    edges = {
        file: {modules[module] for module, _ in imports(file) if module in modules and modules[module] != file}
        for file in sources()
    }
    assert circle(edges) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_check_sees_an_import_that_goes_up_or_sideways():
    wrong = [
        (Path("models/agent.py"), "mhng.inference.game"),
        (Path("experiment/data/views.py"), "mhng.experiment.runs.folder"),
    ]
    for file, module in wrong:
        assert faults([file], lambda _, module=module: [(module, 1)]) == [f"{file}:1 imports {module}"]


def test_two_files_import_matplotlib():
    users = {file for file in sources() for module, _ in imports(file) if module.startswith("matplotlib")}
    assert users == {Path("experiment/plots/style.py"), Path("experiment/plots/fonts.py")}


def test_packages_are_listed_and_files_belong_to_them():
    import tomllib

    listed = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {module_of(file.parent / "__init__.py") for file in sources() if file.parent != Path()}
    assert found == set(listed)


def test_what_is_no_python_is_installed_too():
    import tomllib

    listed = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    found = {}
    for room in ("mhng", "experiment", "inference", "models"):
        for file in (HOME / room).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                name = "py.typed" if file.name == "py.typed" else f"*{file.suffix}"
                found.setdefault(module_of(file.parent.relative_to(HOME) / "__init__.py"), set()).add(name)
    assert found == {package: set(patterns) for package, patterns in listed.items()}


def test_the_readmes_commands_name_files_that_are_there():
    text = (HOME / "README.md").read_text(encoding="utf-8")
    assert ".venv/bin/python cli.py train --mode com" in text
    import re

    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link.startswith("http") or (HOME / link.partition("#")[0]).exists(), link
