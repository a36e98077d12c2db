"""Which defaults the Deployment of a pool has: those that it notes, until the pool's spec asks for other pods.

So neither an upgrade of the operator nor another image of its installation replaces a pod, and changes of the number of
pods or of the executors bring no new defaults. What replaces the pods anyway brings the newest.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy

from tubeherd.pod_template.containers import WORKER
from tubeherd_operator.decisions.defaults import ADDITIONS, DEFAULTS_ANNOTATION, Defaults, Record, read_record
from tubeherd_operator.decisions.deployment import RENDERED_ANNOTATION, rendered_digest
from tubeherd_operator.objects import Object, annotations_of

Render = Callable[[Defaults], Object]
"""Renders the Deployment of a pool with some defaults, and with the executors that the live one has."""


def kept_defaults(live: Object | None, render: Render, newest: Defaults) -> Defaults:
    """Return the defaults with which a pool's Deployment is to be rendered."""
    if live is None:
        return newest
    if DEFAULTS_ANNOTATION not in annotations_of(live):
        return next((each for each in _possible(live, newest) if _was_rendered(live, render(each))), newest)
    record = recorded(live)
    if record is None:
        return newest
    kept = Defaults(record.version, record.image or newest.image)
    again = recorded(render(kept))
    return kept if again and again.template == record.template else newest


def recorded(deployment: Object) -> Record | None:
    """Return what a Deployment notes of its defaults."""
    return read_record(annotations_of(deployment).get(DEFAULTS_ANNOTATION))


def _possible(live: Object, newest: Defaults) -> Iterable[Defaults]:
    """Return the defaults that a Deployment may have that notes none, as those of earlier operators do not.

    If another one has changed its image, it may have been rendered with the one that is still the installation's.
    """
    containers = live["spec"]["template"]["spec"]["containers"]
    images = [*(each["image"] for each in containers if each["name"] == WORKER), newest.image]
    return (Defaults(version, image) for version in ADDITIONS for image in images)


def _was_rendered(live: Object, wanted: Object) -> bool:
    """Return whether an operator has rendered the live Deployment like this, with any number of replicas."""
    rendered = annotations_of(live).get(RENDERED_ANNOTATION)
    numbers = (None, live["spec"].get("replicas"), wanted["spec"].get("replicas"))
    return rendered in {rendered_digest(_with_replicas(wanted, number)) for number in numbers}


def _with_replicas(wanted: Object, number: int | None) -> Object:
    scaled = deepcopy(wanted)
    scaled["spec"].pop("replicas", None)
    if number is not None:
        scaled["spec"]["replicas"] = number
    return scaled
