"""A proxy before a real server that wants a user and a password, or loses answers."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Lost = Callable[[str, str], bool]
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}


@contextmanager
def proxied(server: str, credentials: str = "", is_lost: Lost = lambda method, path: False) -> Iterator[str]:
    """host:port of the proxy. `credentials`: user:password that a request must have; `is_lost`: whether the answer to
    a request, which the server has acted on, never comes back."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            wanted = f"Basic {base64.b64encode(credentials.encode()).decode()}"
            if credentials and self.headers.get("Authorization") != wanted:
                self._answer(401, [("WWW-Authenticate", "Basic")], b"")
                return
            there = http.client.HTTPConnection(urlsplit(server).netloc, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            there.request(self.command, self.path, body, headers)
            answer = there.getresponse()
            content = answer.read()
            there.close()
            if is_lost(self.command, urlsplit(self.path).path):
                self.close_connection = True
                self.connection.close()
                return
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            self._answer(answer.status, kept, content)

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _forward

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (OSError, ValueError):  # a connection that was closed on purpose
                self.close_connection = True

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
