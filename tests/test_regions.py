"""Regions of images: slices of the full decode, for less memory where the format allows."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

import degrade.images.regions.png
from degrade.images import regions
from degrade.images.files import ImageError, read_image
from degrade.images.pixels import encode_png
from degrade.images.regions import Box, FullDecode, PngRegions, TiffRegions, open_image
from degrade.images.regions.png import BAND_BYTES

H, W = 150, 107
DEEP = np.cumsum(np.random.default_rng(0).integers(-300, 301, (H, W, 4)), 0).astype(np.uint16)
FLAT = (DEEP >> 8).astype(np.uint8)
RGB = FLAT[..., :3]


def saved(array: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def png(rows: bytes, colour: int, depth: int, interlace: int = 0, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", W, H, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if extra:
        chunks.insert(1, (b"tRNS", extra))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def lines(array: np.ndarray) -> bytes:
    """Rows without a filter, samples of 16 bits with the high byte first."""
    return b"".join(
        b"\0" + np.ascontiguousarray(row, row.dtype.newbyteorder(">")).tobytes() for row in array
    )


ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Left, top, and steps across and down."""


TURNS = (*range(1, 9), 0, 9, 255, 65535)
"""Orientations. Beyond 8 they mean nothing."""


def bits(array: np.ndarray, depth: int, extra: bytes = b"") -> bytes:
    """A grey PNG of less than 8 bits a pixel."""
    levels = np.unpackbits(array[..., None], axis=2)[..., :depth].reshape(H, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(levels, axis=1))
    return png(rows, 0, depth, extra=extra)


def exif(turn: int) -> bytes:
    tags = Pillow.Exif()
    tags[0x0112] = turn
    return tags.tobytes()


def text(length: int) -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", "x" * length, zip=True)
    info.add_itxt("Description", "y" * length, zip=True)
    return info


PNGS = {
    "rgb": saved(RGB, "PNG"),
    "rgb by opencv": encode_png(RGB),
    "rgba": saved(FLAT, "PNG"),
    "grey": saved(FLAT[..., 0], "PNG"),
    "grey, alpha": saved(RGB, "PNG", "LA"),
    "palette": saved(RGB, "PNG", "P"),
    "1 bit": saved(FLAT[..., 0], "PNG", "1"),
    "a transparent colour": saved(RGB, "PNG", transparency=tuple(RGB[5, 5].tolist())),
    **{f"{depth} bits, clear 1": bits(FLAT[..., 0], depth, b"\0\1") for depth in (1, 2, 4)},
    "profile": saved(RGB, "PNG", icc_profile=b"x" * 200),
    "large profile": saved(RGB, "PNG", icc_profile=bytes(2**21)),
    "large text": saved(RGB, "PNG", pnginfo=text(2**21), exif=exif(6)),
    "rgb 16": encode_png(DEEP[..., :3]),
    "rgba 16": encode_png(DEEP),
    "grey 16": encode_png(DEEP[..., :1]),
    "grey, alpha 16": png(lines(DEEP[..., :2]), 4, 16),
    **{f"turn {turn}": saved(RGB, "PNG", exif=exif(turn)) for turn in TURNS},
}
LAYOUTS = [
    {"compression": compression, "byteorder": order, "planarconfig": planes, **tiles}
    for compression in (None, "zlib")
    for order in "<>"
    for planes in ("contig", "separate")
    for tiles in ({"rowsperstrip": 24}, {"tile": (16, 48)}, {"tile": (64, 64)})
]
TIFFS = {
    **{
        f"{deep.dtype} {' '.join(map(str, layout.values()))}": tiff(
            np.moveaxis(deep, 2, 0) if layout["planarconfig"] == "separate" else deep,
            photometric="rgb",
            predictor=layout["compression"] is not None,
            **layout,
        )
        for layout in LAYOUTS
        for deep in (RGB, DEEP[..., :3])
        if deep is RGB or layout["planarconfig"] == "contig"
    },
    **{f"turn {turn}": saved(RGB, "TIFF", exif=exif(turn), strip_size=2000) for turn in TURNS},
    "lzw": saved(RGB, "TIFF", compression="tiff_lzw", strip_size=2000),
    "jpeg": saved(RGB, "TIFF", "YCbCr", compression="jpeg", strip_size=W * 3 * 16),
    "palette": saved(RGB, "TIFF", "P", compression="tiff_lzw", strip_size=2000),
    "cmyk": saved(RGB, "TIFF", "CMYK", strip_size=2000),
    "1 bit": saved(FLAT[..., 0], "TIFF", "1", strip_size=500),
    "white is 0": tiff(FLAT[..., 0], photometric="miniswhite", rowsperstrip=7),
    "rgba": tiff(FLAT, tile=(32, 32), compression="zlib", extrasamples=["unassalpha"]),
    "grey 16": tiff(DEEP[..., 0], rowsperstrip=10),
    "big": tiff(RGB, tile=(32, 32), bigtiff=True),
    "pages": tiff(np.stack([RGB, RGB]), tile=(32, 32), photometric="rgb"),
}
OTHERS = {
    **{f"jpeg turn {turn}": saved(RGB, "JPEG", exif=exif(turn)) for turn in TURNS},
    **{f"webp turn {turn}": saved(RGB, "WEBP", exif=exif(turn)) for turn in (3, 6)},
    **{
        f"{kind} {mode}": saved(RGB, kind, mode)
        for kind in ("BMP", "PPM", "GIF")
        for mode in ("RGB", "L")
    },
    "jpeg grey": saved(FLAT[..., 0], "JPEG"),
    "jpeg cmyk": saved(RGB, "JPEG", "CMYK"),
    "bmp palette": saved(RGB, "BMP", "P"),
    "png interlaced": png(b"".join(lines(RGB[y::dy, x::dx]) for x, y, dx, dy in ADAM7), 2, 8, 1),
    "tiff group 4": saved(FLAT[..., 0], "TIFF", "1", compression="group4"),
    "tiff in one strip": saved(RGB, "TIFF", compression="tiff_lzw", strip_size=2**24),
}
FILES = [
    pytest.param(data, kind, band, id=f"{kind.__module__.rpartition('.')[2]} {name} {band}")
    for kind, files, bands in (
        (PngRegions, PNGS, (1, 5000, BAND_BYTES)),
        (TiffRegions, TIFFS, (0,)),
        (FullDecode, OTHERS, (0,)),
    )
    for name, data in files.items()
    for band in bands
]


