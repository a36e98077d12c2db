"""Runs helm on the project's chart."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.kubernetes import Object
from tests.support.project import ROOT

CHART: Final = ROOT / "charts" / "tubeherd"
EARLIER: Final = ROOT / "tests" / "cluster" / "earlier" / "tubeherd"
"""The chart as it was before its images were written in parts: its releases have to be upgraded."""
Rendered = dict[tuple[str, str], Object]
"""Objects by kind and name."""


def helm(*arguments: str | Path, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; values given go to it as a file."""
    given = ("--values", "-") if values is not None else ()
    command = ["helm", *arguments, *given]
    stdin = yaml.safe_dump(dict(values)) if values is not None else None
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)


def render(
    values: Mapping[str, Any] | None = None, release: str = "herd", namespace: str = "queue", chart: Path = CHART
) -> Rendered:
    """Return the objects that helm makes of the chart."""
    done = helm("template", release, chart, "--namespace", namespace, values=values or {})
    assert done.returncode == 0, done.stderr
    objects = [thing for thing in yaml.safe_load_all(done.stdout) if thing]
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}


def refusal(values: Mapping[str, Any], release: str = "herd") -> str:
    """Return what helm says about values that it must refuse."""
    done = helm("template", release, CHART, values=values)
    assert done.returncode != 0, "helm took the values"
    return done.stderr


def image_values(part: str, image: str) -> Object:
    """Return the values that have the chart take an image, such as `localhost/tubeherd-operator:dev`, for a part."""
    registry, _, name = image.rpartition("/")
    repository, _, tag = name.partition(":")
    return {part: {"image": {"registry": registry, "repository": repository, "tag": tag}}}


class Release:
    """The release that a cluster has while its tests run."""

    def __init__(self, name: str, namespace: str, values: Object) -> None:
        self.name = name
        self.namespace = namespace
        self._values = values

    def helm(self, command: str, *arguments: str | Path, values: Object | None = None) -> str:
        """Run a helm command on the release, and return what it printed."""
        done = helm(command, self.name, *arguments, "--namespace", self.namespace, values=values)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *options: str, chart: Path = CHART, values: Object | None = None) -> None:
        """Install or upgrade it, and wait until the operator is ready.

        The CRD outlives the release that brought it, and tests change it by kubectl.
        """
        wait = ("--create-namespace", "--take-ownership", "--force-conflicts", "--wait", "--timeout", "120s")
        self.helm("upgrade", "--install", chart, *wait, *options, values=values or self._values)
