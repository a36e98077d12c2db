"""The jobs of a campaign: what each does in its executor, drawn from a seed."""

import json
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

TUBES: Final = ("plain", "raw", "model", "record", "coroutine")
ALWAYS: Final = 3
"""Attempts that a job has with the campaign's two retry delays."""
ABORT_NEEDS_SECONDS: Final = 120
"""An aborted job comes back after a minute, so a shorter campaign has none."""


class Job(NamedTuple):
    """A job as it is put; `number` is its place in the queue."""

    number: int
    tube: str
    kind: str
    times: int
    """In how many attempts it misbehaves before it runs to its end."""
    body: bytes

    @property
    def may_end(self) -> bool:
        """Whether it can ever run to its end."""
        return self.kind != "invalid" and self.times < ALWAYS


class _Share(NamedTuple):
    kind: str
    times: int
    per_mille: float


_SHARES: Final = (
    _Share("fail", 1, 10),
    _Share("fail", 2, 5),
    _Share("fail", ALWAYS, 5),
    _Share("reschedule", 1, 20),
    _Share("abort", 1, 0.4),
    _Share("sleep", 1, 1),
    _Share("sleep", ALWAYS, 0.1),
    _Share("swallow", 1, 0.4),
    _Share("swallow", ALWAYS, 0.1),
    _Share("swallow_and_return", 1, 0.4),
    _Share("swallow_and_return", ALWAYS, 0.1),
    _Share("leave_behind", 1, 0.4),
    _Share("leave_behind", ALWAYS, 0.1),
    _Share("block", 1, 0.4),
    _Share("block", ALWAYS, 0.1),
    _Share("stop", 1, 0.4),
    _Share("stop", ALWAYS, 0.1),
    _Share("grow", 1, 1),
    _Share("grow", ALWAYS, 0.2),
    _Share("exit", 1, 2),
    _Share("exit", ALWAYS, 0.5),
    _Share("kill", 1, 2),
    _Share("kill", ALWAYS, 0.5),
    _Share("crash", 1, 1),
    _Share("fork_and_stay", 1, 3),
    _Share("fork_and_return", 1, 5),
    _Share("close_files", 1, 2),
    _Share("close_streams", 1, 2),
    _Share("invalid", ALWAYS, 10),
)

_TROUBLE_ENDS: Final = 0.85
"""The last part of the queue is quick, so that the end does not wait for jobs that hang."""


def draw(dice: random.Random, count: int, seconds: float) -> list[Job]:
    """Return `count` jobs that keep the workers busy for about `seconds`."""
    shares = [share for share in _SHARES if share.kind != "abort" or seconds >= ABORT_NEEDS_SECONDS]
    trouble = [share for share in shares for _ in range(max(1, round(count * share.per_mille / 1000)))]
    early = int(count * _TROUBLE_ENDS)
    if len(trouble) > early:
        raise ValueError(f"a campaign needs at least {int(len(trouble) / _TROUBLE_ENDS) + 1} jobs, not {count}")
    quick = _Share("quick", 0, 0)
    order = trouble + [quick] * (early - len(trouble))
    dice.shuffle(order)
    order += [quick] * (count - early)
    return [_job(dice, number, share, seconds * number / count) for number, share in enumerate(order)]


def _job(dice: random.Random, number: int, share: _Share, due: float) -> Job:
    if share.kind == "invalid":
        tube, body = dice.choice(list(_invalid(number)))
    else:
        tube = dice.choice(TUBES)
        body = json.dumps({"number": number, "kind": share.kind, "times": share.times, "due": due}).encode()
    return Job(number, tube, share.kind, share.times, body)


def _invalid(number: int) -> Iterator[tuple[str, bytes]]:
    for tube in ("plain", "model", "record", "coroutine"):
        yield tube, b"no JSON %d" % number
        yield tube, b"\xff\xfe%d" % number
    for tube in ("model", "record", "coroutine"):
        yield tube, json.dumps({"number": number, "kind": "quick"}).encode()
        yield tube, json.dumps({"number": [number], "kind": "quick", "times": 0, "due": 0}).encode()
