"""How much memory a process uses, as the supervisor asks."""

import os

import pytest

from tubeherd.formats.memory_share import MIB, SMALLEST_SHARE, slot_share
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
