"""When the process of an operator ends by itself: here one that is started in full, without an API server."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from tests.support.network import free_port

NOWHERE: Final = {
    "current-context": "it",
    "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}],
    "users": [{"name": "me", "user": {}}],
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """Return a kubeconfig in whose place nobody listens."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(NOWHERE))
    return path


def test_operator_ends_if_one_of_its_threads_does(kubeconfig):
    # A thread without which pools are no longer counted, but which no probe knows of.
    code = """
        from tubeherd_operator import main
        from tubeherd_operator.queues.poller import Poller
        from tubeherd_operator.cluster.watches import Watches
        Poller._give_counts = lambda *_: {}["counts"]
        Watches._fill_again_and_again = lambda *_: Poller("127.0.0.1:9", 0.05, print)
        main.main()
    """
    environment = {
        "KUBECONFIG": str(kubeconfig),
        "TUBEHERD_OPERATOR_DEFAULT_IMAGE": "worker:1",
        "TUBEHERD_OPERATOR_HEALTH": f"127.0.0.1:{free_port()}",
    }
    command = [sys.executable, "-c", dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    line = json.loads(ended.stderr.splitlines()[-1])
    assert ended.returncode == 1
    assert line["event"] == (
        "the thread poller 127.0.0.1:9 has ended by an error; this operator ends and is started again"
    )
    assert line["trace"].endswith("KeyError: 'counts'\n")
