"""The command line: ``degrade COMMAND``; ``degrade --help`` lists them.

Commands import what they need when they run, so that ``degrade --help`` does not load PyTorch.
"""

from __future__ import annotations

from degrade.cli import datasets, look, recipes
from degrade.cli.common import (
    Modules,
    app,
    check_device,
    fail,
    import_modules,
    main,
    read_changes,
    restored_import_path,
)

__all__ = [
    "Modules",
    "app",
    "check_device",
    "datasets",
    "fail",
    "import_modules",
    "look",
    "main",
    "read_changes",
    "recipes",
    "restored_import_path",
]
