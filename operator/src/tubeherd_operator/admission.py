"""What the API server checks of a pool at admission, beyond types and bounds: rules in CEL."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from tubeherd.formats.durations import DURATION
from tubeherd.formats.globs import GLOB
from tubeherd.formats.memory_share import MARGIN, MIB, SMALLEST_SHARE, SUPERVISOR_RESERVE
from tubeherd.formats.sizes import SIZE
from tubeherd.formats.tubes import RESERVED
from tubeherd.pod_template.containers import MEMORY_WHY, OF_WORKER, TMP, TMP_PATH, TMP_PATH_WHY, WORKER
from tubeherd.pod_template.template import (
    ACCOUNT_WHY,
    APPARMOR_PREFIX,
    OWN_ANNOTATIONS_WHY,
    OWN_LABELS,
    OWN_LABELS_WHY,
    OWN_PREFIX,
)
from tubeherd.pod_template.volumes import TMP_WHY
from tubeherd.pool import (
    ENV_TWICE_WHY,
    ENV_WHY,
    NO_ROOM_WHY,
    NOT_FOR_ENV,
    RECREATE_WHY,
    REPLICAS_MOST,
    SHARE,
    SHARE_WHY,
    TEXT_WHY,
)
from tubeherd.queue.server import PORT_WHY, SERVER

Rules = dict[str, Any]


def _rules(*rules: tuple[str, str]) -> Rules:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _rule(rule: str, message: str) -> Rules:
    return _rules((rule, message))


_BYTES: Final = "quantity(self).asApproximateFloat()"  # isInteger() is false for 1.5Gi
_PORT: Final = "int(self.substring(self.lastIndexOf(':') + 1))"
BY_PATTERN: Final = {
    GLOB.pattern: _rule(f"!self.startsWith('{RESERVED}')", f"names that begin with {RESERVED} are reserved"),
    DURATION.pattern: _rule("self.matches('[1-9]')", "must be longer than zero"),
    SIZE.pattern: _rule(f"{_BYTES} < 9e18 && double(int({_BYTES})) == {_BYTES}", "must be a whole number of bytes"),
    SERVER.pattern: _rule(
        f"!self.matches('[^:]:[0-9]+$|\\\\]:[0-9]+$') || ({_PORT} > 0 && {_PORT} < 65536)",
        PORT_WHY,
    ),
}
"""By the pattern of a text field: the rule that such a field has beside its pattern."""
IN_WORDS: Final = {
    text.pattern: _rule(f"self.matches({json.dumps(text.pattern)})", TEXT_WHY[text.pattern])
    for text in (GLOB, DURATION, SERVER)
}
"""By a pattern: the rule that stands in its place, because its message says what to write, and not the pattern.