def boxes(height: int, width: int) -> list[Box]:
    draw = np.random.default_rng(1)
    some = [
        sorted(draw.integers(0, height, 2).tolist()) + sorted(draw.integers(0, width, 2).tolist())
        for _ in "123456"
    ]
    return [
        (0, 0, height, width),
        (height - 1, width - 1, 1, 1),
        *((top, left, bottom - top + 1, right - left + 1) for top, bottom, left, right in some),
    ]


@pytest.mark.parametrize(("data", "kind", "band"), FILES)
def test_regions_equal_slices_of_the_full_decode(
    data: bytes, kind: type, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions, "FULL_DECODE_PIXELS", 0)
    monkeypatch.setattr(degrade.images.regions.png, "BAND_BYTES", band)
    whole = read_image(data)
    height, width = whole.pixels.shape[:2]
    with open_image(data) as image:
        assert type(image._reader) is kind
        assert image.size == (height, width)
        places = [*boxes(height, width), (0, 0, height, width)]
        found = [*image.read_regions(places[:-1]), *image.read_regions(places[-1:])]
    for (top, left, tall, wide), part in zip(places, found, strict=True):
        assert part.notes == whole.notes
        assert part.pixels.dtype == whole.pixels.dtype
        assert not part.pixels.flags.writeable
        np.testing.assert_array_equal(
            part.pixels, whole.pixels[top : top + tall, left : left + wide]
        )
        assert (part.alpha is None) == (whole.alpha is None)
        if part.alpha is not None and whole.alpha is not None:
            np.testing.assert_array_equal(
                part.alpha, whole.alpha[top : top + tall, left : left + wide]
            )


def test_small_images_are_decoded_fully() -> None:
    with open_image(PNGS["rgb"]) as image:
        assert type(image._reader) is FullDecode
        [part] = image.read_regions([(3, 4, 5, 6)])
    np.testing.assert_array_equal(part.pixels, RGB[3:8, 4:10])
    assert part.pixels.base is None, "must not keep the full image in memory"


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
@pytest.mark.parametrize(
    "data",
    [PNGS["rgb"], PNGS["rgba 16"], TIFFS["lzw"], TIFFS["big"], OTHERS["jpeg turn 1"]],
    ids=range(5),
)
def test_truncated_files_are_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even for a region of the first pixel, which is there."""
    monkeypatch.setattr(regions, "FULL_DECODE_PIXELS", 0)
    for length in np.linspace(0, len(data) * 9 // 10, 30).astype(int).tolist():
        with pytest.raises(ImageError, match="here"), open_image(named(data[:length])) as image:
            image.read_regions([(0, 0, 1, 1)])


def test_changed_png_bytes_are_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "FULL_DECODE_PIXELS", 0)
    whole = read_image(PNGS["rgb"]).pixels
    start = PNGS["rgb"].index(b"IDAT") + 6
    for place in np.linspace(start, len(PNGS["rgb"]) - 17, 40).astype(int).tolist():
        data = bytearray(PNGS["rgb"])
        data[place] ^= 16
        with pytest.raises(ImageError, match="here"), open_image(named(bytes(data))) as image:
            np.testing.assert_array_equal(
                image.read_regions([(0, 0, 1, 1)])[0].pixels, whole[:1, :1]
            )


def named(data: bytes) -> io.BytesIO:
    class Named(io.BytesIO):
        name = "here"

    return Named(data)


PEAK = """
import re, sys
from pathlib import Path
from degrade.images.regions import open_image
from degrade.images.decode import read_image
import cv2
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
if sys.argv[2] == "full":
    read_image(sys.argv[1])
else:
    with open_image(sys.argv[1]) as image:
        image.read_regions([(1000, 2000, 256, 256), (2500, 100, 256, 256)])
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("name", "most"), [("a.tif", 12), ("a.png", 30), ("deep.png", 40)])
def test_memory(tmp_path: Path, name: str, most: int) -> None:
    """MB that two patches of a 3000 x 3000 image take beyond the libraries; a full decode takes
    at least 60.
    """
    ramp = np.add.outer(np.arange(3000), np.arange(3000)) % 251
    pixels = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1).astype(np.uint8)
    if name == "a.tif":
        tifffile.imwrite(
            tmp_path / name, pixels, tile=(256, 256), compression="zlib", photometric="rgb"
        )
    else:
        (tmp_path / name).write_bytes(
            encode_png(pixels if name == "a.png" else pixels.astype(np.uint16) * 257)
        )
    command = [sys.executable, "-c", PEAK, str(tmp_path / name)]
    taken = [
        int(subprocess.check_output([*command, what], text=True)) for what in ("full", "regions")
    ]
    assert taken[0] > 60
    assert taken[1] < most
