"""`tubeherd run` as a new user types it: in the folder of the executors, without a PYTHONPATH."""

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.growing_files import read_lines
from tests.support.network import free_address
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import PATIENCE, wait_for

TUBEHERD = os.path.join(os.path.dirname(sys.executable), "tubeherd")
MAIL = """
from pathlib import Path
from tubeherd import executor
@executor("mail")
def mail(payload): Path("notes").open("a").write(f"{__name__} {payload}\\n")
"""


class Command:
    """`tubeherd run` in a folder, with its output in files."""

    def __init__(self, folder, server, *arguments, **env):
        self.folder = folder
        self._log = folder / "log"
        with self._log.open("wb") as stream:
            left_out = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
            variables = {key: value for key, value in os.environ.items() if key not in left_out}
            self.process = subprocess.Popen(
                [TUBEHERD, "run", *arguments],
                cwd=folder,
                env=variables | {"TUBEHERD_SERVER": server} | env,
                stdout=subprocess.DEVNULL,
                stderr=stream,
            )

    def output(self):
        return self._log.read_text()

    def events(self):
        return [json.loads(line)["event"] for line in read_lines(self._log) if line.startswith("{")]

    def notes(self):
        return read_lines(self.folder / "notes")

    def wait_for(self, condition, what="it"):
        return wait_for(condition, lambda: f"{what}\n{self.output()}")

    def end(self):
        self.process.terminate()
        return self.process.wait(PATIENCE)


