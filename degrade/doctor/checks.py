"""Check whether a folder of HR images is fit to train on.

:func:`examine` measures one file (:mod:`degrade.doctor.quality`), :func:`diagnose` lists the
problems of each and the near-duplicates among them. A diagnosis is a reason to look, not a proof.
Files are never changed, only listed.

What the default limits do, measured on the 400 photographs of BSDS500's train and test sets (481 x
321, JPEGs of quality 95) and on changed copies of 50 to 400 of them:

- ``soft`` detects 99 % of bicubic, bilinear and Lanczos x2 enlargements and 97 to 99 % of Gaussian
  blurs of sigma 1 to 3, but 48 % of bicubic x1.5, 39 % of sigma 0.7, 40 % of x2 stored as a JPEG
  of quality 75, and nothing under noise. It is wrong about 2 of the 400: a bird before a
  background out of focus, and a spotted eel. Shallow focus and textures of one scale look like
  blur.
- ``jpeg``: every one of the 400 is found to be a JPEG of quality 95 from its pixels alone, and 49
  of 50 halved ones at the quality, from 20 to 95, with which they were stored; none of 100 resized
  ones is. Resizing removes the trace, and quality 100 leaves none.
- ``duplicate``: all copies at 1/4 to 2 times the size, at JPEG quality 40 or darker by 20 % differ
  by at most 5 bits, two different photographs by at least 17. Rotated or mirrored copies and crops
  of more than 1 % are mostly not found.
- ``flat`` is wrong about subjects before an empty sky: 1 of 400.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import PIL.Image

from degrade.doctor import hashes, quality
from degrade.doctor.duplicates import near_duplicates
from degrade.images.files import ImageError, read_image, search_images
from degrade.images.pixels import to_uint8
from degrade.images.search import passed_over
from degrade.storage.files import sha256

__all__ = [
    "Diagnosis",
    "Exam",
    "Limits",
    "diagnose",
    "examine",
    "examine_folder",
    "lowest_quality",
]

_LEAST_CONTRAST = 0.95
"""From this share of flat blocks on, perceptual hashes are noise."""


@dataclass(frozen=True)
class Limits:
    """Thresholds between fit images and problems.

    Args:
        side: Least height and width, in pixels.
        quality: Least JPEG quality, of the file or of an earlier compression.
        evidence: Most evidence of an earlier JPEG, in nats a coefficient.
        softness: Most softness; 2 is an image enlarged twice.
        nyquist: Least level at the highest frequencies, in dB. Interpolated images have none.
        flat: Largest share of flat blocks.
        hash_distance: Two images are near-duplicates if at most this many bits of both hashes
            differ.
    """

    side: int = 128
    quality: int = 80
    evidence: float = 0.01
    softness: float = 1.4
    nyquist: float = -25
    flat: float = 0.8
    hash_distance: int = 8


@dataclass(frozen=True)
class Exam:
    """The measures of one file; NaN, 0 or "" where a measure is not available.

    Args:
        file: Its path relative to the folder.
        error: Why it cannot be read.
        height: In pixels.
        width: In pixels.
        notes: How its pixels are stored, where that is not plain 8-bit RGB.
        jpeg_quality: By its quantisation tables, 0 if the file is not a JPEG.
        trace_quality: Of an earlier JPEG, estimated from pixels, 0 if there is no trace of one.
        evidence: Evidence for that JPEG, in nats a coefficient.
        grid: Where that JPEG's blocks begin, ``row,column``.
        blockiness: How visible block borders are.
        softness: How far it could be shrunk without loss.
        nyquist: Level at the highest frequencies, in dB.
        laplacian: Variance of the Laplacian, in squared levels.
        flat: Share of flat blocks.
        dhash: Perceptual hash of brightness steps.
        phash: Perceptual hash of low frequencies.
        sha256: Of the file.
    """

    file: str
    error: str = ""
    height: int = 0
    width: int = 0
    notes: str = ""
    jpeg_quality: int = 0
    trace_quality: int = 0
    evidence: float = math.nan
    grid: str = ""
    blockiness: float = math.nan
    softness: float = math.nan
    nyquist: float = math.nan
    laplacian: float = math.nan
    flat: float = math.nan
    dhash: int = 0
    phash: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """An exam and the problems that it shows.

    Args:
        exam: The measures.
        problems: Problem -> description. Any of them is a reason to leave the image out.
    """

    exam: Exam
    problems: dict[str, str]


# --- measures ------------------------------------------------------------------------------------


def examine(path: Path, root: Path, limits: Limits = Limits()) -> Exam:
    """Measure a file. A file that cannot be read gives an exam with its error.

    Args:
        path: The file.
        root: The folder that its name is relative to.
        limits: Thresholds; only ``evidence`` is used here.
    """
    file = _relative(path, root)
    try:
        image = read_image(path)
        digest = sha256(path)
    except (ImageError, OSError) as error:
        return Exam(file, error.reason if isinstance(error, ImageError) else str(error))
    y = quality.bt601_luma(to_uint8(image.pixels))
    height, width = y.shape
    notes = [*image.notes]
    if image.pixels.shape[-1] == 1:
        notes.append("grey")
    if image.alpha is not None:
        notes.append("alpha")
    exam = Exam(file, height=height, width=width, notes="; ".join(notes), sha256=digest)
    detail = quality.detail(y)
    exam = replace(
        exam,
        jpeg_quality=_jpeg_quality(path),
        blockiness=quality.blockiness(y),
        softness=detail.softness,
        nyquist=detail.nyquist,
        laplacian=quality.laplacian_variance(y),
        flat=quality.flatness(y),
        dhash=hashes.dhash(y),
        phash=hashes.phash(y),
    )
    if min(height, width) < 16:
        return exam
    grid = quality.jpeg_grid(y)
    if not grid.evidence > limits.evidence:
        return replace(exam, evidence=grid.evidence)
    place = f"{grid.row},{grid.column}"
    return replace(exam, evidence=grid.evidence, trace_quality=grid.quality, grid=place)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _jpeg_quality(path: Path) -> int:
    """Quality of a JPEG file by its quantisation tables, 0 for other files."""
    with PIL.Image.open(path) as picture:
        tables: dict[int, list[int]] = getattr(picture, "quantization", None) or {}
        if picture.format not in ("JPEG", "MPO") or not tables:
            return 0
        return quality.table_quality([tables[min(tables)]])


# --- verdicts ------------------------------------------------------------------------------------


def diagnose(exams: Sequence[Exam], limits: Limits = Limits()) -> list[Diagnosis]:
    """List the problems of each file. Of near-duplicates, the one with the fewest problems is
    kept, then the largest.

    >>> [diagnosis] = diagnose([Exam("a.png", height=64, width=512)])
    >>> diagnosis.problems
    {'small': '512 x 64'}
    """
    problems = [_problems(exam, limits) for exam in exams]
    readable = [i for i, exam in enumerate(exams) if not exam.error]
    groups = near_duplicates(
        [exams[i].dhash for i in readable],
        [exams[i].phash for i in readable],
        [exams[i].sha256 for i in readable],
        [exams[i].flat < _LEAST_CONTRAST for i in readable],
        limits.hash_distance,
    )
    for group in groups:
        members = [readable[j] for j in group]
        best = min(members, key=lambda i: _rank(exams[i], problems[i]))
        for i in members:
            if i != best:
                same = exams[i].sha256 == exams[best].sha256
                what = "the same file as" if same else "looks like"
                problems[i]["duplicate"] = f"{what} {exams[best].file}"
    return [Diagnosis(exam, own) for exam, own in zip(exams, problems, strict=True)]


def _problems(exam: Exam, limits: Limits) -> dict[str, str]:
    if exam.error:
        return {"unreadable": exam.error}
    problems: dict[str, str] = {}
    if min(exam.height, exam.width) < limits.side:
        problems["small"] = f"{exam.width} x {exam.height}"
    if 0 < exam.jpeg_quality < limits.quality:
        problems["jpeg"] = f"quality {exam.jpeg_quality}"
    elif 0 < exam.trace_quality < limits.quality:
        problems["jpeg"] = f"was a JPEG of quality {exam.trace_quality}, grid at {exam.grid}"
    if exam.softness >= limits.softness:
        problems["soft"] = f"blurred, or enlarged x{exam.softness:.1f}"
    elif exam.nyquist < limits.nyquist:
        level = f"{exam.nyquist:.0f} dB"
        problems["soft"] = f"nothing at the highest frequencies ({level}): interpolated or blurred"
    if exam.flat > limits.flat:
        problems["flat"] = f"{exam.flat:.0%} of it"
    return problems


def _rank(exam: Exam, problems: dict[str, str]) -> tuple[float, ...]:
    """Sort key, least is best: fewest problems, then largest, then highest JPEG quality. Problems
    come first, so that an enlarged copy does not replace its original.
    """
    return len(problems), -exam.height * exam.width, -lowest_quality(exam)


def lowest_quality(exam: Exam) -> int:
    """The lower of the qualities of the file and of an earlier JPEG; 101 if there is neither."""
    return min(exam.jpeg_quality or 101, exam.trace_quality or 101)


# --- a folder ------------------------------------------------------------------------------------


def examine_folder(
    folder: str | os.PathLike[str],
    limits: Limits = Limits(),
    workers: int | None = None,
    progress: Callable[[Iterable[Exam], int], Iterable[Exam]] = lambda exams, _: exams,
) -> list[Diagnosis]:
    """Examine every image of a folder, on threads. Images of formats that are not read, and
    folders that cannot be read, are diagnosed as unreadable.

    Args:
        folder: Searched recursively.
        limits: Thresholds.
        workers: Threads; one a CPU core by default.
        progress: Wraps the exams and their number, as a progress bar does.

    Raises:
        ImageError: No such folder, or no images in it.
    """
    root = Path(folder).expanduser()
    files, skipped = search_images(root)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        exams = pool.map(partial(examine, root=root, limits=limits), files)
        found = list(progress(exams, len(files)))
    others = [(Path(path), reason) for path, reason in skipped.items()]
    found += [Exam(_relative(at, root), why) for at, why in others if not passed_over(at.name)]
    return diagnose(found, limits)
