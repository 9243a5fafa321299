from importlib.metadata import version

from runtime.machine.versions import changed_versions, drift


def test_packages_that_are_not_the_constraints_files_are_named(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text(f"# tested with\nnumpy==0.0.1\npydantic=={version('pydantic')}\nno-such-package==1\n\n")
    assert drift(file) == {"numpy": f"0.0.1 -> {version('numpy')}"}


def test_a_local_build_is_no_drift(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text(f"torch=={version('torch').partition('+')[0]}\n")
    assert drift(file) == {}


def test_changed_versions_name_what_came_and_went():
    assert changed_versions({"a": "1", "b": "1"}, {"b": "2", "c": "3"}) == {
        "a": "1 -> absent", "b": "1 -> 2", "c": "absent -> 3",
    }  # fmt: skip