A size keeps its pattern: other rules cannot read one that is none, and would be in the message too.
"""

NAME: Final = _rule(
    "self.metadata.name.size() <= 63", "a pool's name has at most 63 characters: its pods bear it as a label"
)
MEMORY: Final = _rule(  # the same as memory_share.slot_share
    f"!has(self.memoryLimit) || quantity(self.memoryLimit).asApproximateFloat() * {MARGIN} >= "
    f"{SMALLEST_SHARE}.0 * double(has(self.concurrency) ? self.concurrency : 1) + {SUPERVISOR_RESERVE}.0",
    f"memoryLimit must be at least {math.ceil(SUPERVISOR_RESERVE / MARGIN / MIB)}Mi, and "
    f"{math.ceil(SMALLEST_SHARE / MARGIN / MIB)}Mi more for each slot (see concurrency)",
)
BUILT_IN: Final = _rules(
    ("!has(self.command) || self.command.all(t, t in self.tubes)", "each tube of command must be among tubes"),
    ("!has(self.http) || self.http.all(t, t in self.tubes)", "each tube of http must be among tubes"),
    (
        "!has(self.command) || !has(self.http) || self.http.all(t, !(t in self.command))",
        "a tube has either a command or a URL in http, not both",
    ),
)
EXCLUDED: Final = _rule(
    "!has(self.excludeTubes) || !self.tubes.all(t, t in self.excludeTubes)",
    "every one of tubes is in excludeTubes too, so no tube is left: remove one from excludeTubes",
)
REPLICAS: Final = _rule(
    "!has(self.replicas) || !has(self.autoscale)",
    "replicas cannot be set while autoscale chooses the number of pods: change minReplicas and maxReplicas in it, or "
    "remove it",
)
AUTOSCALE: Final = _rules(
    ("has(self.jobsPerReplica) != has(self.targetWait)", "set either jobsPerReplica or targetWait"),
    ("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"),
)
ENV: Final = _rule(f"self.all(e, !(e.name in {NOT_FOR_ENV}))", ENV_WHY)
_ENV_TWICE: Final = _rule(
    "!has(self.env) || !has(self.template) || !has(self.template.spec) || !has(self.template.spec.containers) || "
    f"self.template.spec.containers.all(c, c.name != '{WORKER}' || !has(c.env) || "
    "c.env.all(e, !(e.name in self.env.map(s, s.name))))",
    f"a variable of container {WORKER} in spec.template: {ENV_TWICE_WHY}",
)
SPEC: Final = {key: [*MEMORY[key], *BUILT_IN[key], *EXCLUDED[key], *REPLICAS[key], *_ENV_TWICE[key]] for key in MEMORY}


def _only(values: Sequence[Any], why: str) -> Rules:
    return _rule(" || ".join(f"self == {json.dumps(value)}" for value in values) or "false", why)


def _never(values: Sequence[Any], why: str) -> Rules:
    return _rule(" && ".join(f"self != {json.dumps(value)}" for value in values), why)


BY_MARK: Final[dict[str, Callable[..., Rules]]] = {"tubeherd-only": _only, "tubeherd-never": _never}
"""By the mark of a field, see `tubeherd.pod_template`: the rule that such a field has."""


def _of_worker(field: str, why: str) -> Rules:
    steps = field.split(".")
    has = " && ".join(f"has(self.{'.'.join(steps[: count + 1])})" for count in range(len(steps)))
    (rule,) = _rule(f"self.name != '{WORKER}' || !({has})", why)["x-kubernetes-validations"]
    return {"x-kubernetes-validations": [rule | {"fieldPath": f".{field}"}]}


def _together(*several: Rules) -> Rules:
    return {"x-kubernetes-validations": [rule for one in several for rule in one["x-kubernetes-validations"]]}


def _by_key(*keys: str) -> Rules:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [*keys]}


TEMPLATE: Final = {
    "metadata.labels": _rule(
        f"self.all(name, !name.startsWith('{OWN_PREFIX}') && !(name in {[*OWN_LABELS]}))", OWN_LABELS_WHY
    ),
    "metadata.annotations": _rule(
        f"self.all(name, !name.startsWith('{OWN_PREFIX}') && !name.startsWith('{APPARMOR_PREFIX}'))",
        OWN_ANNOTATIONS_WHY,
    ),
    "spec": _rule(
        "!has(self.automountServiceAccountToken) || !self.automountServiceAccountToken || "
        "(has(self.serviceAccountName) && self.serviceAccountName != '')",
        ACCOUNT_WHY,
    ),
    "spec.containers": _together(
        *(_of_worker(field, why) for field, why in (OF_WORKER | {"resources.limits.memory": MEMORY_WHY}).items()),
        _rule(f"self.name != '{WORKER}' || !has(self.env) || self.env.all(e, !(e.name in {NOT_FOR_ENV}))", ENV_WHY),
        _rule(
            f"self.name != '{WORKER}' || !has(self.volumeMounts) || "
            f"self.volumeMounts.all(m, !m.mountPath.matches('^/*{TMP_PATH.lstrip('/')}/*$'))",
            TMP_PATH_WHY,
        ),
    ),
    "spec.volumes": _rule(f"self.name != '{TMP}' || has(self.emptyDir)", TMP_WHY),
}
"""By the path of a part of the template: the rules about several fields of that part, or of each item of the list."""
LISTS_OF_TEMPLATE: Final = {
    "spec.containers": _by_key("name"),
    "spec.containers.env": _by_key("name"),
    "spec.containers.volumeMounts": _by_key("mountPath"),
    "spec.initContainers": _by_key("name"),
    "spec.initContainers.env": _by_key("name"),
    "spec.initContainers.volumeMounts": _by_key("mountPath"),
    "spec.volumes": _by_key("name"),
}
"""By the path of a list: what tells its items apart."""
_ZERO: Final = "(self.{0} == 0 || self.{0} == '0%')"
_NUMBER: Final = _rule(f"type(self) == int ? self >= 0 && self <= {REPLICAS_MOST} : self.matches('{SHARE}')", SHARE_WHY)
STRATEGY: Final = {
    "": _rule("!has(self.type) || self.type != 'Recreate' || !has(self.rollingUpdate)", RECREATE_WHY),
    "rollingUpdate": _rule(
        f"!has(self.maxSurge) || !{_ZERO.format('maxSurge')} || "
        f"(has(self.maxUnavailable) && !{_ZERO.format('maxUnavailable')})",
        NO_ROOM_WHY,
    ),
    "rollingUpdate.maxSurge": _NUMBER,
    "rollingUpdate.maxUnavailable": _NUMBER,
}
"""The same for the strategy."""
