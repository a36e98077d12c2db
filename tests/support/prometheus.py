"""The real Prometheus, on loopback, and promtool, which checks what Prometheus reads."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode

import yaml

from tests.support.network import free_address
from tests.support.waiting import wait_for

_PROGRAMS: Final = Path(sys.prefix) / "bin"
"""Where `make setup` unpacks them."""


def promtool(*arguments: str | Path, stdin: str = "") -> str:
    """Run promtool and return what it printed; raises AssertionError with that if it finds a mistake."""
    command = [_PROGRAMS / "promtool", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed


class Prometheus:
    """A Prometheus that scrapes every second; `close` ends it."""

    def __init__(self, folder: Path, scrape_configs: list[Mapping[str, Any]], rules: Mapping[str, Any]) -> None:
        """Start it with what its configuration calls `scrape_configs`, and with the groups of a file of rules."""
        folder.mkdir()
        self._address = free_address()
        self._folder = folder
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": scrape_configs,
        }
        for name, content in (("prometheus.yaml", config), ("rules.yaml", rules)):
            (folder / name).write_text(yaml.safe_dump(content))
        promtool("check", "config", folder / "prometheus.yaml")
        command = [
            str(_PROGRAMS / "prometheus"),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._is_ready, self.log)

    def log(self) -> str:
        """Return what it has logged."""
        return (self._folder / "log").read_text()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now; raises AssertionError with the error if it has one."""
        found: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Return the value of the one series that an expression has; None if it has none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing."""
        found: list[dict[str, Any]] = self._get("alerts")["alerts"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules, with the `health` of each: `ok` if it has no error."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes."""
        found: list[dict[str, Any]] = self._get("targets")["activeTargets"]
        return found

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=10):
                return True
        except OSError:
            return False

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        url = f"http://{self._address}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                answer = json.load(response)
        except HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        data: dict[str, Any] = answer["data"]
        return data
