#!/usr/bin/env python3
"""The whole story on a real cluster: 200 mails fail while their server is down, are buried, kicked and delivered.

`demo.py up` tells it, from the start each time; `demo.py down` removes all that it made. KUBE=current uses the cluster
of your kubectl; it must be able to pull the images tagged `dev` then: IMAGE_PREFIX=registry.example.com/team/ names
where you pushed them.
"""

import json
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NODE = (sys.executable, "tests/cluster/node/node.py")
NAMESPACE = "tubeherd-demo"
KUBECTL = ("kubectl", "-n", NAMESPACE)
HELM = ("helm", "-n", NAMESPACE)
MAILS = 200
CRD = "workerpools.tubeherd.io"
CRD_OWNER = "jsonpath={.metadata.annotations.meta\\.helm\\.sh/release-namespace}"
KUBE = os.environ.get("KUBE", "")
OWN_NODE = KUBE != "current"
PREFIX = "localhost/" if OWN_NODE else os.environ.get("IMAGE_PREFIX", "")
IMAGES = {
    "tubeherd-worker": ("Dockerfile.worker", "."),
    "tubeherd-operator": ("Dockerfile.operator", "."),
    "tubeherd-beanstalkd": ("Dockerfile.beanstalkd", "."),
    "tubeherd-smtp-sink": ("examples/mail/sink/Dockerfile", "examples/mail/sink"),
}
_STARTED = time.monotonic()


class DemoError(Exception):
    """The story cannot go on; the message says why and what to do."""


def up() -> None:
    """Set the stage and tell the story; raises DemoError if it goes another way."""
    if OWN_NODE:
        _boot()
    else:
        show("kubectl", "config", "current-context")
    _refuse_second_operator()
    _uninstall()
    try:
        _install()
        _tell()
    except DemoError:
        show(*KUBECTL, "get", "pods")
        raise
    here = f'eval "$({typed(NODE)} env)"; ' if OWN_NODE else ""
    print(f"\nLook around: {here}kubectl -n {NAMESPACE} get workerpools,pods\nRemove it:   make demo-down")


def down() -> None:
    """Remove all that the story made: the release, its namespace, the CRD and, unless KUBE=current, the node."""
    if OWN_NODE:
        show(*NODE, "down")
        return
    _uninstall()
    if ask("get", "crd", CRD, "--ignore-not-found", "-o", CRD_OWNER) != NAMESPACE:
        return
    if pools := ask("get", "workerpools", "--all-namespaces", "-o", "name"):
        print(
            f"the CustomResourceDefinition {CRD} stays: there are {len(pools.splitlines())} pools in other namespaces"
        )
    else:
        show("kubectl", "delete", "crd", CRD)


# The story


def _tell() -> None:
    mails = _make_mails()
    chapter(f"{MAILS} mails are queued while the mail server is down")
    show(*KUBECTL, "get", "deployment", "smtp-sink")
    lines = [json.dumps(mail, ensure_ascii=False) for mail in mails]
    print(f"  mails.jsonl has {len(lines)} lines like {lines[0]}")
    said = show(*KUBECTL, "exec", "-i", "deploy/mail", "--", "tubeherd", "schedule", "mail", stdin="\n".join(lines))
    queued = int(said.partition(" jobs put")[0].rpartition("\n")[2])
    chapter("each mail fails twice, 2 s apart, and is buried")
    wait_for(f"{MAILS} jobs are buried", lambda: pool("buried") == MAILS, 120, lambda: f"{pool('buried')} buried")
    buried = pool("buried")
    wait_for("the pool says of each why", lambda: explained() == MAILS, 60, lambda: f"of {explained()} it says why")
    show(*KUBECTL, "get", "workerpool", "mail", "-o", "wide")
    show(*KUBECTL, "describe", "workerpool", "mail")
    show(*KUBECTL, "logs", "deployment/mail", "--tail=1")
    chapter("the mail server comes up, and one command puts the jobs back")
    show(*KUBECTL, "scale", "deployment/smtp-sink", "--replicas=1")
    show(*KUBECTL, "rollout", "status", "deployment/smtp-sink", "--timeout=60s")
    wait_for("the workers can reach it", sink_is_reached, 60)
    show(*KUBECTL, "annotate", "workerpool", "mail", "kick=all")
    wait_for("nothing is buried any more", lambda: pool("buried") == 0 and "lastKick" in pool_object()["status"], 60)
    kicked = int(pool_object()["status"]["lastKick"]["kicked"])
    wait_for("every mail has arrived", lambda: len(received()) >= MAILS, 60, lambda: f"{len(received())} arrived")
    wait_for("the pool has nothing left to do", idle, 60, lambda: "the counts follow within 30 s")
    show(*KUBECTL, "get", "workerpool", "mail")
    delivered = check_delivered(mails)
    chapter("summary")
    print(f"{queued} queued, {buried} buried, {kicked} kicked, {delivered} delivered", flush=True)
    if (queued, buried, kicked, delivered) != (MAILS,) * 4:
        raise DemoError(f"each of these should be {MAILS}")


