"""When the process of an operator ends by itself: here one that is started in full, without an API server."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Final

import psutil
import pytest

from tests.support.network import free_port
from tests.support.waiting import wait_for

NOWHERE: Final = {
    "current-context": "it",
    "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}],
    "contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}],
    "users": [{"name": "me", "user": {}}],
}
DOCKERFILE: Final = Path(__file__).parents[3] / "Dockerfile.operator"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an operator's environment, with a kubeconfig in whose place nobody listens."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(NOWHERE))
    return {
        "PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin",
        "KUBECONFIG": str(path),
        "TUBEHERD_OPERATOR_DEFAULT_IMAGE": "worker:1",
        "TUBEHERD_OPERATOR_HEALTH": f"127.0.0.1:{free_port()}",
    }


def test_operator_ends_if_one_of_its_threads_does(environment):
    # A thread without which pools are no longer counted, but which no probe knows of.
    code = """
        from tubeherd_operator import main
        from tubeherd_operator.queues.poller import Poller
        from tubeherd_operator.cluster.watches import Watches
        Poller._give_counts = lambda *_: {}["counts"]
        Watches._fill_again_and_again = lambda *_: Poller("127.0.0.1:9", 0.05, print)
        main.main()
    """
    command = [sys.executable, "-c", dedent(code)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    line = json.loads(ended.stderr.splitlines()[-1])
    assert ended.returncode == 1
    assert line["event"] == (
        "the thread poller 127.0.0.1:9 has ended by an error; this operator ends and is started again"
    )
    assert line["trace"].endswith("KeyError: 'counts'\n")


def test_sigterm_before_the_operator_listens_is_heard_where_it_is_process_1(environment):
    """With the entry point of the image; the kernel drops signals that process 1 has no handler for."""
    (entry_point,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*container, *json.loads(entry_point)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as started:
        try:
            outside = psutil.Process(started.pid)
            (process_1,) = wait_for(lambda: [*filter(_runs_python, outside.children())], "the operator's own program")
            process_1.send_signal(signal.SIGTERM)
            _, written = started.communicate(timeout=30)
        finally:
            started.kill()
    assert started.returncode == 0
    assert json.loads(written.splitlines()[-1])["event"] == "stopped by a signal"


def _runs_python(process: psutil.Process) -> bool:
    return process.cmdline()[:1] == [sys.executable]
