"""Where executors are looked for, and what is said where they cannot be used."""

import sys

import pytest

from tubeherd.entry_points import find_entry_points
from tubeherd.executors import ExecutorError
from tubeherd.processing.discovery import load

MAIL = "from tubeherd import executor\n@executor('mail')\ndef mail(payload): ...\n"


@pytest.fixture(autouse=True)
def _forget_imports(no_executors):
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_every_module_of_the_folder_is_imported(tmp_path):
    (tmp_path / "a_mail.py").write_text(MAIL)
    (tmp_path / "b_report.py").write_text("import a_mail\n" + MAIL.replace("mail", "report"))
    (tmp_path / "notes.txt").write_text("no Python")
    (tmp_path / "._a_mail.py").write_bytes(b"\0what an archiver of another system leaves")
    assert sorted(load(None, tmp_path)) == ["mail", "report"]


def test_file_that_is_replaced_while_it_is_imported_is_no_error(tmp_path):
    (tmp_path / "replaced.py").write_text(f"{MAIL}import os\nos.rename(__file__, __file__ + '~')\n")
    assert list(load(None, tmp_path)) == ["mail"]


def test_named_modules_are_imported(tmp_path, monkeypatch):
    (tmp_path / "jobs_under_test.py").write_text(MAIL)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(load(["jobs_under_test"])) == ["mail"]


def install_plugin(folder, entry_points=b"[tubeherd.executors]\nmail = plugin_under_test\n"):
    (folder / "plugin_under_test.py").write_text(MAIL)
    info = folder / "plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_bytes(entry_points)


def test_entry_points_are_loaded(tmp_path, monkeypatch):
    install_plugin(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(load([])) == ["mail"]


def test_package_in_the_folder_of_the_executors_without_a_module_of_its_own_there_is_loaded(tmp_path):
    install_plugin(tmp_path, b"[tubeherd.executors]\nmail = plugin_package.jobs\n")
    (tmp_path / "plugin_under_test.py").unlink()
    (tmp_path / "plugin_package").mkdir()
    (tmp_path / "plugin_package" / "jobs.py").write_text(MAIL)
    assert list(load(None, tmp_path)) == ["mail"]


def test_entry_points_of_packages_in_the_folder_of_the_executors_are_found_but_only_if_that_is_used(tmp_path):
    install_plugin(tmp_path)
    path = sys.path.copy()
    assert [entry_point.value for entry_point in find_entry_points(None, folder=tmp_path)] == ["plugin_under_test"]
    assert list(find_entry_points([], folder=tmp_path)) == []
    assert path == sys.path


def test_metadata_that_cannot_be_read_is_an_error_of_the_executors(tmp_path, monkeypatch):
    install_plugin(tmp_path, b"[tubeherd.executors]\nmail = \xff\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ExecutorError, match=r"^the metadata of an installed package cannot be read, .*UnicodeDecodeError"
    ):
        load([])


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("broken", "def (:", "broken.py cannot be imported: SyntaxError"),
        (
            "crash",
            "\nraise RuntimeError('no config')",
            "cannot be imported: RuntimeError: no config (crash.py, line 2)",
        ),
        ("leave", "import sys; sys.exit(1)", "cannot be imported: SystemExit: 1"),
        ("needs", "import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("twice", MAIL + MAIL, "two executors for tube 'mail'"),
        ("email", MAIL, "email.py has the name of a module of Python's own: rename the file"),
        ("pydantic", MAIL, "pydantic.py has the name of an installed package, pydantic: rename the file"),
        ("empty", "", "no executor found in"),
    ],
)
def test_trouble_is_named(tmp_path, name, code, message):
    (tmp_path / f"{name}.py").write_text(code)
    with pytest.raises(ExecutorError) as raised:
        load(None, tmp_path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nraise RuntimeError('s3cret')", "RuntimeError (secretive.py:2)"),
        ("\nraise ExceptionGroup('s3cret', [ValueError('s3cret')])", "ExceptionGroup: ValueError (secretive.py:2)"),
        ("\nimport s3cret", "ModuleNotFoundError (secretive.py:2)"),
        ("\ndef s3cret(:", "SyntaxError (secretive.py:2)"),
        ("\nimport json; json.loads('s3cret')", "JSONDecodeError (secretive.py:2)"),
    ],
)
def test_detail_of_the_place_alone_leaves_out_the_message_of_an_import_that_failed(tmp_path, code, message):
    (tmp_path / "secretive.py").write_text(code)
    with pytest.raises(ExecutorError) as raised:
        load(None, tmp_path, error_detail="place")
    assert str(raised.value) == f"{tmp_path / 'secretive.py'} cannot be imported: {message}"


def test_executor_in_a_helper_counts_and_a_second_import_is_none(tmp_path):
    (tmp_path / "a_helper.py").write_text("import b_mail")
    (tmp_path / "b_mail.py").write_text(MAIL)
    assert list(load(None, tmp_path)) == ["mail"]
    assert list(load(None, tmp_path)) == ["mail"]


def test_two_executors_of_one_name_in_two_files_are_both_named(tmp_path):
    (tmp_path / "a_mail.py").write_text(MAIL)
    (tmp_path / "b_mail.py").write_text(MAIL)
    with pytest.raises(
        ExecutorError, match=r"b_mail\.py: two executors for tube 'mail': a_mail\.mail and b_mail\.mail"
    ):
        load(None, tmp_path)


@pytest.mark.parametrize(
    ("modules", "where", "advice"),
    [
        (None, "/.+", "; in a pool, spec.executors names the ConfigMap that has its file"),
        (["json"], "json", ""),
        (["json", "csv"], "json, csv", ""),
        ([], "the entry points tubeherd.executors", ""),
    ],
)
def test_nothing_found_names_where_it_was_looked_for(tmp_path, modules, where, advice):
    said = rf"^no executor found in {where}: decorate a function with @executor\(TUBE\){advice}$"
    with pytest.raises(ExecutorError, match=said):
        load(modules, tmp_path)


def test_trouble_of_an_entry_point_is_named(tmp_path, monkeypatch):
    info = tmp_path / "plugin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[tubeherd.executors]\nmail = nowhere_to_be_found:mail\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExecutorError, match="nowhere_to_be_found:mail cannot be imported: ModuleNotFoundError"):
        load([])


def test_missing_module_is_named():
    with pytest.raises(ExecutorError, match="nowhere_to_be_found cannot be imported: ModuleNotFoundError"):
        load(["nowhere_to_be_found"])
