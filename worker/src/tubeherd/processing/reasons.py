"""Describes why a job failed: on one line, as a place in the source, and as a traceback.

An exception may be hostile: its `__str__` may raise anything or return megabytes, a group may contain itself many times
over, and a chain of causes may have no end. What is made of it here is bounded, and nothing here raises.
"""

import linecache
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, islice
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final, cast

from tubeherd.executors import Outside
from tubeherd.formats.text import REASON_MAX, TRACEBACK_MAX
from tubeherd.logs import ErrorDetail
from tubeherd.processing.deadlines import CancelledLate

_Frame = tuple[CodeType, int]
"""A frame of a traceback: its code and the number of its line."""
_MEMBERS_NAMED: Final = 100
"""So many members of a group are looked at for its reason."""
_FRAMES_MOST: Final = (16, 8, 4, 2, 1)
"""How many frames of each exception a traceback has: fewer and fewer, until the text is short enough."""
_CHAIN_MOST: Final = 6
"""So many exceptions of a chain of causes are shown: the last one's causes next to it, and the first cause."""
_CHAIN_READ: Final = 1000
"""So many exceptions of a chain of causes are looked at."""
_EXCEPTIONS_MOST: Final = 20
"""So many exceptions a traceback has at most, those in chains and in groups together."""
_GROUP_MOST: Final = 8
"""So many members of a group are shown."""
_DEPTH_MOST: Final = 5
"""So deep are groups in groups shown."""
_SOURCE_MOST: Final = 160
"""The length of a line of source code in a traceback, in characters."""
_CAUSE: Final = "The above exception was the direct cause of the following exception:"
_CONTEXT: Final = "During handling of the above exception, another exception occurred:"
_FIRST_FRAMES: Final = _FRAMES_MOST[0] // 4
_NOTES_MOST: Final = 3
_OWN_CODE: Final = (str(Path(__file__).parents[1]) + os.sep, f"tubeherd{os.sep}")
"""How the paths of the worker's own code begin: of compiled modules they begin with the package."""
_PYTHON: Final = os.path.dirname(os.__file__) + os.sep
_NOT_USER_CODE: Final = (*_OWN_CODE, "<frozen ")
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_ASYNCIO: Final = str(Path(os.__file__).parent / "asyncio") + os.sep
# Read past the user's classes, which may define attributes of these names.
_get_members: Final[Callable[[BaseException], tuple[BaseException, ...]]] = vars(BaseExceptionGroup)[
    "exceptions"
].__get__
_get_traceback: Final[Callable[[BaseException], TracebackType | None]] = vars(BaseException)["__traceback__"].__get__
_get_cause: Final[Callable[[BaseException], BaseException | None]] = vars(BaseException)["__cause__"].__get__
_get_context: Final[Callable[[BaseException], BaseException | None]] = vars(BaseException)["__context__"].__get__
_is_context_hidden: Final[Callable[[BaseException], bool]] = vars(BaseException)["__suppress_context__"].__get__
_name_of: Final[Callable[[type], str]] = vars(type)["__name__"].__get__


class InvalidPayload(ValueError):
    """The executor cannot take this body. The message holds no part of the body, which may be secret."""


def describe(error: BaseException, detail: ErrorDetail = "full") -> str:
    """Return an exception's type and message on one line of at most REASON_MAX characters, with a group's members.

    With the detail "place" no message is in it.
    """
    on_one_line = _on_one_line if detail == "full" else error_name
    described = on_one_line(error)
    if issubclass(type(error), BaseExceptionGroup):  # `isinstance` would call user code, if `__class__` is a property
        counts = Counter(map(on_one_line, members(error)[:_MEMBERS_NAMED]))
        named = (f"{text} ({count} times)" if count > 1 else text for text, count in counts.items())
        described = f"{described[: REASON_MAX // 4]}: {'; '.join(named)}"
    return described[:REASON_MAX]


def text_of(value: object, length: int = REASON_MAX) -> str:
    """Return at most so many characters of a value as text, such as the message of an exception.

    Return that it cannot be read if it raises anything.
    """
    try:
        # `__str__` may return a subclass of str, whose methods are user code too.
        return str.__getitem__(str(value), slice(length))
    except BaseException:  # SystemExit too: it is not the job's own code that runs here
        return "(its message cannot be read)"


