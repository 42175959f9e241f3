"""``python -m sr``, for torchrun."""

from sr.cli import main

main()
