"""The command line: ``degrade COMMAND``; ``degrade --help`` lists them.

Commands import what they need when they run, so that ``degrade --help`` does not load PyTorch.
"""

from __future__ import annotations

from degrade.cli import datasets, look, recipes
from degrade.cli.common import app, check_device, fail, main, read_changes

__all__ = ["app", "check_device", "datasets", "fail", "look", "main", "read_changes", "recipes"]
