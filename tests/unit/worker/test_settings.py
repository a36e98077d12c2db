"""Settings from variables and options, what is reported of wrong and misspelt ones, and what follows from each."""

import inspect
import re
from typing import Literal, get_args, get_origin

import pytest
from pydantic import ValidationError

from tests.support.project import ROOT
from tubeherd.commands.run import run
from tubeherd.commands.terminal import Server
from tubeherd.configuration import WrongSettings, option
from tubeherd.declarations import shape
from tubeherd.formats.memory_share import MIB, slot_share
from tubeherd.settings import PoolField, SetByOperator, WorkerSettings

NONE = ", the word none if nothing does"
EMPTY_LISTS = {"include": "", "exclude": "", "executors": NONE, "retry_delays": NONE}
"""The settings that are lists, with what is said of one that may be empty."""
VARIABLES = {
    "server": ("[::1]:1", "[::1]:1"),
    "executors": ("a.b, c", ("a.b", "c")),
    "include": ("mail, report", ("mail", "report")),
    "exclude": ("thumbs", ("thumbs",)),
    "concurrency": ("2", 2),
    "max_jobs": ("100", 100),
    "max_time": ("1h", 3600),
    "max_memory": ("256Mi", 256 * MIB),
    "on_limit": ("stop", "stop"),
    "job_timeout": ("5m", 300),
    "retry_delays": ("10s,10m", (10, 600)),
    "max_lost_deliveries": ("5", 5),
    "async_concurrency": ("8", 8),
    "burial_records": ("off", "off"),
    "batch_size": ("7", 7),
    "ack_after_flush": ("true", True),
    "grace_period": ("30s", 30),
    "health": ("0.0.0.0:8080", "0.0.0.0:8080"),
    "log_format": ("json", "json"),
    "log_level": ("debug", "debug"),
}


def test_defaults():
    settings = WorkerSettings.load({})
    assert settings.retry_delays == (600,)
    assert settings.policy().max_lost_deliveries == 3
    assert (settings.server, settings.concurrency, settings.batch_size) == ("127.0.0.1:11300", 1, 15)
    assert settings.memory_share() is None


def text_for(name):
    """Return text that a setting takes and that does not mean its default."""
    field = WorkerSettings.model_fields[name]
    of = shape(field)
    if of.format:
        return of.format.examples.partition(",")[0].partition(" or ")[0]
    if get_origin(of.type) is Literal:
        return next(word for word in get_args(of.type) if word != field.default)
    return {bool: "true", int: "2", str: "text"}[of.type]


@pytest.mark.parametrize("name", WorkerSettings.model_fields)
def test_every_setting_has_a_variable(name):
    settings = WorkerSettings.load({f"TUBEHERD_{name.upper()}": text_for(name)})
    assert settings == WorkerSettings(**{name: text_for(name)})
    assert getattr(settings, name) != WorkerSettings.model_fields[name].default


def test_all_variables_at_once():
    settings = WorkerSettings.load({f"TUBEHERD_{name.upper()}": text for name, (text, _) in VARIABLES.items()})
    assert {name: getattr(settings, name) for name in VARIABLES} == {
        name: value for name, (_, value) in VARIABLES.items()
    }


def test_every_setting_is_an_option_of_run():
    parameters = inspect.signature(run).parameters.items()
    options = {
        name: parameter.default.param_decls for name, parameter in parameters if name in WorkerSettings.model_fields
    }
    assert options == {name: ("--" + name.replace("_", "-"),) for name in WorkerSettings.model_fields}


@pytest.mark.parametrize("name", WorkerSettings.model_fields)
def test_every_setting_is_described_and_its_first_sentence_is_short(name):
    description = WorkerSettings.model_fields[name].description
    assert description.endswith(".")
    assert len(description.partition(". ")[0]) < 90


def test_settings_are_written_as_the_variables_that_are_read_as_the_same():
    values = {name: value for name, (_, value) in VARIABLES.items()}
    assert WorkerSettings.load(WorkerSettings.variables(values)) == WorkerSettings(**values)
    assert WorkerSettings.variables({"retry_delays": [], "ack_after_flush": False}) == {
        "TUBEHERD_RETRY_DELAYS": "none",
        "TUBEHERD_ACK_AFTER_FLUSH": "false",
    }


