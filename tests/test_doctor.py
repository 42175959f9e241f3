"""Doctor: every measure against images whose history is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from degrade.cli import app
from degrade.doctor import quality as no_reference
from degrade.doctor.checks import BYTES_PER_PIXEL, Exam, Limits, diagnose, examine, examine_folder
from degrade.doctor.report import exclusions, to_csv
from degrade.images.files import read_image
from degrade.images.samples import sample_images
from degrade.storage.files import sha256

# Shrunk, so that nothing is left of what a camera or a JPEG may have done to them.
ORIGINALS = {
    path.stem: np.asarray(
        Image.fromarray(np.asarray(read_image(path).pixels)).resize(
            (320, 240), Image.Resampling.LANCZOS, box=None
        )
    )
    for path in sample_images()[:3]
}
NAMES = list(ORIGINALS)


def jpeg(image: np.ndarray, quality: int, **options) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def resized(
    image: np.ndarray, factor: float, how: Image.Resampling = Image.Resampling.BICUBIC
) -> np.ndarray:
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    return np.asarray(Image.fromarray(image).resize(size, how))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def save(folder, **images) -> None:
    for name, image in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")


# --- JPEG ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [5, 20, 30, 49, 50, 51, 75, 90, 95, 99])
def test_quality_from_tables_is_exact(quality):
    file = io.BytesIO()
    Image.fromarray(ORIGINALS["coffee"]).save(file, "JPEG", quality=quality)
    assert no_reference.table_quality([Image.open(file).quantization[0]]) == quality


def test_quality_of_foreign_tables_is_near():
    file = io.BytesIO()
    Image.fromarray(ORIGINALS["coffee"]).save(
        file, "JPEG", qtables=[[round(s * 1.03 + 0.3) for s in tables(60)]] * 2
    )
    assert abs(no_reference.table_quality([Image.open(file).quantization[0]]) - 60) <= 2


def tables(quality: int) -> list[int]:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    return Image.open(file).quantization[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quality", [40, 75, 90, 95])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5)])
def test_trace_of_a_jpeg(name, quality, top, left):
    grid = no_reference.jpeg_grid(
        no_reference.bt601_luma(jpeg(ORIGINALS[name], quality)[top:, left:])
    )
    assert grid.evidence > Limits().evidence
    assert (grid.row, grid.column) == (-top % 8, -left % 8)
    assert grid.quality == quality


@pytest.mark.parametrize("name", NAMES)
def test_no_trace_without_jpeg(name):
    y = no_reference.bt601_luma(ORIGINALS[name])
    assert no_reference.jpeg_grid(y).evidence < 0
    # Half of the least that quality 40 leaves.
    assert no_reference.blockiness(y) < 0.5 * no_reference.blockiness(
        no_reference.bt601_luma(jpeg(ORIGINALS[name], 40))
    )


@pytest.mark.parametrize("name", NAMES)
def test_resizing_wipes_the_trace(name):
    """A known blind spot."""
    assert (
        no_reference.jpeg_grid(
            no_reference.bt601_luma(resized(jpeg(ORIGINALS[name], 40), 0.77))
        ).evidence
        < Limits().evidence
    )


# --- detail --------------------------------------------------------------------------------------

SOFT = {
    "bicubic x2": lambda image: resized(image, 2),
    "bicubic x3": lambda image: resized(image, 3),
    "lanczos x2": lambda image: resized(image, 2, Image.Resampling.LANCZOS),
    "bilinear x2": lambda image: resized(image, 2, Image.Resampling.BILINEAR),
    "gauss 1": lambda image: blurred(image, 1),
    "gauss 3": lambda image: blurred(image, 3),
}


def soft(image: np.ndarray) -> bool:
    end = no_reference.detail(no_reference.bt601_luma(image))
    return end.softness >= Limits().softness or end.nyquist < Limits().nyquist


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", SOFT)
def test_soft_images_are_told(name, how):
    assert soft(SOFT[how](ORIGINALS[name]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "change", [lambda image: image, lambda image: jpeg(image, 40), lambda image: image // 2]
)
def test_sharp_images_are_not(name, change):
    assert not soft(change(ORIGINALS[name]))


@pytest.mark.parametrize(("factor", "low", "high"), [(2, 1.2, 2.2), (3, 1.8, 3.3), (4, 2.4, 4.4)])
def test_softness_estimates_the_factor(factor, low, high):
    """From below: an interpolated image has a little detail beyond its first size's limit."""
    for image in ORIGINALS.values():
        assert (
            low
            <= no_reference.detail(no_reference.bt601_luma(resized(image, factor))).softness
            <= high
        )


