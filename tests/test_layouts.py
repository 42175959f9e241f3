"""Layouts of paired sets: every file has one partner, or is named."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from degrade.data.paired_folder import PairedFolder
from degrade.data.readers import open_pairs
from degrade.images.pixels import encode_png


def put(folder: Path, names: list[str]) -> None:
    """LR and HR files by name, each HR of its own colour, and LR of the same."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 8 if any(word in name.lower() for word in ("hr", "gt", "full")) else 2
        path.write_bytes(encode_png(np.full((side, side, 3), 7, np.uint8)))


LAYOUTS = {
    "ours": (["hr/a.png", "lr/a.png", "hr/b/c.png", "lr/b/c.png"], ["a", "b/c"]),
    "suffixes differ": (["hr/a.jpg", "lr/a.png"], ["a"]),
    "one stem, two suffixes": (
        ["hr/cat.png", "hr/cat.jpg", "lr/cat.jpg", "lr/cat.png"],
        ["cat.jpg", "cat.png"],
    ),
    "one stem, two folders": (
        ["gt/a/0.png", "gt/b/0.png", "lq/b/0.png", "lq/a/0.png"],
        ["a/0", "b/0"],
    ),
    "DRealSR": (["test_HR/p_1_x4.png", "test_LR/p_1_x1.png"], ["p_1_x4"]),
    "RealSR": (
        [f"Canon/Test/4/Canon_00{i}_{side}.png" for i in (1, 2) for side in ("HR", "LR4")],
        ["Canon/Test/4/Canon_001_HR", "Canon/Test/4/Canon_002_HR"],
    ),
    "Set5 beside": (["img_001_HR.png", "img_001_LR.png"], ["img_001_HR"]),
    "SRF": (["i_SRF_4_HR.png", "i_SRF_4_LR.png"], ["i_SRF_4_HR"]),
    "DIV2K": (["DIV2K_valid_HR/0801.png", "DIV2K_valid_LR_x4/0801x4.png"], ["0801"]),
    "DIV2K, as downloaded": (["d_HR/0801.png", "d_LR_bicubic/X4/0801x4.png"], ["0801"]),
    "BasicSR": (["GTmod12/a.png", "LRbicx4/a.png", "original/a.png"], ["a"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    files, names = LAYOUTS[layout]
    put(tmp_path, files)
    reader = open_pairs(tmp_path)
    assert reader.names == names
    assert PairedFolder(tmp_path).scale == 4
    for i in range(len(names)):
        low, high = map(Path, map(str, reader.read(i)))
        assert low.suffix == high.suffix or layout == "suffixes differ"
        assert {low.stem.split("_")[-1], high.stem.split("_")[-1]} != {"HR"}
        assert high.parent.name == low.parent.name or layout != "one stem, two folders"


@pytest.mark.skipif(sys.platform == "win32", reason="paths of 260 characters")
def test_deep_folders_of_one_folder(tmp_path: Path) -> None:
    """Deeper than Python recurses, as deep as paths are."""
    put(tmp_path, ["set_HR/a.png"])
    folders = [tmp_path / "set_LR_bicubic"]
    for _ in range(1200):
        folders.append(folders[-1] / "d")
    for folder in folders:  # parents=True would recurse
        folder.mkdir()
    put(folders[-1], ["ax4.png"])
    reader = open_pairs(tmp_path)
    assert reader.names == ["a"]
    assert reader.read(0)[0] == folders[-1] / "ax4.png"
    (folders[-1] / "ax4.png").unlink()
    for folder in reversed(folders):  # pytest would recurse
        folder.rmdir()


def test_any_two_folders(tmp_path: Path) -> None:
    put(tmp_path, ["full/a.png", "small/X4/ax4.png"])
    reader = open_pairs(f"lr={tmp_path}/small/X4,hr={tmp_path}/full")
    assert reader.names == ["a"]
    assert reader.label(0) == str(tmp_path / "full/a.png")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["hr/a.png", "hr/b.png", "lr/a.png"], "b: only in one of lr and hr"),
        (["hr/cat.png", "hr/cat.jpg", "lr/cat.png"], "cat.*which belong together|only in one of"),
        (["a_HR.png", "a_LR.png", "b_HR.png"], "b: only in one of LR and HR"),
        (["a_HR.png", "a_LR2.png", "a_LR4.png"], "a_LR2.*which belong together"),
        (["x_HR/a.png", "x_LR/a.png", "y_LR/a.png"], "several folders of one side.*lr=DIR,hr=DIR"),
        (["GTmod12/a.png", "LRbicx4/a.png", "LRbicx2/a.png"], "several folders of one side"),
        (["a.png"], "X_HR beside X_LR"),
        ([], "X_HR beside X_LR"),
    ],
)
def test_what_does_not_fit_is_named(files: list[str], message: str, tmp_path: Path) -> None:
    put(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        open_pairs(tmp_path)
