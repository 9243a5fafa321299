"""A local HTTP server that can be made to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Misbehaviour:
    """What the server serves and how it fails. `break_after`: bytes after which each of the first `breaks` replies
    is cut; `claims`: a false Content-Length; `statuses`: answered one after the other before anything is served."""

    files: dict[str, bytes] = field(default_factory=dict)
    breaks: int = 0
    break_after: int = 1000
    claims: int | None = None
    statuses: list[int] = field(default_factory=list)
    etag: str | None = '"v1"'
    delay: float = 0.0
    ranges: list[str | None] = field(default_factory=list)
    requests: int = 0


@contextmanager
def serving(behaviour: Misbehaviour) -> Iterator[str]:
    """The address of a running server."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behaviour.requests += 1
            behaviour.ranges.append(self.headers.get("Range"))
            if behaviour.statuses:
                self.send_error(behaviour.statuses.pop(0))
                return
            body = behaviour.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = 0
            wanted = self.headers.get("Range")
            if wanted and self.headers.get("If-Range") == behaviour.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            part = body[start:]
            self.send_header("Content-Length", str(behaviour.claims or len(part)))
            if behaviour.etag:
                self.send_header("ETag", behaviour.etag)
            self.end_headers()
            if behaviour.delay:
                threading.Event().wait(behaviour.delay)
            if behaviour.breaks > 0:
                behaviour.breaks -= 1
                part = part[: behaviour.break_after]
            self.wfile.write(part)
            self.wfile.flush()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
