"""Imports run one way: the floors of docs/architecture.md."""

import ast
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
}
RECIPES = ROOT / "checkpoints" / "training"


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("floor", ALLOWED)
def test_a_floor_imports_only_the_floors_below_it(floor):
    ours = {*ALLOWED, "conf", "voxport"}
    for path in (ROOT / floor).rglob("*.py"):
        # recipes stand above what they train for
        allowed = ALLOWED[floor] | ({"converters", "ops"} if path.is_relative_to(RECIPES) else set())
        foreign = set(imports(path)) & ours - {floor} - allowed
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


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
                assert f"'{family}'" not in code.replace("('centered', 'hifigan')", "").replace(
                    "framing == 'hifigan'", ""
                ), path


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
        ("import runtime, runtime.bundle, runtime.measure, runtime.stream", "torch TTS mlflow hydra coremltools"),
        ("import convert.overrides, convert.job, checkpoints.locate", "torch TTS mlflow coremltools matplotlib"),
        ("import voxport", "torch TTS mlflow hydra coremltools onnxruntime"),
    ],
)
def test_starting_is_cheap(command, absent):
    program = f"{command}\nimport sys\nprint([name for name in {absent.split()!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
