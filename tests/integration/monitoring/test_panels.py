"""What Prometheus answers to queries of the dashboard, as Grafana asks them if nothing is chosen above it."""

import json
import re
from typing import Any

import pytest
import yaml
from docs.dashboard import FILE
from docs.monitoring import PAGE

from tests.support.prometheus import promtool

DASHBOARD = json.loads(FILE.read_text())
ALL = {variable["name"]: variable["allValue"] for variable in DASHBOARD["templating"]["list"] if "allValue" in variable}


def queries(title: str) -> list[str]:
    """Return the queries of a panel."""
    (panel,) = (panel for panel in DASHBOARD["panels"] if panel["title"] == title)
    return [asked(target["expr"]) for target in panel["targets"]]


def asked(query: str) -> str:
    for name, everything in {**ALL, "__rate_interval": "5m"}.items():
        query = query.replace(f"${name}", everything)
    return query


@pytest.fixture
def check(tmp_path):
    """Return a function that checks, after ten minutes, what value one query or each of several has.

    It takes series with their values of each minute, as promtool writes them. None is for a query without an answer.
    """

    def check(series: dict[str, str], *expected: tuple[str, float | None]) -> None:
        tests: list[dict[str, Any]] = [
            {"expr": query, "eval_time": "10m", "exp_samples": [] if value is None else [{"value": value}]}
            for query, value in expected
        ]
        given = [{"series": name, "values": values} for name, values in series.items()]
        test = {"interval": "1m", "input_series": given, "promql_expr_test": tests}
        (cases := tmp_path / "cases.yaml").write_text(yaml.safe_dump({"tests": [test]}))
        promtool("test", "rules", cases)

    return check


def test_no_panel_shows_what_another_exporter_has_of_beanstalkd(check):
    panels = [panel["title"] for panel in DASHBOARD["panels"] if "beanstalkd_" in json.dumps(panel)]
    every = [query for title in panels for query in queries(title)]
    theirs = {
        'beanstalkd_up{instance="exporter"}': "0x10",
        'beanstalkd_cmd_put_total{instance="exporter"}': "0+60x10",
        'beanstalkd_cmd_delete_total{instance="exporter"}': "0+60x10",
        'beanstalkd_tube_current_jobs_ready_count{instance="exporter", tube="mail"}': "9x10",
        'beanstalkd_tube_current_jobs_buried_count{instance="exporter", tube="mail"}': "9x10",
        'beanstalkd_binlog_current_index{instance="exporter"}': "9x10",
        'beanstalkd_binlog_oldest_index{instance="exporter"}': "1x10",
        'beanstalkd_binlog_max_size_bytes{instance="exporter"}': "10x10",
    }
    assert {name for query in every for name in theirs if name.partition("{")[0] in query} == set(theirs)
    check(theirs, *((f"count({query})", None) for query in every))


def test_panel_of_the_servers_shows_one_that_only_one_of_two_operators_cannot_ask(check):
    (query,) = queries("Servers")
    lead = 'beanstalkd_up{namespace="queue", server="q:11300", instance='
    both = {lead + '"a"}': "1x4 stale", lead + '"b"}': "_x4 1x10"}
    check(both, (f"sum({query})", 1))
    check(both | {'beanstalkd_up{namespace="queue-too", server="q:11300"}': "0x10"}, (f"sum({query})", 0))


def test_panel_of_the_binlog_shows_no_size_of_a_server_without_one(check):
    (query,) = queries("Binlog")

    def binlog(oldest, current):
        figures = {"oldest_index": oldest, "current_index": current, "max_size_bytes": 10_485_760}
        return {f'beanstalkd_binlog_{name}{{server="q:11300"}}': f"{value}x10" for name, value in figures.items()}

    check(binlog(1, 3), (f"sum({query})", 31_457_280))
    check(binlog(0, 0), (f"sum({query})", None))


def test_panel_of_durations_shows_20_tubes_and_leaves_out_those_without_jobs_first(check):
    jobs = 'tubeherd_job_seconds_bucket{{namespace="shop", pool="mail", tube="{tube}", le="{le}"}}'
    counted = {f"busy{number}": "0+60x10" for number in range(21)} | {f"idle{number}": "60x10" for number in range(9)}
    series = {jobs.format(tube=tube, le=le): values for tube, values in counted.items() for le in ("1", "+Inf")}
    check(series, *((f"count({query})", 20) for query in queries("Duration of jobs")))
    check(series, *((f"count({query} > 0)", 20) for query in queries("Duration of jobs")))


def test_query_that_the_page_gives_as_an_example_keeps_the_states_of_jobs_apart(check):
    (example,) = re.findall(r"`(max by \(.*?\) \(tubeherd_pool_jobs\))`", PAGE.read_text())
    states = ("ready", "reserved", "delayed", "buried")
    jobs = 'tubeherd_pool_jobs{{namespace="shop", pool="mail", state="{state}"}}'
    check({jobs.format(state=state): "1x10" for state in states}, (f"count({example})", len(states)))
