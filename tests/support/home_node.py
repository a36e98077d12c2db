"""Boots the home-built node, and gives it images built from this work tree."""

import os
import subprocess
import sys
from typing import Final

from tests.support.project import ROOT

NODE: Final = ROOT / "tests" / "cluster" / "node" / "node.py"


def boot() -> None:
    """Start the node unless it runs, and set KUBECONFIG and PATH for it."""
    subprocess.run([sys.executable, NODE, "up"], check=True)
    lines = subprocess.run([sys.executable, NODE, "env"], check=True, capture_output=True, text=True).stdout
    for line in lines.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.strip('"'))


def build(part: str) -> str:
    """Build the image of a Dockerfile, such as `worker` for Dockerfile.worker, and return its name on the node."""
    tag = f"localhost/tubeherd-{part}:dev"
    subprocess.run([sys.executable, NODE, "image", tag, ROOT / f"Dockerfile.{part}", ROOT], check=True)
    return tag
