"""What the API server checks of a pool at admission, beyond types and bounds: rules in CEL."""

import math
from typing import Any, Final

from tubeherd.formats.durations import DURATION
from tubeherd.formats.memory_share import MARGIN, MIB, SMALLEST_SHARE, SUPERVISOR_RESERVE
from tubeherd.formats.sizes import SIZE
from tubeherd.formats.tubes import RESERVED, TUBE
from tubeherd.pool import NOT_FOR_ENV
from tubeherd.queue.server import SERVER

Rules = dict[str, Any]


def _rules(*rules: tuple[str, str]) -> Rules:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def _rule(rule: str, message: str) -> Rules:
    return _rules((rule, message))


_BYTES: Final = "quantity(self).asApproximateFloat()"  # isInteger() is false for 1.5Gi
_PORT: Final = "int(self.substring(self.lastIndexOf(':') + 1))"
BY_PATTERN: Final = {
    TUBE.pattern: _rule(f"!self.startsWith('{RESERVED}')", f"names that begin with {RESERVED} are reserved"),
    DURATION.pattern: _rule("self.matches('[1-9]')", "must be longer than zero"),
    SIZE.pattern: _rule(f"{_BYTES} < 9e18 && double(int({_BYTES})) == {_BYTES}", "must be a whole number of bytes"),
    SERVER.pattern: _rule(
        f"!self.matches('[^:]:[0-9]+$|\\\\]:[0-9]+$') || ({_PORT} > 0 && {_PORT} < 65536)",
        "the port is from 1 to 65535",
    ),
}
"""By the pattern of a text field: the rule that such a field has beside its pattern."""

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
REPLICAS: Final = _rule(
    "!has(self.replicas) || !has(self.autoscale)",
    "replicas cannot be set while autoscale chooses the number of pods: change minReplicas and maxReplicas in it, or "
    "remove it",
)
SPEC: Final = {key: [*MEMORY[key], *BUILT_IN[key], *REPLICAS[key]] for key in MEMORY}
AUTOSCALE: Final = _rules(
    ("has(self.jobsPerReplica) != has(self.targetWait)", "set either jobsPerReplica or targetWait"),
    ("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"),
)
ENV: Final = _rule(
    f"self.all(e, !(e.name in {NOT_FOR_ENV}))",
    "the operator sets this TUBEHERD_ variable from a field of the spec: remove it, and set the field instead",
)
