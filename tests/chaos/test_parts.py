"""The parts of a campaign: jobs and faults come from the seed alone, and the proxy loses bytes but changes none."""

import asyncio
import json
import random

import pytest

from tests.chaos import faults, jobs
from tests.chaos.proxy import Proxy, deck

SENT = bytes(range(256)) * 40


def test_jobs_come_from_the_seed():
    first, same, other = (jobs.draw(random.Random(seed), 1000, 60) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert [job.number for job in first] == list(range(1000))
    assert {job.tube for job in first} == set(jobs.TUBES)


def test_aborts_need_a_minute_to_come_back():
    short, long = ({job.kind for job in jobs.draw(random.Random(1), 1000, seconds)} for seconds in (60, 480))
    assert long - short == {"abort"}


def test_body_tells_the_executor_what_to_do():
    for job in jobs.draw(random.Random(1), 1000, 60):
        if job.kind != "invalid":
            told = json.loads(job.body)
            assert (told["number"], told["kind"], told["times"]) == (job.number, job.kind, job.times)


def test_too_few_jobs_for_all_kinds_are_refused():
    with pytest.raises(ValueError, match="at least"):
        jobs.draw(random.Random(1), 10, 60)


def test_faults_come_from_the_seed_and_hold_every_kind():
    first, same, other = (faults.schedule(random.Random(seed), 60, 3, 0.8) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert {fault.kind for fault in first} == faults.KINDS
    assert {fault.worker for fault in first} == {0, 1, 2}
    assert all(0 <= fault.at < 60 and 0 <= fault.slot < 1 for fault in first)
    assert len({fault.at for fault in first}) < len(first), "some faults come at once"


async def through_proxy(seed: int, rough: bool, sent: bytes = SENT) -> tuple[bytes, list[str]]:
    """Return what comes out of a proxy of `sent`, which a server sends in pieces, and how it was disturbed."""
    noted: list[str] = []

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(sent), 100):
            writer.write(sent[start : start + 100])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(send, "127.0.0.1", 0)
    dice = random.Random(seed)
    proxy = Proxy(server.sockets[0].getsockname()[1], dice, deck(dice), lambda effect, _: noted.append(effect))
    port = await proxy.open()
    if rough:
        proxy.disturb(60)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    came = b""
    try:
        while data := await asyncio.wait_for(reader.read(1 << 16), 10):
            came += data
    except ConnectionResetError:
        pass
    finally:
        writer.close()
        await proxy.close()
        server.close()
    return came, noted


def test_calm_proxy_passes_every_byte():
    assert asyncio.run(through_proxy(1, rough=False)) == (SENT, [])


@pytest.mark.parametrize("seed", range(8))
def test_rough_proxy_never_changes_a_byte(seed):
    came, noted = asyncio.run(through_proxy(seed, rough=True))
    assert noted
    assert SENT.startswith(came)
    assert (came == SENT) == (set(noted) == {"delay"})


@pytest.mark.parametrize("seed", range(8))
def test_disturbance_strikes_where_hardly_anything_passes(seed):
    _, noted = asyncio.run(through_proxy(seed, rough=True, sent=b"few bytes"))
    assert noted
