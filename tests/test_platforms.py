"""Other systems: what Python has on Linux alone is not needed, here with it hidden.

Nothing here replaces a run on Windows or macOS; it finds what would fail there at once.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for package in ("degrade", "sr") for path in (ROOT / package).rglob("*.py"))
UNIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
UNIX_NAMES = {
    "os": "O_NOFOLLOW O_NONBLOCK O_DIRECTORY fork forkpty getuid geteuid getgid getloadavg chown "
    "mkfifo mknod killpg setsid nice statvfs sched_getaffinity sched_setaffinity sysconf wait "
    "register_at_fork pread posix_fallocate posix_fadvise sendfile uname sync",
    "signal": "SIGKILL SIGHUP SIGALRM SIGPIPE SIGSTOP SIGCONT SIGUSR1 SIGUSR2 SIGCHLD SIGBUS "
    "alarm pause setitimer pthread_sigmask",
}
"""What Windows lacks; macOS lacks some of it."""


def unguarded(source: str) -> Iterator[str]:
    """The uses of a Unix-only module or name that nothing guards.

    A module is guarded by ``try: import ... except ImportError``, a name by ``hasattr`` or
    ``sys.platform`` in the condition of an ``if``, or taken by ``getattr(os, name, default)``.
    """

    def visit(node: ast.AST, guarded: bool) -> Iterator[str]:
        if isinstance(node, ast.Try):
            caught = " ".join(
                ast.unparse(handler.type) for handler in node.handlers if handler.type
            )
            for child in node.body:
                yield from visit(child, guarded or "ImportError" in caught)
            for child in (*node.handlers, *node.orelse, *node.finalbody):
                yield from visit(child, guarded)
            return
        if isinstance(node, ast.If | ast.IfExp):
            condition = ast.unparse(node.test)
            guarded |= "hasattr(" in condition or "sys.platform" in condition
        if not guarded:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            yield from (f"{node.lineno}: {name}" for name in names if name in UNIX_MODULES)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, name = node.value.id, node.attr
                if name in UNIX_NAMES.get(module, "").split():
                    yield f"{node.lineno}: {module}.{name}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, guarded)

    yield from visit(ast.parse(source), False)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_unix_is_guarded(path: Path) -> None:
    assert list(unguarded(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", ["1: fcntl"]),
        ("def f():\n    from resource import getrusage", ["2: resource"]),
        ("try:\n    import resource\nexcept ImportError:\n    pass", []),
        ("os.kill(1, signal.SIGKILL)", ["1: signal.SIGKILL"]),
        ("n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1", []),
        ("flags = getattr(os, 'O_NOFOLLOW', 0)", []),
    ],
)
def test_what_is_unguarded_is_found(source: str, found: list[str]) -> None:
    assert list(unguarded(source)) == found


HIDE = """
import importlib.abc, os, sys

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
        return None

for name in {modules!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
"""
COMMANDS = """
degrade --version
degrade list
degrade show realesrgan photo.png --output show.png
degrade synth --recipe realesrgan --input photos --patch 48 --output pairs --workers 2
degrade synth --recipe bicubic --input photos --patch 48 --output more --engine inline
degrade replay pairs
degrade preview bicubic photo.png --html preview.html
degrade bench bicubic --input photos --size 48 --batch 2 --seconds 0.01
degrade doctor photos
sr train srcnn --recipe pairs:pairs --val pairs:pairs --steps 2 --out run --set batch=2 \
--set patch=32 --set workers=1 --set tensorboard=false
sr eval --model run/last.safetensors --data photos --recipe bicubic --scale 4
"""
RUN = """
import fnmatch, importlib, pkgutil, shlex, sys, warnings
# Text files are UTF-8 because the code says so; Windows would read and write others.
for package in ("degrade", "sr"):
    warnings.filterwarnings("error", category=EncodingWarning, module=package)
import degrade, sr
for package in (degrade, sr):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        left_out = "*.__main__", "*.triton*", "*.avx512", "*.avx2", "*.neon"
        if not any(fnmatch.fnmatch(found.name, pattern) for pattern in left_out):
            importlib.import_module(found.name)
from degrade.cli import main as degrade_main
from sr.cli import main as sr_main
for line in sys.stdin.read().replace("\\\\\\n", " ").split("\\n"):
    if not line.strip():
        continue
    sys.argv = shlex.split(line)
    try:
        {"degrade": degrade_main, "sr": sr_main}[sys.argv[0]]()
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""


@pytest.mark.slow
def test_commands_without_what_only_unix_has(tmp_path: Path) -> None:
    """Child processes too: Python imports ``sitecustomize`` in each."""
    from PIL import Image

    from degrade.images.files import read_image
    from degrade.images.samples import sample_images

    pixels = read_image(sample_images()[1]).pixels
    (tmp_path / "photos").mkdir()
    for i in range(3):
        Image.fromarray(pixels[60:, 40 * i :][:64, :64]).save(tmp_path / f"photos/{i}.png")
    Image.fromarray(pixels[:128, :128]).save(tmp_path / "photo.png")
    hidden = sorted({"fcntl", "resource", "pwd", "grp", "termios", "tty", "syslog"})
    (tmp_path / "hide").mkdir()
    hide = textwrap.dedent(HIDE).format(modules=hidden)
    (tmp_path / "hide/sitecustomize.py").write_text(hide, "utf-8")
    path = os.pathsep.join([str(tmp_path / "hide"), str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", "-c", RUN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "SR_CACHE": str(tmp_path / "cache")},
        input=COMMANDS,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
