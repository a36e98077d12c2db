"""Runs the command as `python -m tubeherd`."""

from tubeherd.cli import main

main()
