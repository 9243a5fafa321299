"""Damaged packages end in an ArtefactError or run; nothing else, and never a crash (the process is another one)."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

FUZZ = """
import random, sys
from pathlib import Path
import numpy as np, torch
from runtime.machine.coreml_tools import coremltools
from runtime.engines.mil import MilEngine
from runtime.errors import ArtefactError

ct = coremltools()
base, seed, rounds = Path(sys.argv[1]) / "m.mlpackage", int(sys.argv[2]), int(sys.argv[3])
torch.manual_seed(0)
layers = torch.nn.Conv1d(8, 16, 3, padding=1), torch.nn.LeakyReLU(0.1), torch.nn.ConvTranspose1d(16, 8, 4, 2, 1)
module, x = torch.nn.Sequential(*layers).eval(), torch.randn(1, 8, 10)
traced = torch.jit.trace(module, x)
inputs, target = [ct.TensorType("x", shape=x.shape)], ct.target.macOS15
ct.convert(traced, inputs=inputs, minimum_deployment_target=target, skip_model_load=True).save(str(base))
rng = random.Random(seed)
files = sorted(path for path in base.rglob("*") if path.is_file())
whole = {path: path.read_bytes() for path in files}
refused = 0
for _ in range(rounds):
    path = rng.choice(files)
    raw = bytearray(whole[path])
    for _ in range(rng.choice([1, 1, 2, 8])):
        at, kind = rng.randrange(len(raw)), rng.random()
        if kind < 0.6:
            raw[at] = rng.randrange(256)
        elif kind < 0.75:
            del raw[at : at + rng.randrange(1, 20)]
        elif kind < 0.9:
            raw[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            raw = raw[:at] or bytearray(b"x")
        raw = raw or bytearray(b"x")
    path.write_bytes(raw)
    try:
        engine = MilEngine(base)
        engine.run({spec.name: np.zeros(spec.default_shape, spec.dtype) for spec in engine.inputs})
    except ArtefactError:
        refused += 1
    path.write_bytes(whole[path])
print("refused", refused)
"""


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 100), *(pytest.param(seed, 150, marks=pytest.mark.proof) for seed in (1, 2))]
)
def test_damaged_packages_are_refused_or_run(tmp_path, seed, rounds):
    command = [sys.executable, "-c", FUZZ, str(tmp_path), str(seed), str(rounds)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout.split()[-1]) > rounds / 3
