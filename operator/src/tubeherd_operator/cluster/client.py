"""The one module that calls the API server. Objects are plain dicts, as in YAML."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tubeherd_operator.cluster.kinds import BUDGETS, DEPLOYMENTS, PODS, POOLS, Kind
from tubeherd_operator.counted import PassFailure
from tubeherd_operator.objects import FIELD_MANAGER, Object

REPLICAS_MANAGER: Final = f"{FIELD_MANAGER}-replicas"
"""The second name, under which the operator owns the replicas that a pool no longer declares."""
_SECONDS: Final = 20
_OTHER_CONNECTIONS: Final = 3
"""The connections beside those of passes: for listings, Events, and to ask whether there are WorkerPools."""
_UNREACHABLE: Final = (HTTPError, OSError, kubernetes.config.ConfigException)
"""What is raised if a request is not answered; the last if no token can be read."""
_EVENTS_MOST: Final = 10_000
_PAGE: Final = 200
"""So many objects are listed by one request."""
_LEASE_SECONDS: Final = 2.0
"""How long a request for a Lease may take: a leader has to renew it within six seconds."""


class ClusterError(Exception):
    """The API server refused a request, or cannot be reached; `status` is its HTTP status, or 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_refusal(self) -> bool:
        """Whether the object that was sent is at fault, so that it would be refused again."""
        # A field that its schema does not have is answered with 500.
        return self.status in (400, 403, 422, 500)

    @property
    def kind(self) -> PassFailure:
        """Why a pass failed because of this."""
        if self.status == 0:
            return "unreachable"
        if self.is_refusal:
            return "refused"
        return "conflict" if self.status == 409 else "overloaded" if self.status in (429, 503) else "answer"


class Conflict(ClusterError):
    """Somebody else has changed the object since it was read, so a change that depends on it was not made."""


class _Api(NamedTuple):
    """A way to send requests."""

    client: kubernetes.client.ApiClient
    seconds: float
    """How long one may take."""