def test_noise_hides_blur():
    """A known blind spot."""
    noise = np.random.default_rng(0).normal(0, 5, (240, 320, 1))
    assert not soft(
        np.clip(np.rint(blurred(ORIGINALS["coffee"], 3) + noise), 0, 255).astype(np.uint8)
    )


def test_detail_of_nothing_is_unknown():
    assert np.isnan(no_reference.detail(np.full((64, 64), 7, np.float32)).softness)
    assert np.isnan(no_reference.detail(np.zeros((16, 16), np.float32)).nyquist)


def test_flatness_and_laplacian():
    flat = np.full((64, 64), 100, np.float32)
    half = flat.copy()
    half[:32] = np.random.default_rng(0).uniform(0, 255, (32, 64))
    assert (no_reference.flatness(flat), no_reference.flatness(half)) == (1, 0.5)
    ramp = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.float32)
    assert (no_reference.laplacian_variance(flat), no_reference.laplacian_variance(ramp)) == (0, 0)
    assert no_reference.laplacian_variance(half) > 1000


# --- duplicates ----------------------------------------------------------------------------------

COPIES = {
    "half": lambda image: resized(image, 0.5),
    "double": lambda image: resized(image, 2),
    "jpeg": lambda image: jpeg(image, 40),
    "darker": lambda image: (image * 0.8).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_near_duplicates_and_others_are_not(tmp_path, how):
    save(tmp_path, **ORIGINALS)
    save(tmp_path, **{f"{name}-copy": COPIES[how](image) for name, image in ORIGINALS.items()})
    doubles = {
        d.exam.file: d.problems["duplicate"]
        for d in examine_folder(tmp_path)
        if "duplicate" in d.problems
    }
    if how == "darker":
        assert len(doubles) == 3
    else:
        assert set(doubles) == {
            f"{name}-copy.png" for name in NAMES
        }  # smaller, or harmed, or enlarged
    for file, said in doubles.items():
        assert file.removesuffix(".png").removesuffix("-copy") in said


def test_flat_images_are_duplicates_only_if_their_files_are(tmp_path):
    save(tmp_path, a=np.full((200, 200, 3), 9, np.uint8), b=np.full((200, 200, 3), 99, np.uint8))
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    found = {d.exam.file: d.problems.get("duplicate") for d in examine_folder(tmp_path)}
    assert found == {"a.png": None, "b.png": None, "c.png": "the same file as a.png"}


def test_many_exams():
    """Blocks of rows meet: a pair far apart is found."""
    random = np.random.default_rng(0).integers(0, 2**63, (300, 2))
    exams = [
        Exam(str(i), height=200, width=200, flat=0, dhash=int(a), phash=int(b), sha256=str(i))
        for i, (a, b) in enumerate(random)
    ]
    exams.append(
        Exam(
            "copy",
            height=100,
            width=100,
            flat=0,
            dhash=exams[0].dhash ^ 7,
            phash=exams[0].phash,
            sha256="x",
        )
    )
    found = [(d.exam.file, d.problems) for d in diagnose(exams) if "duplicate" in d.problems]
    assert [file for file, _ in found] == ["copy"]
    assert found[0][1]["duplicate"] == "looks like 0"


# --- a folder ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """One image of every kind, in two levels."""
    (tmp_path / "in").mkdir()
    image = ORIGINALS["coffee"]
    save(
        tmp_path,
        good=image,
        upscaled=resized(ORIGINALS["chelsea"], 2),
        flat=np.full((200, 200, 3), 9, np.uint8),
    )
    save(
        tmp_path / "in",
        small=ORIGINALS["coffee"][70:170, 110:210],
        grey=ORIGINALS["chelsea"][..., 1],
    )
    save(tmp_path, waspjpeg=jpeg(ORIGINALS["astronaut"], 40))
    Image.fromarray(ORIGINALS["astronaut"][::-1].copy()).save(tmp_path / "low.jpg", quality=50)
    Image.fromarray(ORIGINALS["astronaut"][:, ::-1].copy()).save(tmp_path / "fine.jpg", quality=93)
    (tmp_path / "broken.png").write_bytes((tmp_path / "good.png").read_bytes()[:5000])
    return tmp_path


def test_verdicts(folder):
    found = {d.exam.file: set(d.problems) for d in examine_folder(folder)}
    assert found == {
        "broken.png": {"unreadable"},
        "fine.jpg": set(),
        "flat.png": {"flat"},
        "good.png": set(),
        "in/grey.png": set(),
        "in/small.png": {"small"},
        "low.jpg": {"jpeg"},
        "upscaled.png": {"soft", "duplicate"},  # of the grey one
        "waspjpeg.png": {"jpeg"},
    }


def test_exam_of_a_jpeg(folder):
    exam = examine(folder / "low.jpg", folder)
    assert (exam.file, exam.height, exam.width, exam.jpeg_quality) == ("low.jpg", 240, 320, 50)
    assert (exam.trace_quality, exam.grid) == (50, "0,0")
    assert exam.sha256 == sha256(folder / "low.jpg")
    assert examine(folder / "in" / "grey.png", folder).notes == "grey"


def test_limits_are_used(folder):
    strict = {
        d.exam.file: d.problems for d in examine_folder(folder, Limits(quality=95, side=250))
    }
    assert strict["fine.jpg"]["jpeg"] == "quality 93"
    assert strict["good.png"] == {"small": "320 x 240"}


def test_csv_and_list(folder):
    found = examine_folder(folder, workers=1)
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(to_csv(found)))}
    assert rows["good.png"]["verdict"] == "keep"
    assert rows["low.jpg"]["problems"] == "jpeg: quality 50"
    assert float(rows["upscaled.png"]["softness"]) >= 1.4
    assert rows["broken.png"]["softness"] == ""
    excluded = exclusions(found).split()
    assert sorted(excluded) == sorted(
        file for file, row in rows.items() if row["verdict"] == "exclude"
    )