def test_delay_of_two_parts_in_a_list_stays_one():
    variables = WorkerSettings.variables({"retry_delays": ["1m 30s", "10 minutes"]})
    assert variables == {"TUBEHERD_RETRY_DELAYS": "1m30s,10 minutes"}
    assert WorkerSettings.load(variables).retry_delays == (90, 600)


def test_options_come_before_variables():
    assert WorkerSettings.load({"TUBEHERD_MAX_JOBS": "5"}, {"max_jobs": "9"}).max_jobs == 9


def test_empty_variable_counts_as_not_set_and_none_as_no_delay():
    assert WorkerSettings.load({"TUBEHERD_RETRY_DELAYS": ""}).retry_delays == (600,)
    assert WorkerSettings.load({"TUBEHERD_RETRY_DELAYS": "none"}).retry_delays == ()


def test_time_of_zero_means_no_limit():
    settings = WorkerSettings(max_time="0", job_timeout="0s", max_memory="0", max_jobs=0)
    assert (settings.max_time, settings.job_timeout, settings.memory_share()) == (None, None, None)


def test_a_tube_may_be_called_none():
    assert WorkerSettings(include="none", exclude="none").include == ("none",)


def test_memory_is_checked_against_the_number_of_slots():
    with pytest.raises(WrongSettings, match="8 slots need a memory limit of at least 219Mi, not 200Mi"):
        WorkerSettings.load({"TUBEHERD_CONCURRENCY": "8"}, {"max_memory": "200Mi"})
    assert WorkerSettings(concurrency=8, max_memory="219Mi").memory_share().hard >= 24 * MIB


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(WrongSettings) as raised:
        WorkerSettings.load({"TUBEHERD_SERVER": ":"}, {"concurrency": "0", "max_memory": "20Mi"})
    assert [line.partition(" ")[0] for line in str(raised.value).splitlines()] == ["--server", "--concurrency"]


def test_a_name_that_is_no_setting_is_a_mistake_of_the_caller():
    with pytest.raises(ValidationError):
        WorkerSettings(max_job=1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("server", "a:b", "'a:b' is no server: write it like beanstalkd:11300 or [::1]:11300"),
        ("concurrency", "0", "'0' does not fit: write 1 to 1000"),
        ("concurrency", "many", "'many' does not fit: write 1 to 1000"),
        ("max_jobs", "-1", "'-1' does not fit: write 0 or more"),
        ("include", "mail,two words", "'two words' is no tube name"),
        ("include", "mail,tubeherd.burials", "'tubeherd.burials' is reserved: names that begin with tubeherd. are"),
        ("exclude", "tubeherd.burials", "'tubeherd.burials' is reserved"),
        ("max_time", "soon", "'soon' is no duration: write it like 90s, 10m, 1h30m or '10 minutes'"),
        ("max_memory", "lots", "'lots' is no size of memory: write it like 256Mi or 1Gi"),
        ("max_memory", "20Mi", "1 slots need a memory limit of at least 43Mi, not 20Mi"),
        ("retry_delays", "1s,x", "'x' is no duration"),
        ("retry_delays", "10s 10m", "'10s 10m' lacks a comma: write 10s,10m for two delays, and 10m10s for one"),
        ("retry_delays", "1000000w", "a retry delay is from 0 to 4294967295 seconds, not"),
        ("retry_delays", "1," * 21, "does not fit: write durations with commas between them, 20 at most"),
        ("on_limit", "explode", "'explode' does not fit: write recycle or stop"),
        ("ack_after_flush", "maybe", "'maybe' does not fit: write true or false"),
        ("health", "127.0.0.1", "is neither a port nor an address with a port: write it like 8080, 0.0.0.0:8080 or"),
        *[
            (name, text, f"{text!r} is an empty list: write what belongs into it{none}, or leave this setting out")
            for name, none in EMPTY_LISTS.items()
            for text in (",", " ", ", ,")
        ],
        ("log_format", "xml", "'xml' does not fit: write auto, text or json"),
    ],
)
def test_wrong_setting_is_named_as_option_and_variable_with_what_to_write(name, value, said):
    variable = f"TUBEHERD_{name.upper()}"
    for given in ({variable: value}, {}), ({}, {name: value}):
        with pytest.raises(WrongSettings) as raised:
            WorkerSettings.load(*given)
        assert str(raised.value).startswith(f"{option(name)} ({variable}): ")
        assert said in str(raised.value)


