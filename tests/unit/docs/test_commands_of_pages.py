"""Each command line that a page shows is one that `tubeherd` takes; so are the pools of the pages for users."""

import re
import shlex

import pytest
import typer
import yaml

from tests.support.project import ROOT
from tubeherd.cli import COMMANDS, app
from tubeherd.pool import WorkerPoolSpec
from tubeherd.settings import WorkerSettings

PAGES = [ROOT / "README.md", ROOT / "worker" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
_LINE = re.compile(r"^(?: {4}|\$ | {4}\$ )(?:.*-- )?tubeherd (.*?)(?: +#.*)?$", re.MULTILINE)
_INLINE = re.compile(r"`(?:kubectl exec [^`]*-- )?tubeherd (\w[^`]*)`")


def command_lines():
    """Return the pages with the arguments of each command line, without redirections and pipes."""
    for page in PAGES:
        text = page.read_text()
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        found = _LINE.findall(text) + [" ".join(line.split()) for line in _INLINE.findall(prose)]
        for line in dict.fromkeys(found):
            words = shlex.split(re.split(r" [<|] ", line)[0])
            if words[-1] == "--job":  # the prose names only the option
                words.append("1")
            if words[0] in COMMANDS and words[1:] and words[-1] != "--help":
                yield pytest.param(words, id=f"{page.relative_to(ROOT)} {line}"[:120])


@pytest.mark.parametrize("words", list(command_lines()))
def test_command_line_is_one_that_is_taken(words):
    name, *arguments = words
    group = typer.main.get_command(app)
    command = group.get_command(None, name)
    with command.make_context(name, arguments) as context:
        given = {key: value for key, value in context.params.items() if key in WorkerSettings.model_fields}
    if name in ("run", "execute"):
        WorkerSettings.load({}, {key: value for key, value in given.items() if value})


def test_pages_show_every_command():
    shown = {param.values[0][0] for param in command_lines()}
    assert shown == set(COMMANDS)


def pools():
    for page in PAGES:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            yield pytest.param(yaml.safe_load(block), id=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("pool", list(pools()))
def test_pool_of_a_page_has_only_fields_that_there_are(pool):
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    assert spec.model_dump(by_alias=True, exclude_unset=True) == pool["spec"]