def members(error: BaseException) -> Sequence[BaseException]:
    """Return the exceptions in a group, and in the groups in it, each once; any other exception is its only member."""
    found, seen, waiting = [], set(), [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting += reversed(_get_members(one))
        else:
            found.append(one)
    return found


def source_line(error: BaseException | None) -> str | None:
    """Return `file:line` of the innermost user code that the exception passed through; None if it passed none.

    Of a group it is that of the first member which passed user code. Code of installed packages counts as user code
    only if there is no other, because executors may be installed too; Python's own library never does.
    """
    if error is None:
        return None
    try:
        if isinstance(error, CancelledLate):
            error = error.__cause__ or error  # the CancelledError, which passed through the coroutine
        if isinstance(error, Outside):
            return error.place
        places = map(_place, [*members(error)[:_MEMBERS_NAMED], error])
        return next(filter(None, places), None)
    except BaseException:  # user code runs here, such as `__class__` made a property
        return None


def type_name(error: BaseException) -> str:
    """Return the name of an exception's type, also if its metaclass has a `__name__` that raises."""
    return _name_of(type(error))


def error_name(error: BaseException) -> str:
    """Return what tells apart errors of different causes: the name of the type, of an `Outside` its own name."""
    return cast("Outside", error).name if issubclass(type(error), Outside) else type_name(error)


def traceback_text(error: BaseException | None, detail: ErrorDetail = "full") -> str | None:
    """Return the traceback, with chained causes and the members of groups, in at most TRACEBACK_MAX bytes of UTF-8.

    If it would be longer, frames in the middle are left out first, so that each exception keeps its innermost frame.
    Return None if there is no exception, and with the detail "place"; also if the payload was not valid, because
    pydantic's errors quote it.
    """
    if error is None or detail == "place":
        return None
    try:
        if isinstance(error, InvalidPayload):
            return None
        if isinstance(error, Outside):  # Python's frames are those of the worker, and say nothing
            return None if error.output.strip() in str(error) else error.output
        shown = _Collector().collect(error)
        for frames_most in _FRAMES_MOST:
            text = "\n".join(_lines(shown, frames_most)).encode(errors="backslashreplace")
            if len(text) <= TRACEBACK_MAX:
                return text.decode()
        return _without_middle(text)
    except BaseException:  # user code runs here, such as a `__module__` that is no text: no job may fail by its report
        return describe(error)


@dataclass(slots=True)
class _Shown:
    """One exception of a traceback."""

    message: str
    """Its type and its message."""
    first: list[_Frame]
    """Its outermost frames: code and number of the line."""
    last: list[_Frame]
    """Its innermost frames, without those in `first`."""
    left_out: int
    """How many frames are between these."""
    joint: str = ""
    """How the exception before it, in the chain of causes, brought it about."""
    members: list[list["_Shown"]] = field(default_factory=list)
    """Of a group: for each member that is shown, the chain of causes that ends with it."""
    members_left_out: int = 0


class _Collector:
    """Collects what a traceback shows, up to a number of exceptions."""

    def __init__(self) -> None:
        self._left = _EXCEPTIONS_MOST

    def collect(self, error: BaseException, depth: int = 0) -> list[_Shown]:
        """Return the chain of causes that ends with an exception, the first cause first."""
        chain = _chain(error)
        middle = max(0, len(chain) - _CHAIN_MOST)
        if middle:  # the first cause is last in `chain`, and tells most
            chain = [*chain[: _CHAIN_MOST - 1], chain[-1]]
        shown = [self._one(one, depth) for one, _ in chain]
        for (_, joint), one in zip(chain, shown, strict=True):
            one.joint = joint
        if middle:
            shown[-2].joint = f"[{middle} exceptions left out]"
        return shown[::-1]

    def _one(self, error: BaseException, depth: int) -> _Shown:
        self._left -= 1
        shown = _Shown(_name_and_message(error), *_ends(error))
        if isinstance(error, BaseExceptionGroup):
            inner = _get_members(error)
            for member in inner[:_GROUP_MOST] if depth < _DEPTH_MOST else ():
                if self._left > 0:
                    shown.members.append(self.collect(member, depth + 1))
            shown.members_left_out = len(inner) - len(shown.members)
        return shown


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return an exception and its causes, each with the sentence that links its own cause to it."""
    chain: list[tuple[BaseException, str]] = []
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen and len(chain) < _CHAIN_READ:
        seen.add(id(one))
        cause, joint = _get_cause(one), _CAUSE
        if cause is None and not _is_context_hidden(one):
            cause, joint = _get_context(one), _CONTEXT
        if isinstance(one, InvalidPayload):  # its cause quotes the payload
            cause = None
        chain.append((one, joint if cause is not None else ""))
        one = cause
    return chain


def _place(error: BaseException) -> str | None:
    """Return `file:line` of the innermost user code that this exception passed through."""
    found = installed = None
    for code, line in _frames(error):
        path = code.co_filename
        if path.startswith(_NOT_USER_CODE):
            continue
        if any(folder in path for folder in _INSTALLED):
            installed = path, line
        elif not path.startswith(_PYTHON):
            found = path, line
    path, line = found or installed or ("", 0)
    return f"{os.path.basename(path)}:{line}" if path else None


def _frames(error: BaseException) -> Iterator[_Frame]:
    """Yield code and number of the line of each frame that an exception passed through, the outermost first."""
    trace = _get_traceback(error)
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next


def _ends(error: BaseException) -> tuple[list[_Frame], list[_Frame], int]:
    """Return the outermost and the innermost frames of an exception, and how many are between them.

    The worker's own frames are left out, and those of the event loop before the user's code.
    """
    foreign = (frame for frame in _frames(error) if not frame[0].co_filename.startswith(_OWN_CODE))
    frames = dropwhile(lambda frame: frame[0].co_filename.startswith(_ASYNCIO), foreign)
    first = list(islice(frames, _FIRST_FRAMES))
    rest = 0
    last: deque[_Frame] = deque(maxlen=_FRAMES_MOST[0] - _FIRST_FRAMES)
    for rest, frame in enumerate(frames, 1):  # noqa: B007 - the count is used after the loop
        last.append(frame)
    return first, list(last), rest - len(last)


def _lines(chain: Sequence[_Shown], frames_most: int) -> Iterator[str]:
    """Yield the lines of a traceback, with at most so many frames of each exception."""
    for number, shown in enumerate(chain):
        if number:
            yield from ("", shown.joint, "")
        yield from _frame_lines(shown, frames_most)
        yield from shown.message.splitlines() or [""]
        for position, member in enumerate(shown.members, 1):
            yield f"  member {position} of {len(shown.members) + shown.members_left_out}:"
            yield from (f"    {line}" if line else "" for line in _lines(member, frames_most))
        if shown.members_left_out:
            yield f"  [{shown.members_left_out} members left out]"


def _frame_lines(shown: _Shown, frames_most: int) -> Iterator[str]:
    frames = [*shown.first, *shown.last]
    if not frames:
        return
    yield "Traceback (most recent call last):"
    first = frames_most // 4 if shown.left_out or len(frames) > frames_most else len(frames)
    last = max(first, len(frames) - (frames_most - first))
    left_out = shown.left_out + last - first
    yield from map(_frame_line, frames[:first])
    if left_out:
        yield f"  [{left_out} frames left out]"
    yield from map(_frame_line, frames[last:])


def _frame_line(frame: _Frame) -> str:
    """Return a frame as Python shows it: file, line, function and, if it can be read, the source."""
    code, line = frame
    source = linecache.getline(code.co_filename, line).strip()[:_SOURCE_MOST]
    return f'  File "{code.co_filename}", line {line}, in {code.co_name}' + (f"\n    {source}" if source else "")


def _on_one_line(error: BaseException) -> str:
    name, message = type_name(error), " ".join(text_of(error, 10 * REASON_MAX).split())
    return f"{name}: {message}" if message else name


def _name_and_message(error: BaseException) -> str:
    """Return an exception's type, message and notes as the last lines of a traceback."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    message = text_of(error, REASON_MAX)
    notes = [str(note)[:REASON_MAX] for note in getattr(error, "__notes__", ())[:_NOTES_MOST]]
    return "\n".join([f"{name}: {message}" if message else name, *notes])


def _without_middle(text: bytes) -> str:
    """Return a text that is too long without its middle; its end tells more than its beginning."""
    gap = b"\n[...]\n"
    head = (TRACEBACK_MAX - len(gap)) // 3
    tail = TRACEBACK_MAX - len(gap) - head
    return (text[:head] + gap + text[-tail:]).decode(errors="ignore")