@pytest.mark.parametrize("name", EMPTY_LISTS)
def test_empty_list_is_refused_as_an_option_and_counts_as_unset_as_a_variable(name):
    with pytest.raises(WrongSettings, match=f"^{option(name)} .*: '' is an empty list"):
        WorkerSettings.load({}, {name: ""})
    assert WorkerSettings.load({f"TUBEHERD_{name.upper()}": ""}) == WorkerSettings.load({})


@pytest.mark.parametrize(
    ("variable", "advice"),
    [
        ("TUBEHERD_MAX_JOB", "did you mean TUBEHERD_MAX_JOBS?"),
        ("TUBEHERD_CONCURENCY", "did you mean TUBEHERD_CONCURRENCY?"),
        ("TUBEHERD_HEALTH_PORT", "did you mean TUBEHERD_HEALTH?"),
        ("TUBEHERD_TUBES", "did you mean TUBEHERD_INCLUDE?"),
        ("TUBEHERD_TUBE", "did you mean TUBEHERD_INCLUDE?"),
        ("TUBEHERD_MEMORY_LIMIT", "did you mean TUBEHERD_MAX_MEMORY?"),
        ("tubeherd_max_jobs", "did you mean TUBEHERD_MAX_JOBS?"),
        ("TUBEHERD_ZZZ", "remove it"),
        ("TUBEHERD_", "remove it"),
    ],
)
def test_misspelt_variable_is_reported_with_the_nearest_name(variable, advice):
    messages = list(WorkerSettings.misspelt({variable: "5", "PATH": "/bin", "TUBEHERD_MAX_TIME": "1h"}))
    assert messages == [f"{variable} is no setting and has no effect: {advice}"]


def test_variables_of_services_and_of_other_parts_are_not_reported():
    service = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "11300",
        "SERVICE_PORT_BEANSTALKD": "11300",
        "PORT": "tcp://10.0.0.1:11300",
        "PORT_11300_TCP": "tcp://10.0.0.1:11300",
        "PORT_11300_TCP_PROTO": "tcp",
        "PORT_11300_TCP_PORT": "11300",
        "PORT_11300_TCP_ADDR": "10.0.0.1",
    }
    variables = {
        f"{name}_{rest}": text for name in ("TUBEHERD", "TUBEHERD_BEANSTALKD") for rest, text in service.items()
    }
    variables |= {"TUBEHERD_OPERATOR_POLL_INTERVAL": "1", "TUBEHERD_CACHE": "/cache"}
    assert list(WorkerSettings.misspelt(variables)) == []


def test_every_variable_that_the_project_reads_is_known():
    patterns = (
        "worker/**/*.py",
        "operator/**/*.py",
        "tests/**/*.py",
        "examples/**/*.py",
        "charts/**/*.yaml",
        "Makefile",
    )
    sources = [path for pattern in patterns for path in ROOT.glob(pattern)]
    read = re.compile(r"""environ(?:\.get)?[\[(]["'](TUBEHERD_\w+)|\$\{?(TUBEHERD_\w+)|name: (TUBEHERD_\w+)""")
    found = {name for path in sources for match in read.findall(path.read_text()) for name in match if name}
    assert {"TUBEHERD_CACHE", "TUBEHERD_OPERATOR_DEFAULT_IMAGE"} <= found
    assert list(WorkerSettings.misspelt(dict.fromkeys(found, "1"))) == []


def test_a_setting_is_a_field_of_a_pool_or_set_by_the_operator_but_not_both():
    for field in WorkerSettings.model_fields.values():
        assert sum(isinstance(mark, (PoolField, SetByOperator)) for mark in field.metadata) <= 1


@pytest.mark.parametrize(("limit", "concurrency"), [(64, 1), (256, 1), (256, 8), (1024, 4)])
def test_shares_stay_below_the_limit_at_which_the_kernel_would_kill(limit, concurrency):
    share = slot_share(limit * MIB, concurrency)
    assert share.soft < share.hard
    assert share.hard * concurrency + 16 * MIB < limit * MIB


def test_light_server_option_is_the_one_of_the_declaration():
    light = get_args(Server)[1]
    declared = inspect.signature(run).parameters["server"].default
    assert (light.default, *light.param_decls) == declared.param_decls  # typer: an annotation has no default
    assert (light.metavar, light.help, light.show_default) == (declared.metavar, declared.help, declared.show_default)
