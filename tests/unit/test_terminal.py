"""The terminal on which tests run commands."""

import signal
import sys

import pytest

from tests.support.terminal import CTRL_C, Screen, Terminal

ASKING = """
import os, signal
print(os.get_terminal_size().columns, os.isatty(0))
try:
    print("hello", input("name? "))
    signal.pause()
except KeyboardInterrupt:
    raise SystemExit(7)
"""


def test_command_on_a_terminal_reads_keys_and_is_interrupted():
    with Terminal([sys.executable, "-c", ASKING], columns=60, lines=10) as terminal:
        assert terminal.wait_for("name?") == ["60 True", "name?"]
        terminal.send("ann\n")
        terminal.wait_for("hello ann")
        terminal.send(CTRL_C)
        assert terminal.wait() == 7


def test_closed_terminal_hangs_up_its_command():
    with Terminal(["sleep", "60"]) as terminal:
        terminal.hang_up()
        assert terminal.wait() == -signal.SIGHUP


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("a\r\nb", ["a", "b"]),
        ("one\r\ntwo\r\n\x1b[2A\x1b[KONE\r\n", ["ONE", "two", ""]),
        ("one\r\ntwo\r\n\x1b[2A\x1b[J1", ["1"]),
        ("123456", ["12345", "6"]),
        ("\x1b[1mred\x1b[0m\x1b[?25l", ["red"]),
        ("99%\r100", ["100"]),
    ],
)
def test_screen_shows_what_a_terminal_would(written, lines):
    assert Screen(5).show(written) == lines


@pytest.mark.parametrize("raw", ["\x1b]0;title\x07", "\x1b[2;3r", "\u202e", "\x9b2J"])
def test_screen_refuses_what_a_payload_could_do_to_a_terminal(raw):
    with pytest.raises(ValueError, match="was written to the terminal"):
        Screen(80).show(raw)
