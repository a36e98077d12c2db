"""Which of several operators leads: it alone runs passes, counts jobs, kicks and discards them.

A Lease in the API server names the leader, which renews it every few seconds. Another operator takes the Lease over
when it was not renewed for LEASE_SECONDS. A leader that cannot renew it for RENEWAL_SECONDS ends its process. As this
is the shorter time, two never lead at once. No clocks are compared: each operator measures by its own how long the
Lease has been as it is.
"""

from dataclasses import dataclass
from typing import Final

from tubeherd_operator.objects import Key, Object

LEASE_SECONDS: Final = 10.0
"""After how many seconds without a renewal another operator takes the Lease over."""
RENEWAL_SECONDS: Final = 6.0
"""After how many seconds without a renewal the leader ends."""
RETRY_SECONDS: Final = 2.0
"""How often the Lease is renewed, or looked at."""
AGAIN_SECONDS: Final = 0.2
"""After how many seconds a leader tries again that could not renew the Lease: each attempt may take two seconds."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The Lease as an operator has seen it, and since when it has been so."""

    lease: Object | None
    """None if there is no Lease."""
    since: float
    """On the operator's monotonic clock, in seconds."""

    @property
    def holder(self) -> str:
        """Who leads, or has led last; empty if nobody does."""
        return str(_spec(self.lease).get("holderIdentity") or "")


def look(before: Sight | None, lease: Object | None, now: float) -> Sight:
    """Return what is seen of the Lease at the time `now`; `before` is what was seen before."""
    same = before is not None and _spec(before.lease) == _spec(lease)
    return Sight(lease, before.since if same and before else now)


def may_claim(sight: Sight, identity: str, now: float) -> bool:
    """Return whether this operator may write itself into the Lease."""
    return sight.holder in ("", identity) or now >= sight.since + LEASE_SECONDS


def pause(sight: Sight, identity: str, now: float) -> float:
    """Return after how many seconds to look or renew again: when a dead leader's Lease ends, if that is sooner."""
    if sight.holder in ("", identity):
        return RETRY_SECONDS
    return min(RETRY_SECONDS, max(0.0, sight.since + LEASE_SECONDS - now))


def claimed(name: Key, before: Object | None, identity: str, time: str) -> Object:
    """Return the Lease that names this operator; `time` is the present one in RFC 3339, with microseconds.

    It has the version of the Lease before. So the API server refuses it if another operator was faster.
    """
    spec = _spec(before)
    renews = spec.get("holderIdentity") == identity
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": before["metadata"] if before else {"namespace": name.namespace, "name": name.name},
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": int(LEASE_SECONDS),
            "acquireTime": spec["acquireTime"] if renews and "acquireTime" in spec else time,
            "renewTime": time,
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if renews or before is None else 1),
        },
    }


def released(lease: Object) -> Object:
    """Return the Lease without its leader, so that another operator takes it over at once."""
    return lease | {"spec": lease["spec"] | {"holderIdentity": ""}}


def _spec(lease: Object | None) -> Object:
    found: Object = (lease or {}).get("spec") or {}
    return found
