"""Settings from variables and options, and what is said of wrong ones."""

import inspect

import pytest
from pydantic import ValidationError

from tubeherd.cli import run
from tubeherd.formats.memory_share import MIB, slot_share
from tubeherd.settings import WorkerSettings, explain


def test_defaults():
    settings = WorkerSettings()
    assert settings.retry_delays == (600,)
    assert settings.policy().max_lost_deliveries == 3
    assert (settings.server, settings.concurrency, settings.batch_size) == ("127.0.0.1:11300", 1, 15)
    assert settings.memory_share() is None


def test_every_setting_has_a_variable(monkeypatch):
    variables = {
        "SERVER": "[::1]:1",
        "EXECUTORS": "a.b, c",
        "INCLUDE": "mail, report",
        "EXCLUDE": "thumbs",
        "CONCURRENCY": "2",
        "MAX_JOBS": "100",
        "MAX_TIME": "1h",
        "MAX_MEMORY": "256Mi",
        "ON_LIMIT": "stop",
        "JOB_TIMEOUT": "5m",
        "RETRY_DELAYS": "10s,10m",
        "MAX_LOST_DELIVERIES": "5",
        "BATCH_SIZE": "7",
        "GRACE_PERIOD": "30s",
        "HEALTH": "0.0.0.0:8080",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"TUBEHERD_{name}", value)
    settings = WorkerSettings()
    assert {name.upper() for name in settings.model_fields_set} == variables.keys()
    assert settings.executors == ("a.b", "c")
    assert settings.include == ("mail", "report")
    assert (settings.max_time, settings.job_timeout, settings.max_memory) == (3600, 300, 256 * MIB)
    assert settings.retry_delays == (10, 600)


def test_options_come_before_variables(monkeypatch):
    monkeypatch.setenv("TUBEHERD_MAX_JOBS", "5")
    assert WorkerSettings(max_jobs=9).max_jobs == 9


def test_empty_variable_counts_as_not_set_and_none_as_no_delay(monkeypatch):
    monkeypatch.setenv("TUBEHERD_RETRY_DELAYS", "")
    assert WorkerSettings().retry_delays == (600,)
    monkeypatch.setenv("TUBEHERD_RETRY_DELAYS", "none")
    assert WorkerSettings().retry_delays == ()


def test_time_of_zero_means_no_limit():
    settings = WorkerSettings(max_time="0", job_timeout="0s", max_memory="0", max_jobs=0)
    assert (settings.max_time, settings.job_timeout, settings.memory_share()) == (None, None, None)


def test_a_tube_may_be_called_none():
    assert WorkerSettings(include="none", exclude="none").include == ("none",)


def test_every_setting_is_an_option_of_run():
    assert inspect.signature(run).parameters.keys() == WorkerSettings.model_fields.keys()


def test_memory_is_checked_against_the_number_of_slots(monkeypatch):
    monkeypatch.setenv("TUBEHERD_CONCURRENCY", "8")
    with pytest.raises(ValidationError, match="8 slots need a memory limit of at least 219Mi, not 200Mi"):
        WorkerSettings(max_memory="200Mi")
    assert WorkerSettings(max_memory="219Mi").memory_share().hard >= 24 * MIB


def test_every_wrong_setting_is_named_at_once():
    with pytest.raises(ValidationError) as raised:
        WorkerSettings(concurrency=0, max_memory="20Mi", server="")
    assert [line.partition(" ")[0] for line in explain(raised.value).splitlines()] == ["--server", "--concurrency"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("server", "a:b", "--server (TUBEHERD_SERVER): 'a:b' is no server"),
        ("concurrency", "0", "--concurrency (TUBEHERD_CONCURRENCY): Input should be greater than or equal to 1"),
        ("include", "mail,two words", "--include (TUBEHERD_INCLUDE): 'two words' is no tube name"),
        ("max_time", "soon", "--max-time (TUBEHERD_MAX_TIME): 'soon' is no duration"),
        ("max_memory", "lots", "--max-memory (TUBEHERD_MAX_MEMORY): 'lots' is no size of memory"),
        (
            "max_memory",
            "20Mi",
            "--max-memory (TUBEHERD_MAX_MEMORY): 1 slots need a memory limit of at least 43Mi, not 20Mi",
        ),
        ("retry_delays", "1s,x", "--retry-delays (TUBEHERD_RETRY_DELAYS): 'x' is no duration"),
        ("retry_delays", "1000000w", "--retry-delays (TUBEHERD_RETRY_DELAYS): a retry delay is at most"),
        ("on_limit", "explode", "--on-limit (TUBEHERD_ON_LIMIT): Input should be 'recycle' or 'stop'"),
    ],
)
def test_wrong_setting_is_named_as_option_and_variable(name, value, said):
    with pytest.raises(ValidationError) as raised:
        WorkerSettings(**{name: value})
    assert said in explain(raised.value)


@pytest.mark.parametrize(("limit", "concurrency"), [(64, 1), (256, 1), (256, 8), (1024, 4)])
def test_shares_stay_below_the_limit_at_which_the_kernel_would_kill(limit, concurrency):
    share = slot_share(limit * MIB, concurrency)
    assert share.soft < share.hard
    assert share.hard * concurrency + 16 * MIB < limit * MIB
