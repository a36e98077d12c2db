"""Why the jobs of a pool are buried: what its status shows of the burial records, and which reasons are new.

Whoever fails a job chooses what its record says. So all texts are cut, and what does not print is replaced.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from tubeherd.burials.record import BurialGroup, BurialRecord, group
from tubeherd.by_hand.changing.choice import error_of
from tubeherd.formats.columns import counted, plain
from tubeherd.formats.text import shortened
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.decisions.status import BurialStatus, RecentBurial, WorkerPoolStatus
from tubeherd_operator.decisions.tubes import PoolTubes

_SHOWN: Final = 10
"""How many groups the status shows, and how many of the newest burials."""
_ANNOUNCED: Final = 5
"""How many new groups have an Event of their own, if they are found in one reading."""
_MESSAGE_MOST: Final = 300
"""The length of a message in the status and in an Event, in characters; the record has up to 500."""


class Reason(StrEnum):
    """What an Event about buried jobs reports."""

    BURIED = "JobsBuried"


@dataclass(frozen=True, slots=True)
class Burials:
    """Why jobs of a pool's tubes are buried, as far as their records say."""

    groups: tuple[BurialGroup, ...] = ()
    """The largest group comes first."""
    recent: tuple[BurialRecord, ...] = ()
    """The newest burials, the newest first."""


def by_tube(records: Iterable[BurialRecord]) -> dict[str, list[BurialRecord]]:
    """Return records by their tubes, in the same order."""
    found: dict[str, list[BurialRecord]] = {}
    for record in records:
        found.setdefault(record.tube, []).append(record)
    return found


def burials_of(tubes: PoolTubes, records: Mapping[str, Sequence[BurialRecord]]) -> Burials:
    """Return what the records of a beanstalkd, by tube, say of these tubes."""
    names = filter(tubes.__contains__, records) if tubes.has_globs else tubes.named
    found = [record for tube in names for record in records.get(tube, ())]
    found.sort(key=lambda record: record.newest_first)
    return Burials(group(found), tuple(found[:_SHOWN]))


def of_tubes(burials: Burials, tubes: Iterable[str]) -> Burials:
    """Return the burials of these tubes: something is buried there still, as it was when they were read."""
    kept = {*tubes}
    return Burials(
        tuple(group for group in burials.groups if group.tube in kept),
        tuple(record for record in burials.recent if record.tube in kept),
    )


def shown_groups(burials: Burials) -> list[BurialStatus]:
    """Return the largest groups, as the status shows them."""
    return [_shown(group) for group in burials.groups[:_SHOWN]]


def shown_recent(burials: Burials) -> list[RecentBurial]:
    """Return the newest burials, as the status shows them."""
    return [
        RecentBurial(
            job=record.job,
            tube=record.tube,
            time=_time(record.time),
            kind=record.kind,
            error=_text(error_of(record)),
            place=_place(record.place),
            message=_text(record.message),
            worker=_text(record.worker),
        )
        for record in burials.recent
    ]


def burial_news(burials: Burials, before: WorkerPoolStatus) -> list[PoolEvent]:
    """Return an Event for each new group; if there are many, for the largest of them and one for the others.

    A group is new if the status does not show it, and none of its burials is as old as the newest that was seen. The
    latter matters only if there are more groups than the status shows.
    """
    known = {(shown.tube, shown.kind, shown.error, shown.place) for shown in before.burials or []}
    seen_until = before.recent_burials[0].time if before.recent_burials and len(known) >= _SHOWN else ""
    new = [group for group in burials.groups if _key(group) not in known and _time(group.first) > seen_until]
    events = [_announced(group) for group in new[:_ANNOUNCED]]
    if len(new) > _ANNOUNCED:
        more = f"jobs are buried for {counted(len(new) - _ANNOUNCED, 'further reason')}"
        events.append(PoolEvent("Warning", Reason.BURIED, f"{more}: tubeherd why in a pod of the pool lists them all"))
    return events


def _shown(group: BurialGroup) -> BurialStatus:
    tube, kind, error, place = _key(group)
    return BurialStatus(
        tube=tube,
        kind=kind,
        error=error,
        place=place,
        count=group.count,
        first=_time(group.first),
        last=_time(group.last),
        message=_text(group.sample.message),
        job=group.sample.job,
    )


def _key(group: BurialGroup) -> tuple[str, str, str, str | None]:
    """Return what tells a group from others, as the status shows it."""
    return group.tube, group.kind, _text(error_of(group.sample)), _place(group.place)


def _announced(group: BurialGroup) -> PoolEvent:
    # Neither a count nor the id of a job: the same reason again is the same Event, which has a count of its own.
    error = _text(error_of(group.sample))
    where = f" at {_place(group.place)}" if group.place else ""
    what = f"jobs of tube {group.tube} are buried: {error}{where}"
    message = _text(group.sample.message).removeprefix(f"{error}: ")
    return PoolEvent("Warning", Reason.BURIED, f"{what}: {message}", in_log=what)


def _place(place: str | None) -> str | None:
    return None if place is None else _text(place)


def _text(text: str) -> str:
    return shortened(plain(text), _MESSAGE_MOST)


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
