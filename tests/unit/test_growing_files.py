"""Reading files that another process is writing."""

import pytest

from tests.support.growing_files import read_lines


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (b"", []),
        (b"a\n", ["a"]),
        (b"a\n{\"half", ["a"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        ("a\u2028b\n".encode(), ["a\u2028b"]),
        ("a\n\u00e9".encode()[:-1], ["a"]),
    ],
)  # fmt: skip
def test_lines_are_those_that_are_written_to_their_end(tmp_path, written, lines):
    (tmp_path / "log").write_bytes(written)
    assert read_lines(tmp_path / "log") == lines


def test_file_that_is_not_there_has_no_lines(tmp_path):
    assert read_lines(tmp_path / "log") == []