def test_command(folder, tmp_path):
    out = CliRunner().invoke(
        app,
        [
            "doctor",
            str(folder),
            "--csv",
            str(tmp_path / "x.csv"),
            "--exclude",
            str(tmp_path / "x.txt"),
        ],
    )
    assert out.exit_code == 0, out.output
    assert "3 of 9 images without a problem" in out.stdout
    assert "broken.png" in (tmp_path / "x.txt").read_text()
    assert (tmp_path / "x.csv").read_text().startswith("file,verdict,problems,")


@pytest.mark.parametrize("shape", [(1, 1), (3, 2**21), (5000, 4000), (2**17, 1024), (8192, 16384)])
@pytest.mark.parametrize("step", [1, 16])
def test_large_images_are_measured_in_parts(shape: tuple[int, int], step: int) -> None:
    """In pieces of bounded size, at most 2^24 pixels of them in all, but the whole is covered."""
    height, width = shape
    whole = [*no_reference._bands(height, width, step, sample=False)]
    assert [row for band in whole for row in range(band.start, band.stop)] == list(range(height))
    some = [*no_reference._bands(height, width, step)]
    pixels = [(band.stop - band.start) * width for band in some]
    assert max(pixels) <= max(2**20, step * width)
    assert sum(pixels) <= 2**24 + max(pixels)
    assert {band.start for band in some} <= {band.start for band in whole}
    assert all((band.stop - band.start) % step == 0 or band.stop == height for band in whole)


def test_memory_is_acquired_for_each_image(tmp_path: Path) -> None:
    asked: list[int] = []

    @contextmanager
    def acquire(count: int) -> Iterator[None]:
        asked.append(count)
        yield

    for i, side in enumerate((40, 60)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{i}.png")
    examine_folder(tmp_path, workers=1, acquire=acquire)
    assert asked == [BYTES_PER_PIXEL * side**2 for side in (40, 60)]