@pytest.fixture
def here(tmp_path):
    """The folder in which the command is typed."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def write(folder, *, changed=None, **files):
    """Write Python files; the names have __ for a slash. They are `changed` at that time, in nanoseconds, or now.

    Each appears at once and as a whole, because `--reload` may look at any moment.
    """
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_suffix(".new")
        written.write_text(text)
        if changed is not None:
            os.utime(written, ns=(0, changed))
        written.replace(path)


@pytest.fixture
def command(here, beanstalkd):
    """Start `tubeherd run` in the folder: `command(*arguments, **variables)`."""
    begun = []

    def start(*arguments, **env):
        begun.append(Command(here, beanstalkd.server, *arguments, **env))
        return begun[-1]

    yield start
    for one in begun:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize(
    ("arguments", "files", "module"),
    [
        (["mail.py"], ["mail"], "mail"),
        (["mail"], ["mail"], "mail"),
        (["."], ["mail"], "mail"),
        (["jobs/mail.py"], ["jobs__mail"], "mail"),
        (["jobs.mail"], ["jobs__mail"], "jobs.mail"),
        (["jobs"], ["jobs__mail"], "mail"),
    ],
)
def test_executors_of_the_current_folder_run(here, command, beanstalkd, arguments, files, module):
    write(here, **dict.fromkeys(files, MAIL))
    beanstalkd.put_json("mail", 1)
    worker = command(*arguments)
    worker.wait_for(lambda: worker.notes() == [f"{module} 1"], "the job is done")
    assert worker.end() == 0


def test_several_modules_run_and_import_what_is_beside_them(here, command, beanstalkd):
    helped = "import helper, common.words\n" + MAIL
    write(here, mail=MAIL, jobs__report=helped.replace('"mail"', '"report"'), jobs__helper="", common__words="")
    beanstalkd.put_json("mail", 1)
    beanstalkd.put_json("report", 2)
    worker = command("mail.py", "jobs/report.py")
    worker.wait_for(lambda: sorted(worker.notes()) == ["mail 1", "report 2"], "both jobs are done")
    assert worker.end() == 0


def test_executors_of_installed_packages_are_found_once_for_all_slots(here, command, beanstalkd, tmp_path):
    """Of a package that is installed beside Python's own, and of one that is installed in the folder."""
    installed = tmp_path / "installed"
    for folder, name in ((installed, "sms"), (here, "push")):
        write(folder, **{f"{name}_plugin": MAIL.replace('"mail"', f'"{name}"')})
        (folder / f"{name}.egg-info").mkdir()
        (folder / f"{name}.egg-info" / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (folder / f"{name}.egg-info" / "entry_points.txt").write_text(f"[tubeherd.executors]\nit = {name}_plugin\n")
    write(here, mail=MAIL)
    worker = command("mail.py", "--max-jobs", "1", PYTHONPATH=str(installed))
    for number, tube in enumerate(("mail", "sms", "push")):
        beanstalkd.put_json(tube, number)
        worker.wait_for(lambda number=number: len(worker.notes()) == number + 1, f"the job of {tube} is done")
        shutil.rmtree(here / "push.egg-info", ignore_errors=True)  # the next slot does not look for it
    assert worker.notes() == ["mail 0", "sms_plugin 1", "push_plugin 2"]
    assert worker.end() == 0


def test_metadata_of_a_package_that_cannot_be_read_is_an_error_of_the_executors(here, command):
    write(here, mail=MAIL)
    (here / "broken.egg-info").mkdir()
    (here / "broken.egg-info" / "entry_points.txt").write_bytes(b"[tubeherd.executors]\nit = \xff\n")
    worker = command("mail.py")
    assert worker.process.wait(PATIENCE) == 3
    assert "the metadata of an installed package cannot be read, so its executors cannot be found" in worker.output()


def test_arguments_win_over_the_variable(here, command, beanstalkd):
    write(here, mail=MAIL)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", TUBEHERD_EXECUTORS="nowhere")
    worker.wait_for(lambda: worker.notes() == ["mail 1"], "the job is done")


def test_file_with_the_name_of_an_installed_module_wins_over_it(here, command, beanstalkd):
    write(here, psutil=MAIL)
    beanstalkd.put_json("mail", 1)
    worker = command("psutil.py")
    worker.wait_for(lambda: worker.notes() == ["psutil 1"], "the job is done")


def test_files_of_the_folder_do_not_take_the_place_of_pythons_own_modules(here, command, beanstalkd):
    own = "raise RuntimeError('Python has a module of this name')"
    write(here, mail="import colorsys, traceback\n" + MAIL, colorsys=own, traceback=own, queue=own, difflib=own)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py")
    worker.wait_for(lambda: worker.notes() == ["mail 1"], "the job is done")
    assert worker.end() == 0
    assert "error" not in worker.output()


@pytest.mark.parametrize(
    ("arguments", "files", "said"),
    [
        (["mial.py"], {"mail": MAIL}, "there is no file mial.py: did you mean mail.py?"),
        (["mail.py"], {"mail": "def ("}, "mail.py cannot be imported: SyntaxError: invalid syntax (mail.py, line 1)"),
        (["mail.py"], {"mail": "x = 1"}, "no executor found in mail.py: decorate a function with @executor(TUBE)"),
        (["util.py"], {"mail": MAIL, "util": ""}, "@executor(TUBE); did you mean mail.py?"),
        (["mail.py"], {"mail": "import helper"}, "No module named 'helper' (mail.py, line 1)"),
        (["."], {"util": ""}, "no .py file in the folder . has an executor"),
        ([], {"mail": MAIL}, "no executor found in /app/executors: decorate a function with @executor(TUBE); did you "
         "mean mail.py?"),
        (["--executors", "mail"], {"mail": MAIL}, "No module named 'mail'; for the file in the current folder give "
         "mail.py as an argument instead"),
        (["--executors", "mail.py"], {"mail": MAIL}, "give mail.py as an argument instead"),
        (["--executors", "jobs.mail"], {"jobs__mail": MAIL}, "give jobs/mail.py as an argument instead"),
        (["pydantic.py"], {"pydantic": MAIL}, "pydantic.py has the name of an installed package, pydantic: rename"),
        (["tubeherd"], {}, "no executor found in tubeherd"),
        (["a/mail.py", "b/mail.py"], {"a__mail": MAIL, "b__mail": MAIL}, "a/mail.py and b/mail.py would both be the "
         "module mail: rename one of them, or write a.mail b.mail"),
        (["a/mail.py", "b/report.py"], {"a__mail": "import helper\n" + MAIL, "a__helper": "", "b__helper": "",
         "b__report": "import helper\n" + MAIL.replace('"mail"', '"report"')}, "helper.py is in "),
    ],
)  # fmt: skip
def test_wrong_executors_are_answered_with_what_is_wrong(here, command, beanstalkd, arguments, files, said):
    beanstalkd.put_json("mail", 1)
    write(here, **files)
    worker = command(*arguments)
    assert worker.process.wait(PATIENCE) == 3
    assert said in worker.events()[0]
    assert "Traceback" not in worker.output()
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_arguments_and_the_option_are_not_both_taken(here, command):
    worker = command("mail.py", "--executors", "mail")
    assert worker.process.wait(PATIENCE) == 2
    assert worker.output() == "name the executors either as arguments or with --executors, not both\n"


# On a terminal

TWO = """
from tubeherd import executor
@executor("mail", retry_delays=["10s", "10m"])
def send(payload): ...
class Reports:
    def make(self, payload): ...
executor("report")(Reports().make)
@executor("thumbs", retry_delays=[])
async def shrink(payload): ...
"""


@pytest.fixture
def terminal(here, beanstalkd):
    """Start `tubeherd run` in the folder on a terminal: `terminal(*arguments, columns=80, **variables)`."""
    begun = []

    def start(*arguments, columns=80, **env):
        env |= {"TUBEHERD_SERVER": beanstalkd.server}
        begun.append(Terminal([TUBEHERD, "run", *arguments], columns=columns, env=env, folder=here))
        return begun[-1]

    yield start
    for one in begun:
        one.close()


def test_banner_on_a_terminal_shows_tubes_with_executors_and_retries(here, terminal, beanstalkd):
    address = free_address()
    write(here, jobs=TWO)
    screen = terminal("jobs.py", "--health", address, "--concurrency", "2").wait_for("connected")
    assert [line.rstrip() for line in screen[:9]] == [
        f"tubeherd {version('tubeherd')}",
        f"  server   {beanstalkd.server}",
        "  tube     mail    jobs.send          retried after 10s, 10m",
        "  tube     report  jobs.Reports.make  retried after 10m",
        "  tube     thumbs  jobs.shrink        buried at the first failure",
        "  slots    2, each with one job at a time",
        f"  metrics  http://{address}/metrics",
        "Ctrl-C stops the worker after its running jobs, in 70s at most.",
        "A second Ctrl-C ends these jobs at once and puts them back.",
    ]


def test_banner_shows_commands_and_urls_without_their_secrets(here, terminal):
    commands = (
        "--command",
        "mail=true mail.php --password hunter2",
        "--http",
        "report=http://me:hunter2@host/x?k=hunter2",
    )
    screen = "\n".join(terminal(*commands).wait_for("connected"))
    assert "  tube     mail    true mail.php  retried after 10m" in screen
    assert "  tube     report  http://host/x  retried after 10m" in screen
    assert "hunter2" not in screen


def test_banner_is_shown_once_and_fits_60_columns(here, terminal, beanstalkd):
    many = "".join(f"executor('{'t' * 50}{n}')(print_{n})\n" for n in range(100))
    functions = "".join(f"def print_{n}(payload): ...\n" for n in range(100))
    write(here, jobs=f"from tubeherd import executor\n{functions}{many}")
    beanstalkd.put_json("t" * 50 + "1", 1)
    beanstalkd.put_json("t" * 50 + "2", 1)
    shown = terminal("jobs.py", "--max-jobs", "1", columns=60)
    wait_for(lambda: shown.text().count("slot recycled") == 2, shown.text)
    assert shown.text().count("Ctrl-C stops") == 1
    assert "           and 80 more tubes" in shown.screen()
    banner = shown.written().partition("Ctrl-C stops")[0]
    assert max(map(len, banner.splitlines())) <= 60


def test_banner_is_not_shown_in_a_pipe_or_as_json(here, command, terminal):
    write(here, mail=MAIL)
    worker = command("mail.py", "--log-format", "text")
    worker.wait_for(lambda: "connected" in worker.output(), "connected")
    assert "metrics" not in worker.output()
    shown = terminal("mail.py", "--log-format", "json")
    shown.wait_for("connected")
    assert "metrics" not in shown.text()


def test_ctrl_c_on_a_terminal_stops_the_worker_with_0(here, terminal):
    write(here, mail=MAIL)
    shown = terminal("mail.py")
    shown.wait_for("connected")
    shown.send(CTRL_C)
    assert shown.wait() == 0
    assert "Traceback" not in shown.text()


UNTIL_GO = """
import pathlib, time
from tubeherd import executor
@executor("mail")
def mail(payload):
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists(): time.sleep(0.01)
"""


def test_worker_whose_terminal_is_closed_ends_after_its_job_with_0(here, terminal, beanstalkd):
    write(here, mail=UNTIL_GO)
    job = beanstalkd.put("mail", ttr=2)  # so short that the job runs elsewhere soon if nobody keeps its lease
    shown = terminal("mail.py", "--job-timeout", "1h")
    wait_for((here / "begun").exists, "the job runs")
    shown.hang_up()
    wait_for(lambda: beanstalkd.stats_job(job)["age"] >= 5, "two TTRs have passed")
    assert beanstalkd.stats_job(job)["reserves"] == 1
    assert shown.process.poll() is None
    beanstalkd.put("mail")
    (here / "go").touch()
    assert shown.process.wait(PATIENCE) == 0
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_worker_under_nohup_goes_on_when_the_terminal_is_closed(here, command, beanstalkd):
    write(here, mail=MAIL)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        worker = command("mail.py")
    finally:
        signal.signal(signal.SIGHUP, before)
    worker.wait_for(lambda: "connected" in worker.events(), "connected")
    worker.process.send_signal(signal.SIGHUP)
    beanstalkd.put_json("mail", 1)
    worker.wait_for(lambda: worker.notes() == ["mail 1"], "the job is done")
    assert worker.end() == 0


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_no_color_takes_the_colours_from_a_terminal(here, terminal, variable, coloured):
    shown = terminal("mial.py", NO_COLOR=variable)
    assert shown.wait() == 3
    assert ("\033[31m" in shown.written()) is coloured


# With the file of a pool

POOL = """
apiVersion: tubeherd.io/v1alpha1
kind: WorkerPool
metadata: {name: mail}
spec:
  tubes: [mail]
  server: SERVER
  replicas: 2
  retry: {delays: []}
  env: [{name: WORDS, value: of the pool}]
"""
FAILING = """
import os
from tubeherd import executor
@executor("mail")
def mail(payload): raise ValueError(os.environ["WORDS"])
@executor("report")
def report(payload): ...
"""


def test_pool_gives_a_worker_its_tubes_retries_and_variables(here, command, beanstalkd):
    write(here, mail=FAILING)
    (here / "pool.yaml").write_text(POOL.replace("SERVER", beanstalkd.server))
    beanstalkd.put_json("report", 1)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--pool", "pool.yaml", TUBEHERD_SERVER="")
    worker.wait_for(lambda: beanstalkd.count("mail")["buried"] == 1, "buried at the first failure")
    worker.wait_for(lambda: "ValueError: of the pool" in worker.output(), "it is logged")
    assert worker.events()[0].startswith("pool mail: without a cluster this means nothing: replicas")
    assert beanstalkd.count("report")["ready"] == 1


def test_options_and_variables_win_over_the_pool(here, command, beanstalkd):
    write(here, mail=FAILING)
    (here / "pool.yaml").write_text(POOL.replace("SERVER", "127.0.0.1:1"))
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--pool", "pool.yaml", "--retry-delays", "1h", WORDS="of the user")
    worker.wait_for(lambda: beanstalkd.count("mail")["delayed"] == 1, "tried again in an hour")
    worker.wait_for(lambda: "ValueError: of the user" in worker.output(), "it is logged")


def test_wrong_pool_is_wrong_usage(here, command):
    write(here, mail=MAIL)
    (here / "pool.yaml").write_text("kind: Deployment")
    worker = command("mail.py", "--pool", "pool.yaml")
    assert worker.process.wait(PATIENCE) == 2
    assert worker.output() == "pool.yaml has no object of the kind WorkerPool: it has Deployment\n"


# Until nothing is left

SPREADING = """
from pathlib import Path
from tubeherd import QueueManager, executor
import os
@executor("mail")
def mail(payload):
    with QueueManager(os.environ["TUBEHERD_SERVER"]) as queue:
        for _ in range(3 if payload else 0):
            queue.put("mail", payload - 1)
    with open("notes", "a") as notes:
        notes.write(f"{payload}\\n")
"""


@pytest.mark.parametrize("options", [(), ("--concurrency", "3"), ("--async-concurrency", "5"), ("--ack-after-flush",)])
def test_until_empty_does_what_jobs_put_and_then_stops_with_0(here, command, beanstalkd, options):
    source = SPREADING.replace("def mail", "async def mail") if "--async-concurrency" in options else SPREADING
    write(here, mail=source)
    beanstalkd.put_json("mail", 3)
    delayed = beanstalkd.put("mail", delay=3600)
    worker = command("mail.py", "--until-empty", *options)
    assert worker.process.wait(PATIENCE) == 0
    assert sorted(worker.notes()) == sorted("3" + 3 * "2" + 9 * "1" + 27 * "0")
    assert beanstalkd.count("mail") == NOTHING | {"delayed": 1}
    assert beanstalkd.stats_job(delayed)["reserves"] == 0
    assert "no job is ready and none runs: the worker stops" in worker.events()


def test_until_empty_waits_for_a_job_that_runs(here, command, beanstalkd):
    slow = SPREADING.replace("    with QueueManager", "    import time; time.sleep(payload)\n    with QueueManager")
    write(here, mail=slow.replace("range(3", "range(1"))
    beanstalkd.put_json("mail", 2)  # longer than the other slot waits for a job
    worker = command("mail.py", "--until-empty", "--concurrency", "2")
    assert worker.process.wait(PATIENCE) == 0
    assert sorted(worker.notes()) == ["0", "1", "2"]


def test_until_empty_leaves_failed_jobs_to_their_retries(here, command, beanstalkd):
    write(here, mail=FAILING)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--until-empty", "--include", "mail", WORDS="x")
    assert worker.process.wait(PATIENCE) == 0
    assert beanstalkd.count("mail") == NOTHING | {"delayed": 1}


# After a change of a file

VERSION = """
from tubeherd import executor
@executor("mail")
def mail(payload): open("notes", "a").write("VERSION\\n")
"""


def version_of(number):
    return VERSION.replace("VERSION", str(number))


def test_reload_runs_the_changed_file_though_it_is_as_long_and_changed_in_the_same_second(here, command, beanstalkd):
    write(here, mail=version_of(1), changed=10**18)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--reload", "--concurrency", "2")
    worker.wait_for(lambda: worker.notes() == ["1"], "version 1")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 2, "both slots have started")
    for number in range(2, 5):
        write(here, mail=version_of(number), changed=10**18 + number)  # Python's cache knows whole seconds and size
        worker.wait_for(lambda number=number: beanstalkd.waiting("mail") == 2 and said(worker, number - 1), "replaced")
        beanstalkd.put_json("mail", 1)
        worker.wait_for(lambda number=number: len(worker.notes()) == number, f"version {number}")
        assert worker.notes()[-1] == str(number)
    assert not [event for event in worker.events() if "connection" in event]  # the slots have closed it themselves
    assert worker.end() == 0


