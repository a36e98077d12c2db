"""A mutating admission webhook that the API server of the home-built node calls."""

import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.kubernetes import Kubectl, Namespace, Object, eventually

Change = Callable[[Object, str], list[Object]]
"""Returns the JSON patch for a Deployment that somebody wants to write; `str` is the name of the field manager."""


@contextmanager
def webhook(kubectl: Kubectl, namespace: Namespace, address: str, folder: Path, change: Change) -> Iterator[list[str]]:
    """Have each Deployment of a namespace changed as it is written, and yield the names of those, one a request."""
    certificate, key = folder / "webhook.crt", folder / "webhook.key"
    subject = ["-subj", "/CN=webhook", "-addext", f"subjectAltName=IP:{address}"]
    request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *map(str, request), *subject], check=True, capture_output=True)
    calls: list[str] = []
    server = ThreadingHTTPServer((address, 0), _handler(change, calls))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    name = f"{namespace.name}-webhook"
    url = f"https://{address}:{server.server_port}/"
    try:
        kubectl("create", "-f", "-", stdin=_configuration(name, namespace.name, url, certificate.read_bytes()))
        _wait_until_it_is_called(namespace, calls)
        calls.clear()
        yield calls
    finally:
        kubectl("delete", "mutatingwebhookconfiguration", name, "--ignore-not-found")
        server.shutdown()
        thread.join()
        server.server_close()


def _wait_until_it_is_called(namespace: Namespace, calls: list[str]) -> None:
    """Write a Deployment again and again, because the API server takes a moment to know the webhook."""
    probe = ["create", "deployment", "probe", "--image=localhost/none:1", "--dry-run=server"]
    eventually(lambda: namespace.kubectl(*probe) and "probe" in calls, "the webhook is called", 30)


def _configuration(name: str, namespace: str, url: str, certificate: bytes) -> Object:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    hook = {
        "name": "change.tubeherd.test",
        "clientConfig": {"url": url, "caBundle": base64.b64encode(certificate).decode()},
        "rules": [rule | {"resources": ["deployments"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 10,
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }


def _handler(change: Change, calls: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            calls.append(request["name"])
            patch = change(request["object"], request["options"].get("fieldManager", ""))
            answer: Object = {"uid": request["uid"], "allowed": True}
            if patch:
                answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
            body = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: Any) -> None:
            """Log nothing."""

    return Handler
