"""The lowering of a job's artefacts to ONNX, in a process beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runtime.machine.tether import TETHER, tethered


class Lowering:
    """`python -m runtime lower` beside the job: the ONNX engine then finds the program in the cache.

    Nothing depends on it: what it did not do, or could not, the engine does itself and says why.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, artefacts: Sequence[Path]) -> None:
        command = [sys.executable, "-m", "runtime", "lower", *map(str, artefacts)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            tethered(command),
            stdin=subprocess.PIPE,
            stdout=quiet,
            stderr=quiet,
            env={**os.environ, TETHER: "1"},
            start_new_session=True,
        )

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()

    def __enter__(self) -> Lowering:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
