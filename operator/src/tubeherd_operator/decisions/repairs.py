"""Repairs of a pool's Deployment, and which of them are no use: a field that is set otherwise again and again.

An admission webhook may rewrite each Deployment that is applied, and another controller may set a field back. A repair
of such a field would follow upon the other without end.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

REPLICAS: Final = "spec.replicas"
REST_SECONDS: Final = 3600.0
"""How long a field rests whose repair was no use, before it is repaired once more."""
_MOST: Final = 3
"""How often a field is repaired that is set otherwise again within REST_SECONDS."""


@dataclass(frozen=True, slots=True)
class _Tried:
    times: int
    last: float

    @property
    def remembered(self) -> float:
        """For how many seconds it counts; after a rest one further try shows whether it is still no use."""
        return REST_SECONDS if self.times < _MOST else 2 * REST_SECONDS


@dataclass(frozen=True, slots=True)
class Repairs:
    """How often the fields of a Deployment were repaired of late."""

    rendered: str = ""
    """The digest of the Deployment as it was rendered. Another one is applied whatever was tried before."""
    fields: Mapping[str, _Tried] = field(default_factory=dict)
    replicas: int | None = None
    """How many replicas it had. Another number, which is no part of the digest if autoscaling chooses it, is applied
    whatever was tried before."""

    def useless(self, rendered: str, now: float, replicas: int | None = None) -> frozenset[str]:
        """Return the fields that are not repaired at the time `now`, in seconds."""
        before = self._of(rendered, replicas)
        recent = {name: tried for name, tried in before.items() if now - tried.last < REST_SECONDS}
        return frozenset(name for name, tried in recent.items() if tried.times >= _MOST)

    def after(
        self,
        rendered: str,
        repaired: Collection[str],
        left: Collection[str],
        now: float,
        replicas: int | None = None,
    ) -> "Repairs":
        """Return the repairs after one more: of `repaired`, of which `left` are still not as they should be.

        What is not as it should be in the API server's very answer needs no further try.
        """
        before = self._of(rendered, replicas)
        recent = {name: tried for name, tried in before.items() if now - tried.last < tried.remembered}
        more = {name: _Tried(recent[name].times + 1 if name in recent else 1, now) for name in repaired}
        return Repairs(rendered, {**recent, **more, **{name: _Tried(_MOST, now) for name in left}}, replicas)

    def _of(self, rendered: str, replicas: int | None) -> Mapping[str, _Tried]:
        """Return what was tried of the fields of this Deployment."""
        fields = self.fields if rendered == self.rendered else {}
        return {name: tried for name, tried in fields.items() if replicas == self.replicas or name != REPLICAS}
