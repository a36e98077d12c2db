"""`tubeherd run` as a new user types it: in the folder of the executors, without a PYTHONPATH."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.network import free_address
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for

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
            variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
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
        return [json.loads(line)["event"] for line in self.output().splitlines() if line.startswith("{")]

    def notes(self):
        notes = self.folder / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    def wait_for(self, condition, what="it"):
        return wait_for(condition, lambda: f"{what}\n{self.output()}", 15)

    def end(self):
        self.process.terminate()
        return self.process.wait(15)


@pytest.fixture
def here(tmp_path):
    """The folder in which the command is typed."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def write(folder, **files):
    """Write Python files; the names have __ for a slash."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


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
    write(here, mail="import traceback, difflib\n" + MAIL, traceback=own, difflib=own, queue=own, secrets=own)
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py")
    worker.wait_for(lambda: worker.notes() == ["mail 1"], "the job is done")
    assert worker.end() == 0
    assert "error" not in worker.output()


@pytest.mark.parametrize(
    ("arguments", "files", "said"),
    [
        (["mial.py"], {"mail": MAIL}, "there is no file mial.py: did you mean tubeherd run mail.py?"),
        (["mail.py"], {"mail": "def ("}, "mail.py cannot be imported: SyntaxError: invalid syntax (mail.py, line 1)"),
        (["mail.py"], {"mail": "x = 1"}, "no executor found in mail.py: decorate a function with @executor(TUBE)"),
        (["util.py"], {"mail": MAIL, "util": ""}, "@executor(TUBE); did you mean tubeherd run mail.py?"),
        (["mail.py"], {"mail": "import helper"}, "No module named 'helper' (mail.py, line 1)"),
        (["."], {"util": ""}, "no .py file in the folder . has an executor"),
        ([], {"mail": MAIL}, "no executor found in /app/executors: decorate a function with @executor(TUBE); did you "
         "mean tubeherd run mail.py?"),
        (["--executors", "mail"], {"mail": MAIL}, "No module named 'mail'; for the file in the current folder write "
         "tubeherd run mail.py"),
        (["--executors", "mail.py"], {"mail": MAIL}, "write tubeherd run mail.py"),
        (["--executors", "jobs.mail"], {"jobs__mail": MAIL}, "write tubeherd run jobs/mail.py"),
        (["pydantic.py"], {"pydantic": MAIL}, "pydantic.py has the name of an installed package, pydantic: rename"),
        (["tubeherd"], {}, "no executor found in tubeherd"),
        (["a/mail.py", "b/mail.py"], {"a__mail": MAIL, "b__mail": MAIL}, "a/mail.py and b/mail.py would both be the "
         "module mail: rename one of them, or write tubeherd run a.mail b.mail"),
        (["a/mail.py", "b/report.py"], {"a__mail": "import helper\n" + MAIL, "a__helper": "", "b__helper": "",
         "b__report": "import helper\n" + MAIL.replace('"mail"', '"report"')}, "helper.py is in "),
    ],
)  # fmt: skip
def test_wrong_executors_are_answered_with_what_is_wrong(here, command, beanstalkd, arguments, files, said):
    beanstalkd.put_json("mail", 1)
    write(here, **files)
    worker = command(*arguments)
    assert worker.process.wait(15) == 3
    assert said in worker.events()[0]
    assert "Traceback" not in worker.output()
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_arguments_and_the_option_are_not_both_taken(here, command):
    worker = command("mail.py", "--executors", "mail")
    assert worker.process.wait(15) == 2
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
    assert [line.rstrip() for line in screen[:8]] == [
        f"tubeherd {version('tubeherd')}",
        f"  server   {beanstalkd.server}",
        "  tube     mail    jobs.send          retried after 10s, 10m",
        "  tube     report  jobs.Reports.make  retried after 10m",
        "  tube     thumbs  jobs.shrink        buried at the first failure",
        "  slots    2, for as many jobs at a time",
        f"  metrics  http://{address}/metrics",
        "Ctrl-C stops the worker after its running jobs.",
    ]


def test_banner_is_shown_once_and_fits_60_columns(here, terminal, beanstalkd):
    many = "".join(f"executor('{'t' * 50}{n}')(print_{n})\n" for n in range(100))
    functions = "".join(f"def print_{n}(payload): ...\n" for n in range(100))
    write(here, jobs=f"from tubeherd import executor\n{functions}{many}")
    beanstalkd.put_json("t" * 50 + "1", 1)
    beanstalkd.put_json("t" * 50 + "2", 1)
    shown = terminal("jobs.py", "--max-jobs", "1", columns=60)
    wait_for(lambda: shown.text().count("slot recycled") == 2, shown.text, 15)
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
    assert "ValueError: of the pool" in worker.output()
    assert worker.events()[0].startswith("pool mail: without a cluster this means nothing: replicas")
    assert beanstalkd.count("report")["ready"] == 1


def test_options_and_variables_win_over_the_pool(here, command, beanstalkd):
    write(here, mail=FAILING)
    (here / "pool.yaml").write_text(POOL.replace("SERVER", "127.0.0.1:1"))
    beanstalkd.put_json("mail", 1)
    worker = command("mail.py", "--pool", "pool.yaml", "--retry-delays", "1h", WORDS="of the user")
    worker.wait_for(lambda: beanstalkd.count("mail")["delayed"] == 1, "tried again in an hour")
    assert "ValueError: of the user" in worker.output()


def test_wrong_pool_is_wrong_usage(here, command):
    write(here, mail=MAIL)
    (here / "pool.yaml").write_text("kind: Deployment")
    worker = command("mail.py", "--pool", "pool.yaml")
    assert worker.process.wait(15) == 2
    assert worker.output() == "pool.yaml has no object of the kind WorkerPool: it has Deployment\n"
