"""The screens of docs/command-line.md are what the commands print."""

import importlib.util

import pytest

from tests.support.project import ROOT


@pytest.mark.slow
def test_screens_are_what_the_commands_print_about_3000_failed_jobs():
    spec = importlib.util.spec_from_file_location("screens", ROOT / "docs" / "screens.py")
    screens = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screens)
    page = screens.PAGE.read_text()
    assert page.count("<!-- screen ") >= 5
    assert screens.lasting(page) == screens.lasting(screens.render(page)), "run `make screens`"
