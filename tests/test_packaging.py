"""The wheel: everything that the commands need is in it, the tests are not."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    source = tmp_path_factory.mktemp("source")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    # With the setuptools that PyTorch brings: another one would be fetched and installed first.
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("voxport-*.whl")
    return built


def test_the_wheel_holds_code_configuration_weights_and_clips_and_no_tests_or_tools(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "voxport.py",
        "runtime/py.typed",
        "conf/config.yaml",
        "conf/precision/fp16.yaml",
        "checkpoints/catalogue.yaml",
        "checkpoints/lock.yaml",
        "checkpoints/bundled/kathleen_hifigan/model.safetensors",
        "checkpoints/bundled/kathleen_hifigan/README.md",
        "checkpoints/bundled/kathleen_fastspeech2/model.safetensors",
        "checkpoints/bundled/fargan/model.safetensors",
        "checkpoints/bundled/fargan/COPYING",
        "reports/templates/report.html",
        "runtime/clips/kathleen_b0015.flac",
        "runtime/clips/LICENCES.md",
        "runtime/speech/opus/pitch.npz",
        "runtime/speech/opus/COPYING",
        "shell/scripts/bash.sh",
    ):
        assert needed in names
    assert not [n for n in names if n.startswith(("tests/", "benchmarks/", "docs/", "checkpoints/training/"))]


def test_it_installs_in_another_folder_and_its_commands_start_there(wheel, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site")]
    subprocess.run([*command, str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    for module, expected in (
        ("convert", "polyphase, metal, native"),
        ("runtime", "vocode"),
        ("checkpoints", "verify"),
        ("reports", "sync"),
        ("voxport", "convert-voice"),
    ):
        # -P and the foreign folder keep this checkout off the path; an editable install would come after `site`
        result = subprocess.run(
            [sys.executable, "-P", "-m", module, "--help"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert expected in result.stdout
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import voxport, conf; print(voxport.__version__, conf.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith("0.1.0 ")
    assert str(tmp_path / "site") in where.stdout
