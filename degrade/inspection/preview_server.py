"""Serve a preview that is rebuilt when the recipe file is saved, and shows its errors.

The page polls ``/state``, and each request checks the files' times of change: there is no watcher
thread. The server listens on 127.0.0.1 and rejects requests for any other host name, which
prevents DNS rebinding: a web page elsewhere whose name resolves to this address. No page may frame
it. Connections are bounded in number and time.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Lock, Timer
from typing import Any

from degrade.errors import RecipeError, UserError
from degrade.inspection.html import JsonObject
from degrade.inspection.preview import render
from degrade.loading.inheritance import read
from degrade.loading.search_path import locate

__all__ = ["LivePreview", "make_server", "serve"]

Stamps = tuple[tuple[str, int, int], ...]


class LivePreview:
    """The newest page built from a recipe file, and the error of the file as it is now.

    Args:
        recipe: Name or file.
        build: Makes the page's data; may raise ValueError.
    """

    def __init__(self, recipe: str, build: Callable[[], JsonObject]) -> None:
        self.version = 0
        self.error: str | None = None
        self._recipe, self._build = recipe, build
        self._data: JsonObject = {"name": recipe}
        self._files: list[Path] = []
        self._stamps: Stamps | None = None
        self._lock = Lock()

    def refresh(self) -> None:
        """Build the page again if a file has changed."""
        with self._lock:
            if self._stamps is not None and self._stamps == file_stamps(self._files):
                return
            self._files = recipe_files(self._recipe, self._files)
            # Taken before reading: a file saved meanwhile is read again next time.
            self._stamps = file_stamps(self._files)
            try:
                self._data = self._build()
            # UserError is one; operators raise others for values out of range.
            except ValueError as error:
                self.error = str(error)
            else:
                self.error = None
                self.version += 1

    def html(self) -> str:
        """Return the page."""
        return render({**self._data, "error": self.error}, self.version)

    def state(self) -> JsonObject:
        """Return what the page polls: its version and the error."""
        return {"version": self.version, "error": self.error}


def recipe_files(recipe: str, before: list[Path]) -> list[Path]:
    """Return the file of a recipe and those that it extends; of an invalid one, the files named by
    its errors and those of ``before``.
    """
    try:
        found = {file for file, _ in read(recipe).positions.values()}
    except RecipeError as error:
        found = {problem.file for problem in error.problems if problem.file}
        found |= {str(file) for file in before}
        try:
            found.add(str(locate(recipe)))
        except RecipeError:
            found.add(recipe)  # deleted; if it is a path, it may come back
    return [Path(file) for file in sorted(found)]


def file_stamps(files: list[Path]) -> Stamps:
    """Return path, time of change and size of each file; zeros for a missing file, which an editor
    may leave for a moment.

    >>> file_stamps([Path("missing.yaml")])
    (('missing.yaml', 0, 0),)
    """
    found: list[tuple[str, int, int]] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append((str(file), 0, 0))
        else:
            found.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(found)


MOST_CONNECTIONS = 32
"""Connections at once; a browser opens six. More are closed."""
DEADLINE = 10.0
"""Seconds in which a request must have come."""


class _Server(ThreadingHTTPServer):
    """At most :data:`MOST_CONNECTIONS` threads, whose clients may go away."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self._free = BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def make_server(live: LivePreview, port: int = 0) -> ThreadingHTTPServer:
    """Return a server on 127.0.0.1, on a free port if ``port`` is 0; the caller closes it.

    Raises:
        UserError: The port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = DEADLINE  # between two bytes

        def setup(self) -> None:
            super().setup()
            self._deadline = Timer(DEADLINE, self._abandon)
            self._deadline.daemon = True
            self._deadline.start()

        def finish(self) -> None:
            self._deadline.cancel()
            super().finish()

        def _abandon(self) -> None:
            with suppress(OSError):  # already closed
                self.connection.shutdown(socket.SHUT_RDWR)

        def do_GET(self) -> None:
            self._deadline.cancel()
            if self.headers.get("Host", "") not in self._hosts():
                self._send(403, "text/plain", "only 127.0.0.1 and localhost may connect")
            elif self.path == "/":
                live.refresh()
                self._send(200, "text/html", live.html())
            elif self.path == "/state":
                live.refresh()
                self._send(200, "application/json", json.dumps(live.state()))
            else:
                self._send(404, "text/plain", "not found; there are / and /state")

        def _hosts(self) -> tuple[str, ...]:
            number = self.connection.getsockname()[1]
            return f"127.0.0.1:{number}", f"localhost:{number}"

        def _send(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.send_header("Content-Security-Policy", "frame-ancestors 'none'")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: a page polls every second."""

    try:
        return _Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror or error}") from None


def serve(
    recipe: str, build: Callable[[], JsonObject], port: int, on_start: Callable[[str], None]
) -> None:
    """Serve a live preview until it is interrupted.

    Args:
        recipe: Name or file.
        build: Makes the page's data, see :class:`LivePreview`.
        port: 0 for a free one.
        on_start: Called with the URL.

    Raises:
        UserError: The port is taken.
    """
    live = LivePreview(recipe, build)
    with make_server(live, port) as http:
        on_start(f"http://127.0.0.1:{http.server_port}/")
        http.serve_forever()