def said(worker, count, event="mail.py changed: each slot is replaced after its job"):
    return worker.events().count(event) == count and worker.events().count("slot recycled between jobs") == 2 * count


def test_reload_ends_no_worker_for_a_broken_file_and_goes_on_when_it_is_mended(here, command, beanstalkd):
    write(here, mail="import helper\n" + version_of(1), helper="")
    worker = command("mail.py", "--reload", "--concurrency", "3")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 3, "connected")
    write(here, helper="def (")
    waits = "the worker waits until a file of the executors changes"
    worker.wait_for(lambda: waits in worker.events(), "it waits")
    broken = "mail.py cannot be imported: SyntaxError: invalid syntax (helper.py, line 1)"
    assert worker.events().count(broken) == 1
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 0, "no slot is left")
    beanstalkd.put_json("mail", 1)
    write(here, helper="raise RuntimeError")
    worker.wait_for(lambda: worker.events().count(waits) == 2, "it waits again")
    write(here, helper="")
    worker.wait_for(lambda: worker.notes() == ["1"], "the job is done")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 3, "all slots are back")
    assert worker.end() == 0


@pytest.mark.parametrize("code", ["def (", "import os; os._exit(9)", "import nowhere", "x = 1"])
def test_reload_waits_where_the_first_import_fails(here, command, beanstalkd, code):
    write(here, mail=code)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--reload")
    worker.wait_for(lambda: "the worker waits until a file of the executors changes" in worker.events(), "it waits")
    write(here, mail=version_of(1))
    worker.wait_for(lambda: worker.notes() == ["1"], "the job is done")
    assert worker.end() == 0


