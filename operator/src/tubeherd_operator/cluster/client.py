"""The one module that calls the API server. Objects are plain dicts, as in YAML."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import kubernetes
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tubeherd.pool import GROUP, PLURAL, VERSION
from tubeherd_operator.objects import FIELD_MANAGER, Object

REPLICAS_MANAGER: Final = f"{FIELD_MANAGER}-replicas"
"""The second name, under which the operator owns the replicas that a pool no longer declares."""
_SECONDS: Final = 20


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


class Cluster:
    """A connection to the API server; safe to use from several threads."""

    def __init__(self) -> None:
        """Use the pod's service account, or the kubeconfig of whoever runs the operator by hand."""
        kubernetes.config.load_config()
        self._api = kubernetes.client.ApiClient()

    def pool(self, namespace: str, name: str) -> Object | None:
        """Return a WorkerPool, or None if there is none."""
        return self._get(_pool_path(namespace, name))

    def pools(self) -> list[Object]:
        """Return every WorkerPool of the cluster; none if its CustomResourceDefinition does not exist."""
        found = self._get(f"/apis/{GROUP}/{VERSION}/{PLURAL}")
        items: list[Object] = found["items"] if found else []
        return items

    def deployment(self, namespace: str, name: str) -> Object | None:
        """Return a Deployment, or None if there is none."""
        return self._get(_deployment_path(namespace, name))

    def config_map(self, namespace: str, name: str) -> Object | None:
        """Return a ConfigMap, or None if there is none."""
        return self._get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Return the pods that a label selector picks."""
        return self._select(f"/api/v1/namespaces/{namespace}/pods", selector)

    def replica_sets(self, namespace: str, selector: str) -> list[Object]:
        """Return the ReplicaSets that a label selector picks."""
        return self._select(f"/apis/apps/v1/namespaces/{namespace}/replicasets", selector)

    def apply_deployment(self, deployment: Object, manager: str = FIELD_MANAGER) -> Object:
        """Create or change a Deployment by server-side apply, and return it as it is now.

        What others set beside the fields of this manager stays.
        """
        metadata = deployment["metadata"]
        path = _deployment_path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": manager, "force": "true"}
        return self._request("PATCH", path, deployment, "application/apply-patch+yaml", query)

    def patch_deployment(self, namespace: str, name: str, patch: list[Object]) -> None:
        """Change a Deployment by a JSON patch that tests its resourceVersion; ClusterError 409 if it has another."""
        try:
            path = _deployment_path(namespace, name)
            self._request("PATCH", path, patch, "application/json-patch+json", _MANAGER)
        except ClusterError as error:
            raise ClusterError(409, str(error)) if error.status == 422 else error from error

    def write_status(self, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Merge into a pool's status; None removes a field."""
        path = f"{_pool_path(namespace, name)}/status"
        self._request("PATCH", path, {"status": status}, "application/merge-patch+json", _MANAGER)

    def remove_annotation(self, namespace: str, name: str, key: str, value: str) -> bool:
        """Remove a pool's annotation if it still has that value; return whether it was removed."""
        path = f"/metadata/annotations/{key.replace('~', '~0').replace('/', '~1')}"
        patch = [{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]
        try:
            self._request("PATCH", _pool_path(namespace, name), patch, "application/json-patch+json", _MANAGER)
        except ClusterError as error:
            if error.status in (404, 422):
                return False
            raise
        return True

    def write_event(self, event: Object) -> None:
        """Create an Event; if there is one of its name, count it once more."""
        events = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        path = f"{events}/{event['metadata']['name']}"
        try:
            self._request("POST", events, event)
        except ClusterError as error:
            if error.status != 409:
                raise
            count = int(self._request("GET", path).get("count") or 1)
            patch = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
            self._request("PATCH", path, patch, "application/merge-patch+json", _MANAGER)

    def _select(self, path: str, selector: str) -> list[Object]:
        items: list[Object] = self._request("GET", path, query={"labelSelector": selector})["items"]
        return items

    def _get(self, path: str) -> Object | None:
        try:
            return self._request("GET", path)
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
    ) -> Object:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        resource = f"{path}?{urlencode(query)}" if query else path
        try:
            call = self._api.param_serialize(
                method, resource, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = self._api.call_api(*call, _request_timeout=_SECONDS)
            data = response.read()
        except ApiException as error:
            raise ClusterError(int(error.status or 0), _reason(error.body, str(error.reason))) from error
        except (HTTPError, OSError) as error:
            raise ClusterError(0, f"the API server cannot be reached: {type(error).__name__}") from error
        if not 200 <= response.status <= 299:
            raise ClusterError(response.status, _reason(data, f"HTTP status {response.status}"))
        found: Object = json.loads(data)
        return found


_MANAGER: Final = {"fieldManager": FIELD_MANAGER}


def _deployment_path(namespace: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


def _pool_path(namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}"


def _reason(body: Any, otherwise: str) -> str:
    """Return the message of the API server's answer, which names what was refused and why."""
    try:
        return str(json.loads(body)["message"])
    except (TypeError, ValueError, KeyError):
        return otherwise
