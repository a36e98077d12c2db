"""The code takes what the READMEs, the pages for users and the examples have users write."""

import re
import tomllib
from types import SimpleNamespace

import pytest
import yaml

from tests.support.project import ROOT
from tubeherd import events
from tubeherd.executors import registry
from tubeherd.pool import WorkerPoolSpec

README = (ROOT / "README.md").read_text()
PACKAGE = (ROOT / "worker" / "README.md").read_text()
EXECUTORS = (ROOT / "docs" / "executors.md").read_text()


def block(language, with_words="", page=README):
    """Return the first block of a page in a language that has these words."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if with_words in text)


def commands(page):
    """Return the commands of a page that are typed at a prompt."""
    return re.findall(r"^\$ (.*)$", page, re.MULTILINE)


def example():
    objects = yaml.safe_load_all((ROOT / "examples" / "mail" / "workerpool.yaml").read_text())
    by_kind = {thing["kind"]: thing for thing in objects}
    return by_kind["WorkerPool"], by_kind["ConfigMap"]


pytestmark = pytest.mark.usefixtures("no_executors")


def test_executor_takes_the_payload_that_is_scheduled(capsys):
    exec(block("python"), {})  # noqa: S102 - our own text
    payload = re.search(r"schedule mail '(.*?)'", README)[1]
    executor = registry["mail"]
    executor.function(executor.adapter.validate_json(payload))
    assert capsys.readouterr().out == "to ann@example.com: Hello!\n"


@pytest.mark.parametrize("page", [README, PACKAGE], ids=["README", "worker/README"])
def test_executor_is_the_one_that_make_try_runs(page):
    assert block("python", page=page) == (ROOT / "examples" / "try" / "mail.py").read_text()


def test_page_of_the_package_has_the_commands_of_the_readme_but_for_the_install():
    assert set(commands(PACKAGE)) - {"pip install tubeherd"} == set(commands(README)) - {
        "pip install ./worker",
        ". venv/bin/activate",
    }


def test_page_of_the_package_links_to_nothing_that_its_reader_does_not_have():
    assert [link for link in re.findall(r"\]\(([^)]*)\)", PACKAGE) if not link.startswith("https://")] == []


def test_make_try_runs_the_commands_of_the_readme():
    told = (ROOT / "examples" / "try" / "story.py").read_text()
    assert [command for command in commands(README) if command.startswith("tubeherd ") and command not in told] == []


def test_batch_is_written_by_the_listener():
    written = []
    scope = {"database": SimpleNamespace(insert_many=written.extend)}
    exec(block("python", "events.flush", EXECUTORS), scope)  # noqa: S102 - our own text
    registry["clicks"].function({"page": "/"})
    events.flush.send("batch", count=1)
    events.flush.send("idle", count=1)
    assert written == [{"page": "/"}]


def test_error_tracker_needs_three_lines():
    tracked = []
    text = block("python", "events.job_failed", EXECUTORS)
    scope = {"events": events, "sentry_sdk": SimpleNamespace(capture_exception=tracked.append)}
    exec(text, scope)  # noqa: S102 - our own text
    error = ValueError()
    events.job_failed.send(None, error=error, reason="", attempts=1)
    assert tracked == [error]
    assert len(text.splitlines()) == 3


def test_executor_is_as_short_as_promised():
    assert len([line for line in block("python").splitlines() if line]) <= 10


@pytest.mark.parametrize("pool", [yaml.safe_load(block("yaml")), example()[0]], ids=["README", "example"])
def test_pool_has_only_fields_that_there_are(pool):
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    assert spec.model_dump(by_alias=True, exclude_unset=True) == pool["spec"]


def test_example_executor_loads():
    pool, config_map = example()
    assert pool["spec"]["executors"]["configMap"] == config_map["metadata"]["name"]
    for text in config_map["data"].values():
        exec(text, {})  # noqa: S102 - our own text
    assert list(registry) == pool["spec"]["tubes"]


def test_git_ignores_what_the_first_page_makes():
    made = [*re.findall(r"^\$ python3 -m venv (\S+)", README, re.MULTILINE), *re.findall(r"clone as `(\S+)`", README)]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert len(made) == 2
    assert [name for name in made if f"/{name}" not in ignored and f"/{name}/" not in ignored] == []


def test_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"test", "check", "try", "demo", "demo-down"} <= named <= targets


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:worker|operator|crds|charts|examples|tests|docs|changes)/[^`]*)`", README)))
)
def test_paths_exist(path):
    assert (ROOT / path).exists()


def test_images_have_the_version_of_the_project():
    version = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"tubeherd-(?:worker|operator|beanstalkd|\$part):(\S+)", README)) == {version}
    assert f"\ntubeherd {version}\n" in README
