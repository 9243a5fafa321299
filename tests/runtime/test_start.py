"""What a command imports before its work begins: by names of modules, seconds are the machine's."""

import subprocess
import sys

import soundfile

from runtime.speech.clips import clip_paths
from tests.conftest import ROOT

SLOW = ("torch", "coremltools", "scipy.signal", "scipy.stats", "librosa", "numba", "onnx", "mlflow", "matplotlib")


def imported(*arguments, allowed=()):
    """Runs `python -m runtime` in a process of its own; those of the slow packages that it has imported at its end."""
    program = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: print([name for name in {SLOW!r} if name in sys.modules]))\n"
        "runpy.run_module('runtime', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_help_imports_nothing_slow():
    assert imported("--help") == "[]"


def test_a_vocoder_in_onnx_runtime_imports_nothing_slow(fp32, tmp_path):
    samples, rate = soundfile.read(clip_paths()[0], stop=16000, dtype="float32")
    soundfile.write(tmp_path / "in.wav", samples, rate)
    vocode = ["vocode", str(fp32.bundle.path), str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), "--engine", "onnx"]
    imported(*vocode)  # lowers the artefact, where the cache lacks it
    assert imported(*vocode) == "[]"
