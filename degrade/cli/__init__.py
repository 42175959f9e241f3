"""The command line: ``degrade COMMAND``; ``degrade --help`` lists them.

Commands import what they need when they run, so that ``degrade --help`` does not load PyTorch.
"""

from __future__ import annotations

from degrade.cli import ablate, datasets, look, recipes
from degrade.cli.common import (
    Commands,
    Modules,
    app,
    check_device,
    import_modules,
    main,
    read_changes,
    restored_import_path,
    run,
)

__all__ = [
    "Commands",
    "Modules",
    "ablate",
    "app",
    "check_device",
    "datasets",
    "import_modules",
    "look",
    "main",
    "read_changes",
    "recipes",
    "restored_import_path",
    "run",
]
