"""Report and tracking in a process of their own, warming up while a conversion runs on another core.

Matplotlib and MLflow cost seconds of imports and 200 MB; the store's first use costs seconds more. The worker takes
one JSON request a line and answers each with one line: {"ok": …} or {"error": sentence}.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from reports.options import CompareOptions, TrackingOptions
from runtime.errors import MachineError
from runtime.machine.address import Address
from runtime.machine.disk import full_disk
from runtime.machine.files import as_json
from runtime.machine.tether import tethered

if TYPE_CHECKING:
    from reports.judge import Judgement


class WorkerError(MachineError, RuntimeError):
    """A request that the worker could not fulfil; the message says why, `full` the error's number where a disk is."""

    def __init__(self, message: str, full: int | None = None) -> None:
        super().__init__(message)
        self.full = full


class ReportWorker:
    """The worker's client. Use as a context manager; the process ends with it, however the block ends."""

    def __init__(self, options: TrackingOptions) -> None:
        self._options = options
        self._process = subprocess.Popen(
            tethered([sys.executable, "-m", "reports.worker"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # ctrl-C is for the job, which then ends the worker
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._ask("warm_up", wait=False)
        self._warming = True
        self._store_problem: str | None = None

    def wait_until_warm(self) -> None:
        """Blocks until the worker idles, so that it disturbs no measurement."""
        if self._warming:
            self._warming = False
            self._store_problem = self._answer().get("error")

    def report(self, bundle: Path) -> Path:
        """Writes the HTML report beside the bundle. Raises WorkerError."""
        return Path(self._checked("report", str(bundle)))

    def track(self, bundle: Path) -> dict[str, str]:
        """Logs to MLflow; the new runs. Raises WorkerError."""
        self._refuse_without_store()
        return dict(self._checked("track", str(bundle)))

    def judge(self, bundle: Path, options: CompareOptions) -> Judgement:
        """Compares with the champion of its series, which can take minutes. Raises WorkerError."""
        self._refuse_without_store()
        from reports.judge import Judgement

        reply = self._checked("judge", str(bundle), dataclasses.asdict(options))
        return TypeAdapter(Judgement).validate_python(reply)

    def track_night(self, folder: Path) -> None:
        """Draws a suite's page with the nights before it, and logs both. Raises WorkerError."""
        self._refuse_without_store()
        self._checked("night", str(folder))

    def draw_night(self, folder: Path) -> None:
        """Draws a suite's page without MLflow. Raises WorkerError."""
        self._checked("page", str(folder))

    def _refuse_without_store(self) -> None:
        self.wait_until_warm()
        if self._store_problem is not None:
            raise WorkerError(self._store_problem)

    def _checked(self, what: str, argument: str, compare: dict[str, Any] | None = None) -> Any:
        self.wait_until_warm()
        answer = self._ask(what, argument, compare=compare)
        if "error" in answer:
            raise WorkerError(answer["error"], answer.get("full"))
        return answer["ok"]

    def _ask(
        self, what: str, argument: str = "", wait: bool = True, compare: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        address = self._options.address  # with its secret: this pipe leads to the worker alone
        options = {**dataclasses.asdict(self._options), "uri": address.revealed()}
        request = {"what": what, "argument": argument, "options": options, "expression": address.expression}
        request["compare"] = compare or {}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"error": "the reporting process died"}
        return self._answer() if wait else {}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": "the reporting process died"}

    def __enter__(self) -> ReportWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)  # with whatever it measures at the moment
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stray prints of libraries do not end up in the answers
    for line in sys.stdin:
        request = json.loads(line)
        options = TrackingOptions(**request["options"])
        options.uri = Address(options.uri, request["expression"])
        try:
            compare = CompareOptions(**request["compare"])
            answer = {"ok": as_json(_do(request["what"], Path(request["argument"]), options, compare))}
        except Exception as error:  # whatever it is, the job goes on without it and says so
            sentence = options.address.scrubbed(str(error) or repr(error))
            answer = {"error": sentence, "full": full_disk(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _do(what: str, path: Path, options: TrackingOptions, compare: CompareOptions) -> Any:
    if what == "report":
        from reports.html import write_report

        return str(write_report(path))
    from reports import nights, tracking
    from reports.suite import FILE as SUITE
    from reports.suite import read_suite

    if what == "track":
        return tracking.track(path, options)
    if what == "judge":
        from reports.judge import judge

        return dataclasses.asdict(judge(path, options, compare))
    if what == "night":
        return nights.track_night(path, options)
    if what == "page":
        result = read_suite(path / SUITE)
        nights.gather_reports(result, path)
        return str(nights.write_night(result, path, [], options, None))
    import reports.html  # noqa: F401  # its imports are what takes long, and the first picture
    from reports.plots import warm_up

    warm_up()
    if options.enabled:
        tracking.prepare(options)
    return None


if __name__ == "__main__":
    _serve()
