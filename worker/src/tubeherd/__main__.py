"""Starts the command `tubeherd`, also as `python -m tubeherd`."""

import signal


def main() -> None:
    """Run the command. If Ctrl-C comes before it is imported, which takes a moment, end without a traceback."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tubeherd import cli

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
