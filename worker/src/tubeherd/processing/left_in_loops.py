"""Ends what a stopped job has left in event loops: tasks, callbacks, readers, servers and suspended generators.

Tasks and callbacks have a context, and what a job has left has the job in it. Timers, readers and connections of
installed libraries are left alone: a client that several jobs share may have made them while this job ran.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context
from functools import partial
from gc import get_referents
from inspect import iscoroutine
from pathlib import Path
from types import AsyncGeneratorType, TracebackType
from typing import Any, Final

from tubeherd.job import Job, current_job
from tubeherd.processing.started import loops

_LIBRARY: Final = str(Path(os.__file__).parent) + os.sep
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_CAUSE, _CONTEXT, _TRACEBACK = (BaseException.__dict__[f"__{name}__"] for name in ("cause", "context", "traceback"))
_EXCEPTIONS: Final[Any] = BaseExceptionGroup.__dict__["exceptions"]
_CLOSES_GENERATOR: Final = "async_generator_athrow"
"""The name of the type of what the method `aclose` of an asynchronous generator returns."""


class LeftInLoops:
    """What one job has left in event loops."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._closing: set[asyncio.Task[Any]] = set()
        self._seen: dict[asyncio.AbstractEventLoop, list[str]] = {}
        """What was seen in loops that run in other threads, by these threads."""

    def end(self) -> Iterator[str]:
        """End what can be ended, and yield in words what there was: it may take a turn of the loop until it is gone."""
        here = asyncio._get_running_loop()
        for loop in {*loops(), here} if here else loops():
            if loop.is_closed():
                continue
            if loop is not here and loop.is_running():
                yield from self._end_in_other_thread(loop)
                continue
            left = self._end_in(loop)
            if left and here is None:
                _turn(loop)
            yield from left

    def _end_in(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        return [*self._tasks(loop), *self._callbacks(loop), *self._files(loop)]

    def _end_in_other_thread(self, loop: asyncio.AbstractEventLoop) -> list[str]:
        """Have the thread of a loop do it, because nobody else can see the callback that runs now."""
        left = self._seen.pop(loop, ["an event loop in a thread"])
        if left:
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(self._see, loop, context=Context())
        return left

    def _see(self, loop: asyncio.AbstractEventLoop) -> None:
        self._seen[loop] = self._end_in(loop)

    def close_generators(self, error: BaseException | None) -> None:
        """Close, in the running loop, each generator that is suspended in the frames that an error has passed through.

        Otherwise Python would close them when the error is forgotten, which is after the verdict.
        """
        for generator in set(suspended_generators(error)):
            closing: Any = generator.aclose()
            self._closing.add(asyncio.Task(closing, loop=asyncio.get_running_loop()))

    def _is_of_job(self, context: Context | None) -> bool:
        return context is not None and context.get(current_job) is self._job

    def _tasks(self, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
        """Cancel each task once: a second time would interrupt what it does to clean up."""
        own = asyncio.current_task(loop)
        for task in asyncio.all_tasks(loop):
            if task is not own and self._is_of_job(context_of(task)):
                if task not in self._cancelled and type(task.get_coro()).__name__ != _CLOSES_GENERATOR:
                    self._cancelled.add(task)
                    task.cancel()
                yield "a task"

    def _callbacks(self, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
        """Cancel the job's own callbacks and timers. Those of asyncio end with the tasks that they belong to."""
        ready = list(getattr(loop, "_ready", ()))
        signals = getattr(loop, "_signal_handlers", {})
        for handle in [*ready, *list(getattr(loop, "_scheduled", ())), *list(signals.values())]:
            if handle._cancelled or not self._is_of_job(handle._context):
                continue
            if is_own_code(handle._callback, *(handle._args or ())):
                handle.cancel()
                yield "a callback"
            elif handle in ready and not isinstance(getattr(handle._callback, "__self__", None), asyncio.Future):
                yield "a callback"

    def _files(self, loop: asyncio.AbstractEventLoop) -> Iterator[str]:
        """Close servers and remove the job's own readers and writers."""
        selector = getattr(loop, "_selector", None)
        for key in list(selector.get_map().values()) if selector else ():
            removers = (loop._remove_reader, loop._remove_writer)  # type: ignore[attr-defined]
            for handle, remove in zip(key.data or (), removers, strict=False):
                if handle is None or handle._cancelled or not self._is_of_job(handle._context):
                    continue
                transport = getattr(handle._callback, "__self__", None)
                servers = [each for each in handle._args or () if isinstance(each, asyncio.AbstractServer)]
                if servers:
                    servers[0].close()
                    yield "a server"
                elif isinstance(transport, asyncio.BaseTransport):
                    if is_own_code(getattr(_protocol_of(transport), "data_received", None)):
                        yield "a connection"
                elif is_own_code(handle._callback, *(handle._args or ())):
                    remove(key.fd)
                    yield "a reader or writer"


def context_of(task: asyncio.Task[Any]) -> Context | None:
    """Return the context that the code of a task runs in."""
    get_context = getattr(task, "get_context", None)  # since Python 3.12
    if get_context is not None:
        return get_context()  # type: ignore[no-any-return]
    # A task written in Python has an attribute; one written in C refers to its own context first.
    contexts = (each for each in get_referents(task) if isinstance(each, Context))
    return getattr(task, "_context", None) or next(contexts, None)


def is_own_code(*values: object) -> bool:
    """Return whether any of these is a coroutine, or a function that is not of Python or of an installed package."""
    return any(iscoroutine(value) or (callable(value) and _is_own(value)) for value in values)


def suspended_generators(error: BaseException | None) -> Iterator[AsyncGeneratorType[Any, Any]]:
    """Yield the asynchronous generators that the frames of an error's tracebacks hold and that have not ended."""
    errors, seen = [error], set()
    for each in errors:  # grows during the loop
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        # Read past the attributes that a class of the job's may have put in their places, because these are its code.
        errors += [_CAUSE.__get__(each), _CONTEXT.__get__(each)]
        errors += _EXCEPTIONS.__get__(each) if issubclass(type(each), BaseExceptionGroup) else ()
        at: TracebackType | None = _TRACEBACK.__get__(each)
        while at is not None:
            for value in list(at.tb_frame.f_locals.values()):
                # `isinstance` would run code of the job's, such as that of a proxy whose object is gone.
                if type(value) is AsyncGeneratorType and value.ag_frame is not None and not value.ag_running:
                    yield value
            at = at.tb_next


def _is_own(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    if code is None:  # written in C
        return False
    file: str = code.co_filename
    return not (file.startswith(_LIBRARY) or any(part in file for part in _INSTALLED))


def _protocol_of(transport: asyncio.BaseTransport) -> object:
    protocol = transport.get_protocol() if hasattr(transport, "get_protocol") else None
    return getattr(protocol, "_app_protocol", protocol)  # under TLS there is one of asyncio before it


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop that does not run go on for one turn, so that cancelled tasks can end."""
    loop.call_soon(loop.stop, context=Context())
    with suppress(BaseException):  # whatever code of the job raises
        loop.run_forever()
