"""The public names: imported on use, documented, and those of docs/api.md."""

import pydoc
import re
import subprocess
import sys

import pytest

import voxport
from tests.conftest import ROOT

NAMES = [name for name in voxport.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_is(name):
    assert getattr(voxport, name).__doc__


def test_help_and_dir_show_the_public_names():
    text = pydoc.plain(pydoc.render_doc(voxport))
    assert all(re.search(rf"^    (class )?{name}\b", text, re.M) for name in NAMES)
    assert set(voxport.__all__) <= set(dir(voxport))


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        voxport.lode  # noqa: B018


def test_a_name_costs_its_own_imports_only():
    program = "import voxport, sys; voxport.open_bundle; print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == ["False", "False"]


def test_the_page_names_what_is_public_and_every_package_of_the_wheel():
    page = (ROOT / "docs" / "api.md").read_text()
    assert set(re.findall(r"^\| `(\w+)[`(]", page, re.M)) == set(NAMES)
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert all(f"`{room}`" in page for room in rooms)


def test_the_pages_first_example_runs(fp16):
    page = (ROOT / "docs" / "api.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0].replace("bundles/…", str(fp16.bundle.path))
    scope = {}
    exec(example, scope)
    assert scope["audio"].shape == (1, 1, 16384)


def test_a_path_that_is_none_is_said_to_be_none():
    with pytest.raises(voxport.VoxportError, match=r"there is no file or folder nope$"):
        voxport.load("nope")
