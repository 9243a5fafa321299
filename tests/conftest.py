"""Real parts for every test: the bundled weights, the bundled speech, artefacts converted once per session."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

ROOT = Path(__file__).parent.parent


def _shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """Of all processes of this run."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or written to the user's cache and state, and nothing to the repository's lock file."""
    folder = _shared_folder(tmp_path_factory, "cache")
    saved = {name: os.environ.get(name) for name in ("VOXPORT_CACHE", "VOXPORT_LOCK", "VOXPORT_STATE")}
    os.environ["VOXPORT_CACHE"] = str(folder)
    os.environ["VOXPORT_LOCK"] = str(folder / "lock.yaml")
    os.environ["VOXPORT_STATE"] = str(_shared_folder(tmp_path_factory, "state"))
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
def generator(checkpoint):
    """Its component, at the default fixed shape."""
    from converters.families import hifigan
    from converters.options import Shape

    (component,) = hifigan.components(hifigan.load(checkpoint), checkpoint, Shape())
    return component


@pytest.fixture(scope="session")
def convert_job(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Runs the main job in this process on the bundled weights; equal overrides share one bundle, which the test
    processes also share: the first converts, the others find it unchanged."""
    import conf
    from convert.schema import register

    output = _shared_folder(tmp_path_factory, "bundles")
    register()
    known: dict[tuple[str, ...], object] = {}

    def run(*overrides: str):
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        from convert.job import run_job

        if overrides not in known:
            with initialize_config_dir(config_dir=str(Path(conf.__file__).parent), version_base="1.3"):
                settings = [
                    "checkpoint.source=bundled",
                    "tracking=off",
                    "measure.bench_seconds=0.05",
                    "measure.bench_min_chunks=5",
                    f"output={output}",
                    *overrides,
                ]
                job = OmegaConf.to_object(compose("config", overrides=settings))
            converts = [one for one in overrides if not one.startswith(("measure.", "gates."))]
            with filelock.FileLock(output / f".{hashlib.sha256(' '.join(converts).encode()).hexdigest()[:16]}.lock"):
                known[overrides] = run_job(job)
        return known[overrides]

    return run


@pytest.fixture(scope="session")
def fp16(convert_job):
    """The outcome of `python -m convert model=hifigan precision=fp16`."""
    return convert_job("precision=fp16")


@pytest.fixture(scope="session")
def fp32(convert_job):
    return convert_job("precision=fp32")


@pytest.fixture(scope="session")
def mlpackage(fp16) -> Path:
    return fp16.bundle.artefact(fp16.bundle.component())


@pytest.fixture
def mlflow_server(tmp_path) -> Iterator[str]:
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
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/a"]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    address = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.25)
    yield address
    process.terminate()
    process.wait(timeout=30)
