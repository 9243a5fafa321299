"""The fixtures of `python -m runtime fixtures`: the same on every run, and whole."""

import json

import numpy as np
import pytest

from runtime.__main__ import main
from runtime.bundle.store import Manifest


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = [tmp_path_factory.mktemp("fixtures") for _ in range(2)]
    for folder in made:
        assert main(["fixtures", str(folder)]) == 0
    return made


def test_two_runs_write_the_same(folders):
    first, second = (sorted(folder.iterdir()) for folder in folders)
    assert [path.name for path in first] == [path.name for path in second]
    for one, other in zip(first, second):
        if one.suffix == ".json":
            assert one.read_bytes() == other.read_bytes(), one.name
    with np.load(folders[0] / "fixtures.npz") as one, np.load(folders[1] / "fixtures.npz") as other:
        assert list(one) == list(other)
        assert all((one[name] == other[name]).all() for name in one)


def test_every_case_has_the_arrays_that_it_names(folders):
    with np.load(folders[0] / "fixtures.npz") as arrays:
        names = list(arrays)
    for subject in ("arrays", "half", "mel", "session", "stream"):
        for case in json.loads((folders[0] / f"{subject}.json").read_text()):
            assert any(name.startswith(f"{case['arrays']}/") for name in names), case["arrays"]


@pytest.mark.parametrize("name", ["voice", "conversion"])
def test_its_manifests_are_ones_that_this_runtime_reads(folders, name):
    manifest = Manifest.model_validate_json((folders[0] / f"{name}.manifest.json").read_text())
    assert manifest.name == "everything"
