"""A TCP proxy on loopback that delays, cuts, truncates and swallows what passes, at random byte positions."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

EFFECTS: Final = ("delay", "delay", "cut", "close", "swallow")
_MEAN_DISTANCE: Final = 1500
_CHUNK: Final = 1 << 16
_DELAY_MOST: Final = 2.0


def deck(dice: random.Random) -> Iterator[str]:
    """Yield effects for ever, in an order that leaves none out for long."""
    while True:
        yield from dice.sample(EFFECTS, len(EFFECTS))


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._ends = (near, far)
        self.silent = False

    def cut(self) -> None:
        """Reset both ends, with whatever was not delivered yet."""
        for end in self._ends:
            end.transport.abort()

    def close(self) -> None:
        """Close both ends after what was written to them."""
        for end in self._ends:
            end.close()


class Proxy:
    """Passes bytes on to a port; `note` hears of each disturbance, and how many seconds it may be felt."""

    def __init__(
        self, target: int, dice: random.Random, effects: Iterator[str], note: Callable[[str, float], None]
    ) -> None:
        self._target = target
        self._dice = dice
        self._effects = effects
        self._note = note
        self._rough_until = 0.0
        self._coming = 0.0
        """How many seconds a disturbance is to last that begins with the next byte; 0 where none is to begin."""
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        """Listen and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def disturb(self, seconds: float) -> None:
        """Disturb all connections for a while, from the next bytes on, which are struck for certain."""
        self._coming = seconds

    def cut(self) -> None:
        """Cut all connections."""
        for link in list(self._links):
            link.cut()

    def calm(self) -> None:
        """Disturb nothing from now on, and end the connections on which nothing passes any more."""
        self._rough_until = self._coming = 0.0
        for link in list(self._links):
            if link.silent:
                link.cut()

    async def close(self) -> None:
        """End the proxy with all of its connections."""
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await self._pass(reader, far_writer, far_reader, writer)
        except (OSError, asyncio.CancelledError):  # the server it is a task of only wants to know of bugs
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _pass(
        self,
        near: asyncio.StreamReader,
        to_far: asyncio.StreamWriter,
        far: asyncio.StreamReader,
        to_near: asyncio.StreamWriter,
    ) -> None:
        link = _Link(to_near, to_far)
        self._links.add(link)
        both = self._pump(near, to_far, link), self._pump(far, to_near, link)
        pumps = [asyncio.ensure_future(pump) for pump in both]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._links.discard(link)
            link.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link) -> None:
        distance = self._distance()
        with suppress(OSError):
            while data := await source.read(_CHUNK):
                if self._coming:
                    self._rough_until, self._coming = time.monotonic() + self._coming, 0.0
                    distance = self._dice.randrange(len(data))
                while time.monotonic() < self._rough_until and len(data) > distance:
                    sink.write(data[:distance])
                    data = data[distance:]
                    await self._affect(source, sink, link)
                    distance = self._distance()
                if time.monotonic() < self._rough_until:
                    distance -= len(data)
                sink.write(data)
                await sink.drain()

    def _distance(self) -> int:
        return int(self._dice.expovariate(1 / _MEAN_DISTANCE))

    async def _affect(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link) -> None:
        effect = next(self._effects)
        seconds = self._dice.uniform(0.01, _DELAY_MOST) if effect == "delay" else 0.0
        self._note(effect, 15.0 if effect == "swallow" else seconds)
        match effect:
            case "delay":
                await asyncio.sleep(seconds)
            case "cut":
                link.cut()
                raise ConnectionResetError
            case "close":
                await sink.drain()
                raise ConnectionResetError
            case "swallow":
                link.silent = True
                while await source.read(_CHUNK):
                    pass
                raise ConnectionResetError
