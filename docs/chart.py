"""Writes charts/tubeherd/README.md from the chart's values and their comments: `make values`."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parents[1] / "charts" / "tubeherd"
PAGE = CHART / "README.md"
HEAD = """\
# The chart

Generated from the comments in `values.yaml` by `make values`; a test fails if this page is stale.

The chart installs Tubeherd's operator, the CustomResourceDefinition of its pools and, if wanted, a beanstalkd:

    helm install tubeherd charts/tubeherd --namespace tubeherd --create-namespace \\
      --set imageRegistry=registry.example.com/team --set server=beanstalkd.queue.svc:11300

The page on Kubernetes among Tubeherd's docs has what to know about upgrades, removal and rights. A value that the chart
does not know is refused.

| value | default | meaning |
| --- | --- | --- |
"""


class Value(NamedTuple):
    """A value of the chart, or a group of values, that has a comment."""

    path: str
    """Names of the groups and of the value, with dots between them."""
    default: Any
    meaning: str


def read_values() -> list[Value]:
    """Return every value with its comment, in the order of the file."""
    text = (CHART / "values.yaml").read_text()
    defaults = yaml.safe_load(text)
    values, groups, comment = [], [], []
    for line in text.splitlines():
        if found := re.match(r" *# (.*)", line):
            comment.append(found[1])
        elif found := re.match(r"( *)(\w+):", line):
            groups[len(found[1]) // 2 :] = [found[2]]
            if comment:
                values.append(Value(".".join(groups), _at(defaults, groups), " ".join(comment)))
            comment = []
    return values


def groups_of(values: list[Value]) -> set[str]:
    """Return the paths that have further values inside."""
    return {value.path.rpartition(".")[0] for value in values}


def render() -> str:
    """Return the page."""
    values = read_values()
    groups = groups_of(values)
    rows = [
        f"| `{value.path}` | {'' if value.path in groups else f'`{json.dumps(value.default)}`'} | {value.meaning} |\n"
        for value in values
    ]
    return HEAD + "".join(rows)


def _at(values: Any, path: list[str]) -> Any:
    for name in path:
        values = values[name]
    return values


if __name__ == "__main__":
    PAGE.write_text(render())
