"""Report and tracking in a process of their own, warming up while a conversion runs on another core.

Matplotlib and MLflow cost seconds of imports and 200 MB; the store's first use costs seconds more. The worker takes
one JSON request a line and answers each with one line: {"ok": …} or {"error": sentence}.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from reports.options import TrackingOptions


class WorkerError(RuntimeError):
    """A request that the worker could not fulfil; the message says why."""


class ReportWorker:
    """The worker's client. Use as a context manager; the process ends with it, however the block ends."""

    def __init__(self, options: TrackingOptions) -> None:
        self._options = options
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reports.worker"],
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

    def track(self, bundle: Path, tags: Mapping[str, str] | None = None) -> dict[str, str]:
        """Logs to MLflow, the runs with these tags beside their own; the new runs. Raises WorkerError."""
        self.wait_until_warm()
        if self._store_problem is not None:
            raise WorkerError(self._store_problem)
        return dict(self._checked("track", str(bundle), dict(tags or {})))

    def champion(self, bundle: Path) -> str:
        """In words: this bundle, a version that is, or that there is none yet. Raises WorkerError."""
        return str(self._checked("champion", str(bundle)))

    def _checked(self, what: str, argument: str, tags: dict[str, str] | None = None) -> Any:
        self.wait_until_warm()
        answer = self._ask(what, argument, tags=tags)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer["ok"]

    def _ask(
        self, what: str, argument: str = "", wait: bool = True, tags: dict[str, str] | None = None
    ) -> dict[str, Any]:
        options = dataclasses.asdict(self._options)
        request = {"what": what, "argument": argument, "options": options, "tags": tags or {}}
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
        self._process.terminate()
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
        try:
            options = TrackingOptions(**request["options"])
            answer = {"ok": _do(request["what"], request["argument"], options, request["tags"])}
        except Exception as error:  # whatever it is, the job goes on without it and says so
            answer = {"error": str(error) or repr(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _do(what: str, argument: str, options: TrackingOptions, tags: dict[str, str]) -> Any:
    if what == "report":
        from reports.html import write_report

        return str(write_report(Path(argument)))
    from reports import tracking

    if what == "track":
        return tracking.track(Path(argument), options, tags)
    if what == "champion":
        return _champion(Path(argument), options)
    import reports.html  # noqa: F401  # its imports are what takes long

    if options.enabled:
        tracking.prepare(options)
    return None


def _champion(path: Path, options: TrackingOptions) -> str:
    from reports.champions import champion_of
    from runtime.bundle import open_bundle

    manifest = open_bundle(path, verify=False).manifest
    found = champion_of(manifest, options)
    if found is None:
        return "none yet"
    return "this one" if found.bundle_key == manifest.key else f"version {found.version}"


if __name__ == "__main__":
    _serve()
