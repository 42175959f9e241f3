"""What is given as a PIL image or an array has the pixels of the same image given as a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as Pillow

from degrade.images.files import ImageError, read_image
from degrade.images.pixels import batch_of, encode_png, to_uint8

H, W = 9, 14
DEEP = np.random.default_rng(0).integers(0, 65536, (H, W, 4), np.uint16)
FLAT = (DEEP >> 8).astype(np.uint8)


def saved(mode: str, kind: str, **options: Any) -> bytes:
    grey = mode in ("1", "L", "LA")
    source = FLAT[..., 0] if grey else FLAT if mode in ("RGBA", "PA") else FLAT[..., :3]
    file = io.BytesIO()
    Pillow.fromarray(source).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif(turn: int) -> bytes:
    tags = Pillow.Exif()
    tags[0x0112] = turn
    return tags.tobytes()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "PPM": ("1", "L", "RGB"),
}
FILES = {
    **{f"{kind} {mode}": saved(mode, kind) for kind, modes in MODES.items() for mode in modes},
    **{
        f"{kind} turn {turn}": saved("RGB", kind, exif=exif(turn))
        for kind in ("PNG", "JPEG", "TIFF", "WEBP")
        for turn in (0, 2, 3, 6, 7, 9)
    },
    "PNG grey 16": encode_png(DEEP[..., :1]),
    "PPM grey 16": b"P5 %d %d 65535\n" % (W, H) + DEEP[..., 0].astype(">u2").tobytes(),
    "PPM dark 16": b"P5 %d %d 65535\n" % (W, H) + FLAT[..., 0].astype(">u2").tobytes(),
    **{
        f"TIFF grey 16 {order} {colour}": tiff(DEEP[..., 0], byteorder=order, photometric=colour)
        for order in "<>"
        for colour in ("minisblack", "miniswhite")
        if (order, colour) != (">", "miniswhite")  # which Pillow does not know
    },
}
COLOUR16 = {
    "PNG rgb 16": encode_png(DEEP[..., :3]),
    "PNG rgba 16": encode_png(DEEP),
    "TIFF rgb 16": tiff(DEEP[..., :3], photometric="rgb"),
    "PPM rgb 16": b"P6 %d %d 65535\n" % (W, H) + DEEP[..., :3].astype(">u2").tobytes(),
}


@pytest.fixture(params=[*FILES, *COLOUR16])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes({**FILES, **COLOUR16}[request.param])
    return path


def test_pil_images(path: Path, request: pytest.FixtureRequest) -> None:
    by_path = batch_of(path)
    assert by_path.dtype == torch.uint8
    with Pillow.open(path) as picture:
        assert torch.equal(batch_of(picture), by_path)
        assert torch.equal(batch_of(picture), by_path), "a second time"
    with Pillow.open(path) as picture:
        picture.load()
        found = batch_of(picture)
        plain = picture.copy()
    # Of 16-bit colour Pillow has kept the high bytes.
    most = 1 if "16" in request.node.name and "rgb" in request.node.name else 0
    assert (found.short() - by_path.short()).abs().max() <= most
    if "dark" not in request.node.name and "miniswhite" not in request.node.name:
        assert torch.equal(batch_of(plain), found), "as an image that is no file's"


def test_arrays(path: Path) -> None:
    pixels = read_image(path).pixels
    for array in (pixels, pixels.astype(pixels.dtype.newbyteorder(">")), pixels[::-1][::-1]):
        assert torch.equal(batch_of(array), batch_of(path))
        assert torch.equal(batch_of(array[None]), batch_of(path))


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_float_arrays_of_any_kind(kind: str) -> None:
    levels = (FLAT[..., :3] / 255).astype(kind)
    assert batch_of(levels).dtype == torch.float32
    found = (batch_of(levels) * 255).round().to(torch.uint8)
    assert torch.equal(found, batch_of(FLAT[..., :3]))


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_grey_modes_of_16_bits(mode: str) -> None:
    order = ">" if mode.endswith("B") else "<"
    samples = DEEP[..., 0].astype(f"{order}i4" if mode == "I" else f"{order}u2")
    picture = Pillow.frombytes(mode, (W, H), samples.tobytes())
    assert (batch_of(picture)[0, 0].numpy() == to_uint8(DEEP[..., 0])).all()


def test_mode_f_is_a_float_array() -> None:
    levels = DEEP[..., 0].astype(np.float32) / 65535
    assert torch.equal(batch_of(Pillow.fromarray(levels)), batch_of(levels))
    with pytest.raises(ValueError, match="divide by 255"):
        batch_of(Pillow.fromarray(levels * 255))


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (Pillow.fromarray(FLAT[..., 0].astype(np.int32)), "convert it to mode L"),
        (Pillow.fromarray(-DEEP[..., 0].astype(np.int32)), "from -"),
        (Pillow.fromarray(DEEP[..., 0].astype(np.int32) * 9), "no known range"),
        (Pillow.open(io.BytesIO(tiff(FLAT[..., 0].astype("i1")))), "signed"),
        (Pillow.fromarray(FLAT[..., :3]).convert("LAB"), "mode LAB is not supported"),
    ],
    ids=["8 bits", "negative", "32 bits", "signed", "lab"],
)
def test_modes_without_a_known_range_are_refused(picture: Pillow.Image, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        batch_of(picture)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (FLAT.astype(np.int16), "int16"),
        (FLAT.astype(">i4"), "int32"),
        (FLAT.astype(np.uint32), "uint32"),
        (FLAT > 9, "bool"),
        (FLAT.astype(complex), "complex"),
        (FLAT.astype(object), "object"),
        (FLAT.astype(str), "<U"),
        (FLAT.astype(np.longdouble), "longdouble|float128"),
        (FLAT[:0], "shape"),
        (FLAT[..., :2], "shape"),
        (FLAT[0, 0], "shape"),
        (FLAT / 1.0, "divide by 255"),
        (np.full((4, 4), np.nan), r"in \[0, 1\]"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        batch_of(array)
