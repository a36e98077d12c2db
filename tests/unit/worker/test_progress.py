"""What a progress bar writes to a terminal."""

import io
import sys

from tests.support.terminal import Screen
from tubeherd.commands.progress import ProgressBar


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def terminal(monkeypatch):
    """Make standard error a terminal of 60 columns. No fixture, because pytest changes it again before the test."""
    stderr = io.StringIO()
    stderr.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "60")
    return stderr


def test_what_takes_no_time_gets_no_bar(monkeypatch):
    stderr = terminal(monkeypatch)
    clock = Clock()
    bar = ProgressBar("kicked", clock)
    for done in range(4):
        bar.show(done, 3)
        clock.now += 0.1
    bar.end()
    assert stderr.getvalue() == ""


def test_no_bar_is_drawn_between_lines_that_somebody_types(monkeypatch):
    stderr = terminal(monkeypatch)
    clock = Clock()
    bar = ProgressBar("jobs put", clock, hidden=True)
    clock.now += 1
    bar.show(1000, None)
    bar.end()
    assert stderr.getvalue() == ""


def test_nothing_of_a_bar_is_left_nor_of_the_ctrl_c_behind_it(monkeypatch):
    stderr = terminal(monkeypatch)
    clock = Clock()
    bar = ProgressBar("jobs put", clock)
    clock.now += 1
    bar.show(1000, None, ", 20,000/s" + "!" * 60, share=0.5)
    assert Screen(60).show(stderr.getvalue())[0].startswith("[##########..........] 1,000 jobs put, 20,000/s")
    stderr.write("^C")
    bar.end()
    stderr.write("stopped\n")
    assert Screen(60).show(stderr.getvalue()) == ["stopped", ""]