# The stage


def _boot() -> None:
    chapter("a Kubernetes node with the images (make node images)")
    show(*NODE, "up")
    for name, (dockerfile, context) in IMAGES.items():
        show(*NODE, "image", f"{PREFIX}{name}:dev", dockerfile, context)
    _use_node()


def _use_node() -> None:
    for line in run([*NODE, "env"]).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.strip('"'))


def _refuse_second_operator() -> None:
    """Raise DemoError if another release runs already: two operators would both act on the pool."""
    label = "app.kubernetes.io/name=tubeherd,app.kubernetes.io/component=operator"
    where = "jsonpath={.items[*].metadata.namespace}"
    others = set(ask("get", "deployments", "--all-namespaces", "-l", label, "-o", where).split()) - {NAMESPACE}
    if others:
        raise DemoError(f"Tubeherd runs already in namespace {', '.join(sorted(others))}: helm uninstall it first")


def _install() -> None:
    chapter("Tubeherd is installed with helm, the pool with kubectl")
    values = {
        "imageRegistry": PREFIX.rstrip("/"),
        **{f"{part}.image.tag": "dev" for part in ("worker", "operator", "beanstalkd")},
        "beanstalkd.enabled": "true",
    }
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    # The CRD outlives the release that brought it, such as that of the cluster tests, and kubectl may have applied it.
    force = ["--force-conflicts"] if "--force-conflicts" in run(["helm", "install", "--help"]) else []  # since Helm 4
    owned = ["--create-namespace", "--take-ownership", *force]
    command = [*HELM, "install", "tubeherd", "charts/tubeherd", *owned, *settings]
    show(*command, "--hide-notes", "--wait", "--timeout", "180s")
    sink = Path("examples/mail/sink.yaml").read_text().replace("localhost/", PREFIX)
    show(*KUBECTL, "apply", "-f", "-", stdin=sink, shown=f"kubectl -n {NAMESPACE} apply -f examples/mail/sink.yaml")
    show(*KUBECTL, "apply", "-f", "examples/mail/workerpool.yaml")
    show(*KUBECTL, "wait", "workerpool/mail", "--for=condition=Ready", "--timeout=120s")


def _uninstall() -> None:
    """Remove what an earlier run has left; the release before its namespace, which holds helm's record of it."""
    if ask("get", "namespace", NAMESPACE, "--ignore-not-found"):
        chapter("what the demo made is removed")
        show(*HELM, "uninstall", "tubeherd", "--ignore-not-found")
        show("kubectl", "delete", "namespace", NAMESPACE)


# What is counted


def _make_mails() -> list[dict[str, str]]:
    run_id = uuid.uuid4().hex[:8]
    return [
        {
            "to": f"customer-{number}@example.com",
            "subject": f"Order {run_id}-{number}",
            "text": f"Grüße! Your order {number} is on its way.\nTracking: {uuid.uuid4()}",
        }
        for number in range(MAILS)
    ]


def pool_object() -> dict[str, Any]:
    """Return the WorkerPool as it is."""
    found: dict[str, Any] = json.loads(ask("get", "workerpool", "mail", "-o", "json"))
    return found


def pool(field: str) -> int:
    """Return a count of the pool's status."""
    return int(pool_object().get("status", {}).get(field, 0))


