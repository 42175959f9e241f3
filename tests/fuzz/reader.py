"""A process that reads image files with everything here that opens them, and says how it went.

It is apart from the tests, so that a crash is seen, a hang ends, and memory can be measured: it
may take :data:`ROOM` bytes more than it had with its libraries loaded, whatever the files say of
themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MOST = 2**18
"""DEGRADE_MAX_PIXELS of the process."""
ROOM = 2**28
SECONDS = 20
"""What one file may take, on a machine that does other work."""


class Reader:
    """The process; :meth:`read` starts it when needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: Any = None
        self._pipe: Any = None

    def read(self, data: bytes, suffix: str) -> dict[str, str]:
        """How each way to read a file ended: "read", "refused", or else what went wrong."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=serve, args=(theirs, self.folder), daemon=True)
            self._process.start()
            theirs.close()
            assert self._pipe.poll(120)
            assert self._pipe.recv() == "ready"
        self._pipe.send((data, suffix))
        try:
            if self._pipe.poll(SECONDS):
                return self._pipe.recv()
            went = {"all": f"took more than {SECONDS} s"}
        except EOFError:
            self._process.join()
            went = {"all": f"the process died, exit code {self._process.exitcode}"}
        self.stop()
        return went

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def serve(pipe: Connection, folder: Path) -> None:
    """What the process does."""
    os.environ["DEGRADE_MAX_PIXELS"] = str(MOST)
    warnings.simplefilter("ignore")
    import degrade.images.regions

    # Small images too are read by regions.
    degrade.images.regions.FULL_DECODE_PIXELS = 0
    attempts = readers()
    calm = peak()
    pipe.send("ready")
    while True:
        data, suffix = pipe.recv()
        path = folder / f"image{suffix}"
        path.write_bytes(data)
        went: dict[str, str] = {}
        found: dict[str, Any] = {}
        for name, attempt in attempts.items():
            went[name] = judged(attempt, path, found)
        if peak() - calm > ROOM:
            went["memory"] = f"{(peak() - calm) / 2**20:.0f} MB"
            calm = peak()
        pipe.send(went)


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judged(attempt: Any, path: Path, found: dict[str, Any]) -> str:
    from degrade.errors import UserError

    try:
        attempt(path, found)
    except UserError as error:
        return (
            "refused"
            if str(path) in str(error)
            else f"an error that does not name the file: {error}"
        )
    except BaseException:
        return traceback.format_exc()
    return "read"


def readers() -> dict[str, Any]:
    """Everything that opens image files. Each asserts what it can."""
    import numpy as np

    from degrade.data.patches import PatchFolder
    from degrade.doctor.checks import examine
    from degrade.images.files import ImageError, image_size, read_image
    from degrade.images.regions import open_image
    from degrade.synthesis.pair import load_crop
    from degrade.synthesis.settings import SynthSettings

    def declared(path: Path, found: dict[str, Any]) -> None:
        found["size"] = image_size(path)
        assert 0 < found["size"][0] * found["size"][1] <= MOST, found["size"]

    def whole(path: Path, found: dict[str, Any]) -> None:
        image = read_image(path)
        height, width, channels = image.pixels.shape
        assert (height, width) in (found["size"], found["size"][::-1]), (
            image.pixels.shape,
            found["size"],
        )
        assert channels in (1, 3)
        assert image.pixels.dtype in (np.uint8, np.uint16)
        assert image.alpha is None or (image.alpha.shape, image.alpha.dtype) == (
            (height, width),
            image.pixels.dtype,
        )
        found["image"] = image

    def regions(path: Path, found: dict[str, Any]) -> None:
        with open_image(path) as image:
            height, width = image.size
            tall, wide = (height + 2) // 3, (width + 2) // 3
            boxes = [(0, 0, tall, wide), (height - tall, width - wide, tall, wide)]
            parts = image.read_regions(boxes[:1]), image.read_regions(boxes[1:])
        if "image" not in found:
            return
        pixels = found["image"].pixels
        for (top, left, _, _), [part] in zip(boxes, parts, strict=True):
            np.testing.assert_array_equal(
                part.pixels, pixels[top : top + tall, left : left + wide]
            )

    def patches(path: Path, found: dict[str, Any]) -> None:
        for check in ("header", "full"):
            folder = PatchFolder(path, 8, check=check)
            assert folder[0]["hr"].shape == (3, 8, 8)

    def crop(path: Path, found: dict[str, Any]) -> None:
        assert load_crop(path, SynthSettings(patch=8, alpha="keep"), 2, 0).pixels.shape == (
            8,
            8,
            3,
        )

    def doctor(path: Path, found: dict[str, Any]) -> None:
        exam = examine(path, path.parent)
        if exam.error:
            assert "image" not in found
            raise ImageError(path, exam.error)

    return {
        "size": declared,
        "whole": whole,
        "regions": regions,
        "patches": patches,
        "crop": crop,
        "doctor": doctor,
    }
