"""Standard streams that are closed, or whose readers are gone; each case in a process of its own."""

import os
import subprocess
import sys

BEGIN = """
import os, sys
from tubeherd.streams import streams
streams.open_closed()
log = streams.keep()
streams.begin_slot()
def file(fd): return os.readlink(f"/proc/self/fd/{fd}")
first = {fd: file(fd) for fd in range(3)}
def mended(): streams.mend(); return {fd: file(fd) for fd in range(3)} == first
"""


def run(code, **streams):
    """Run code after `BEGIN` and return what it printed."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    done = subprocess.run([sys.executable, "-c", BEGIN + code], text=True, **streams)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_closed_streams_are_opened_again_as_they_were():
    assert run("os.closerange(0, 3)\nassert mended()\nos.system('echo child')\nprint('parent')") == "child\nparent\n"


def test_streams_in_order_are_left_alone():
    assert run("os.dup2(os.open('/proc/self/stat', os.O_RDONLY), 0)\nstreams.mend()\nprint(file(0))").endswith("stat\n")


def test_print_to_a_closed_stream_opens_it_again():
    assert run("os.close(1)\nprint('one')\nsys.stdout.close()\nsys.stdout.buffer.close()\nprint('two')") == "one\ntwo\n"


def test_stream_of_python_that_a_job_has_closed_or_taken_away_prints_again():
    for harm in ("sys.stdout = None", "sys.stdout = io.StringIO(); sys.stdout.close()", "del sys.stdout"):
        assert run(f"import io\n{harm}\nstreams.mend()\nprint('again')") == "again\n"


def test_stream_that_user_code_puts_in_place_of_standard_output_stays():
    assert run("import io\nsys.stdout = own = io.StringIO()\nstreams.mend()\nprint('x')\nassert own.getvalue()") == ""


def test_stream_that_a_job_has_detached_prints_again():
    assert run("b = sys.stdout.detach()\nb.write(b'bytes\\n')\nstreams.mend()\nprint('text')") == "bytes\ntext\n"


def test_stream_whose_reader_is_gone_becomes_dev_null():
    gone = "end, other = os.pipe()\nos.dup2(other, 1)\nos.close(end)\nprint('lost')\nstreams.mend()\n"
    assert run(gone + "assert file(1) == os.devnull\nos.write(1, b'x')\nassert file(2) == first[2]") == ""


def test_what_a_full_disk_or_a_stream_for_reading_does_not_take_is_lost():
    for path in ("/dev/full", "/proc/self/stat"):
        flags = "os.O_WRONLY" if path == "/dev/full" else "os.O_RDONLY"
        assert run(f"os.dup2(os.open({path!r}, {flags}), 1)\nprint('lost')") == ""


def test_copies_that_a_job_has_closed_cost_nothing_but_the_streams():
    assert run("os.closerange(0, 4096)\nstreams.mend()\nprint('lost')\nos._exit(0)") == ""


def test_copy_of_standard_error_is_no_low_number_and_not_inherited():
    assert int(run("print(log)\nassert not os.get_inheritable(log)\nassert file(log) == file(2)")) >= 10


def test_copies_fit_below_a_low_limit_of_open_files():
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
    done = subprocess.run([sys.executable, "-c", limited + BEGIN + "print(log)"], capture_output=True, check=True)
    assert 10 <= int(done.stdout) < 20


def test_printed_text_keeps_the_encoding_of_the_stream():
    env = os.environ | {"PYTHONIOENCODING": "latin-1:replace"}
    assert run("print('ä€')", env=env, encoding="latin-1") == "ä?\n"


def test_stream_is_like_pythons_own():
    code = "print(sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.name, sys.stdout.closed)"
    assert run(code) == "1 2 False <stdout> False\n"
    assert run("print(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)") == "True True\n"
