"""The command `tubeherd`, as a user types it, in a pipe."""

import json
import os
import subprocess
import sys
from typing import Any, Final

COMMAND: Final = (sys.executable, "-m", "tubeherd")


def tubeherd(*arguments: str, stdin: bytes = b"", **env: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command to its end, with these variables besides those of the test."""
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, env=os.environ | env, check=False)


def start_tubeherd(*arguments: str) -> "subprocess.Popen[bytes]":
    """Start the command, with pipes for its output."""
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def as_json(done: "subprocess.CompletedProcess[bytes]") -> Any:
    """Return the JSON that a command has printed."""
    return json.loads(done.stdout)
