"""Doctor: is a folder of HR images fit to train on?

:func:`examine` measures one file (:mod:`degrade.doctor.quality`), :func:`diagnose` says what is
wrong with each and which are doubles. One constraint: a diagnosis is a reason to look, not a
proof. A file is never changed, only listed.

What the default limits do, measured on the 400 photographs of BSDS500's train and test sets (481 x
321, JPEGs of quality 95) and on changed copies of 50 to 400 of them:

- ``soft`` tells 99 % of bicubic, bilinear and Lanczos x2 enlargements and 97 to 99 % of Gaussian blurs of sigma 1 to 3,
  but 48 % of bicubic x1.5, 39 % of sigma 0.7, 40 % of x2 stored as a JPEG of quality 75, and
  nothing under noise. It is wrong about 2 of the 400: a bird before a background out of focus, and
  a spotted eel. Shallow focus and textures of one scale look like blur.
- ``jpeg``: every one of the 400 is found to be a JPEG of quality 95 from its pixels alone, and 49 of 50 halved ones at
  the quality, from 20 to 95, with which they were stored; none of 100 resized ones is. Resizing
  wipes the trace, and quality 100 leaves none.
- ``duplicate``: all copies at 1/4 to 2 times the size, at JPEG quality 40 or darker by 20 % differ by at most 5 bits,
  two different photographs by at least 17. Turned or mirrored copies and crops of more than 1 %
  are mostly not found.
- ``flat`` is wrong about subjects before an empty sky: 1 of 400.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from degrade.doctor import quality
from degrade.doctor.duplicates import alike
from degrade.images.files import ImageError, find_images, read_image
from degrade.images.pixels import to_uint8
from degrade.storage.files import sha256

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "Diagnosis",
    "Exam",
    "Limits",
    "diagnose",
    "doctor",
    "examine",
    "exclusions",
    "table",
    "to_csv",
]


@dataclass(frozen=True)
class Limits:
    """What is still healthy.

    Args:
        side: Least height and width, in pixels.
        quality: Least JPEG quality, of the file or of an earlier life.
        evidence: Most evidence of an earlier JPEG, in nats a coefficient.
        softness: Most softness; 2 is an image enlarged twice.
        nyquist: Least level at the highest frequencies, in dB. Interpolated images have none.
        flat: Largest share of flat blocks.
        alike: Two images are doubles if at most this many bits of both hashes differ.
    """

    side: int = 128
    quality: int = 80
    evidence: float = 0.01
    softness: float = 1.4
    nyquist: float = -25
    flat: float = 0.8
    alike: int = 8


@dataclass(frozen=True)
class Exam:
    """What was measured on one file; NaN, 0 or "" where it could not be.

    Args:
        file: Its path below the folder.
        error: Why it cannot be read.
        height: In pixels.
        width: In pixels.
        notes: How its pixels are stored, where that is not plain 8-bit RGB.
        jpeg_quality: By its quantisation tables, 0 if the file is no JPEG.
        trace_quality: Of the JPEG that its pixels show, 0 if they show none.
        evidence: For that, in nats a coefficient.
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
    """An exam and its verdict.

    Args:
        exam: The measures.
        problems: Problem -> what it is, in words. Any of them is a reason to leave the image out.
    """

    exam: Exam
    problems: dict[str, str]


def examine(path: Path, root: Path, limits: Limits = Limits()) -> Exam:
    """Measures a file. What cannot be read is an exam too, with its error."""
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
    try:
        image = read_image(path)
        digest = sha256(path)
    except (ImageError, OSError) as error:
        return Exam(file, error.reason if isinstance(error, ImageError) else str(error))
    y = quality.luma(to_uint8(image.pixels))
    height, width = y.shape
    notes = [
        *image.notes,
        *["grey"] * (image.pixels.shape[-1] == 1),
        *["alpha"] * (image.alpha is not None),
    ]
    exam = Exam(file, height=height, width=width, notes="; ".join(notes), sha256=digest)
    grid = quality.jpeg_grid(y) if min(height, width) >= 16 else None
    seen = grid is not None and grid.evidence > limits.evidence
    end = quality.detail(y)
    return replace(
        exam,
        jpeg_quality=_own_quality(path),
        trace_quality=grid.quality if grid and seen else 0,
        evidence=grid.evidence if grid else math.nan,
        grid=f"{grid.row},{grid.column}" if grid and seen else "",
        blockiness=quality.blockiness(y),
        softness=end.softness,
        nyquist=end.nyquist,
        laplacian=quality.laplacian(y),
        flat=quality.flatness(y),
        dhash=quality.difference_hash(y),
        phash=quality.frequency_hash(y),
    )


