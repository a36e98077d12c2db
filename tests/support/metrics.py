"""Metrics as Prometheus reads them, compared with those that are declared."""

from collections.abc import Iterable

from prometheus_client.metrics_core import Metric as Family

from tubeherd.metric_table import Metric


def shown(families: Iterable[Family]) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Return name, kind, help and labels of each metric."""
    return {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            family.documentation,
            tuple(sorted({label for sample in family.samples for label in sample.labels} - {"le"})),
        )
        for family in families
    }


def declared(metrics: Iterable[Metric]) -> set[tuple[str, str, str, tuple[str, ...]]]:
    """Return the same of declared metrics."""
    return {(metric.name, metric.kind, metric.help, tuple(sorted(metric.labels))) for metric in metrics}
