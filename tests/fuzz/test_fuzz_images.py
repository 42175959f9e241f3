"""Any file is read as an image of the size that it declares, or refused by an error that names it;
never anything else.

Small valid files are changed where it hurts: sizes, depths, lengths and offsets in their headers
(with the checksums that make a parser go on), chunks left out, doubled, put in another order or
grown, bytes flipped, ends cut off. A process of its own reads them, so that a crash, a hang or a
bomb is seen (``reader.py``).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import event, given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from reader import Reader

HEIGHT, WIDTH = 24, 33
_draw = np.random.default_rng(0)
RGB = np.repeat(
    np.repeat(_draw.integers(0, 256, (HEIGHT // 3, WIDTH // 3, 3), np.uint8), 3, 0), 3, 1
)


def saved(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(RGB).convert(mode).save(file, kind, **options)
    return file.getvalue()


def encoded(suffix: str, pixels: np.ndarray, *flags: int) -> bytes:
    import cv2

    return cv2.imencode(suffix, pixels, flags)[1].tobytes()


def tiled(pixels: np.ndarray, **options: Any) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, pixels, tile=(16, 16), **options)
    return file.getvalue()


def exif() -> bytes:
    tags = Pillow.Exif()
    tags[274] = 6
    return tags.tobytes()


def text() -> PngInfo:
    """Text that inflates to more than decoders accept."""
    info = PngInfo()
    for kind in ("zip", "long"):
        getattr(info, {"zip": "add_text", "long": "add_itxt"}[kind])(kind, "x" * 2**21, zip=True)
    return info


def grey(depth: int) -> bytes:
    """A grey PNG of few bits a pixel, of which one level is transparent."""
    levels = np.unpackbits(RGB[..., :1], axis=2)[..., :depth].reshape(HEIGHT, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(levels, axis=1))
    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"tRNS", b"\0\1"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def bmp565() -> bytes:
    pixels = (RGB[..., 0].astype("<u2") * 257)[::-1]
    rows = np.pad(pixels, [(0, 0), (0, WIDTH % 2)]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 16, 3, len(rows), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    return struct.pack("<2sIHHI", b"BM", 66 + len(rows), 0, 0, 66) + head + masks + rows


def scans() -> bytes:
    """A JPEG whose last scan comes again and again."""
    file = saved("JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:last] + file[last:-2] * 300 + file[-2:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


FRAMES = [Pillow.fromarray(RGB[::-1]).convert("P")]
DEEP = RGB.astype(np.uint16) * 257
FILES: dict[str, tuple[str, bytes]] = {
    "png": ("png", saved("PNG", exif=exif(), icc_profile=b"profile" * 20)),
    "png palette": ("png", saved("PNG", "P", transparency=3)),
    "png grey": ("png", saved("PNG", "LA")),
    "png 1-bit": ("png", saved("PNG", "1")),
    "png 16-bit": ("png", encoded(".png", DEEP)),
    "png 16-bit grey": ("png", encoded(".png", DEEP[..., 0])),
    "png text": ("png", saved("PNG", pnginfo=text(), icc_profile=bytes(2**21))),
    "png 2-bit": ("png", grey(2)),
    "png 4-bit": ("png", grey(4)),
    "png animated": ("png", saved("PNG", "P", save_all=True, append_images=FRAMES)),
    "jpeg": ("jpeg", saved("JPEG", exif=exif(), quality=90)),
    "jpeg progressive": ("jpeg", saved("JPEG", progressive=True, subsampling=0)),
    "jpeg grey": ("jpeg", saved("JPEG", "L", restart_marker_rows=1)),
    "jpeg scans": ("jpeg", scans()),
    "jpeg cmyk": ("jpeg", saved("JPEG", "CMYK")),
    "tiff": ("tiff", saved("TIFF", exif=exif())),
    "tiff lzw": ("tiff", saved("TIFF", compression="tiff_lzw", tiffinfo={278: 8})),
    "tiff deflate": (
        "tiff",
        saved("TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 8, 317: 2}),
    ),
    "tiff jpeg": ("tiff", saved("TIFF", compression="jpeg")),
    "tiff g4": ("tiff", saved("TIFF", "1", compression="group4")),
    "tiff palette": ("tiff", saved("TIFF", "P")),
    "tiff tiles": ("tiff", tiled(RGB[..., 0])),
    "tiff tiles deflate": ("tiff", tiled(RGB, compression="zlib")),
    "tiff pages": (
        "tiff",
        saved("TIFF", save_all=True, append_images=[Pillow.fromarray(RGB)] * 50),
    ),
    "tiff 16-bit": ("tiff", encoded(".tiff", DEEP)),
    "webp": ("webp", saved("WEBP", exif=exif())),
    "webp lossless": ("webp", saved("WEBP", "RGBA", lossless=True)),
    "webp animated": ("webp", saved("WEBP", save_all=True, append_images=FRAMES)),
    "gif": ("any", saved("GIF", "P", transparency=2)),
    "gif animated": ("any", saved("GIF", "P", save_all=True, append_images=FRAMES)),
    "bmp": ("any", saved("BMP")),
    "bmp palette": ("any", saved("BMP", "P")),
    "bmp 5-6-5": ("any", bmp565()),
    "ppm": ("any", saved("PPM")),
    "pgm text": ("any", b"P2\n# a remark\n%d %d\n255\n" % (8, 4) + b"7 " * 32),
    "avif": ("any", saved("AVIF")),
}

# --- mutations -----------------------------------------------------------------------------------

WORDS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    9,
    16,
    24,
    32,
    33,
    255,
    256,
    512,
    513,
    4096,
    32767,
    65535,
    65536,
    2**18,
    2**24,
]
WORDS += [2**27, 2**31 - 1, 2**31, 2**32 - 1]
Mutation = Callable[[Any, bytes], bytes]


def place(draw: Any, data: bytes) -> int:
    """Somewhere, half the time near the beginning, where headers are."""
    return min(
        draw(st.one_of(st.integers(0, 64), st.integers(0, max(len(data) - 1, 0)))),
        max(len(data) - 1, 0),
    )


def flipped(draw: Any, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4)) if data else 0):
        out[place(draw, data)] = draw(st.integers(0, 255))
    return bytes(out)


def worded(draw: Any, data: bytes) -> bytes:
    """A number of 1 to 4 bytes, of either order, written over what is there."""
    size = draw(st.sampled_from([1, 2, 4]))
    word = (draw(st.sampled_from(WORDS)) % 256**size).to_bytes(
        size, draw(st.sampled_from(["big", "little"]))
    )
    at = place(draw, data)
    return data[:at] + word + data[at + size :]


def cut(draw: Any, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


def spliced(draw: Any, data: bytes) -> bytes:
    start, end, to = (draw(st.integers(0, len(data))) for _ in range(3))
    return data[:to] + data[min(start, end) : max(start, end)] + data[to:]


def rearranged(draw: Any, parts: list[bytes]) -> list[bytes]:
    """Chunks left out, doubled, put elsewhere."""
    if not parts:
        return parts
    i, j = (draw(st.integers(0, len(parts) - 1)) for _ in range(2))
    way = draw(st.sampled_from(["drop", "double", "swap", "shuffle"]))
    if way == "drop":
        return parts[:i] + parts[i + 1 :]
    if way == "double":
        return [*parts[:j], parts[i], *parts[j:]]
    if way == "swap":
        parts = list(parts)
        parts[i], parts[j] = parts[j], parts[i]
        return parts
    return draw(st.permutations(parts))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


KINDS = [
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"eXIf",
    b"iCCP",
    b"zTXt",
    b"iTXt",
    b"tEXt",
    b"gAMA",
    b"acTL",
]
KINDS += [b"fcTL", b"fdAT", b"pHYs", b"sRGB", b"cHRM", b"abcd", b"ABCD"]


def png_mutated(draw: Any, data: bytes) -> bytes:
    """Changes in and among chunks whose checksums are right all the same."""
    chunks = list(png_chunks(data))
    parts = [png_chunk(*chunk) for chunk in chunks]
    way = draw(st.sampled_from(["head", "head", "body", "bomb", "new", "order", "length"]))
    if way == "order" or not chunks:
        return data[:8] + b"".join(rearranged(draw, parts))
    i = 0 if way == "head" else draw(st.integers(0, len(chunks) - 1))
    kind, body = chunks[i]
    if way == "head":
        width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", body.ljust(13, b"\0")[:13])
        size, number = st.sampled_from(WORDS), st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16, 255])
        one = draw(st.sampled_from(["width", "height", "both", "depth", "colour", "rest"]))
        width = draw(size) if one in ("width", "both") else width
        height = draw(size) if one in ("height", "both") else height
        depth = draw(number) if one == "depth" else depth
        colour = draw(number) if one == "colour" else colour
        rest = [draw(number) for _ in rest] if one == "rest" else rest
        parts[i] = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *rest))
    elif way == "body":
        parts[i] = png_chunk(
            kind, draw(st.sampled_from([flipped, worded, cut, spliced]))(draw, body)
        )
    elif way == "bomb":
        zeros = zlib.compress(bytes(draw(st.sampled_from([0, 100, 10**7, 3 * 10**8]))), 9)
        kind, before = draw(
            st.sampled_from(
                [
                    (b"IDAT", b""),
                    (b"iCCP", b"p\0\0"),
                    (b"zTXt", b"k\0\0"),
                    (b"iTXt", b"k\0\1\0\0\0"),
                ]
            )
        )
        if kind == b"IDAT":
            parts = [
                part for part, (name, _) in zip(parts, chunks, strict=True) if name != b"IDAT"
            ]
        parts.insert(len(parts) - 1, png_chunk(kind, before + zeros))
    elif way == "new":
        parts.insert(
            i + draw(st.integers(0, 1)),
            png_chunk(draw(st.sampled_from(KINDS)), draw(st.binary(max_size=40))),
        )
    else:
        parts[i] = struct.pack(">I", draw(st.sampled_from(WORDS))) + parts[i][4:]
    return data[:8] + b"".join(parts)


def jpeg_segments(data: bytes) -> list[bytes]:
    """From marker to marker; what follows a start of scan belongs to it."""
    marks = [
        at
        for at in range(len(data) - 1)
        if data[at] == 0xFF and data[at + 1] not in (0, 0xFF, *range(0xD0, 0xD8))
    ]
    return (
        [
            data[start:end]
            for start, end in zip([0, *marks[1:]], [*marks[1:], len(data)], strict=True)
        ]
        if marks
        else []
    )


def jpeg_mutated(draw: Any, data: bytes) -> bytes:
    segments = jpeg_segments(data)
    if not segments or draw(st.booleans()):
        return b"".join(rearranged(draw, segments)) or data
    wanted = draw(
        st.sampled_from([(0xC0, 0xC1, 0xC2), (0xDB,), (0xC4,), (0xDA,), (0xE1,), (0xDD,)])
    )
    some = [i for i, segment in enumerate(segments) if segment[1:2] and segment[1] in wanted] or [
        0
    ]
    i = draw(st.sampled_from(some))
    body = segments[i]
    if wanted[0] == 0xC0 and draw(st.booleans()):  # marker, length, precision, height, width
        size = struct.pack(">H", draw(st.sampled_from(WORDS)) % 2**16)
        at = draw(st.sampled_from([5, 7]))
        segments[i] = body[:at] + size + body[at + 2 :]
    else:
        segments[i] = body[:2] + draw(st.sampled_from([flipped, worded, spliced]))(draw, body[2:])
    return b"".join(segments)


def tiff_mutated(draw: Any, data: bytes) -> bytes:
    """Entries of the first table: tag, type, count, value or offset."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        [start] = struct.unpack(f"{order}I", data[4:8])
        [count] = struct.unpack(f"{order}H", data[start : start + 2])
    except struct.error:
        return worded(draw, data)
    at = start + 2 + 12 * draw(st.integers(0, max(count, 1)))
    field, size = draw(st.sampled_from([(0, 2), (2, 2), (4, 4), (8, 4), (8, 4), (8, 2)]))
    tags = [
        254,
        256,
        257,
        258,
        259,
        262,
        266,
        273,
        274,
        277,
        278,
        279,
        284,
        317,
        320,
        322,
        323,
        324,
        325,
        338,
        339,
        347,
    ]
    known = {0: tags, 2: [*range(14), 16, 99]}.get(
        field, [*WORDS, *range(10), 32773, 34712, 50000, 50001, 34925]
    )
    word = draw(st.sampled_from(known)) % 256**size
    return (
        data[: at + field]
        + struct.pack(f"{order}{'H' if size == 2 else 'I'}", word)
        + data[at + field + size :]
    )