def test_reload_ends_an_import_that_does_not_end(here, command, beanstalkd):
    write(here, mail="open('notes', 'a').write('begun\\n')\nwhile True: pass")
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--reload")
    worker.wait_for(lambda: worker.notes() == ["begun"], "the import has begun")
    write(here, mail=version_of(1))
    worker.wait_for(lambda: worker.notes() == ["begun", "1"], "the job is done")
    assert worker.end() == 0


@pytest.mark.slow
def test_reload_counts_no_import_that_it_ended_itself(here, command, beanstalkd):
    slow = "open('notes', 'a').write('NUMBER\\n')\nwhile True: pass"
    write(here, mail=slow.replace("NUMBER", "0"))
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--reload")
    for number in range(1, 7):  # more often than imports may fail in a row
        worker.wait_for(lambda number=number: len(worker.notes()) == number, f"import {number} has begun")
        write(here, mail=slow.replace("NUMBER", str(number)))
    worker.wait_for(lambda: len(worker.notes()) == 7, "the last import has begun")
    write(here, mail=version_of(7))
    worker.wait_for(lambda: worker.notes()[7:] == ["7"], "the job is done")
    assert worker.end() == 0


def test_reload_lets_a_running_job_end_as_it_was(here, command, beanstalkd):
    slow = version_of(1) + "    import pathlib, time\n    while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    write(here, mail=slow.replace("def mail(payload): open", "def mail(payload):\n    open"))
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--reload")
    worker.wait_for(lambda: worker.notes() == ["1"], "the job runs")
    write(here, mail=version_of(2))
    worker.wait_for(lambda: "mail.py changed: each slot is replaced after its job" in worker.events(), "noticed")
    (here / "go").touch()
    beanstalkd.put_json("mail", 1)
    worker.wait_for(lambda: worker.notes() == ["1", "2"], "the next job runs the new version")
    worker.wait_for(lambda: worker.events().count("deleted") == 2, "both jobs are deleted")
    assert worker.end() == 0


def test_reload_without_a_file_to_wait_for_ends(here, command):
    worker = command("--executors", "nowhere", "--reload")
    assert worker.process.wait(PATIENCE) == 3


def test_reload_that_waits_stops_with_0(here, command):
    write(here, mail="def (")
    worker = command("mail.py", "--reload")
    worker.wait_for(lambda: "the worker waits until a file of the executors changes" in worker.events(), "it waits")
    assert worker.end() == 0
