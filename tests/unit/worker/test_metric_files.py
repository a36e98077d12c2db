"""The users' metrics of processes that jobs have started: each has files of its own, which are added up at its end."""

import errno
import os
import resource
import shutil
import signal
import struct
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from tubeherd.metric_files import MetricFiles


@pytest.fixture
def files(monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "restored afterwards")
    monkeypatch.setattr(values, "ValueClass", None)
    monkeypatch.setattr(values, "MmapedDict", values.MmapedDict)
    files = MetricFiles()
    yield files
    values.close_all_multiprocess_files()
    files.remove()


def packed(key):
    """Return a file with one entry of this key."""
    name = key.encode()
    padded = name + b" " * (8 - (len(name) + 4) % 8)
    entry = struct.pack(f"i{len(padded)}sdd", len(name), padded, 1.0, 0.0)
    return struct.pack("ii", 8 + len(entry), 0) + entry


class Clock:
    """Goes on by ten seconds between two looks, and by `takes` seconds within one."""

    def __init__(self, takes=0.0):
        self.now = 0.0
        self.takes = takes

    def __call__(self):
        self.now += self.takes
        return self.now

    def fold(self, files):
        self.now += 10
        files.fold(self)


def in_fork(code, *, lives=False):
    """Run code in a forked process; return its id when that is done, and the process has ended unless it `lives`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            code()
            os.write(write, b"done")
            if lives:
                signal.pause()
        finally:
            os._exit(0)
    os.close(write)
    assert os.read(read, 4) == b"done"
    os.close(read)
    if not lives:
        os.waitpid(pid, 0)
    return pid


def shown(files):
    """Return the lines of /metrics without the comments."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(files.folder))
    return sorted(line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#"))


def names(files):
    return sorted(path.name for path in files.folder.iterdir())


def test_counters_and_histograms_of_processes_that_have_ended_are_added_up_in_one_file_each(files):
    counter = Counter("pages", "Pages.", ["kind"], registry=None)
    histogram = Histogram("seconds", "Seconds.", buckets=[1], registry=None)
    files.begin_slot(0)
    counter.labels("a").inc()

    def count():
        counter.labels("a").inc(2)
        counter.labels("b").inc()
        histogram.observe(0.5)

    clock = Clock()
    for _ in range(3):
        in_fork(count)
        before = shown(files)
        clock.fold(files)
        assert shown(files) == before
    assert 'pages_total{kind="a"} 7.0' in before
    assert 'pages_total{kind="b"} 3.0' in before
    assert 'seconds_bucket{le="1.0"} 3.0' in before
    assert not any("-" in name for name in names(files)), "no file of a process is left"


def test_gauges_are_folded_as_their_modes_say_and_those_of_one_process_go_with_it(files):
    modes = ("min", "max", "sum", "mostrecent", "all", "livesum")
    gauges = {
        mode: Gauge(f"gauge_{mode}", "A gauge.", ["of"], registry=None, multiprocess_mode=mode).labels for mode in modes
    }
    clock = Clock()
    for value in (-5.0, -7.0, -6.0):
        in_fork(lambda value=value: [gauge("a").set(value) for gauge in gauges.values()])
        clock.fold(files)
    assert shown(files) == [
        'gauge_max{of="a"} -5.0',
        'gauge_min{of="a"} -7.0',
        'gauge_mostrecent{of="a"} -6.0',
        'gauge_sum{of="a"} -18.0',
    ]


def test_gauges_that_tell_of_one_slot_go_with_it_and_the_next_slot_begins_anew(files):
    modes = ("max", "sum", "all", "liveall", "livesum", "livemax", "livemin")
    gauges = [
        Gauge(f"gauge_{mode}", "A gauge.", ["of"], registry=None, multiprocess_mode=mode).labels for mode in modes
    ]

    def slot():
        files.begin_slot(0)
        for gauge in gauges:
            gauge("a").inc(5)

    in_fork(slot)
    files.end_slot(0)
    assert shown(files) == ['gauge_max{of="a"} 5.0', 'gauge_sum{of="a"} 5.0']
    in_fork(slot)
    assert 'gauge_livesum{of="a"} 5.0' in shown(files)
    assert 'gauge_sum{of="a"} 10.0' in shown(files)


def test_files_of_processes_that_live_are_left_alone_and_each_has_its_own(files):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    files.begin_slot(1)

    def parent():
        counter("a").inc()
        in_fork(lambda: counter("a").inc())
        counter("a").inc()

    clock = Clock()
    pid = in_fork(parent, lives=True)
    try:
        clock.fold(files)
        assert names(files) == ["counter_ended.db", f"counter_slot1-{pid}.db"]
        assert shown(files) == ['pages_total{of="a"} 3.0']
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    clock.fold(files)
    assert names(files) == ["counter_ended.db"]
    assert shown(files) == ['pages_total{of="a"} 3.0']


@pytest.mark.parametrize(
    "content",
    [b"x" * 4096, packed("no JSON"), packed('["too", "few"]'), packed('["metric", "name", ["label"], "help"]')],
    ids=["no file", "no JSON", "another key", "no labels"],
)
def test_file_that_was_damaged_is_dropped_and_the_others_stay(files, logged, content):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    in_fork(lambda: counter("a").inc())
    pid = in_fork(lambda: None)
    (files.folder / f"counter_slot0-{pid}.db").write_bytes(content)
    Clock().fold(files)
    assert shown(files) == ['pages_total{of="a"} 1.0']
    (line,) = logged()
    assert line["event"].startswith("metrics of a process that a job had started are lost, as they are damaged: ")


def test_file_of_a_process_that_was_killed_before_it_wrote_is_nothing(files, logged):
    (files.folder / f"counter_slot0-{in_fork(lambda: None)}.db").write_bytes(b"")
    Clock().fold(files)
    assert not shown(files)
    assert not logged()


def no_file_can_be_opened(_):
    """Have this process open no more files: below the limit all numbers are taken."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def disk_is_full(monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", write)


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(no_file_can_be_opened, "Too many open files"), (disk_is_full, "No space left on device")],
    ids=["files", "disk"],
)
def test_nothing_is_lost_or_counts_twice_while_files_cannot_be_opened_or_written(
    files, logged, monkeypatch, trouble, why
):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    clock, limits = Clock(), resource.getrlimit(resource.RLIMIT_NOFILE)
    in_fork(lambda: counter("a").inc())
    clock.fold(files)
    in_fork(lambda: counter("a").inc())
    try:
        with monkeypatch.context() as patch:
            trouble(patch)
            clock.fold(files)
            clock.fold(files)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert shown(files) == ['pages_total{of="a"} 2.0']
    clock.fold(files)
    assert shown(files) == ['pages_total{of="a"} 2.0']
    assert [line["event"].rpartition(": ")[2] for line in logged()] == [why]


def test_full_disk_is_tried_once_a_second_though_many_files_wait(files, monkeypatch):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    for _ in range(2):
        in_fork(lambda: counter("a").inc())
    clock = Clock(takes=0.1)
    with monkeypatch.context() as patch:
        disk_is_full(patch)
        clock.fold(files)
    files.fold(clock)
    assert len(names(files)) == 2
    clock.fold(files)
    files.fold(clock)
    assert shown(files) == ['pages_total{of="a"} 2.0']


def test_file_that_cannot_be_removed_counts_no_more_often(files, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    in_fork(lambda: counter("a").inc())
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        clock.fold(files)
        clock.fold(files)
    clock.fold(files)
    assert shown(files) == ['pages_total{of="a"} 1.0']
    assert names(files) == ["counter_ended.db"]


def test_look_that_takes_long_goes_on_at_the_next_call(files):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    for _ in range(3):
        in_fork(lambda: counter("a").inc())
    slow = Clock(takes=1.0)
    slow.fold(files)
    assert len(names(files)) == 3
    for left in (2, 1):
        files.fold(slow)
        assert len(names(files)) == left
    assert shown(files) == ['pages_total{of="a"} 3.0']


def test_folder_that_was_cleaned_up_is_written_anew(files):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    clock = Clock()
    in_fork(lambda: counter("a").inc())
    clock.fold(files)
    for path in files.folder.iterdir():
        path.unlink()
    clock.fold(files)
    assert shown(files) == ['pages_total{of="a"} 1.0']
    shutil.rmtree(files.folder)
    clock.fold(files)
    files.folder.mkdir()
    clock.fold(files)
    assert shown(files) == ['pages_total{of="a"} 1.0']
