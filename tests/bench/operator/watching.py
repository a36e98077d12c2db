"""Takes the time at which the API server shows something."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Self

Object = dict[str, Any]


class Watching:
    """Watches the objects of one kind and namespace."""

    def __init__(self, path: str) -> None:
        self._command = ["kubectl", "get", "--raw", f"{path}?watch=true"]
        self._seen: queue.Queue[tuple[float, Object]] = queue.Queue()
        self._process: subprocess.Popen[str] | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    @classmethod
    @contextmanager
    def collection(cls, path: str) -> Iterator[Self]:
        """Watch at this path of the API server, such as /apis/apps/v1/namespaces/bench/deployments."""
        watching = cls(path)
        try:
            yield watching
        finally:
            watching.close()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        if self._process:
            self._process.kill()

    def until(self, name: str, holds: Callable[[Object], Any], seconds: float = 60.0) -> float:
        """Return the monotonic time at which the object of this name came in a form for which `holds` is true.

        Raises queue.Empty if nothing comes for `seconds`.
        """
        return self.until_all([name], holds, seconds)[name]

    def until_all(
        self, names: Collection[str], holds: Callable[[Object], Any], seconds: float = 60.0
    ) -> dict[str, float]:
        """Return for each of these objects the monotonic time at which `holds` was true of it first.

        Raises queue.Empty if nothing comes for `seconds`.
        """
        missing, times = set(names), dict[str, float]()
        while missing:
            at, item = self._seen.get(timeout=seconds)
            name = item["metadata"]["name"]
            if name in missing and holds(item):
                missing.remove(name)
                times[name] = at
        return times

    def _read(self) -> None:
        """Watch until `close`: the API server ends a watch that is read too slowly, as one of 3,000 pools may be."""
        while not self._closed.is_set():
            with subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True) as process:
                self._process = process
                if self._closed.is_set():
                    process.kill()
                assert process.stdout is not None
                for line in process.stdout:
                    if line.endswith("\n"):  # the last line breaks off when the process is killed
                        self._seen.put((time.monotonic(), json.loads(line)["object"]))
