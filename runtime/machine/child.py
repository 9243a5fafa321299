"""A command in a process of its own, which may hang, crash or fail without harm to this one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from runtime.errors import EngineError, EngineFailed, ExitCode
from runtime.machine.tether import TETHER, tether, tethered


def output_of(command: Sequence[str], what: str, limit: float | None = None) -> str:
    """Returns what the command prints. `what` it does opens the sentence of a failure; limit: seconds.

    Raises EngineFailed where it takes longer or ends by a signal, EngineError where it fails; a failure's reason is its
    last line on stderr.
    """
    try:
        with tether() as end:
            done = subprocess.run(
                tethered(command),
                stdin=end,
                env={**os.environ, TETHER: "1"},
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{what} did not end within {limit:g} s") from error
    if done.returncode < 0:
        raise EngineFailed(f"{what} crashed (signal {-done.returncode})")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        kind = EngineFailed if done.returncode == ExitCode.MACHINE else EngineError
        raise kind(f"{what} failed: {lines[-1].removeprefix('error: ')}")
    return done.stdout
