"""Image files: every odd input against known pixel values; damaged ones refused by name."""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from degrade.images import regions
from degrade.images.files import ImageError, find_images, image_size, read_image
from degrade.images.pixels import encode_png, to_float, to_tensor, to_uint8
from degrade.images.regions import open_image
from degrade.images.samples import CREDITS, sample_images
from degrade.storage.files import sha256, write_atomic

ODD = Path(__file__).parents[2] / "shared/data/odd-inputs"
H, W = 13, 17
RGB16 = np.random.default_rng(0).integers(0, 65536, (H, W, 4), np.uint16)
RGB8 = (RGB16 >> 8).astype(np.uint8)


def saved(array: np.ndarray, kind: str, mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def packed(row: np.ndarray, depth: int) -> bytes:
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else "u1").tobytes()
    bits = np.unpackbits(row.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - depth :]
    return np.packbits(bits).tobytes()


def png(samples: np.ndarray, colour: int, depth: int, extra: bytes = b"") -> bytes:
    """A PNG written by hand: (h, w, channels) samples of 1 to 16 bits."""
    rows = b"".join(b"\0" + packed(row, depth) for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    order = ">" if samples.dtype.byteorder == ">" else "<"
    colour = "rgb" if samples.ndim == 3 else None
    tifffile.imwrite(file, samples, byteorder=order, photometric=colour)
    return file.getvalue()


def tiff16(samples: np.ndarray, compression: int = 1, orientation: int | None = None) -> bytes:
    done, data = cv2.imencode(
        ".tif",
        samples[..., ::-1] if samples.ndim == 3 else samples,
        [cv2.IMWRITE_TIFF_COMPRESSION, compression],
    )
    assert done
    data = data.tobytes()
    if orientation is None:
        return data
    # Adds the tag by rewriting the directory at the end of the file (little-endian, entries sorted
    # by tag).
    (place,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[place : place + 2])
    entries = [data[place + 2 + 12 * i : place + 14 + 12 * i] for i in range(count)]
    entries = [entry for entry in entries if entry[:2] != struct.pack("<H", 274)]
    entries.append(struct.pack("<HHIHH", 274, 3, 1, orientation, 0))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0\0\0\0"
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table


def check(
    data: bytes, pixels: np.ndarray, alpha: np.ndarray | None = None, note: str | None = None
) -> None:
    image = read_image(data)
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)
    assert not image.pixels.flags.writeable
    assert (image.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(image.alpha, alpha)
    assert note is None or any(note in each for each in image.notes), image.notes


# --- what files hold -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_colour(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    check(saved(RGB8[..., :3], kind, **options), RGB8[..., :3])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_grey(kind):
    check(saved(RGB8[..., 0], kind), RGB8[..., :1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    check(saved(RGB8, kind, **options), RGB8[..., :3], RGB8[..., 3])


def test_grey_alpha():
    check(png(RGB8[..., :2], 4, 8), RGB8[..., :1], RGB8[..., 1])


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_equals_opencv(channels):
    pixels = np.asarray(Pillow.open(sample_images()[1]))
    pixels = pixels if channels == 3 else pixels[..., 1]
    data = saved(pixels, "JPEG", quality=90)
    flag = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
    check(
        data,
        cv2.imdecode(np.frombuffer(data, np.uint8), flag).reshape(*pixels.shape[:2], channels),
    )


def test_sixteen_bit_png():
    check(png(RGB16[..., :3], 2, 16), RGB16[..., :3], note="16-bit")
    check(png(RGB16, 6, 16), RGB16[..., :3], RGB16[..., 3], "16-bit")
    check(png(RGB16[..., :2], 4, 16), RGB16[..., :1], RGB16[..., 1], "16-bit")
    check(png(RGB16[..., :1], 0, 16), RGB16[..., :1], note="16-bit")


@pytest.mark.parametrize("compression", [1, 5, 8])
def test_sixteen_bit_tiff(compression):
    check(tiff16(RGB16[..., :3], compression), RGB16[..., :3], note="16-bit")
    check(tiff16(RGB16[..., 0], compression), RGB16[..., :1], note="16-bit")


def test_sixteen_bit_ppm():
    head = f"P6\n{W} {H}\n65535\n".encode()
    check(head + RGB16[..., :3].astype(">u2").tobytes(), RGB16[..., :3], note="16-bit")
    check(
        head.replace(b"P6", b"P5") + RGB16[..., 0].astype(">u2").tobytes(),
        RGB16[..., :1],
        note="16-bit",
    )


def test_transparent_colour():
    key = RGB16[3, 5]
    clear = np.where((RGB16[..., :3] == key[:3]).all(-1), 0, 65535).astype(np.uint16)
    assert (clear == 0).any()
    check(
        png(RGB16[..., :3], 2, 16, chunk(b"tRNS", struct.pack(">HHH", *map(int, key[:3])))),
        RGB16[..., :3],
        clear,
    )
    grey = RGB16[..., :1]
    clear = np.where(grey[..., 0] == key[0], 0, 65535).astype(np.uint16)
    check(png(grey, 0, 16, chunk(b"tRNS", struct.pack(">H", int(key[0])))), grey, clear)
    grey = RGB8[..., :1]
    clear = np.where(grey[..., 0] == grey[3, 5, 0], 0, 255).astype(np.uint8)
    check(png(grey, 0, 8, chunk(b"tRNS", struct.pack(">H", int(grey[3, 5, 0])))), grey, clear)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("high", [0, 1])
def test_transparent_grey_of_any_depth(depth, high):
    """The level is one of the file; bits above its depth do not count."""
    most = 2**depth - 1
    grey = RGB8[..., :1] & most
    for clear in {0, 1, most // 2, most}:
        level = clear + (high * (most + 1) if depth > 1 else 0)
        alpha = np.where(grey[..., 0] == clear, 0, 255).astype(np.uint8)
        data = png(grey, 0, depth, chunk(b"tRNS", struct.pack(">H", level)))
        check(data, (grey * (255 // most)).astype(np.uint8), alpha)


def test_palette():
    colours = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    places = RGB8[..., :1]
    table = chunk(b"PLTE", colours.tobytes())
    check(png(places, 3, 8, table), colours[places[..., 0]], note="palette expanded")
    alpha = np.arange(256, dtype=np.uint8)
    data = png(places, 3, 8, table + chunk(b"tRNS", alpha.tobytes()))
    check(data, colours[places[..., 0]], alpha[places[..., 0]], "palette expanded")


def test_cmyk_jpeg():
    # Flat colours survive JPEG; Pillow writes CMYK inverted, as Adobe does.
    cmyk = np.zeros((16, 16, 4), np.uint8) + np.array([200, 100, 50, 30], np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(cmyk, "CMYK").save(file, "JPEG", quality=100)
    image = read_image(file.getvalue())
    expected = (255 - np.array([200, 100, 50])) * (255 - 30) / 255
    assert np.abs(image.pixels - expected).max() <= 2
    assert image.notes == ("CMYK converted to RGB",)


def test_one_bit():
    bits = RGB8[..., 0] > 127
    check(saved(bits, "PNG"), np.where(bits, 255, 0).astype(np.uint8)[..., None], note="1-bit")
    check(saved(bits, "TIFF"), np.where(bits, 255, 0).astype(np.uint8)[..., None], note="1-bit")


# EXIF's own words: where row 0 and column 0 of the stored image lie on the upright one.
UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    note = f"orientation {orientation}" if orientation > 1 else None
    upright = UPRIGHT[orientation]
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        check(
            saved(RGB8[..., :3], kind, exif=exif.tobytes(), **options),
            upright(RGB8[..., :3]),
            note=note,
        )
    jpeg = saved(RGB8[..., :3], "JPEG", exif=exif.tobytes())
    check(jpeg, upright(np.asarray(Pillow.open(io.BytesIO(jpeg)))), note=note)
    check(tiff16(RGB16[..., :3], orientation=orientation), upright(RGB16[..., :3]), note=note)
    deep = png(RGB16, 6, 16, chunk(b"eXIf", exif.tobytes()[6:]))
    check(deep, upright(RGB16[..., :3]), upright(RGB16[..., 3]), note)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_invalid_orientation_means_nothing(orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        check(saved(RGB8[..., :3], kind, exif=exif.tobytes(), **options), RGB8[..., :3])
    jpeg = saved(RGB8[..., :3], "JPEG", exif=exif.tobytes())
    check(jpeg, np.asarray(Pillow.open(io.BytesIO(jpeg))))
    check(tiff16(RGB16[..., :3], orientation=orientation), RGB16[..., :3])
    check(png(RGB16, 6, 16, chunk(b"eXIf", exif.tobytes()[6:])), RGB16[..., :3], RGB16[..., 3])


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iCCP"])
@pytest.mark.parametrize("last", [False, True])
def test_large_metadata_of_png_loses_nothing(kind, last):
    """Also where it inflates, or adds up, to more than decoders accept."""
    zeros = zlib.compress(bytes(2**26))
    data = {
        "tEXt": b"Comment\0" + b"x" * 2**21,
        "zTXt": b"Comment\0\0" + zeros,
        "iTXt": b"Comment\0\1\0en\0\0" + zeros,
        "iCCP": b"profile\0\0" + zeros,
    }[kind]
    many = chunk(kind.encode(), data) * (1 if kind == "iCCP" else 3)
    for file, pixels in (
        (png(RGB8[..., :3], 2, 8), RGB8[..., :3]),
        (png(RGB16[..., :3], 2, 16), RGB16[..., :3]),
    ):
        place = file.index(b"IEND" if last else b"IDAT") - 4
        note = "ICC profile ignored" if kind == "iCCP" and not last else None
        check(file[:place] + many + file[place:], pixels, note=note)


def test_many_small_texts_of_png_lose_nothing():
    file = png(RGB8[..., :3], 2, 8)
    many = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**19))) * 300
    check(file[:33] + many + file[33:], RGB8[..., :3])


@pytest.mark.parametrize("masks", [(0xF800, 0x07E0, 0x001F), (0x7C00, 0x03E0, 0x001F)])
def test_bmp_of_16_bits_a_pixel(masks):
    """5-6-5 and 5-5-5: sixteen bits a pixel, not a channel."""
    words = RGB16[..., 0].astype("<u2")
    rows = b"".join(row.tobytes().ljust(-(-2 * W // 4) * 4, b"\0") for row in words[::-1])
    size = 14 + 40 + 12
    head = struct.pack("<IiiHHIIiiII", 40, W, H, 1, 16, 3, len(rows), 0, 0, 0, 0)
    file = struct.pack("<2sIHHI", b"BM", size + len(rows), 0, 0, size) + head
    levels = []
    for mask in masks:
        low = mask & -mask
        levels.append(np.asarray((words & mask) // low) * 255 // (mask // low))
    check(file + struct.pack("<III", *masks) + rows, np.stack(levels, -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame(kind):
    frames = [
        Pillow.new("RGB", (W, H), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    ]
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    image = read_image(file.getvalue())
    assert (image.pixels == (255, 0, 0)).all()
    assert "first of several frames" in image.notes


def test_profile_is_noted():
    assert (
        "ICC profile ignored"
        in read_image(saved(RGB8[..., :3], "PNG", icc_profile=b"x" * 200)).notes
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_loses_nothing():
    check(saved(RGB8[..., :3], "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), RGB8[..., :3])


def test_suffix_does_not_matter(tmp_path):
    path = tmp_path / "really-a-bmp.png"
    path.write_bytes(saved(RGB8[..., :3], "BMP"))
    np.testing.assert_array_equal(read_image(path).pixels, RGB8[..., :3])
    with open(path, "rb") as file:
        np.testing.assert_array_equal(read_image(file).pixels, RGB8[..., :3])
    assert image_size(path) == (H, W)


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared images are not on this machine")
def test_shared_odd_inputs():
    images = {path.name: read_image(path) for path in find_images(ODD)}
    assert len(images) == 9
    assert images["tree_alpha_16bit.png"].pixels.dtype == np.uint16
    assert images["tree_alpha_16bit.png"].alpha is not None
    assert images["children-alpha.png"].alpha is not None
    assert images["wolf_gray.jpg"].pixels.shape == (236, 236, 1)
    for path in find_images(ODD):
        assert images[path.name].pixels.shape[:2] == image_size(path)


# --- what is refused -----------------------------------------------------------------------------

WHOLE = {
    "png": saved(RGB8[..., :3], "PNG"),
    "png 16-bit": png(RGB16[..., :3], 2, 16),
    "jpeg": saved(RGB8[..., :3], "JPEG"),
    "jpeg progressive": saved(RGB8[..., :3], "JPEG", progressive=True),
    "webp": saved(RGB8[..., :3], "WEBP"),
    "bmp": saved(RGB8[..., :3], "BMP"),
    "tiff": saved(RGB8[..., :3], "TIFF"),
    "tiff lzw": saved(RGB8[..., :3], "TIFF", compression="tiff_lzw"),
    "tiff 16-bit": tiff16(RGB16[..., :3], 5),
    "gif": saved(RGB8[..., 0], "GIF"),
    "ppm": saved(RGB8[..., :3], "PPM"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File")
@pytest.mark.parametrize("name", WHOLE)
def test_truncated(name):
    data = WHOLE[name]
    whole = read_image(data).pixels
    for length in {0, 1, 8, 16, *np.linspace(20, len(data) - 1, 40).astype(int).tolist()}:
        # The last bytes may be a mere end mark; then the image is all there. It is never anything
        # in between.
        try:
            cut = read_image(data[:length]).pixels
        except ImageError:
            continue
        assert length > len(data) - 24, length
        np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize("name", WHOLE)
def test_flipped_bytes_end_in_an_image_or_an_error(name):
    draw = np.random.default_rng(2)
    for _ in range(150):
        data = bytearray(WHOLE[name])
        # Headers are where the harm is.
        for place in draw.integers(
            0, min(len(data), draw.choice([40, 10**6])), draw.integers(1, 4)
        ):
            data[place] ^= 1 << draw.integers(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = read_image(bytes(data), limit=10**6)
            except ImageError:
                continue
        assert image.pixels.shape[0] * image.pixels.shape[1] <= 10**6


def test_flipped_png_bytes_are_found():
    """PNG has checksums: a change of pixels never passes."""
    data, whole = WHOLE["png"], read_image(WHOLE["png"]).pixels
    for place in range(60, len(data) - 16, 7):
        bad = bytearray(data)
        bad[place] ^= 0x10
        with pytest.raises(ImageError):
            assert (read_image(bytes(bad)).pixels == whole).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"Not a picture, but a text that someone named .png", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 5, 8, 2, 0, 0, 0)),
            "PNG",
        ),
        (saved(RGB8[..., 0].astype(np.float32), "TIFF"), "floating"),
        (saved(RGB8[..., 0].astype(np.int32), "TIFF"), "floating"),
        *((tiff(RGB8.astype(kind)), "signed") for kind in ("i1", "<i2", ">i2")),
        *((tiff(RGB8[..., 0].astype(kind)), "signed") for kind in ("i1", "<i2", ">i2", ">i4")),
    ],
)
def test_refused(tmp_path, data, reason):
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.path == str(path)


@pytest.mark.parametrize("side", [100_000, 20_000])
def test_bomb_is_refused_from_its_header(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))
    )
    start = time.thread_time()
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"more than the limit of 134,217,728"):
            read(bomb)
    assert time.thread_time() - start < 0.5


def blank(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return WHOLE["png"][:8] + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("turned", [False, True])
def test_long_sides_are_refused(turned, monkeypatch):
    def size(length):
        return (length, 1)[:: -1 if turned else 1]

    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"a side of more than 131,072; .* DEGRADE_MAX_PIX"):
            read(blank(*size(2**17 + 1)))
        with pytest.raises(ImageError, match=r"a side of more than 65,536"):
            read(blank(*size(2**16 + 1)), limit=2**20)
    assert read_image(blank(*size(2**17))).pixels.size == 2**17
    monkeypatch.setenv("DEGRADE_MAX_PIXELS", str(2**28))
    assert read_image(blank(*size(2**17 + 1))).pixels.size == 2**17 + 1


def pages(count: int) -> bytes:
    """A TIFF of many pages that share their pixels."""
    file = b"II*\0" + struct.pack("<I", 8)
    for page in range(count):
        tags = [(256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 8)]
        table = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 64)]]
        last = page == count - 1
        after = 0 if last else len(file) + 2 + 12 * len(table) + 4
        file += struct.pack("<H", len(table)) + b"".join(table) + struct.pack("<I", after)
    return file


def frames(count: int) -> bytes:
    file = saved(RGB8[..., 0], "GIF")
    start = file.index(b",", 13 + 3 * 256)
    return file[:start] + file[start:-1] * count + b";"


def scans(count: int) -> bytes:
    """A JPEG whose last scan comes again and again."""
    file = saved(np.zeros((512, 512), np.uint8), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:last] + file[last:-2] * count + file[-2:]


@pytest.mark.parametrize("file", [pages(20_000), frames(20_000)], ids=["TIFF", "GIF"])
def test_pages_are_not_counted(file, tmp_path):
    (tmp_path / "a").write_bytes(file)
    start = time.process_time()
    image = read_image(tmp_path / "a")
    with open_image(tmp_path / "a") as opened:
        opened.read_regions([(0, 0, 2, 2)])
    assert time.process_time() - start < 1
    assert "first of several frames" in image.notes


def among_others(file: bytes) -> bytes:
    """A JPEG as the first of several pictures of an MPO, which Pillow reads by another name."""
    dot = np.zeros((8, 8), np.uint8)
    mpo = saved(dot, "MPO", save_all=True, append_images=[Pillow.fromarray(dot)])
    start = mpo.index(b"\xff\xe2")
    end = start + 2 + int.from_bytes(mpo[start + 2 : start + 4], "big")
    return file[:2] + mpo[start:end] + file[2:]


@pytest.mark.parametrize("of", [bytes, among_others], ids=["JPEG", "MPO"])
def test_scans_of_jpeg_are_bounded(of, monkeypatch, tmp_path):
    monkeypatch.setenv("DEGRADE_MAX_PIXELS", str(2**20))  # 128 scans
    path = tmp_path / "a.jpg"
    path.write_bytes(of(scans(100)))
    assert read_image(path).pixels.shape == (512, 512, 1)
    path.write_bytes(of(scans(130)))
    with pytest.raises(ImageError, match=r"scans, more than the limit of 128 for 262,144 pixels"):
        read_image(path)
    monkeypatch.setattr(regions, "FULL_DECODE_PIXELS", 0)
    with (
        pytest.raises(ImageError, match=r"scans, more than the limit"),
        open_image(path) as opened,
    ):
        opened.read_regions([(0, 0, 8, 8)])


def in_a_tile(side: int) -> bytes:
    """A TIFF of 2 x 2 pixels in one square tile."""
    data = zlib.compress(bytes(side * side))
    tags = {256: 2, 257: 2, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 325: len(data)}
    tags[324] = 8 + 2 + 12 * (len(tags) + 1) + 4
    table = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + table + bytes(4) + data


def test_tiles_of_tiff_are_bounded(monkeypatch):
    """A tile is decoded whole, however small the image."""
    monkeypatch.setenv("DEGRADE_MAX_PIXELS", str(2**18))
    assert read_image(in_a_tile(512)).pixels.shape == (2, 2, 1)
    monkeypatch.setattr(regions, "FULL_DECODE_PIXELS", 0)
    with pytest.raises(ImageError, match=r"tiles of 528 x 528 pixels, more than the limit"):
        read_image(in_a_tile(528))
    with (
        pytest.raises(ImageError, match=r"tiles of 528 x 528 pixels"),
        open_image(in_a_tile(528)) as opened,
    ):
        opened.read_regions([(0, 0, 1, 1)])


def test_limit_is_the_callers(monkeypatch):
    before = Pillow.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="limit"):
        read_image(WHOLE["png"], limit=H * W - 1)
    assert read_image(WHOLE["png"], limit=H * W).pixels.shape == (H, W, 3)
    assert before == Pillow.MAX_IMAGE_PIXELS
    # The limit of the process does not bind ours.
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 10)
    assert read_image(WHOLE["png"]).pixels.shape == (H, W, 3)


def test_not_a_file(tmp_path):
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "missing.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="regular"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_denied(tmp_path):
    path = tmp_path / "secret" / "a.png"
    path.parent.mkdir()
    path.write_bytes(WHOLE["png"])
    path.chmod(0)
    with pytest.raises(ImageError, match="permission denied"):
        read_image(path)
    path.parent.chmod(0)
    try:
        with pytest.raises(ImageError, match="permission denied"):
            find_images(tmp_path)
    finally:
        path.parent.chmod(0o700)


def test_permission_denied_for_root_too(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(WHOLE["png"])

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    with pytest.raises(ImageError, match=r"a\.png: permission denied"):
        read_image(path)


def test_error_survives_a_process_border():
    error = pickle.loads(pickle.dumps(ImageError("a.png", "the file is empty")))
    assert (str(error), error.path, error.reason) == (
        "a.png: the file is empty",
        "a.png",
        "the file is empty",
    )
    # What torch's workers do with an exception.
    assert str(ImageError("Caught ImageError in worker")) == "Caught ImageError in worker"


# --- pixels and files ----------------------------------------------------------------------------


def test_levels():
    assert to_float(np.array([[[0], [255]]], np.uint8)).ravel().tolist() == [0, 1]
    assert to_float(np.array([[[0], [65535]]], np.uint16)).ravel().tolist() == [0, 1]
    levels = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(to_uint8(levels), np.rint(levels / 257))
    np.testing.assert_array_equal(to_uint8(np.arange(256, dtype=np.uint16) * 257), np.arange(256))
    tensor = to_tensor(read_image(WHOLE["png"]))
    assert tensor.shape == (3, H, W)
    np.testing.assert_array_equal(
        tensor[2].numpy(), RGB8[..., 2].astype(np.float32) / np.float32(255)
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("samples", [RGB8, RGB16], ids=["8-bit", "16-bit"])
def test_png_round_trip(samples, channels):
    pixels = samples[..., :channels]
    data = encode_png(pixels)
    assert data == encode_png(np.ascontiguousarray(pixels))
    image = read_image(data)
    whole = image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])
    np.testing.assert_array_equal(whole, pixels)
    if samples.dtype == np.uint8:
        np.testing.assert_array_equal(
            np.asarray(Pillow.open(io.BytesIO(data))).reshape(pixels.shape), pixels
        )


def test_find_images(tmp_path):
    names = ["b.PNG", "a.jpg", "sub/deep/c.webp", "sub/a [1].tiff"]
    others = ["notes.txt", ".hidden.png", ".cache/x.png", "d.npy"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == sorted(
        names
    )
    assert find_images(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    assert find_images(f"{tmp_path}/*.jpg") == [tmp_path / "a.jpg"]
    assert find_images(f"{tmp_path}/sub/**/*.webp") == [tmp_path / "sub/deep/c.webp"]
    assert find_images(tmp_path / "sub/a [1].tiff") == [tmp_path / "sub/a [1].tiff"]
    os.symlink(tmp_path, tmp_path / "sub" / "loop")
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == sorted(
        names
    )
    with pytest.raises(ImageError, match="does not exist"):
        find_images(tmp_path / "missing")
    with pytest.raises(ImageError, match="no images here"):
        find_images(f"{tmp_path}/*.gif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no images here, of 0 files"):
        find_images(tmp_path / "empty")


def test_write_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_atomic(path, b"one")
    write_atomic(path, b"two", sync=False)
    assert path.read_bytes() == b"two"
    assert sha256(path) == sha256(b"two")

    def fail(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space"):
                write_atomic(path, b"three")
        assert path.read_bytes() == b"two"
        assert os.listdir(tmp_path) == ["a.png"]
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "missing" / "a.png", b"x")


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "a.bin"
    contents = [bytes([value]) * 200_000 for value in range(4)]
    write_atomic(path, contents[0])
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for content in contents:
                write_atomic(path, content, sync=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(path.read_bytes() in contents for _ in range(200))
    finally:
        stop.set()
        writer.join()


def test_samples_are_there_and_credited():
    paths = sample_images()
    assert [path.name for path in paths] == list(CREDITS)
    assert all("CC0" in credit or "public domain" in credit for credit in CREDITS.values())
    for path in paths:
        image = read_image(path)
        assert image.pixels.shape[-1] == 3
        assert min(image.pixels.shape[:2]) >= 256
