"""The page with all settings is the one that their declarations make."""

import pytest
from docs.settings import PAGE, render

from tubeherd.settings import WorkerSettings
from tubeherd_operator.settings import OperatorSettings


def test_page_is_up_to_date():
    assert PAGE.read_text() == render(), "stale: run `make settings`"


@pytest.mark.parametrize("model", [WorkerSettings, OperatorSettings])
def test_page_has_a_row_for_every_setting(model):
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    for name in model.model_fields:
        assert sum(f"`{model.variable(name)}`" in row for row in rows) == 1
