"""The operator's settings: read from variables, and what is reported of wrong and misspelt ones."""

import pytest

from tubeherd.configuration import WrongSettings
from tubeherd_operator.settings import OperatorSettings


def test_variables_are_read():
    settings = OperatorSettings.load(
        {
            "TUBEHERD_OPERATOR_DEFAULT_IMAGE": "worker:1",
            "TUBEHERD_OPERATOR_DEFAULT_SERVER": "",
            "TUBEHERD_OPERATOR_POLL_INTERVAL": "0.5",
            "TUBEHERD_OPERATOR_FIXED_USER": "false",
            "TUBEHERD_OPERATOR_WATCH_NAMESPACES": "shop, queue",
            "TUBEHERD_MAX_JOBS": "5",
        }
    )
    assert settings.fixed_user is False
    assert settings.watch_namespaces == ("shop", "queue")
    assert OperatorSettings.load({"TUBEHERD_OPERATOR_DEFAULT_IMAGE": "worker:1"}).watch_namespaces == ()
    assert (settings.default_image, settings.default_server, settings.poll_interval) == ("worker:1", None, 0.5)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "TUBEHERD_OPERATOR_DEFAULT_IMAGE: must be set. Image of the pools that name none."),
        ({"DEFAULT_IMAGE": ""}, "TUBEHERD_OPERATOR_DEFAULT_IMAGE: must be set. Image of the pools that name none."),
        (
            {"DEFAULT_IMAGE": "a", "POLL_INTERVAL": "0"},
            "TUBEHERD_OPERATOR_POLL_INTERVAL: '0' does not fit: write more than 0",
        ),
        (
            {"DEFAULT_IMAGE": "a", "DEFAULT_SERVER": "tcp://b"},
            "TUBEHERD_OPERATOR_DEFAULT_SERVER: 'tcp://b' is no server: write it like beanstalkd:11300 or [::1]:11300",
        ),
        (
            {"DEFAULT_IMAGE": "a", "DEFAULT_SERVER": "b:99999"},
            "TUBEHERD_OPERATOR_DEFAULT_SERVER: 'b:99999' is no server: the port is from 1 to 65535",
        ),
    ],
)
def test_wrong_variable_is_named_with_what_to_write(variables, said):
    with pytest.raises(WrongSettings) as raised:
        OperatorSettings.load({f"TUBEHERD_OPERATOR_{name}": text for name, text in variables.items()})
    assert str(raised.value) == said


@pytest.mark.parametrize("text", [",", " , "])
@pytest.mark.parametrize("name", ["WATCH_NAMESPACES", "ALLOWED_SERVERS"])
def test_empty_list_is_not_taken_for_everything(name, text):
    with pytest.raises(WrongSettings, match=f"{name}: .* is an empty list"):
        OperatorSettings.load({"TUBEHERD_OPERATOR_DEFAULT_IMAGE": "a", f"TUBEHERD_OPERATOR_{name}": text})


def test_misspelt_variable_is_reported_with_the_nearest_name():
    variables = {
        "TUBEHERD_OPERATOR_POL_INTERVAL": "1",
        "TUBEHERD_MAX_JOB": "5",
        "TUBEHERD_OPERATOR_SERVICE_HOST": "10.0.0.1",
        "TUBEHERD_OPERATOR_PORT": "tcp://10.0.0.1:80",
    }
    assert list(OperatorSettings.misspelt(variables)) == [
        "TUBEHERD_OPERATOR_POL_INTERVAL is no setting and has no effect: did you mean TUBEHERD_OPERATOR_POLL_INTERVAL?"
    ]