def _own_quality(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as picture:
        tables: dict[int, list[int]] = getattr(picture, "quantization", None) or {}
        return (
            quality.table_quality([tables[min(tables)]])
            if picture.format in ("JPEG", "MPO") and tables
            else 0
        )


# --- verdicts ------------------------------------------------------------------------------------


def diagnose(exams: Sequence[Exam], limits: Limits = Limits()) -> list[Diagnosis]:
    """Says what is wrong with each file. Of doubles, the least harmed and then largest is kept."""
    own = [_problems(exam, limits) for exam in exams]
    readable = [i for i, exam in enumerate(exams) if not exam.error]
    for group in alike([exams[i] for i in readable], limits.alike):
        members = [readable[j] for j in group]
        best = min(members, key=lambda i: _rank(exams[i], own[i]))
        for i in members:
            if i != best:
                same = exams[i].sha256 == exams[best].sha256
                own[i]["duplicate"] = (
                    f"{'the same file as' if same else 'looks like'} {exams[best].file}"
                )
    return [Diagnosis(exam, problems) for exam, problems in zip(exams, own, strict=True)]


def _problems(exam: Exam, limits: Limits) -> dict[str, str]:
    if exam.error:
        return {"unreadable": exam.error}
    found: dict[str, str] = {}
    if min(exam.height, exam.width) < limits.side:
        found["small"] = f"{exam.width} x {exam.height}"
    if 0 < exam.jpeg_quality < limits.quality:
        found["jpeg"] = f"quality {exam.jpeg_quality}"
    elif 0 < exam.trace_quality < limits.quality:
        found["jpeg"] = f"was a JPEG of quality {exam.trace_quality}, grid at {exam.grid}"
    if exam.softness >= limits.softness:
        found["soft"] = f"blurred, or enlarged x{exam.softness:.1f}"
    elif exam.nyquist < limits.nyquist:
        found["soft"] = (
            f"nothing at the highest frequencies ({exam.nyquist:.0f} dB): interpolated or blurred"
        )
    if exam.flat > limits.flat:
        found["flat"] = f"{exam.flat:.0%} of it"
    return found


def _rank(exam: Exam, problems: dict[str, str]) -> tuple[float, ...]:
    """Least is best: fewest problems, then largest, then best JPEG. An enlarged copy must not
    oust its original.
    """
    quality = min(exam.jpeg_quality or 101, exam.trace_quality or 101)
    return (len(problems), -exam.height * exam.width, -quality)


# --- a folder ------------------------------------------------------------------------------------


def doctor(
    folder: str | os.PathLike[str],
    limits: Limits = Limits(),
    workers: int | None = None,
    watch: Callable[[Iterable[Exam], int], Iterable[Exam]] = lambda exams, _: exams,
) -> list[Diagnosis]:
    """Examines every image of a folder, on threads.

    Args:
        folder: Searched to its leaves.
        limits: What is still healthy.
        workers: Threads; one a CPU core by default.
        watch: Passes on the exams as they come, told how many there will be: a progress bar.

    Raises:
        ImageError: no such folder, or no images in it.
    """
    root = Path(folder).expanduser()
    files = find_images(root)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        exams = list(watch(pool.map(lambda path: examine(path, root, limits), files), len(files)))
    return diagnose(exams, limits)


def to_csv(diagnoses: Sequence[Diagnosis]) -> str:
    """One row a file: verdict, problems, all measures."""
    text = io.StringIO()
    names = [field.name for field in fields(Exam)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "verdict", "problems", *names[1:]])
    for diagnosis in diagnoses:
        problems = "; ".join(f"{name}: {what}" for name, what in diagnosis.problems.items())
        row = [_cell(name, getattr(diagnosis.exam, name)) for name in names]
        writer.writerow([row[0], "exclude" if problems else "keep", problems, *row[1:]])
    return text.getvalue()


def _cell(name: str, value: float | str) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return f"{value:016x}" if name in ("dhash", "phash") else str(value)


def exclusions(diagnoses: Sequence[Diagnosis]) -> str:
    """The files with a problem, one a line."""
    return "".join(f"{diagnosis.exam.file}\n" for diagnosis in diagnoses if diagnosis.problems)


def table(console: Console, diagnoses: Sequence[Diagnosis]) -> None:
    """Prints how often there is what problem, with the worst files of each."""
    from rich.markup import escape
    from rich.table import Table

    counts = Counter(name for diagnosis in diagnoses for name in diagnosis.problems)
    grid = Table("problem", "images", "share", "worst", box=None, header_style="bold")
    worst: dict[str, Callable[[Exam], float]] = {
        "small": lambda exam: min(exam.height, exam.width),
        "jpeg": lambda exam: min(exam.jpeg_quality or 101, exam.trace_quality or 101),
        "soft": lambda exam: -exam.softness,
        "flat": lambda exam: -exam.flat,
    }
    for name, count in counts.most_common():
        some = [diagnosis for diagnosis in diagnoses if name in diagnosis.problems]
        some.sort(key=lambda diagnosis: worst.get(name, lambda _: 0.0)(diagnosis.exam))
        examples = "\n".join(escape(f"{d.exam.file}: {d.problems[name]}") for d in some[:3])
        grid.add_row(name, str(count), f"{count / len(diagnoses):.0%}", examples)
    healthy = sum(not diagnosis.problems for diagnosis in diagnoses)
    noted = Counter(note for d in diagnoses for note in d.exam.notes.split("; ") if note)
    if counts:
        console.print(grid)
    console.print(f"{healthy} of {len(diagnoses)} images without a problem", soft_wrap=True)
    if noted:
        said = ", ".join(f"{note} ({count})" for note, count in noted.most_common())
        console.print(f"notes: {said}", markup=False, soft_wrap=True)
