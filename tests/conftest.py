"""What the tests share: a small network and two seconds of speech, and bundles that are converted once and kept in
`.cache/tests` until a source changes. `make proof` runs the same tests on the bundled weights."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import pytest

from tests.small import write_clips, write_small_hifigan

ROOT = Path(__file__).parent.parent
SOURCES = (
    "checkpoints",
    "conf",
    "convert",
    "converters",
    "ops",
    "reports",
    "runtime",
    "constraints.txt",
    "tests/small.py",
)
MEASURES = ("measure.", "gates.")  # the overrides that are nothing to a conversion
KEPT_SECONDS = 86400  # of what other sources made, as of another branch

# Files that take longest come first: one that began last would end alone. Before them come those that fork, which takes
# longer the more their process holds.
FIRST = (
    "faults/test_staging.py",
    "faults/test_full_disk.py",
    "runtime/engines/test_coreai.py",
    "converters/test_rvc.py",
    "converters/test_streaming.py",
    "runtime/playing/test_speak.py",
    "converters/test_whisper.py",
    "convert/test_cli.py",
    "convert/test_job.py",
    "converters/test_wavernn.py",
    "faults/test_commands.py",
    "converters/precision/test_mixed.py",
    "converters/precision/test_compression.py",
    "real/test_vocoder.py",
    "converters/test_ge2e.py",
    "converters/test_tacotron.py",
    "convert/runners/test_dask.py",
    "swift/test_play.py",
    "convert/test_suite.py",
    "benchmarks/test_conformance.py",
)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job, and of all that it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def _kept_folder() -> Path:
    """`.cache/tests/<hash of the sources>`."""
    digest = hashlib.sha256()
    for source in SOURCES:
        paths = [ROOT / source] if (ROOT / source).is_file() else sorted((ROOT / source).rglob("*.*"))
        for path in paths:
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    folder = ROOT / ".cache" / "tests" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    return folder


def _shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Of all processes of this run."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def as_if_at_rest(monkeypatch):
    """Lets no measurement of these tests be busy: tests run beside each other. Those of it set the limit."""
    monkeypatch.setattr("runtime.measuring.bench.load.BUSY_SHARE", 1.0)


@pytest.fixture(scope="session")
def kept() -> Path:
    """A folder that stays until the sources change."""
    folder = _kept_folder()
    for other in folder.parent.iterdir():
        if time.time() - other.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Iterator[None]:
    """Nothing is read from or written to the user's cache and state, and nothing to the repository's lock file."""
    folder = _shared_folder(tmp_path_factory, "cache")
    saved = {name: os.environ.get(name) for name in ("VOXPORT_CACHE", "VOXPORT_LOCK", "VOXPORT_STATE")}
    os.environ["VOXPORT_CACHE"] = str(folder)
    os.environ["VOXPORT_LOCK"] = str(folder / "lock.yaml")
    os.environ["VOXPORT_STATE"] = str(kept / "state")  # which references this machine wrote, as bundles stay too
    for name in ("metal", "onnx"):  # compiled kernels and lowered programs, each under a key of what it was made from
        (kept / name).mkdir(exist_ok=True)
        with suppress(FileExistsError):
            (folder / name).symlink_to(kept / name)
    yield
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def checkpoint():
    """The small real HiFi-GAN V2 that ships with voxport."""
    from checkpoints.load import load
    from checkpoints.locate import locate
    from checkpoints.options import CheckpointOptions

    return load(locate(CheckpointOptions(source="bundled"), "hifigan", "", print))


@pytest.fixture(scope="session")
def small_hifigan(kept: Path) -> Path:
    """Somebody's own HiFi-GAN checkpoint of few layers: it converts in seconds."""
    return _made_once(kept / "small_hifigan", write_small_hifigan)


@pytest.fixture(scope="session")
def clips(kept: Path) -> list[Path]:
    """Two seconds of speech."""
    return sorted(_made_once(kept / "clips", write_clips).glob("*.flac"))


@pytest.fixture
def store_uri(kept: Path, tmp_path: Path) -> str:
    """The address of an empty sqlite store in the test's folder. It is copied: to make one, MLflow migrates fifty
    times."""
    shutil.copy(_made_once(kept / "store", _write_store) / "mlflow.db", tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


def _write_store(folder: Path) -> None:
    from reports.options import TrackingOptions
    from reports.store import client_of

    folder.mkdir()
    with client_of(TrackingOptions(uri=f"sqlite:///{folder}/mlflow.db")):
        pass


def _made_once(folder: Path, write: Callable[[Path], object]) -> Path:
    """What `write` leaves in a folder, complete or not at all."""
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(dir=folder.parent)) / folder.name
            write(partial)
            partial.rename(folder)
            partial.parent.rmdir()
    return folder


@pytest.fixture(scope="session", params=["small", pytest.param("full", marks=pytest.mark.proof)])
def width(request) -> str:
    """Of the network that `generator` and `convert_job` are about."""
    return request.param


@pytest.fixture(scope="session")
def generator(width: str, small_hifigan: Path):
    """A HiFi-GAN's component, at the default fixed shape."""
    return hifigan_component("bundled" if width == "full" else str(small_hifigan))


def hifigan_component(source: str):
    from checkpoints.load import load
    from checkpoints.locate import locate
    from checkpoints.options import CheckpointOptions
    from converters.families import hifigan
    from converters.options import Shape

    checkpoint = load(locate(CheckpointOptions(source=source), "hifigan", "", print))
    (component,) = hifigan.components(hifigan.load(checkpoint), checkpoint, Shape())
    return component


