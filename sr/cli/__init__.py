"""The command line: ``sr COMMAND``; ``sr --help`` lists them.

Commands import what they need when they run, so that ``sr --help`` does not wait for PyTorch.
"""

from __future__ import annotations

from sr.cli.common import app, main
from sr.cli.comparison import compare_command
from sr.cli.images import eval_command, upscale_command
from sr.cli.models import export_command, fetch_command, list_command
from sr.cli.training import settings_command, tile_command, train_command

__all__ = ["app", "main"]

COMMANDS = {
    "train": train_command,
    "settings": settings_command,
    "tile": tile_command,
    "eval": eval_command,
    "upscale": upscale_command,
    "export": export_command,
    "fetch": fetch_command,
    "list": list_command,
    "compare": compare_command,
}
"""In the order of ``--help``."""

for name, command in COMMANDS.items():
    app.command(name)(command)
