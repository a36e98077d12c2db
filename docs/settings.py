"""Writes docs/settings.md from the declarations of all settings: `make settings`."""

from pathlib import Path

from tubeherd.configuration import Settings, option
from tubeherd.declarations import default_in_words, find, values_in_words
from tubeherd.pool import POOL_FIELDS
from tubeherd.settings import SetByOperator, WorkerSettings
from tubeherd_operator.settings import OperatorSettings

PAGE = Path(__file__).with_suffix(".md")
HEAD = """\
# Settings

Generated from the declarations of the settings by `make settings`; a test fails if this page is stale.

## Of a worker

Each setting is an option of `tubeherd run` and a variable; the option wins, and an empty variable counts as not set.
`TUBEHERD_SERVER` counts for all commands, and for `QueueManager()` without a server. A slot is a process that runs
jobs. In a pool most settings are fields of its `spec`. The operator sets the variables of these fields, so they may not
be in `spec.env`; variables of other settings may. An option for true or false is written without a value, such as
`--ack-after-flush`, and means true. For `--max-jobs`, `--max-time`, `--max-memory`, `--job-timeout` and
`--listener-timeout`, 0 means the default; in a pool leave the field out instead.

"""
OPERATOR = """
## Of the operator

Variables of the operator's container. The chart sets them from its values.

"""


def render() -> str:
    """Return the page."""
    return HEAD + _table(WorkerSettings) + OPERATOR + _table(OperatorSettings)


def _table(model: type[Settings]) -> str:
    """Return a table with a row for each setting of a model."""
    of_worker = model is WorkerSettings
    columns = ["option", "variable", "field of a pool"] if of_worker else ["variable"]
    rows = [[*columns, "default", "values", "meaning"], ["---"] * (len(columns) + 3)]
    for name, field in model.model_fields.items():
        names = (
            [f"`{option(name)}`", f"`{model.variable(name)}`", _in_pool(name)]
            if of_worker
            else [f"`{model.variable(name)}`"]
        )
        rows.append([*names, default_in_words(field), values_in_words(field), field.description or ""])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _in_pool(name: str) -> str:
    if find(SetByOperator, WorkerSettings.model_fields[name].metadata):
        return "set by the operator"
    return f"`{'.'.join(POOL_FIELDS[name])}`" if name in POOL_FIELDS else ""


if __name__ == "__main__":
    PAGE.write_text(render())