@pytest.fixture(scope="session")
def sources(width: str, small_hifigan: Path, clips: list[Path]) -> tuple[str, ...]:
    """The overrides by which a command takes what `convert_job` does."""
    return ("checkpoint.source=bundled",) if width == "full" else _small_sources(small_hifigan, clips)


@pytest.fixture(scope="session")
def small_sources(small_hifigan: Path, clips: list[Path]) -> tuple[str, ...]:
    """The overrides by which a command takes the small network and clips."""
    return _small_sources(small_hifigan, clips)


def _small_sources(checkpoint: Path, clips: list[Path]) -> tuple[str, ...]:
    return f"checkpoint.source={checkpoint}", f"goldens.clips=[{','.join(map(str, clips))}]"


@pytest.fixture(scope="session")
def convert_job(width: str, own_job: Callable, real_job: Callable) -> Callable:
    """Runs the main job on the small network and clips, or on what ships with voxport."""
    return real_job if width == "full" else own_job


@pytest.fixture(scope="session")
def own_job(kept: Path, small_hifigan: Path, clips: list[Path]) -> Callable:
    """Runs the main job on a checkpoint that the overrides name, or the small one, and two seconds of speech."""
    return job_runner(kept / "bundles", *_small_sources(small_hifigan, clips))


@pytest.fixture(scope="session")
def real_job(kept: Path) -> Callable:
    """Runs the main job on the bundled weights and clips."""
    return job_runner(kept / "bundles", "checkpoint.source=bundled")


def job_runner(output: Path, *defaults: str) -> Callable:
    """Runs the main job in this process; equal overrides share one bundle, which the test processes also share: the
    first converts, the others find it unchanged.

    Each is run as `in_a_row` says.
    """
    import conf
    from convert import job as main_job
    from convert.schema import register

    output.mkdir(exist_ok=True)
    register()
    known: dict[tuple[str, ...], object] = {}

    def run(*overrides: str):
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        if overrides not in known:
            with initialize_config_dir(config_dir=str(Path(conf.__file__).parent), version_base="1.3"):
                settings = [
                    *defaults,
                    "tracking=off",
                    "measure.bench_seconds=0.05",
                    "measure.bench_min_chunks=5",
                    f"output={output}",
                    *overrides,
                ]
                job = OmegaConf.to_object(compose("config", overrides=settings))
            # Two files that draw the same checkpoint, each in a folder of its own, wait for each other too.
            converts = [one.rpartition("/")[2] for one in (*defaults, *overrides) if not one.startswith(MEASURES)]
            lock = output / f".{hashlib.sha256(' '.join(converts).encode()).hexdigest()[:16]}.lock"
            with filelock.FileLock(lock), pytest.MonkeyPatch.context() as patch:
                _run_in_a_row(patch)
                known[overrides] = main_job.run_job(job)
        return known[overrides]

    return run


@pytest.fixture
def in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job has done beside it costs more than it saves where jobs follow each other: one reporting process serves
    them all, and nothing is forked from a process of tests."""
    _run_in_a_row(monkeypatch)


def _run_in_a_row(patch: pytest.MonkeyPatch) -> None:
    from convert import job as main_job

    patch.setattr(main_job, "ReportWorker", _one_worker)
    patch.setattr(main_job, "SideBySide", functools.partial(main_job.SideBySide, processes=1))


def _one_worker(options: Any) -> Any:
    """The reporting process of all jobs, which now writes where `options` say."""
    worker = _staying_worker()
    worker._options = options
    return worker


@functools.cache
def _staying_worker() -> Any:
    from reports.options import TrackingOptions
    from reports.worker import ReportWorker

    class StayingWorker(ReportWorker):
        def __exit__(self, *_: object) -> None:
            """Stays for the next job; it ends with this process."""

    return StayingWorker(TrackingOptions(enabled=False))


@pytest.fixture(scope="session")
def fp16(convert_job):
    """The outcome of `python -m convert precision=fp16`."""
    return convert_job("precision=fp16")


@pytest.fixture(scope="session")
def fp32(convert_job):
    return convert_job("precision=fp32")


@pytest.fixture(scope="session")
def stateful(convert_job):
    # So small a network is computed again for less than its states cost.
    return convert_job("precision=fp16", "stream=stateful", "stream.keep=stage", "measure.engines=[mil,onnx]")


@pytest.fixture(scope="session")
def mlpackage(fp16) -> Path:
    return fp16.bundle.artefact(fp16.bundle.component())


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Converts a MIL program or a traced module, in float32 where nothing else is asked, and gives its package."""
    from runtime.machine.coreml_tools import coremltools, quick_conversion

    ct = coremltools()
    count = iter(range(100))

    def save(source: Any, precision: str = "fp32", **options: Any) -> Path:
        settings = {
            "convert_to": "mlprogram",
            "compute_precision": {"fp32": ct.precision.FLOAT32, "fp16": ct.precision.FLOAT16}[precision],
            "minimum_deployment_target": ct.target.iOS18,
            "skip_model_load": True,
        }
        path = tmp_path / f"model{next(count)}.mlpackage"
        with quick_conversion():
            ct.convert(source, **{**settings, **options}).save(str(path))
        return path

    return save


@pytest.fixture
def mlflow_server(tmp_path, store_uri) -> Iterator[str]:
    """The address of a real MLflow server with one worker, on loopback."""
    import socket
    import subprocess
    import sys
    import time
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store_uri, "--artifacts-destination", f"{tmp_path}/a"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:  # on a machine at work it takes a minute and more
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
            break
        except OSError:
            time.sleep(0.25)
    yield address
    process.terminate()
    process.wait(timeout=30)
