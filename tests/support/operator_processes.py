"""Kills an operator's process, or cuts its pod off the network, from the home-built node on which it runs."""

import os
import signal
import subprocess

import psutil


def process_of(pod: str) -> psutil.Process:
    """Return the operator's process in a pod, as the node sees it; raises LookupError if there is none."""
    for process in psutil.process_iter(["cmdline"]):
        is_operator = any("tubeherd-operator" in word for word in process.info["cmdline"] or ())
        if is_operator and process.environ().get("HOSTNAME") == pod:
            return process
    raise LookupError(f"no process of pod {pod}")


def kill(pod: str) -> None:
    """End the operator's process by SIGKILL."""
    os.kill(process_of(pod).pid, signal.SIGKILL)


def cut_off(pod: str) -> None:
    """Let nothing out of the pod's own network any more."""
    enter = ["nsenter", "--net", "--target", str(process_of(pod).pid)]
    subprocess.run([*enter, "iptables", "-A", "OUTPUT", "-j", "DROP"], check=True)


def give_back(pod: str) -> None:
    """End the operator's process as Kubernetes does."""
    os.kill(process_of(pod).pid, signal.SIGTERM)
