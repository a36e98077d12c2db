"""What is said of exceptions, hostile ones too."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.formats.text import REASON_MAX, TRACEBACK_MAX
from tubeherd.processing.reasons import InvalidPayload, describe, source_line, traceback_text


class Unspeakable(Exception):
    def __init__(self, raises=RuntimeError):
        super().__init__()
        self._raises = raises

    def __str__(self):
        raise self._raises


class Endless(str):
    def __getitem__(self, key):
        raise RuntimeError


class Long(Exception):
    def __str__(self):
        return Endless("line\n" * 1_000_000)


def leave(self):
    raise SystemExit


class Hiding(ExceptionGroup):
    __cause__ = __context__ = __suppress_context__ = __traceback__ = exceptions = property(leave)


class Nameless(Exception):
    """Of no module that could be named."""


Nameless.__module__ = Unspeakable(SystemExit)


def raised(error, cause=None):
    """Return an exception that was raised here, from its cause."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def recursing(depth):
    if depth:
        recursing(depth - 1)
    raise LookupError("at the bottom")


def text_of(error):
    text = traceback_text(error)
    assert text is not None
    assert len(text.encode()) <= TRACEBACK_MAX
    return text


OUTER = ExceptionGroup("outer", [ValueError("a"), ExceptionGroup("inner", [KeyError("b"), Unspeakable(SystemExit)])])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OUTER, "outer (2 sub-exceptions): ValueError: a; KeyError: 'b'; Unspeakable: (its message cannot be read)"),
        (ExceptionGroup("x", [OSError("a"), OSError("a")]), "x (2 sub-exceptions): OSError: a (2 times)"),
        (ExceptionGroup("", [SyntaxError("c")]), "(1 sub-exception): SyntaxError: c"),
    ],
)
def test_reason_of_a_group_names_its_members(error, reason):
    assert describe(error) == f"ExceptionGroup: {reason}"


def test_reason_of_a_group_with_a_long_message_still_names_members():
    reason = describe(ExceptionGroup("x" * 9999, [KeyError("b"), Long()]))
    assert "KeyError: 'b'" in reason
    assert len(reason) == REASON_MAX


def test_traceback_is_as_python_shows_it():
    lines = text_of(raised(ValueError("no route"))).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{__file__}", line ')
    assert lines[1].endswith(", in raised")
    assert lines[2:] == ["    raise error from cause", "ValueError: no route"]


def test_no_exception_has_no_traceback():
    assert traceback_text(None) is None


def test_invalid_payload_has_none_because_its_cause_quotes_the_payload():
    assert traceback_text(raised(InvalidPayload("not valid"), raised(ValueError("s3cret")))) is None
    assert "s3cret" not in text_of(raised(OSError(), raised(InvalidPayload("not valid"), ValueError("s3cret"))))


def test_causes_come_before_what_they_caused():
    error = raised(KeyError("c"), raised(OSError("b"), raised(ValueError("a"))))
    text = text_of(error)
    assert text.index("ValueError: a") < text.index("OSError: b") < text.index("KeyError: 'c'")
    assert text.count("The above exception was the direct cause of the following exception:") == 2


def test_context_is_shown_unless_it_is_suppressed():
    def fail(from_none):
        try:
            raise ValueError("first")
        except ValueError:
            if from_none:
                raise OSError("second") from None
            raise OSError("second")  # noqa: B904 - the context is what is tested

    for from_none in (False, True):
        with pytest.raises(OSError, match="second") as caught:
            fail(from_none)
        assert ("ValueError: first" in text_of(caught.value)) is not from_none


def test_members_of_groups_are_shown_with_their_frames_and_causes():
    inner = ExceptionGroup("inner", [raised(OSError("x"), raised(EOFError("why")))])
    text = text_of(raised(ExceptionGroup("outer", [raised(ValueError("a")), inner])))
    found = [
        text.index(part) for part in ("outer (2", "member 1 of 2", "ValueError: a", "member 2 of 2", "EOFError: why")
    ]
    assert found == sorted(found)
    assert text.count("raise error from cause") == 4


def test_frames_of_the_worker_and_those_of_the_loop_before_the_users_are_left_out():
    async def main():
        async with asyncio.timeout(0):
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    frames = [line for line in text_of(caught.value.__cause__).splitlines() if line.startswith("  File")]
    assert ", in main" in "".join(frames)
    assert "run_until_complete" not in "".join(frames)


def test_deep_recursion_keeps_both_ends():
    with pytest.raises(LookupError) as caught:
        recursing(900)
    text = text_of(caught.value)
    assert text.splitlines()[-1] == "LookupError: at the bottom"
    assert 'raise LookupError("at the bottom")' in text
    assert "in test_deep_recursion" in text
    assert "frames left out]" in text


