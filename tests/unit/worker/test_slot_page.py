"""The page about a slot as a whole, which two processes share."""

import time

import pytest

from tubeherd.shared_memory.slot_page import Request, SlotPage


@pytest.fixture
def page():
    page = SlotPage()
    yield page
    page.close()


def values(page):
    return page.request, page.listening_since, page.loop_holder


def test_new_page_asks_for_nothing(page):
    assert values(page) == (Request.NOTHING, 0.0, 0)


def test_each_value_reaches_the_other_process_and_touches_no_other(page, fork):
    fork(lambda: page.write_loop_holder(2**40))
    assert values(page) == (Request.NOTHING, 0.0, 2**40)
    fork(lambda: setattr(page, "listening_since", 12.5))
    assert values(page) == (Request.NOTHING, 12.5, 2**40)
    page.request = Request.STOP
    assert values(page) == (Request.STOP, 12.5, 2**40)
    page.clear_loop_holder()
    assert values(page) == (Request.STOP, 12.5, None)


def test_listeners_that_run_flush_or_not(page):
    assert not page.is_flushing
    with page.listening(to_flush=True):
        assert page.is_flushing
    assert not page.is_flushing
    with page.listening():
        assert not page.is_flushing


def test_listeners_run_from_a_moment_of_the_monotonic_clock_until_they_have_raised(page):
    seen = []

    def listen():
        with page.listening():
            seen.append(page.listening_since)
            raise KeyError

    before = time.monotonic()
    with pytest.raises(KeyError):
        listen()
    assert before <= seen[0] <= time.monotonic()
    assert page.listening_since == 0
