"""Which changes of files have the slots replaced, and which places wait meanwhile."""

import itertools
import os

import pytest

from tubeherd.supervisor.reloading import Reloading


@pytest.fixture
def look(tmp_path):
    """Watch a folder with the file mail.py: `look()` returns what has changed, at the time of the next look."""
    (tmp_path / "mail.py").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    reloading, times = Reloading([str(tmp_path)]), itertools.count()
    return lambda: reloading.changed(float(next(times)))


CHANGES = {
    "another content": lambda folder: (folder / "mail.py").write_text("22"),
    "another time": lambda folder: os.utime(folder / "mail.py", (1, 1)),
    "replaced by a file as long and as old": lambda folder: _replace(folder / "mail.py"),
    "removed": lambda folder: (folder / "mail.py").unlink(),
}


def _replace(file):
    stat = file.stat()
    new = file.with_name("new")
    new.write_text("2")
    os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    new.replace(file)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_change_counts_once_and_only_when_it_is_still_so_at_the_next_look(look, tmp_path, change):
    assert (look(), look()) == ([], [])
    change(tmp_path)
    assert (look(), look(), look()) == ([], ["mail.py"], [])


@pytest.mark.parametrize("name", ["report.py", "package/__init__.py"])
def test_what_is_new_counts(look, tmp_path, name):
    look()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    assert (look(), look()) == ([], [name.partition("/")[0]])


@pytest.mark.parametrize("name", ["notes.txt", ".mail.py.swp", ".hidden.py", "mail.pyc", "__pycache__/mail.pyc"])
def test_other_files_do_not_count(look, tmp_path, name):
    look()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("2")
    assert (look(), look(), look()) == ([], [], [])


def test_link_to_nothing_hides_no_other_file(look, tmp_path):
    for name in range(20):  # in whatever order the folder lists them
        (tmp_path / f"{name}.py").symlink_to("nowhere")
    assert (look(), look()) == ([], [])
    (tmp_path / "mail.py").write_text("22")
    assert (look(), look()) == ([], ["mail.py"])


def test_change_that_is_taken_back_and_a_file_that_goes_on_changing_do_not_count(look, tmp_path):
    look()
    before = os.stat(tmp_path / "mail.py")
    for size in range(2, 5):
        (tmp_path / "mail.py").write_text("x" * size)
        assert look() == []
    (tmp_path / "mail.py").write_text("1")
    os.utime(tmp_path / "mail.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (look(), look()) == ([], [])


def test_folder_that_is_gone_and_comes_back(look, tmp_path):
    look()
    tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert (look(), look()) == ([], ["mail.py"])
    tmp_path.with_name("elsewhere").rename(tmp_path)
    assert (look(), look()) == ([], ["mail.py"])


def test_files_are_looked_at_only_now_and_then(tmp_path):
    reloading = Reloading([str(tmp_path)])
    assert reloading.changed(10.0) == []
    (tmp_path / "mail.py").touch()
    assert [reloading.changed(10.0 + part) for part in (0.05, 0.1, 0.15)] == [[], [], []]
    assert [reloading.changed(10.3), reloading.changed(10.6)] == [[], ["mail.py"]]


def test_after_a_change_one_slot_imports_and_the_others_wait_until_that_has_succeeded(tmp_path):
    reloading = Reloading([str(tmp_path)])
    assert not reloading.holds(starting=False)
    assert reloading.holds(starting=True)
    assert reloading.succeeded()
    assert not reloading.holds(starting=True)
    assert not reloading.succeeded()


def test_after_a_failure_every_place_waits_for_a_change(tmp_path):
    reloading = Reloading([str(tmp_path)])
    reloading.failed()
    assert reloading.waits
    assert reloading.holds(starting=False)
    (tmp_path / "mail.py").touch()
    assert (reloading.changed(1.0), reloading.changed(2.0)) == ([], ["mail.py"])
    assert not reloading.waits
    assert not reloading.holds(starting=False)


def test_nothing_to_watch_is_nothing_to_wait_for():
    reloading = Reloading([])
    reloading.failed()
    assert not reloading.waits
