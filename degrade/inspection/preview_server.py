"""A preview that follows the recipe file: saved, it is drawn anew; broken, the page says what is
wrong.

The page asks ``/state`` again and again, and whoever asks looks at the files first, so there is no
thread that watches. Only this machine may ask: the server listens on 127.0.0.1 and answers no
other name, lest a page from elsewhere reach it by resolving its own name to this address.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from degrade.errors import RecipeError, UserError
from degrade.inspection.preview import page
from degrade.loading.inheritance import read
from degrade.loading.search_path import locate

__all__ = ["Live", "serve", "server"]

Data = dict[str, Any]
Stamp = tuple[tuple[str, int, int], ...]


class Live:
    """The newest page that a recipe file gave, and what is wrong with the file now.

    Args:
        recipe: Name or file.
        build: Makes the page's data; may raise UserError.
    """

    def __init__(self, recipe: str, build: Callable[[], Data]) -> None:
        self.version = 0
        self.error: str | None = None
        self._recipe, self._build = recipe, build
        self._data: Data = {"name": recipe}
        self._files: list[Path] = []
        self._stamp: Stamp | None = None
        self._lock = Lock()

    def refresh(self) -> None:
        """Builds the page again if a file has changed since."""
        with self._lock:
            if self._stamp == stamp(self._files) and self._stamp is not None:
                return
            self._files = watched(self._recipe, self._files)
            # Taken before reading: a file saved meanwhile is read again next time.
            self._stamp = stamp(self._files)
            try:
                self._data = self._build()
            except (
                ValueError
            ) as error:  # UserError is one; so is what an operator says of values it cannot work
                self.error = str(error)
            else:
                self.error = None
                self.version += 1

    def html(self) -> str:
        """The page."""
        return page({**self._data, "error": self.error}, self.version)

    def state(self) -> Data:
        """What the page asks for."""
        return {"version": self.version, "error": self.error}


def watched(recipe: str, before: list[Path]) -> list[Path]:
    """The file of a recipe and those that it extends; of a broken one, those that are known and
    those of ``before``.
    """
    try:
        found = {file for file, _ in read(recipe).positions.values()}
    except RecipeError as error:
        found = {problem.file for problem in error.problems if problem.file} | {
            str(file) for file in before
        }
        try:
            found.add(str(locate(recipe)))
        except RecipeError:
            found.add(recipe)  # gone; where there was no name but a path, it may come back
    return [Path(file) for file in sorted(found)]


def stamp(files: list[Path]) -> Stamp:
    """Time of change and size; of a file that is gone, as an editor may leave it for a moment,
    zeros.
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


def server(live: Live, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, on a free port if ``port`` is 0; the caller runs and closes it.

    Raises:
        UserError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "") not in self._hosts():
                self._send(
                    403, "text/plain", "this server answers to 127.0.0.1 and localhost only"
                )
            elif self.path == "/":
                live.refresh()
                self._send(200, "text/html", live.html())
            elif self.path == "/state":
                live.refresh()
                self._send(200, "application/json", json.dumps(live.state()))
            else:
                self._send(404, "text/plain", "there are / and /state")

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
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: a page asks every second."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror or error}") from None


def serve(recipe: str, build: Callable[[], Data], port: int, tell: Callable[[str], None]) -> None:
    """Serves until it is interrupted; ``tell`` is given the address."""
    live = Live(recipe, build)
    with server(live, port) as http:
        tell(f"http://127.0.0.1:{http.server_port}/")
        http.serve_forever()
