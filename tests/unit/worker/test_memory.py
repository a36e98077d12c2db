"""How much memory a process and its descendants use, as the supervisor asks."""

import os
import subprocess
import sys

import pytest

from tubeherd.formats.memory_share import MIB, SMALLEST_SHARE, slot_share
from tubeherd.processes import descendants
from tubeherd.supervisor.memory import used_above


def test_use_is_told_only_above_the_bound():
    used = used_above(os.getpid(), 0)
    assert used > MIB
    assert used_above(os.getpid(), 1 << 40) is None


def test_process_that_ended_uses_nothing():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert used_above(pid, 0) is None


@pytest.mark.parametrize("concurrency", [1, 2, 8, 1000])
def test_smallest_limit_that_the_message_names_is_right_to_a_mebibyte(concurrency):
    with pytest.raises(
        ValueError, match=rf"^{concurrency} slots need a memory limit of at least \d+Mi, not 1Mi$"
    ) as raised:
        slot_share(MIB, concurrency)
    least = int(str(raised.value).split("least ")[1].split("Mi")[0])
    assert slot_share(least * MIB, concurrency).hard >= SMALLEST_SHARE
    with pytest.raises(ValueError, match="need a memory limit"):
        slot_share((least - 2) * MIB, concurrency)


CHILD = "import sys; taken = bytearray(b'x') * (40 << 20); print(flush=True); sys.stdin.read()"
PARENT = f"""
import subprocess, sys, threading
def start():
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=pipe, stdout=pipe, start_new_session=True)
    process.stdout.readline()
    ready.wait()
    threading.Event().wait()
ready = threading.Barrier(3)
for _ in range(2):
    threading.Thread(target=start, daemon=True).start()
ready.wait()
print(flush=True)
sys.stdin.read()
"""


def test_descendants_count_whoever_of_them_started_which():
    shell = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", PARENT]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert len(descendants(process.pid)) == 3
        assert used_above(process.pid, 80 * MIB) > 80 * MIB
        assert used_above(process.pid, 200 * MIB) is None
        process.stdin.close()
    assert descendants(process.pid) == []