def webp_mutated(draw: Any, data: bytes) -> bytes:
    """Chunks of the RIFF container: their order, sizes and contents, the outer size being right
    or not.
    """
    chunks: list[bytes] = []
    at = 12
    while at + 8 <= len(data):
        [length] = struct.unpack("<I", data[at + 4 : at + 8])
        chunks.append(data[at : at + 8 + length + length % 2])
        at += 8 + length + length % 2
    way = draw(st.sampled_from(["order", "size", "body", "outer"]))
    if way == "order" or not chunks:
        chunks = rearranged(draw, chunks)
    else:
        i = draw(st.integers(0, len(chunks) - 1))
        if way == "size":
            chunks[i] = (
                chunks[i][:4] + struct.pack("<I", draw(st.sampled_from(WORDS))) + chunks[i][8:]
            )
        elif way == "body":
            chunks[i] = chunks[i][:8] + draw(st.sampled_from([flipped, worded]))(
                draw, chunks[i][8:]
            )
    body = b"".join(chunks)
    size = draw(st.sampled_from(WORDS)) if way == "outer" else len(body) + 4
    return data[:4] + struct.pack("<I", size) + data[8:12] + body


def any_mutated(draw: Any, data: bytes) -> bytes:
    return worded(draw, data)


OWN: dict[str, Mutation] = {
    "png": png_mutated,
    "jpeg": jpeg_mutated,
    "tiff": tiff_mutated,
    "webp": webp_mutated,
    "any": any_mutated,
}
GENERAL: list[Mutation] = [flipped, worded, cut, spliced]


@st.composite
def mutants(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(FILES)))
    kind, data = FILES[name]
    for _ in range(draw(st.integers(1, 3))):
        data = draw(st.sampled_from([OWN[kind], OWN[kind], *GENERAL]))(draw, data)
    return name, data


# --- laws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    process = Reader(tmp_path_factory.mktemp("images"))
    yield process
    process.stop()


@pytest.mark.parametrize("name", sorted(FILES))
def test_whole_files_are_read(name: str, reader: Reader) -> None:
    went = reader.read(FILES[name][1], ".png")
    assert set(went.values()) == {"read"}, went


@fuzz(300)
@given(mutants())
def test_a_changed_file_is_read_or_refused(reader: Reader, mutant: tuple[str, bytes]) -> None:
    went = reader.read(mutant[1], ".png")
    event(went.get("whole", "broken") if went.get("whole") in ("read", "refused") else "broken")
    wrong = {way: what for way, what in went.items() if what not in ("read", "refused")}
    assert not wrong, "\n".join(f"{way}: {what}" for way, what in wrong.items())
