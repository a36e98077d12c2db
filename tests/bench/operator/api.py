"""A bare client of the API server, by which the bench makes many objects quickly."""

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import urllib3
from kubernetes import client, config

from tests.bench.operator.watching import Object

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_THREADS: Final = 8
Item = TypeVar("Item")
Result = TypeVar("Result")


class ApiServer:
    """Connections to the API server of the present kubeconfig, as its administrator; safe to use from threads."""

    def __init__(self) -> None:
        settings = client.Configuration()
        config.load_kube_config(os.environ["KUBECONFIG"], client_configuration=settings)
        self._url = settings.host
        self._headers = {"Authorization": str(settings.get_api_key_with_prefix("BearerToken"))}
        self._pool = urllib3.PoolManager(ca_certs=settings.ssl_ca_cert, maxsize=_THREADS, retries=False)

    def __call__(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Object:
        """Send a request and return the answer; raises RuntimeError if it is refused."""
        data = None if body is None else json.dumps(body)
        headers = self._headers | {"Content-Type": content_type}
        response = self._pool.request(method, self._url + path, body=data, headers=headers, timeout=60)
        if not 200 <= response.status <= 299:
            raise RuntimeError(f"{method} {path}: {response.status} {response.data.decode()}")
        answer: Object = json.loads(response.data)
        return answer


def parallel(do: Callable[[Item], Result], items: Iterable[Item], threads: int = _THREADS) -> list[Result]:
    """Call a function with each item, in several threads; what was not begun is left out after a failure."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(do, items))
