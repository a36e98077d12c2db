"""Makes the built-in executors that the settings declare."""

from typing import TYPE_CHECKING

from tubeherd.builtin.command import Command
from tubeherd.executors import Executor, ExecutorError
from tubeherd.settings import WorkerSettings

if TYPE_CHECKING:
    from tubeherd.builtin.http import Endpoint


def executors_of(settings: WorkerSettings) -> dict[str, Executor]:
    """Return the executors by their tubes; raises ExecutorError if one cannot work here."""
    delay = settings.reschedule_delay
    made = {tube: _executor(tube, Command(tube, command, delay)) for tube, command in settings.command.items()}
    return made | (_endpoints(settings) if settings.http else {})


def _endpoints(settings: WorkerSettings) -> dict[str, Executor]:
    try:
        from tubeherd.builtin.http import Client, Endpoint  # loaded only where it is used: it takes memory
    except ImportError as error:
        if not (error.name or "").startswith("httpcore"):
            raise
        raise ExecutorError("--http needs a client that is not installed: pip install 'tubeherd[http]'") from error
    client = Client(settings.http_ca)
    return {
        tube: _executor(tube, Endpoint(url, client, settings.reschedule_delay)) for tube, url in settings.http.items()
    }


def _executor(tube: str, does: "Command | Endpoint") -> Executor:
    return Executor(tube, does.run, adapter=None, takes_job=True, place=does.place)
