"""`make proof`: a job that is killed at random moments in each of its phases, by each of four signals.

VOXPORT_FAULTS: how often in each phase [100].
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from runtime.bundle.staging import REJECTED, sweep
from runtime.bundle.store import open_bundle
from tests.conftest import ROOT
from tests.faults.jobs import MARK, OPTIONS, PUBLISH, Run, send, start

pytestmark = pytest.mark.proof
TIMES = int(os.environ.get("VOXPORT_FAULTS", "100"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
CONVERTING = ("load", "convert")  # references and goldens are made beside the conversion
COPIED = ("execute and measure", "report", PUBLISH)
LOG = "log to MLflow"


@pytest.fixture(scope="module")
def prepared(small_hifigan, tmp_path_factory):
    """(overrides of a job, its finished output, seconds of each stage, an MLflow store)"""
    import convert.stages  # noqa: F401  # here, once, and not in every process
    import runtime.engines.mil
    import runtime.mil.export  # noqa: F401
    from runtime.machine.coreml_tools import coremltools

    coremltools()
    folder = tmp_path_factory.mktemp("prepared")
    checkpoint = f"checkpoint.source={small_hifigan}"
    run = start(folder, checkpoint, f"output={folder / 'bundles'}", f"tracking.uri=sqlite:///{folder / 'mlflow.db'}")
    times, names = [], []
    for line in os.fdopen(os.dup(run.stages)):
        times.append(time.monotonic())
        names.append(line.strip())
    times.append(time.monotonic())
    code, said = run.ended()
    assert code == 0, said
    seconds = {name: after - before for name, before, after in zip(names, times, times[1:])}
    return checkpoint, folder / "bundles", seconds, folder / "mlflow.db"


def whole(output):
    """The finished bundles; each opens, and has its record."""
    bundles = opened(output)
    for bundle in bundles:
        assert (bundle.measured / "job.json").is_file()
    return [bundle.path for bundle in bundles]


def opened(output):
    """What has the name of a bundle; raises BundleError where one is not whole."""
    names = [one for place in (output, output / REJECTED) for one in place.glob("[!.]*") if one.is_dir()]
    return [open_bundle(one) for one in names if one.name != REJECTED and one.suffix != ".measured"]


def check(run: Run, sent, output, before, counts) -> float:
    """What holds after a kill; how many seconds the job's children outlived it."""
    code, said = run.ended()
    lingered = run.seconds_until_alone()
    assert lingered < 5, said
    assert "Traceback" not in said, said
    assert code in ((-9, 0) if sent == signal.SIGKILL else (130, 0)), said
    if sent != signal.SIGKILL:
        assert not list(output.glob(".*")), said
    counts["finished before" if code == 0 else "killed" if code == -9 else "130"] += 1
    opened(output)
    sweep(output)
    assert not list(output.glob(".*"))
    assert len(whole(output)) in {before, 1}
    counts["new bundle" if code == 0 or len(whole(output)) > before else "as before"] += 1
    return lingered


def described(counts, slowest):
    return f"{', '.join(f'{count} {what}' for what, count in counts.items())}; last child after {slowest:.2f} s"


@pytest.mark.parametrize("phase", [*CONVERTING, *COPIED, LOG])
def test_killed_in_a_phase_a_job_leaves_the_old_bundle_or_the_new_one(prepared, tmp_path, fault_row, phase):
    """In phases after the conversion that is replaced by a copy of a bundle, in phases after the report that is left
    out. Half of the jobs replace a bundle."""
    checkpoint, finished, seconds, store = prepared
    (bundle,) = whole(finished)
    length = next(value for name, value in {PUBLISH: 0.02, **seconds}.items() if name.startswith(phase))
    drawn, counts, slowest = random.Random(phase), Counter(), 0.0
    for number in range(TIMES):
        folder = tmp_path / str(number)
        output = folder / "bundles"
        if number % 2:
            shutil.copytree(finished, output)
        output.mkdir(parents=True, exist_ok=True)
        tracking = "tracking=off"
        if phase == LOG:
            shutil.copy(store, folder / "mlflow.db")
            tracking = f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"
        copied = None if phase in CONVERTING else bundle
        run = start(
            folder, checkpoint, f"output={output}", tracking, converted=copied, draws=phase not in (PUBLISH, LOG)
        )
        sent = SIGNALS[number // 2 % 4]
        run.wait_for(phase)
        time.sleep(drawn.uniform(0, length))
        send(run, sent)
        slowest = max(slowest, check(run, sent, output, number % 2, counts))
        shutil.rmtree(folder)
    fault_row(f"killed in: {phase}", TIMES, described(counts, slowest))


def test_killed_while_it_starts_a_command_leaves_nothing(prepared, tmp_path, fault_row):
    """The command itself, from the first moment of the interpreter until the checkpoint is loaded."""
    checkpoint = prepared[0]
    command = [sys.executable, "-m", "convert", checkpoint, "tracking=off", *OPTIONS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    drawn, counts, length = random.Random(0), Counter(), 0.0
    for number in range(-1, TIMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        sent = SIGNALS[number % 4]
        started = time.monotonic()
        with (folder / "said").open("w") as said:
            process = subprocess.Popen(
                command, cwd=folder, stdout=said, stderr=said, env=environment | {MARK: str(folder)}
            )
        if number < 0:
            while "load" not in (folder / "said").read_text():
                time.sleep(0.05)
            length = time.monotonic() - started
        else:
            time.sleep(drawn.uniform(0, length))
        process.send_signal(sent)
        code = process.wait()
        assert Run(process.pid, str(folder), 0, folder / "said").seconds_until_alone() < 5
        # before main() the interpreter itself ends, by the signal
        assert code in (130, -sent, 1) if sent == signal.SIGINT else code in (130, -sent)
        counts["130" if code == 130 else "ended by the signal"] += number >= 0
        sweep(folder / "bundles")
        assert not [one for one in folder.rglob("*") if one.is_file() and one.name != "said"]
        shutil.rmtree(folder)
    fault_row("killed in: start of the command", TIMES, described(counts, 0.0))


def test_killed_while_a_program_is_lowered_the_cache_holds_it_whole_or_not_at_all(prepared, tmp_path, fault_row):
    import onnxruntime

    from runtime.mil.lower import lowered

    (bundle,) = whole(prepared[1])
    artefact = next(bundle.glob("*.mlpackage"))
    drawn, counts, length = random.Random(0), Counter(), 0.0
    for number in range(-1, TIMES):
        os.environ["VOXPORT_CACHE"], saved = str(tmp_path / "cache"), os.environ["VOXPORT_CACHE"]
        try:
            started = time.monotonic()
            child = os.fork()
            if not child:
                try:
                    lowered(artefact)
                finally:
                    os._exit(0)
            if number >= 0:
                time.sleep(drawn.uniform(0, 1.05 * length))
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            length = length or time.monotonic() - started
            made = list((tmp_path / "cache" / "onnx").glob("[!.]*.onnx"))
            for one in made:
                onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"])
                lowered(artefact)
                shutil.rmtree(tmp_path / "cache")  # else the leavings stay for the next
            counts["whole" if made else "not there"] += number >= 0
        finally:
            os.environ["VOXPORT_CACHE"] = saved
    fault_row("killed in: lowering into the cache", TIMES, described(counts, 0.0))