def test_real_recursion_error_is_shown():
    limit = sys.getrecursionlimit()
    with pytest.raises(RecursionError) as caught:
        recursing(10 * limit)
    assert "RecursionError: maximum recursion depth exceeded" in text_of(caught.value)


@pytest.mark.parametrize("raises", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_message_that_cannot_be_read(raises):
    text = text_of(raised(ValueError("outer"), raised(Unspeakable(raises))))
    assert "Unspeakable: (its message cannot be read)" in text
    assert text.endswith("ValueError: outer")


def test_message_of_5_mb_leaves_the_place():
    text = text_of(raised(Long()))
    assert "raise error from cause" in text
    assert "Long: line" in text


def test_exception_that_hides_its_attributes_is_shown():
    error = Hiding("x", [raised(ValueError("a"))])
    assert describe(error) == "Hiding: x (1 sub-exception): ValueError: a"
    assert "ValueError: a" in text_of(error)
    assert source_line(error).startswith("test_reasons.py:")


def test_exception_whose_traceback_cannot_be_made_is_described():
    assert text_of(Nameless("x")) == "Nameless: x"


def test_long_chain_keeps_the_first_cause_and_the_last_exceptions():
    error = raised(ValueError("the first"))
    for number in range(5_000):
        error = raised(OSError(number), error)
    text = text_of(error)
    assert text.endswith("OSError: 4999")
    assert "exceptions left out]" in text


def test_circle_of_causes_ends():
    one, two = raised(ValueError("one")), raised(OSError("two"))
    one.__cause__, two.__cause__ = two, one
    assert text_of(one).count("Error: ") == 2


def test_group_of_very_many_members_is_cut():
    group = ExceptionGroup("many", [raised(OSError(number)) for number in range(10_000)])
    for _ in range(50):
        group = ExceptionGroup("nested", [group, group])
    text = text_of(raised(group))
    assert "members left out]" in text
    assert "nested (2 sub-exceptions)" in text


def test_notes_are_shown():
    error = raised(ValueError("a"))
    error.add_note("while importing row 7")
    assert text_of(error).splitlines()[-2:] == ["ValueError: a", "while importing row 7"]


errors = st.recursive(
    st.builds(ValueError, st.text(st.characters(codec=None), max_size=2000)) | st.builds(Unspeakable),
    lambda inner: (
        st.builds(ExceptionGroup, st.text(max_size=9), st.lists(inner, min_size=1, max_size=12))
        | st.builds(raised, inner, inner)
    ),
    max_leaves=30,
)


@given(errors)
def test_any_exception_has_a_bounded_traceback(error):
    text_of(raised(error))


def line_of(error):
    return error.__traceback__.tb_lineno


def test_place_of_a_group_is_that_of_the_first_member_with_user_code():
    inner = raised(ValueError("a"))
    group = ExceptionGroup("g", [OSError("never raised"), ExceptionGroup("h", [inner])])
    with pytest.raises(ExceptionGroup) as caught:
        raise group  # not this line
    assert source_line(caught.value) == f"test_reasons.py:{line_of(inner)}"


def test_place_of_a_group_without_members_that_were_raised_is_its_own():
    group = raised(ExceptionGroup("g", [OSError("never raised")]))
    assert source_line(group) == f"test_reasons.py:{line_of(group)}"


def test_place_is_not_in_the_library_of_python():
    with pytest.raises(ValueError, match="Expecting value") as caught:
        json.loads("x")
    assert source_line(caught.value).startswith("test_reasons.py:")


def test_place_is_in_an_installed_package_only_if_no_other_code_was_passed():
    names = {}
    code = "def call(f): f()\ndef fail(): raise ValueError"
    exec(compile(code, "/lib/site-packages/installed.py", "exec"), names)  # noqa: S102 - for its file name

    def mine():
        names["fail"]()

    places = []
    for function in (mine, names["fail"]):
        try:
            names["call"](function)
        except ValueError as error:
            error.__traceback__ = error.__traceback__.tb_next  # without this test's own frame
            places.append(source_line(error))
    assert places[0].startswith("test_reasons.py:")
    assert places[1] == "installed.py:2"


def test_source_that_cannot_be_read_leaves_file_and_line(tmp_path: Path):
    code = compile("def f():\n raise ValueError('x')\n", str(tmp_path / "gone.py"), "exec")
    names = {}
    exec(code, names)  # noqa: S102 - code whose file does not exist
    with pytest.raises(ValueError, match="x") as caught:
        names["f"]()
    assert f'  File "{tmp_path}/gone.py", line 2, in f\nValueError: x' in text_of(caught.value)
