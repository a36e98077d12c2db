"""What users import: the names of the package, all that they meet behind them, and what an import costs."""

import inspect
import re
import subprocess
import sys
import typing

import pytest
from blinker import NamedSignal

import tubeherd
from tests.support.project import ROOT

FACE = [
    "Abort",
    "Acted",
    "Action",
    "AnswerLost",
    "BrokenOff",
    "BurialGroup",
    "BurialKind",
    "BurialRecord",
    "Burials",
    "Bury",
    "CancelledLate",
    "CommandFailed",
    "DeadlinePassed",
    "Delete",
    "Executor",
    "ExecutorError",
    "FlushFailed",
    "HttpFailed",
    "HttpUnanswered",
    "Inspected",
    "InspectedJob",
    "InvalidPayload",
    "Job",
    "JobCounters",
    "JobStats",
    "NextJobs",
    "Paused",
    "Policy",
    "Processed",
    "PutManyStopped",
    "QueueManager",
    "QueueUnavailable",
    "Refused",
    "RefusedError",
    "Reject",
    "Release",
    "Reschedule",
    "Reserved",
    "RetrySchedule",
    "ServerCounters",
    "Settled",
    "SlotDied",
    "Stats",
    "TubeChange",
    "TubeCounters",
    "events",
    "executor",
]
EVENTS = {
    "flush": "worker.flush",
    "execute_pre": "worker.action.execute.pre",
    "execute_post": "worker.action.execute.post",
    "job_execute": "worker.job.execute",
    "job_buried": "worker.job.buried",
    "job_failed": "worker.job.failed",
}
# What `from tubeherd import executor` loads, beyond Python's own modules.
PACKAGES = {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "tubeherd",
    "tubeherd__mypyc",
    "typing_extensions",
    "typing_inspection",
}


def test_package_exports_these_names_and_no_other():
    assert tubeherd.__all__ == FACE


@pytest.mark.parametrize("name", FACE)
def test_name_says_what_it_is(name):
    thing = getattr(tubeherd, name)
    written = vars(thing)["__doc__"] if isinstance(thing, type) else thing.__doc__
    assert written
    assert not written.startswith(f"{name}("), "it has only what dataclass or NamedTuple writes"


@pytest.mark.parametrize("name", FACE)
def test_what_can_be_asked_about_a_class_is_what_its_source_says(name):
    """Of a class that is compiled, doc and hints would be the compiler's, and its source could not be shown."""
    thing = getattr(tubeherd, name)
    if isinstance(thing, type):
        assert inspect.getsource(thing).lstrip("@").startswith(("class", "dataclass"))


def test_events_are_these():
    signals = {name: thing for name, thing in vars(tubeherd.events).items() if isinstance(thing, NamedSignal)}
    assert {name: signal.name for name, signal in signals.items()} == EVENTS


CLASSES = [thing for name in FACE if isinstance(thing := getattr(tubeherd, name), type)]
METHODS = [thing for name, thing in inspect.getmembers(tubeherd.QueueManager, inspect.isfunction) if name[0] != "_"]


def classes_in(hint):
    """Yield the classes that a type hint names, in unions and in generics too."""
    if isinstance(hint, type):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


@pytest.mark.parametrize(
    "thing", [*CLASSES, tubeherd.QueueManager.__init__, *METHODS], ids=lambda thing: thing.__qualname__
)
def test_whatever_it_holds_takes_and_returns_is_exported_too(thing):
    met = {found for hint in typing.get_type_hints(thing).values() for found in classes_in(hint)}
    assert {found.__name__ for found in met if found.__module__.startswith("tubeherd.")} <= set(FACE)


@pytest.mark.parametrize("path", ["README.md", "docs", "examples"])
def test_pages_and_examples_import_only_what_is_exported(path):
    found = ROOT / path
    files = [file for file in found.rglob("*") if file.suffix in (".md", ".py", ".yaml")] if found.is_dir() else [found]
    for file in files:
        for names in re.findall(r"^\s*from tubeherd import (.+)$", file.read_text(), re.MULTILINE):
            assert set(re.split(r",\s*", names)) <= set(FACE), file


def packages_loaded_by(code):
    """Return the packages beyond Python's own, and the modules of tubeherd, that are loaded in a new process."""
    script = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    modules = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=True).stdout.split()
    packages = {name.partition(".")[0] for name in modules if name[0] != "_"}
    return packages - sys.stdlib_module_names, {name for name in modules if name.startswith("tubeherd.")}


def test_import_of_the_package_loads_none_of_its_parts():
    assert packages_loaded_by("import tubeherd") == ({"tubeherd"}, set())


def test_import_of_an_executor_loads_no_more_than_it_needs():
    packages, modules = packages_loaded_by("from tubeherd import executor")
    assert packages <= PACKAGES
    assert not modules & {"tubeherd.manager", "tubeherd.queue.connection", "tubeherd.settings", "tubeherd.burials"}


@pytest.mark.parametrize("name", FACE)
def test_each_name_can_be_the_first_that_is_imported(name):
    packages_loaded_by(f"from tubeherd import {name}; import tubeherd; tubeherd.{name}")


def test_a_name_that_is_none_of_the_package_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'Jobs'"):
        _ = tubeherd.Jobs
    with pytest.raises(ImportError, match="cannot import name 'Jobs'"):
        from tubeherd import Jobs  # noqa: F401


def test_a_single_slot_without_coroutines_loads_no_asyncio_and_several_slots_share_it():
    import_worker = "from tubeherd.supervisor import places; from tubeherd.settings import WorkerSettings"
    for settings, loaded in (("", False), ("concurrency=2", True), ("async_concurrency=2", True)):
        kind = f"places._kind_of_slot(WorkerSettings(executors=['x'], {settings}))"
        script = f"import sys; {import_worker}; {kind}; print('asyncio' in sys.modules)"
        done = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=True)
        assert done.stdout == f"{loaded}\n"
