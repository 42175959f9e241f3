"""Tiles: every pixel is in one, and every small patch is whole in one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from degrade.data.tiles import cut_tiles, starts
from degrade.errors import UserError
from degrade.images.files import read_image
from degrade.images.pixels import encode_png
from sr.cli import app


@pytest.mark.parametrize(("size", "side", "step"), [(100, 32, 16), (33, 32, 32), (7, 32, 16)])
def test_starts_cover_an_axis(size: int, side: int, step: int) -> None:
    found = starts(size, side, step)
    assert found == sorted(set(found))
    assert all(b - a <= step for a, b in pairwise(found))
    assert found[0] == 0
    assert found[-1] + min(side, size) == size
    patch = side - step
    for y in range(size - patch):
        assert any(a <= y and y + patch <= a + side for a in found)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_are_parts_of_the_image(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    images = {}
    for name, shape in (("a", (50, 70, 3)), ("sub/a", (20, 20, 3)), ("g", (40, 33, 1))):
        images[name] = rng.integers(0, np.iinfo(dtype).max, shape, dtype)
        (tmp_path / "in" / f"{name}.png").write_bytes(encode_png(images[name]))
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    count, skipped = cut_tiles([tmp_path / "in"], tmp_path / "out", 32, 16, workers=2)
    tiles = sorted((tmp_path / "out").rglob("*.png"))
    assert len(tiles) == count == 3 * 4 + 1 + 2 * 2
    assert [Path(path).name for path, _ in skipped] == ["broken.png"]
    second = read_image(tmp_path / "out" / "a_s002.png").pixels
    np.testing.assert_array_equal(second, images["a"][:32, 16:48])
    last = read_image(tmp_path / "out" / "g_s004.png").pixels
    np.testing.assert_array_equal(last, images["g"][-32:, -32:])
    before = {path: path.stat().st_mtime_ns for path in tiles}
    assert cut_tiles([tmp_path / "in"], tmp_path / "out", 32, 16)[0] == count, "goes on"
    assert {path: path.stat().st_mtime_ns for path in tiles} == before
    with pytest.raises(UserError, match="exists and was not made by this run"):
        cut_tiles([tmp_path / "in"], tmp_path / "out", 24, 12)


def test_wrong_settings(tmp_path: Path) -> None:
    pixels = encode_png(np.zeros((8, 8, 3), np.uint8))
    for name in ("a.png", "a.bmp"):
        (tmp_path / name).write_bytes(pixels)
    with pytest.raises(UserError, match="one name; rename one"):
        cut_tiles([tmp_path], tmp_path / "out")
    with pytest.raises(UserError, match="1 <= step <= side"):
        cut_tiles([tmp_path], tmp_path / "out", 32, 64)


def test_command(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encode_png(np.zeros((40, 40, 3), np.uint8)))
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    words = ["tile", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--side", "32"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "4 tiles" in result.output
    assert "b.png" in result.output
