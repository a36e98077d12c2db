#!/usr/bin/env python3
"""The whole story on a real cluster: 200 mails fail while their server is down, are buried, kicked and delivered.

`demo.py up` tells it, `demo.py down` removes all that it made. KUBE=current uses the cluster of your kubectl; it must
be able to pull the images then: IMAGE_PREFIX=registry.example.com/team/ names where you pushed them.
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
NODE = ROOT / "tests" / "cluster" / "node" / "node.py"
NAMESPACE = "tubeherd-demo"
MAILS = 200
OWN_NODE = os.environ.get("KUBE") != "current"
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
    """Tell the story; raises DemoError where it goes another way."""
    if OWN_NODE:
        _boot()
    _install()
    mails = _make_mails()
    chapter(f"{MAILS} mails are queued while the mail server is down")
    show("kubectl", "scale", "deployment/smtp-sink", "--replicas=0")
    wait_for("the mail server is gone", lambda: not ask("get", "pods", "-l", "app=smtp-sink", "-o", "name"), 60)
    lines = "".join(json.dumps(mail) + "\n" for mail in mails)
    said = show("kubectl", "exec", "-i", "deploy/mail", "--", "tubeherd", "schedule", "mail", stdin=lines)
    queued = int(said.split()[0])
    chapter("each mail fails twice, 2 s apart, and is buried")
    wait_for(f"{MAILS} jobs are buried", lambda: pool("buried") == MAILS, 120, lambda: f"{pool('buried')} buried")
    buried = pool("buried")
    show("kubectl", "get", "workerpool", "mail")
    show("kubectl", "describe", "workerpool", "mail")
    chapter("the mail server comes up, and one command puts the jobs back")
    show("kubectl", "scale", "deployment/smtp-sink", "--replicas=1")
    show("kubectl", "rollout", "status", "deployment/smtp-sink", "--timeout=60s")
    show("kubectl", "annotate", "workerpool", "mail", "kick=all")
    wait_for("nothing is buried any more", lambda: pool("buried") == 0 and not kick_waits(), 60)
    kicked = int(pool_object()["status"]["lastKick"]["kicked"])
    wait_for("every mail has arrived", lambda: len(received()) >= MAILS, 60, lambda: f"{len(received())} arrived")
    show("kubectl", "get", "workerpool", "mail")
    delivered = check_delivered(mails)
    chapter("summary")
    print(f"{queued} queued, {buried} buried, {kicked} kicked, {delivered} delivered")
    if (queued, buried, kicked, delivered) != (MAILS,) * 4:
        raise DemoError(f"each of these should be {MAILS}")


def down() -> None:
    """Remove all that the story made: the release, its namespace, the CRD and, unless KUBE=current, the node."""
    if OWN_NODE:
        if subprocess.run([sys.executable, NODE, "status"], capture_output=True).returncode != 0:
            print("the node is not up: nothing of the demo runs")
            subprocess.run([sys.executable, NODE, "down"], check=True)
            return
        _use_node()
    _uninstall()
    if not ask("get", "workerpools", "--all-namespaces", "-o", "name", "--ignore-not-found", check=False):
        show("kubectl", "delete", "crd", "workerpools.tubeherd.io", "--ignore-not-found", namespaced=False)
    if OWN_NODE:
        show(sys.executable, str(NODE), "down")


# The stage


def _boot() -> None:
    chapter("a Kubernetes node with the images (make node images)")
    show(sys.executable, str(NODE), "up")
    for name, (dockerfile, context) in IMAGES.items():
        show(sys.executable, str(NODE), "image", f"{PREFIX}{name}:dev", str(ROOT / dockerfile), str(ROOT / context))
    _use_node()


def _use_node() -> None:
    for line in run([sys.executable, str(NODE), "env"]).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.strip('"'))


def _install() -> None:
    if _left_over():
        chapter("an earlier run was broken off: its jobs are removed")
        _uninstall()
    chapter("Tubeherd is installed with helm, the pool with kubectl")
    values = {
        "worker.image": f"{PREFIX}tubeherd-worker:dev",
        "operator.image": f"{PREFIX}tubeherd-operator:dev",
        "beanstalkd.image": f"{PREFIX}tubeherd-beanstalkd:dev",
        "beanstalkd.enabled": "true",
    }
    settings = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
    chart = str(ROOT / "charts" / "tubeherd")
    command = ["helm", "upgrade", "--install", "tubeherd", chart, "--create-namespace", "--take-ownership", *settings]
    show(*command, "--wait", "--timeout", "180s")
    sink = (ROOT / "examples/mail/sink.yaml").read_text().replace("localhost/", PREFIX)
    show("kubectl", "apply", "-f", "-", stdin=sink, shown="kubectl apply -f examples/mail/sink.yaml")
    show("kubectl", "apply", "-f", str(ROOT / "examples/mail/workerpool.yaml"))
    show("kubectl", "wait", "workerpool/mail", "--for=condition=Ready", "--timeout=120s")


def _left_over() -> bool:
    """Tell whether jobs of an earlier run are still in the tube."""
    if not ask("get", "workerpool", "mail", "-o", "name", "--ignore-not-found", check=False):
        return False
    status = pool_object().get("status", {})
    return any(status.get(state, 0) for state in ("ready", "reserved", "delayed", "buried"))


def _uninstall() -> None:
    show("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", namespaced=False)
    show("helm", "uninstall", "tubeherd", "--ignore-not-found")


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


def kick_waits() -> bool:
    """Tell whether the annotation is still there: it goes when the kick was done."""
    return "kick" in pool_object()["metadata"].get("annotations", {})


def received() -> list[dict[str, str]]:
    """Return the mails that the server has stored."""
    output = ask("exec", "deploy/smtp-sink", "--", "/opt/sink/bin/python", "/sink/received.py")
    return [json.loads(line) for line in output.splitlines()]


def check_delivered(mails: Sequence[dict[str, str]]) -> int:
    """Return how many mails arrived exactly once and exactly as they were queued."""
    arrived = Counter(json.dumps(mail, sort_keys=True) for mail in received())
    expected = Counter(json.dumps(mail, sort_keys=True) for mail in mails)
    if arrived != expected:
        twice = sum(count > 1 for count in arrived.values())
        strange, missing = len(arrived - expected), len(expected - arrived)
        print(f"{twice} mails arrived more than once, {strange} not as queued, {missing} not at all")
    return sum((arrived & expected).values())


# The screen


def chapter(title: str) -> None:
    """Print a heading with the time since the start."""
    print(f"\n== {title} [{time.monotonic() - _STARTED:.0f} s]", flush=True)


def show(*command: str, stdin: str | None = None, shown: str = "", namespaced: bool = True) -> str:
    """Print a command as a user would type it, run it and print its output; raises DemoError where it fails."""
    words = [*command]
    if namespaced and words[0] in ("kubectl", "helm"):
        words[1:1] = ["--namespace", NAMESPACE]
    text = shown or shlex.join([Path(word).name if word == sys.executable else word for word in command])
    print(f"$ {text.replace(str(ROOT) + '/', '')}{' < mails.jsonl' if stdin and not shown else ''}", flush=True)
    lines = []
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
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


def ask(*arguments: str, check: bool = True) -> str:
    """Run kubectl in the demo's namespace without showing it."""
    return run(["kubectl", "--namespace", NAMESPACE, *arguments], check=check)


def run(command: Sequence[str], check: bool = True) -> str:
    """Run a command and return its output; raises DemoError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise DemoError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout.strip() if done.returncode == 0 else ""


def wait_for(what: str, holds: Callable[[], bool], seconds: float, progress: Callable[[], str] | None = None) -> None:
    """Wait until something holds, and say how it goes; raises DemoError after the limit."""
    deadline = time.monotonic() + seconds
    said, when = "", 0.0
    while not holds():
        if time.monotonic() > deadline:
            raise DemoError(
                f"not within {seconds:.0f} s: {what}; look with kubectl --namespace {NAMESPACE} get pods,wp"
            )
        if progress and time.monotonic() >= when + 2 and (text := progress()) != said:
            said, when = text, time.monotonic()
            print(f"  ... {text}", flush=True)
        time.sleep(0.5)
    print(f"  {what}", flush=True)


def main() -> None:
    """Run `up` or `down`."""
    try:
        {"up": up, "down": down}[sys.argv[1] if len(sys.argv) > 1 else "up"]()
    except KeyError:
        sys.exit("usage: demo.py [up|down]")
    except DemoError as error:
        sys.exit(f"\nerror: {error}")


if __name__ == "__main__":
    main()
