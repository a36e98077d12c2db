"""The dashboard of the chart is made of the panels that are declared."""

import json
from itertools import combinations

import yaml
from docs.dashboard import FILE, read_rows, render

DASHBOARD = json.loads(FILE.read_text())


def test_dashboard_is_up_to_date():
    assert FILE.read_text() == render(), "stale: run `make monitoring`"


def test_every_query_is_in_a_panel():
    declared = [query for row in read_rows().values() for panel in row for query in panel.queries.values()]
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    assert shown == declared


def test_panels_do_not_overlap_and_fit_into_the_width():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_every_variable_that_a_query_uses_can_be_chosen():
    chosen = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    text = yaml.safe_dump(DASHBOARD["panels"])
    assert chosen == {"datasource", "namespace", "pool", "server"}
    assert all(f"${name}" in text or f"${{{name}}}" in text for name in chosen)
