"""The users' metrics of processes that jobs have started: each has files of its own, which are added up at its end."""

import os
import signal

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
    files.write_as("slot0")
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


def test_files_of_processes_that_live_are_left_alone_and_each_has_its_own(files):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    files.write_as("slot1")

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


def test_file_that_was_damaged_is_dropped_and_the_others_stay(files, logged):
    counter = Counter("pages", "Pages.", ["of"], registry=None).labels
    in_fork(lambda: counter("a").inc())
    pid = in_fork(lambda: None)
    (files.folder / f"counter_slot0-{pid}.db").write_bytes(b"x" * 4096)
    Clock().fold(files)
    assert shown(files) == ['pages_total{of="a"} 1.0']
    (line,) = logged()
    assert line["event"].startswith("metrics of a process that a job had started are lost: ")


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
    for _ in range(2):
        in_fork(lambda: counter("a").inc())
        clock.fold(files)
        assert shown(files) == ['pages_total{of="a"} 1.0']
        for path in files.folder.iterdir():
            path.unlink()