class Cluster:
    """A connection to the API server; safe to use from several threads."""

    def __init__(
        self,
        written: Callable[[Kind, Object], None],
        asked: Callable[[str, str, int], None] = lambda *_: None,
        threads: int = 1,
    ) -> None:
        """Use the pod's service account, or the kubeconfig of whoever runs the operator by hand.

        `written` is called with each object that was changed, as it is then. `asked` is called after each request with
        its verb, what it was about, and the status of HTTP, which is 0 if there was no answer. So many `threads` run
        passes.
        """
        configuration = _configuration()
        configuration.connection_pool_maxsize = threads + _OTHER_CONNECTIONS  # for others each request would connect
        self._api = _Api(kubernetes.client.ApiClient(configuration), _SECONDS)
        hurried = _configuration()
        hurried.retries = False  # otherwise urllib3 sends a request up to four times, and each may take its whole time
        self._lease_api = _Api(kubernetes.client.ApiClient(hurried), _LEASE_SECONDS)
        self._written = written
        self._asked = asked
        self._events: dict[str, int] = {}
        """By path: how often this process knows an Event to have happened."""

    def serves(self, kind: Kind) -> bool:
        """Return whether the API server has such objects at present: its CustomResourceDefinition may be missing."""
        found = self._get(f"/apis/{kind.group}/{kind.version}") or {}
        return any(resource["name"] == kind.plural for resource in found.get("resources", []))

    def objects(self, kind: Kind, namespace: str = "") -> Iterator[Object]:
        """Yield the objects of a kind in a namespace, or in all; none if its CustomResourceDefinition does not exist.

        They are listed as they are at one moment, page by page: all at once take several times as much memory as what
        is kept of them. Raises ClusterError, with the status 410 if they were taken so slowly that the API server has
        forgotten how they were at that moment.
        """
        query = {"labelSelector": kind.selector, "limit": str(_PAGE)}
        page = self._get(kind.path(namespace), query=query)
        while page:
            # Unlike the answer for a single object, a list names kind and version only once for all.
            both = {"apiVersion": page["apiVersion"], "kind": page["kind"].removesuffix("List")}
            for item in page["items"]:
                yield both | item
            token = page["metadata"].get("continue")
            page = token and self._request("GET", kind.path(namespace), query=query | {"continue": token})

    def pool(self, namespace: str, name: str) -> Object | None:
        """Return a WorkerPool, or None if there is none."""
        return self._get(POOLS.path(namespace, name))

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, whatever its labels, or None if there is none."""
        return self._get(DEPLOYMENTS.path(namespace, name))

    def config_map(self, namespace: str, name: str) -> Object | None:
        """Return a ConfigMap, or None if there is none."""
        return self._get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def apply_deployment(self, deployment: Object, manager: str = FIELD_MANAGER) -> Object:
        """Create or change a Deployment by server-side apply, and return it as it is now.

        What others set beside the fields of this manager stays.
        """
        return self._apply(DEPLOYMENTS, deployment, manager)

    def patch_deployment(self, namespace: str, name: str, patch: list[Object]) -> None:
        """Change a Deployment by a JSON patch that tests its resourceVersion; raises Conflict if it has another."""
        try:
            path = DEPLOYMENTS.path(namespace, name)
            changed = self._request("PATCH", path, patch, "application/json-patch+json", _MANAGER)
        except ClusterError as error:
            raise Conflict(409, str(error)) if error.status == 422 else error from error
        self._written(DEPLOYMENTS, changed)

    def apply_budget(self, budget: Object) -> Object:
        """Create or change a PodDisruptionBudget by server-side apply, and return it as it is now."""
        return self._apply(BUDGETS, budget, FIELD_MANAGER)

    def delete_budget(self, budget: Object) -> None:
        """Delete this very version of a PodDisruptionBudget, if it is there; raises Conflict if there is another."""
        metadata = budget["metadata"]
        same = {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}
        try:
            self._request("DELETE", BUDGETS.path(metadata["namespace"], metadata["name"]), same)
        except ClusterError as error:
            if error.status != 404:
                raise

    def write_status(self, namespace: str, name: str, status: Mapping[str, Any], version: str | None = None) -> Object:
        """Merge into a pool's status, and return the pool as it is now; None removes a field.

        Raises Conflict if a `version` is given, and the pool's resourceVersion is another one.
        """
        path = f"{POOLS.path(namespace, name)}/status"
        patch: Object = {"status": status} | ({"metadata": {"resourceVersion": version}} if version else {})
        return self._patch_pool(path, patch)

    def remove_annotation(self, namespace: str, name: str, key: str, version: str) -> bool:
        """Remove a pool's annotation; return whether the pool was there and still had that resourceVersion."""
        patch = {"metadata": {"resourceVersion": version, "annotations": {key: None}}}
        try:
            self._patch_pool(POOLS.path(namespace, name), patch)
        except ClusterError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    def annotate_pod(self, namespace: str, name: str, key: str, value: str | None) -> None:
        """Set an annotation of a pod, if the pod is still there; None removes it."""
        patch = {"metadata": {"annotations": {key: value}}}
        try:
            self._request("PATCH", PODS.path(namespace, name), patch, "application/merge-patch+json", _MANAGER)
        except ClusterError as error:
            if error.status != 404:
                raise

    def lease(self, namespace: str, name: str) -> Object | None:
        """Return a Lease, or None if there is none."""
        return self._get(_lease_path(namespace, name), api=self._lease_api)

    def write_lease(self, lease: Object) -> Object:
        """Create a Lease that has no version, or change the version that is given; return it.

        Raises ClusterError 409 if there is another version by now.
        """
        metadata = lease["metadata"]
        if "resourceVersion" not in metadata:
            return self._request("POST", _lease_path(metadata["namespace"]), lease, api=self._lease_api)
        path = _lease_path(metadata["namespace"], metadata["name"])
        return self._request("PUT", path, lease, api=self._lease_api)

    def write_event(self, event: Object) -> None:
        """Create an Event; if there is one of its name, count it once more."""
        events = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        path = f"{events}/{event['metadata']['name']}"
        count = self._events.pop(path, 0)
        if not count or not self._count_event(path, count + 1, event):
            try:
                self._request("POST", events, event)
                count = 0
            except ClusterError as error:
                if error.status != 409:
                    raise
                count = int((self._get(path) or {}).get("count") or 1)
                self._count_event(path, count + 1, event)
        if len(self._events) >= _EVENTS_MOST:
            self._events.clear()
        self._events[path] = count + 1

    def _count_event(self, path: str, count: int, event: Object) -> bool:
        """Return whether the Event was there."""
        patch = {"count": count, "lastTimestamp": event["lastTimestamp"]}
        try:
            self._request("PATCH", path, patch, "application/merge-patch+json", _MANAGER)
        except ClusterError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _apply(self, kind: Kind, thing: Object, manager: str) -> Object:
        path = kind.path(thing["metadata"]["namespace"], thing["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        applied = self._request("PATCH", path, thing, "application/apply-patch+yaml", query)
        self._written(kind, applied)
        return applied

    def _patch_pool(self, path: str, patch: Object) -> Object:
        changed = self._request("PATCH", path, patch, "application/merge-patch+json", _MANAGER)
        self._written(POOLS, changed)
        return changed

    def _get(self, path: str, query: Mapping[str, str] | None = None, api: _Api | None = None) -> Object | None:
        try:
            return self._request("GET", path, query=query, api=api)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        api: _Api | None = None,
    ) -> Object:
        client, seconds = api or self._api
        headers, status = {"Accept": "application/json", "Content-Type": content_type}, 0
        resource = f"{path}?{urlencode(query)}" if query else path
        try:
            call = client.param_serialize(
                method, resource, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = client.call_api(*call, _request_timeout=seconds)
            data, status = response.read(), response.status
        except ApiException as error:
            status = int(error.status or 0)
            raise _error(status, _reason(error.body, str(error.reason))) from error
        except _UNREACHABLE as error:
            raise ClusterError(0, f"the API server cannot be reached: {type(error).__name__}") from error
        finally:
            self._asked(*_request_in_words(method, path), status)
        if not 200 <= status <= 299:
            raise _error(status, _reason(data, f"HTTP status {status}"))
        try:
            found: Object = json.loads(data)
        except ValueError as error:
            raise ClusterError(status, "the answer is not that of an API server: it is no JSON") from error
        return found


_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _request_in_words(method: str, path: str) -> tuple[str, str]:
    """Return verb and resource of a request, as the rules of a ClusterRole name them."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join([*parts[:1], *parts[2:]]) or "apis"
    return _VERBS.get(method) or ("get" if len(parts) != 1 else "list"), resource


_MANAGER: Final = {"fieldManager": FIELD_MANAGER}


def _configuration() -> kubernetes.client.Configuration:
    """Return where the API server is; `kubernetes.config.load_config` would print a line that is no line of our log."""
    configuration = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_incluster_config(configuration)
    except kubernetes.config.ConfigException:
        kubernetes.config.load_kube_config(client_configuration=configuration)
    return configuration


def _error(status: int, message: str) -> ClusterError:
    return Conflict(status, message) if status == 409 else ClusterError(status, message)


def _lease_path(namespace: str, name: str = "") -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases" + (f"/{name}" if name else "")


def _reason(body: Any, otherwise: str) -> str:
    """Return the message of the API server's answer, which names what was refused and why."""
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return otherwise
