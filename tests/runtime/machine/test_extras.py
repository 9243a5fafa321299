"""What an install leaves out, said by the name of the extra that brings it."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest

from runtime.errors import ExitCode
from runtime.machine.command_line import explained
from runtime.machine.extras import _EXTRAS, missing_extra
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("package", "extra"), [("hydra.core", "convert"), ("mlflow", "report"), ("sounddevice", "live"), ("TTS", "convert")]
)
def test_a_package_of_an_extra_is_asked_for_by_it(package, extra):
    sentence, code = explained(ModuleNotFoundError(f"No module named {package!r}", name=package))
    assert (f"pip install -e '.[{extra}]'" in sentence, code) == (True, ExitCode.USAGE)


def test_any_other_import_error_is_a_fault():
    assert missing_extra(ModuleNotFoundError("No module named 'runtime.absent'", name="runtime.absent")) is None
    assert missing_extra(ImportError("cannot import name 'x'")) is None


def test_every_package_stands_in_the_extra_that_brings_it():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    of = importlib.metadata.packages_distributions()
    for extra, packages in _EXTRAS.items():
        brought = {re.split(r"[=<>\[ ]", one)[0].lower().replace("_", "-") for one in extras[extra]}
        for package in packages:
            dists = {name.lower().replace("_", "-") for name in of.get(package, [])}
            assert not dists or dists & brought, (extra, package)


@pytest.mark.parametrize("command", ["convert", "checkpoints"])
def test_a_command_without_its_packages_ends_with_one_sentence(command):
    program = (
        "import sys, runpy\nsys.modules['rich'] = None\nsys.argv = ['x']\n"
        f"runpy.run_module('{command}', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 2
    assert result.stderr.strip().endswith("pip install -e '.[convert]'")
    assert len(result.stderr.splitlines()) == 1


def test_no_sentence_installs_from_an_index_what_is_not_there():
    rooms = ("checkpoints", "convert", "converters", "ops", "reports", "runtime", "shell", "benchmarks")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    assert [file.name for file in files if re.search(r"pip install [^`\n]*\bvoxport\b", file.read_text())] == []
