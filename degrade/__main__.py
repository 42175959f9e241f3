"""``python -m degrade``."""

from degrade.cli import main

main()
