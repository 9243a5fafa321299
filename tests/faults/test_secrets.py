"""A password in the address of MLflow's server: its bytes are in no file, no output, no record, no command line."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from convert.task import JobSpec, Secrets, _command, _environment
from reports.options import TrackingOptions
from reports.tracked import UNTRACKED, mark_untracked
from tests.conftest import ROOT
from tests.faults.proxy import proxied
from tests.faults.test_delivery import stored, whole
from tests.reports.test_store import copies

PASSWORD = "hunter2-0123456789abcdef"
# With the fixture's sources the same bundle; other limits, so that record and report are written anew.
QUICK = ("measure.bench_seconds=0.05", "measure.bench_min_chunks=5")
ANEW = ["gates.limits.fp16.snr_db=1", "gates.limits.fp16_onnx.snr_db=1"]


def ran(tmp_path, outcome, arguments, **variables):
    """(exit code, what it printed, command lines of its children) of `python -m convert` in folders of its own."""
    for path in (outcome.bundle.path, outcome.bundle.measured):
        (tmp_path / "b").mkdir(exist_ok=True)
        if not (tmp_path / "b" / path.name).exists():
            subprocess.run(["cp", "-r", str(path), str(tmp_path / "b")], check=True)
    own = {name: str(tmp_path / name.lower()) for name in ("HOME", "TMPDIR", "VOXPORT_CACHE", "VOXPORT_STATE")}
    for folder in own.values():
        Path(folder).mkdir(exist_ok=True)
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: set[str] = set()
    ended = threading.Event()

    def watch():
        while not ended.wait(0.01):
            for child in _children(process.pid):
                try:
                    lines.add(" ".join(child.cmdline()))
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    said, _ = process.communicate(timeout=500)
    ended.set()
    watcher.join()
    forked = " ".join(process.args)  # what a child shows between fork and exec: the command that the person typed
    return process.returncode, said, lines - {forked}


def _children(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def files_with(tmp_path, secret=PASSWORD):
    found = [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    return [str(path.relative_to(tmp_path)) for path in found]


def convert(kind, sources, uri):
    job = ("suite.name=own", "suite.jobs=[{precision: fp16}]") if kind == "suite" else ()
    return ["convert", *job, *sources, *QUICK, *ANEW, "output=b", f"tracking.uri={uri}"]


CASES = [
    pytest.param("suite", "accepted", id="suite-accepted", marks=pytest.mark.proof),
    pytest.param("job", "away", id="job-away"),
    *(
        pytest.param(kind, server, id=f"{kind}-{server}", marks=pytest.mark.proof)
        for kind in ("job", "suite")
        for server in ("accepted", "refused", "away")
        if (kind, server) not in (("suite", "accepted"), ("job", "away"))
    ),
]


@pytest.mark.parametrize(("kind", "server"), CASES)
def test_a_password_in_the_address_is_nowhere_afterwards(fp16, sources, tmp_path, request, kind, server):
    with ExitStack() as stack:
        host = "127.0.0.1:9"
        if server != "away":
            wanted = f"me:{PASSWORD if server == 'accepted' else 'another'}"
            host = stack.enter_context(proxied(request.getfixturevalue("mlflow_server"), wanted))
        code, said, lines = ran(tmp_path, fp16, convert(kind, sources, f"'http://me:{PASSWORD}@{host}'"))
    assert code == 0, said
    assert PASSWORD not in said
    assert not any(PASSWORD in line for line in lines) and any("reports.worker" in line for line in lines)
    assert files_with(tmp_path) == []
    assert (f"http://me:***@{host}" in "".join(said.split())) == (server != "accepted")
    (measured,) = (tmp_path / "b").glob("*.measured")
    markers = list((tmp_path / "b").rglob(UNTRACKED))
    assert bool(markers) == (server != "accepted")
    for name in (
        "job.json",
        "report.html",
        *(path.relative_to(measured) for path in markers if measured in path.parents),
    ):
        assert (measured / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.proof
def test_what_came_from_the_environment_is_kept_as_the_expression(fp16, sources, tmp_path):
    uri = "'http://me:${oc.env:OUR_PASSWORD}@127.0.0.1:9'"
    code, said, _ = ran(tmp_path, fp16, convert("job", sources, uri), OUR_PASSWORD=PASSWORD)
    assert code == 0 and PASSWORD not in said and files_with(tmp_path) == []
    (record,) = (tmp_path / "b").rglob("job.json")
    assert '"uri": "http://me:${oc.env:OUR_PASSWORD}@127.0.0.1:9"' in record.read_text()


def test_sync_takes_the_secret_from_whoever_runs_it(fp16, tmp_path, mlflow_server, monkeypatch, capsys):
    from reports.__main__ import main

    bundles = copies(fp16, tmp_path / "b", 3)
    with proxied(mlflow_server, f"me:{PASSWORD}") as host:
        whole_address = f"http://me:{PASSWORD}@{host}"
        options = TrackingOptions(uri=whole_address)
        for bundle in bundles:
            mark_untracked(bundle.measured, options, f"no way to {whole_address}")
        assert files_with(tmp_path) == []
        first, second, third = (str(bundle.measured) for bundle in bundles)
        assert main(["sync", first]) == 2
        said = capsys.readouterr().err
        assert (
            "the secret of the address is not kept: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
        )
        assert main(["sync", first, "--uri", whole_address]) == 0
        monkeypatch.setenv("OUR_PASSWORD", PASSWORD)
        assert main(["sync", second, "--uri", f"http://me:${{oc.env:OUR_PASSWORD}}@{host}"]) == 0
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        assert main(["sync", third]) == 0
    assert stored(tmp_path / "mlflow.db") == whole(3)
    assert files_with(tmp_path) == []


def test_a_marker_cannot_name_a_variable_to_send_elsewhere(tmp_path, monkeypatch, capsys):
    """An expression is looked up only if it is the whole address, and leads where the marker says without it."""
    from reports.store import TrackingError
    from reports.sync import _with_secret
    from runtime.machine.address import Address

    monkeypatch.setenv("TOKEN", "a-secret-of-mine")
    monkeypatch.setenv("ADDRESS", "http://me:secret@ours")
    for shown, expression in {
        "http://me:***@theirs": "http://me:${oc.env:TOKEN}@theirs",
        "http://***@theirs": "${oc.env:TOKEN}",
        "http://me:***@theirs:80": "${oc.env:ADDRESS}",
    }.items():
        with pytest.raises(TrackingError, match="is not kept"):
            _with_secret(Address(shown, expression), "")
    assert _with_secret(Address("http://me:***@ours", "${oc.env:ADDRESS}"), "").revealed() == "http://me:secret@ours"


@pytest.mark.parametrize("kind", ["convert", "judge"])
def test_a_job_of_a_worker_gets_the_address_by_its_environment(kind):
    options = TrackingOptions(uri=f"http://me:{PASSWORD}@host")
    spec = JobSpec("j", ("run",), kind, tracking=options, environment={"HF_TOKEN": PASSWORD})
    command = _command(spec, Path("b"))
    assert PASSWORD not in " ".join(command) and "${oc.env:VOXPORT_TRACKING_URI}" in " ".join(command)
    assert _environment(spec)["VOXPORT_TRACKING_URI"] == f"http://me:{PASSWORD}@host"


def test_what_travels_to_a_worker_shows_no_secret_to_its_log():
    """Dask prints the arguments of a task that fails."""
    options = TrackingOptions(uri=f"http://me:{PASSWORD}@host")
    sent = JobSpec("j", ("x",), tracking=options, environment={"HF_TOKEN": PASSWORD})
    assert PASSWORD not in sent.to_json() + repr(sent) + repr(sent.secrets()) and isinstance(sent.secrets(), Secrets)
    came = JobSpec.from_json(sent.to_json(), sent.secrets())
    assert came == sent and came.tracking.address.revealed() == f"http://me:{PASSWORD}@host"


def test_no_sentence_of_a_command_shows_a_secret(capsys, monkeypatch):
    from convert.__main__ import main as convert_main
    from runtime.machine.command_line import explained

    address = f"http://me:{PASSWORD}@host"
    assert PASSWORD not in explained(ValueError(f"no way to {address}"))[0]
    assert convert_main([f"stream.chunk=[{address}"]) == 2
    assert convert_main([f"tracking.url={address}"]) == 2
    assert convert_main([f"tracking=[{address}"]) == 2
    said = capsys.readouterr()
    assert PASSWORD not in said.out + said.err and said.err.count("rror") >= 3
