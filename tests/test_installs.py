"""Each set of packages in an empty environment: it does what it is for, and says what it lacks."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_packaging import wheel  # noqa: F401  (a fixture)

pytestmark = pytest.mark.proof


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):  # noqa: F811
    """Installs a set; gives what runs a command of its Python, away from this checkout."""

    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # nothing of this checkout

    @functools.cache
    def install(extra: str):
        folder = tmp_path_factory.mktemp(extra.strip("[]") or "core")
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        python = str(folder / "venv" / "bin" / "python")

        def run(*arguments: str, check: bool = False) -> subprocess.CompletedProcess:
            command = [python, "-P", *arguments]
            return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=check)

        constraints = ("--constraint", str(ROOT / "constraints.txt"))
        run("-m", "pip", "install", "--quiet", *constraints, f"{wheel}{extra}", check=True)
        listed = json.loads(run("-m", "pip", "list", "--format", "json", check=True).stdout)
        size = sum(path.lstat().st_size for path in (folder / "venv" / "lib").rglob("*"))
        print(f"{extra or 'core'}: {len(listed)} packages, {size / 1e9:.2f} GB")
        return run

    return install


def lacks(result, extra):
    is_told = f"pip install -e '.[{extra}]'" in result.stderr and "Traceback" not in result.stderr
    return result.returncode == 2 and is_told


def test_the_light_install_runs_plays_and_measures(installed, fp16):
    run, bundle = installed(""), str(fp16.bundle.path)
    for engine in ("mil", "onnx"):
        result = run(
            "-c",
            f"import voxport, numpy; engine = voxport.load({bundle!r}, voxport.Execution({engine!r}))\n"
            "print(engine.run({'mel': numpy.zeros((1, 80, 64), 'float32')})['audio'].shape)",
        )
        assert result.stdout.split("\n")[0] == "(1, 1, 16384)", result.stderr
    clip = str(ROOT / "runtime" / "clips" / "kathleen_b0455.flac")
    spoken = run("-m", "runtime", "vocode", bundle, clip, "out.wav")
    assert spoken.returncode == 0, spoken.stderr
    said = run(
        "-c",
        "from runtime.speech.normalization import spoken_sentences as said\n"
        "from runtime.speech.text import TextSettings\nprint(said('Dr. A met 2. Yes.', TextSettings({})).sentences)",
    )
    assert said.stdout.strip() == "('Doctor A met two.', 'Yes.')", said.stderr
    benched = run("-m", "runtime", "bench", bundle, "--quick")
    assert benched.returncode == 0, benched.stderr
    measured = run("-m", "runtime", "measure", bundle, "--engine", "onnx", "--no-timing", "--out", "measured")
    assert measured.returncode == 0, measured.stderr
    assert lacks(run("-m", "convert", "model=hifigan"), "convert")
    assert lacks(run("-m", "checkpoints", "list"), "convert")
    assert lacks(run("-m", "reports", "html", bundle), "report")


def test_reports_are_drawn_by_their_extra(installed, fp16, tmp_path):
    for path in (fp16.bundle.path, fp16.bundle.measured):
        shutil.copytree(path, tmp_path / path.name)
    run = installed("[report]")
    result = run("-m", "reports", "html", str(tmp_path / fp16.bundle.path.name))
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_file()
    assert lacks(run("-m", "convert", "model=hifigan"), "convert")


def test_jobs_run_with_the_extra_for_conversion(installed, sources):
    run = installed("[convert]")
    result = run("-m", "convert", *sources, "tracking=off", "measure.engines=[onnx]", "measure.bench_seconds=0")
    assert result.returncode == 0, result.stderr
    bundle = Path(result.stdout.rpartition("bundle: ")[2].strip())
    assert bundle.with_name(f"{bundle.name}.measured").joinpath("report.html").is_file()
