"""How long a user waits before anything happens: seconds in a fresh interpreter, median of a few.

python benchmarks/startup.py [--rounds 5] [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import header, photographs

BATCH = """
import sys
from degrade import PatchFolder, Recipe, pairs
from torch.utils.data import DataLoader
loader = DataLoader(PatchFolder(sys.argv[1], size=128), batch_size=4)
next(iter(pairs(loader, Recipe.load("realesrgan"))))
"""
LOADED = "import sys, degrade; print(*(name for name in ('torch', 'kornia', 'cv2', 'albumentations', 'scipy') if name in sys.modules))"  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="once each: for a smoke test")
    options = parser.parse_args()
    print(header())
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder))
        program = str(Path(sys.executable).with_name("degrade"))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "degrade --help": [program, "--help"],
            "degrade list": [program, "list"],
            "import degrade": [sys.executable, "-c", "import degrade"],
            "import torch": [sys.executable, "-c", "import torch"],
            "first batch of pairs": [sys.executable, "-c", BATCH, folder],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(1 if options.quick else options.rounds):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, capture_output=True, check=True)
                seconds[name].append(time.perf_counter() - start)
    print("\n| | s, median | s, least |\n|---|--:|--:|")
    for name, values in seconds.items():
        print(f"| `{name}` | {statistics.median(values):.2f} | {min(values):.2f} |")
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"\n`import degrade` loads of the large libraries: {loaded or 'none'}")


def save(folder: Path) -> None:
    """Four photographs as PNG files."""
    import cv2

    for i, image in enumerate(photographs(4, 256)):
        cv2.imwrite(str(folder / f"{i}.png"), image.permute(1, 2, 0).numpy()[:, :, ::-1])


if __name__ == "__main__":
    main()
