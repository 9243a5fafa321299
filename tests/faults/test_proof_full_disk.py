"""`make proof`: 64 MB that fill up at random moments of a job, as output, cache, MLflow store or TMPDIR.

As root on Linux they are a tmpfs of their own; else the job's files may not become larger than a size drawn at random.
VOXPORT_FAULTS: how often for each of the four, times four [100].
"""

import os
import random
import resource
import shutil
import subprocess
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from reports.record import read_record
from tests.faults.jobs import start
from tests.faults.test_proof_kills import TIMES, opened, prepared  # noqa: F401  # a fixture

pytestmark = pytest.mark.proof
SIZE = 64 * 2**20


@contextmanager
def small_disk(folder):
    """Yields what fills it, None where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "voxport-proof", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return

    def fill():
        with (folder / "full").open("ab", buffering=0) as file:
            try:
                while file.write(bytes(2**16)):
                    pass
            except OSError:
                pass

    try:
        yield fill
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("role", ["output", "cache", "store", "TMPDIR"])
def test_a_disk_that_fills_up_is_a_sentence_and_leaves_nothing_half(prepared, tmp_path, fault_row, role):  # noqa: F811
    checkpoint, _, seconds, store = prepared
    drawn, counts = random.Random(role), Counter()
    for number in range(max(1, TIMES // 4)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with small_disk(folder / "disk") as fill:
            places = {name: folder / name for name in ("output", "cache", "store", "TMPDIR")}
            places[role] = folder / "disk" / role
            for place in places.values():
                place.mkdir()
            shutil.copy(store, places["store"] / "mlflow.db")
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            if fill is None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(10 ** drawn.uniform(3, 7)), hard))
            run = start(
                folder,
                checkpoint,
                f"output={places['output']}",
                "measure.engines=[mil,onnx]",
                f"tracking.uri=sqlite:///{places['store'] / 'mlflow.db'}",
                VOXPORT_CACHE=str(places["cache"]),
                TMPDIR=str(places["TMPDIR"]),
            )
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            time.sleep(drawn.uniform(0, sum(seconds.values())))
            if fill is not None:
                fill()
            code, said = run.ended()
            assert code in (0, 3), said
            assert "Traceback" not in said, said
            if code:
                assert "full" in said or "may not become any larger" in said, said
            assert run.seconds_until_alone() < 5
            for place in (places["output"], places["cache"] / "onnx"):
                assert not [one for one in place.glob(".*") if "lock" not in one.name], said
            (bundle,) = opened(places["output"]) or [None]
            assert code == 3 or bundle is not None, said
            assert bundle is None or read_record(bundle) is not None
            for program in (places["cache"] / "onnx").glob("[!.]*.onnx"):
                import onnx

                onnx.load(program)
            counts[f"exit code {code}"] += 1
        shutil.rmtree(folder)
    fault_row(f"disk filled: {role}", sum(counts.values()), ", ".join(f"{n} {what}" for what, n in counts.items()))