def explained() -> int:
    """Return of how many buried jobs the pool's status says why they are buried."""
    return sum(group["count"] for group in pool_object()["status"].get("burials", []))


def idle() -> bool:
    """Tell whether the pool shows that all its jobs are done; it refreshes these counts within 30 s."""
    status = pool_object()["status"]
    return not any(status[state] for state in ("ready", "reserved", "delayed"))


def sink_is_reached() -> bool:
    """Tell whether the mail server's name leads to it, often enough to have asked each of the cluster's DNS servers."""
    reach = "import socket\nfor _ in range(20): socket.create_connection(('smtp-sink', 8025), 2).close()"
    command = [*KUBECTL, "exec", "deploy/mail", "--", "python", "-c", reach]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def received() -> list[dict[str, str]]:
    """Return the mails that the server has stored."""
    output = ask("exec", "deploy/smtp-sink", "--", "/opt/sink/bin/python", "/sink/received.py")
    return [json.loads(line) for line in output.splitlines()]


def check_delivered(mails: Sequence[dict[str, str]]) -> int:
    """Return how many mails arrived; raises DemoError unless each did once, exactly as it was queued."""
    arrived = Counter(json.dumps(mail, sort_keys=True) for mail in received())
    expected = Counter(json.dumps(mail, sort_keys=True) for mail in mails)
    twice = sum(count > 1 for count in arrived.values())
    strange, missing = len(arrived.keys() - expected.keys()), len(expected.keys() - arrived.keys())
    if twice or strange or missing:
        raise DemoError(f"{twice} mails arrived more than once, {strange} not as queued, {missing} not at all")
    return arrived.total()


# The screen


def chapter(title: str) -> None:
    """Print a heading with the time since the start."""
    print(f"\n== {title} [{time.monotonic() - _STARTED:.0f} s]", flush=True)


def typed(command: Sequence[str]) -> str:
    """Return a command as a user would type it."""
    return shlex.join(command).replace(sys.executable, Path(sys.executable).name)


def show(*command: str, stdin: str | None = None, shown: str = "") -> str:
    """Print a command as a user would type it, run it and print its output; raises DemoError if it fails."""
    text = shown or typed(command)
    print(f"$ {text}{' < mails.jsonl' if stdin and not shown else ''}", flush=True)
    lines = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - piped
        assert process.stdout is not None  # noqa: S101 - piped
        process.stdin.write(stdin or "")
        process.stdin.close()
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise DemoError(f"`{text}` failed with exit code {process.returncode}")
    return "".join(lines)


def ask(*arguments: str) -> str:
    """Run kubectl in the demo's namespace without showing it."""
    return run([*KUBECTL, *arguments])


def run(command: Sequence[str]) -> str:
    """Run a command and return its output; raises DemoError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip()


def wait_for(what: str, holds: Callable[[], bool], seconds: float, progress: Callable[[], str] | None = None) -> None:
    """Wait until something holds, and say how it goes; raises DemoError after the limit."""
    deadline = time.monotonic() + seconds
    said, when = "", 0.0
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(f"not within {seconds:.0f} s: {what}; look with kubectl -n {NAMESPACE} get pods,wp")
        if progress and time.monotonic() >= when + 2 and (text := progress()) != said:
            said, when = text, time.monotonic()
            print(f"  ... {text}", flush=True)
        time.sleep(0.5)
    print(f"  {what}", flush=True)


def main() -> None:
    """Run `up` or `down`."""
    story = {"up": up, "down": down}.get(sys.argv[1] if len(sys.argv) > 1 else "up")
    if story is None or KUBE not in ("", "current"):
        sys.exit("usage: [KUBE=current [IMAGE_PREFIX=registry.example.com/team/]] demo.py [up|down]")
    os.chdir(ROOT)
    try:
        story()
    except DemoError as error:
        sys.exit(f"\nerror: {error}")
    except FileNotFoundError as error:
        sys.exit(f"\nerror: {error.filename} is not installed")
    except KeyboardInterrupt:
        sys.exit("\nstopped: make demo begins again, make demo-down removes what is there")


if __name__ == "__main__":
    main()
