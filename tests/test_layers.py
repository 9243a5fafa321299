"""Imports run one way: the floors of docs/architecture.md, and the rooms of every floor."""

import ast
import graphlib
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ALLOWED = {
    "runtime": {"ops"},
    "ops": set(),
    "checkpoints": {"runtime"},
    "converters": {"runtime", "ops", "checkpoints"},
    "reports": {"runtime"},
    "convert": {"runtime", "ops", "checkpoints", "converters", "reports", "conf"},
    "shell": {"runtime", "checkpoints", "reports", "convert", "voxport"},
}
RECIPES = ROOT / "checkpoints" / "training"

# The rooms of runtime/, from the ground up: a room imports those above it in this list, none beside it or below.
RUNTIME = (
    ("errors",),
    ("machine",),
    ("speech",),
    ("bundle",),
    ("mil",),
    ("neuralnetwork",),
    ("engines",),
    ("rounding", "playing"),
    ("measuring",),
    ("commands",),
    ("__main__",),
)


def imports(path):
    """Names of modules, `from a import b` as a and as a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("floor", ALLOWED)
def test_a_floor_imports_only_the_floors_below_it(floor):
    ours = {*ALLOWED, "conf", "voxport"}
    for path in (ROOT / floor).rglob("*.py"):
        allowed = ALLOWED[floor] | ({*ALLOWED["converters"], "converters"} if path.is_relative_to(RECIPES) else set())
        foreign = {name.partition(".")[0] for name in imports(path)} & ours - {floor} - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def rooms_below(folder):
    """Room -> the rooms beside it that it imports; a room is a subfolder or a file of the folder."""
    package = ".".join(folder.relative_to(ROOT).parts)
    rooms = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    below = {}
    for room in rooms - {"__init__"}:
        files = (folder / room).rglob("*.py") if (folder / room).is_dir() else [folder / f"{room}.py"]
        names = {name for file in files for name in imports(file) if name.startswith(f"{package}.")}
        below[room] = {name.removeprefix(f"{package}.").partition(".")[0] for name in names} & rooms - {room}
    return below


FOLDERS = [folder for floor in ALLOWED for folder in ((ROOT / floor), *(ROOT / floor).rglob("*"))]


@pytest.mark.parametrize("folder", [one for one in FOLDERS if (one / "__init__.py").is_file()], ids=str)
def test_rooms_import_each_other_one_way(folder):
    below = rooms_below(folder)
    try:
        list(graphlib.TopologicalSorter(below).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_the_rooms_of_the_runtime_stand_in_order():
    floor_of = {room: floor for floor, rooms in enumerate(RUNTIME) for room in rooms}
    below = rooms_below(ROOT / "runtime")
    assert set(below) == set(floor_of)
    up = [(room, other) for room, others in below.items() for other in others if floor_of[other] >= floor_of[room]]
    assert not up


def test_nothing_imports_a_recipe():
    for floor in ALLOWED:
        for path in (ROOT / floor).rglob("*.py"):
            assert path.is_relative_to(RECIPES) or "checkpoints.training" not in path.read_text(), path


def test_no_family_is_named_below_the_converters():
    from converters.component import FAMILIES

    for floor in ("runtime", "reports", "ops"):
        for path in (ROOT / floor).rglob("*.py"):
            code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
            for family in FAMILIES:
                assert f"'{family}'" not in code, path


def _without_docstrings(tree):
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value = ast.Constant("")
    return tree


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        (
            "import runtime, runtime.bundle.store, runtime.measuring.measure, runtime.playing.stream",
            "torch TTS mlflow hydra coremltools",
        ),
        ("import convert.overrides, convert.job, checkpoints.locate", "torch TTS mlflow coremltools matplotlib"),
        ("import reports.html, reports.tracking", "torch TTS mlflow coremltools onnxruntime"),
        ("import voxport", "torch TTS mlflow hydra coremltools onnxruntime"),
    ],
)
def test_starting_is_cheap(command, absent):
    program = f"{command}\nimport sys\nprint([name for name in {absent.split()!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
