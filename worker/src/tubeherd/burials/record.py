"""A burial record, which says why a job was buried; its form as the body of a job; and groups of records. Pure.

Whoever buries a job also puts its record into the tube `tubeherd.burials` of the same beanstalkd. A job has one record
for each time that it was buried by Tubeherd; only the newest counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, NamedTuple, TypedDict

from pydantic import AwareDatetime, Field, TypeAdapter
from pydantic_core import from_json, to_json

from tubeherd.formats.text import REASON_MAX, TRACEBACK_MAX
from tubeherd.formats.tubes import RESERVED
from tubeherd.policy import BurialKind

RECORDS_TUBE: Final = RESERVED + "burials"
"""The tube of the records."""
RECORDS_MOST: Final = 10_000
"""How many records one beanstalkd keeps. Each process that buries jobs may for a while add up to RECORDS_A_LOOK."""
RECORDS_A_LOOK: Final = 100
"""How many records a process puts at most between two looks at how many there are."""
RECORD_PRIORITY: Final = 65536
"""The priority of every record. It is the same for all, so that beanstalkd hands out the oldest first."""
RECORD_TTR: Final = 120
"""How long a reader may hold a record, in seconds."""
NAME_MAX: Final = 200
"""The length of the name of a type, of a place and of the name of a worker, in characters."""
_LENGTHS: Final = {
    "error": NAME_MAX, "place": NAME_MAX, "message": REASON_MAX, "worker": NAME_MAX, "traceback": TRACEBACK_MAX,
}  # fmt: skip
"""The lengths of the texts of a record, in characters. A writer may exceed them in a record of up to _LONG_BYTES."""
_LONG_BYTES: Final = 4096


class RecordFields(TypedDict):
    """The fields of a `BurialRecord`, as they are written."""

    job: int
    tube: str
    time: float
    """In seconds since 1970."""
    kind: str
    error: str | None
    place: str | None
    message: str
    attempts: int
    worker: str
    traceback: str | None


class BurialRecord(NamedTuple):
    """Why a job was buried."""

    job: Annotated[int, Field(ge=0, lt=2**64)]
    """The id of the job."""
    tube: str
    time: Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
    """When the job was buried, by the clock of the worker, in UTC."""
    kind: BurialKind
    error: str | None
    """The name of the exception's type; None if no exception was raised, as when the slot died."""
    place: str | None
    """`file:line` of the user's code in which the exception was raised; None if it was raised in none."""
    message: str
    """The reason of the burial, as the worker's log has it."""
    attempts: int
    """Which attempt at the job was the last one, from 1."""
    worker: str
    """The name of the host on which the job was buried; in a cluster this is the pod."""
    traceback: str | None = None

    @property
    def newest_first(self) -> tuple[float, int]:
        """What records are sorted by, so that the newest comes first."""
        return (-self.time.timestamp(), -self.job)


@dataclass(frozen=True, slots=True)
class BurialGroup:
    """Records of the same tube, kind, type of exception and place."""

    tube: str
    kind: BurialKind
    error: str | None
    place: str | None
    count: int
    """How many jobs were buried for this reason, and are buried still."""
    first: datetime
    """When the first of them was buried."""
    last: datetime
    sample: BurialRecord
    """The newest of the records."""


@dataclass(frozen=True, slots=True)
class Burials:
    """Why jobs are buried, as far as their records say."""

    records: tuple[BurialRecord, ...] = ()
    """One for each buried job that has a record, the newest first."""
    read_elsewhere: int = 0
    """How many records are missing because others were reading them; read again to see them too."""
    without_record: int = 0
    """At least so many buried jobs have no record: their records were beyond the bound, or others buried them.

    Those whose records others were reading do not count, nor do those that were buried or kicked during the reading.
    """

    @property
    def groups(self) -> tuple[BurialGroup, ...]:
        """The records by tube, kind, type of exception and place; the largest group first."""
        return group(self.records)

    def of(self, tube: str, buried: int) -> "Burials":
        """Return what concerns one tube, which has so many buried jobs."""
        records = tuple(record for record in self.records if record.tube == tube)
        return Burials(records, self.read_elsewhere, max(0, buried - len(records) - self.read_elsewhere))


def encode(fields: RecordFields) -> bytes:
    """Return a record as the body of a job. If it is long, its texts are cut to their lengths."""
    try:
        body = to_json(fields)
    except ValueError:  # a text has half a surrogate pair, which UTF-8 cannot hold
        return to_json(_cut({name: _whole(value) for name, value in fields.items()}))
    return body if len(body) <= _LONG_BYTES else to_json(_cut(fields))


def decode(body: bytes | None) -> BurialRecord | None:
    """Return the record that is the body of a job, with texts that are too long cut; None if it is no record."""
    try:
        fields = from_json(body or b"")
        found = {name: fields[name] for name in BurialRecord._fields if name in fields}
        return _adapter().validate_python(_cut(found))
    except (ValueError, TypeError):
        return None


def group(records: Iterable[BurialRecord]) -> tuple[BurialGroup, ...]:
    """Return the groups of these records; the largest group comes first, and of equal ones the one with the newest."""
    members: dict[tuple[str, BurialKind, str | None, str | None], list[BurialRecord]] = {}
    for record in records:
        members.setdefault((record.tube, record.kind, record.error, record.place), []).append(record)
    groups = [_group(each) for each in members.values()]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.sample.newest_first)))


def as_json(burials: Burials) -> dict[str, Any]:
    """Return the groups of records as what JSON can hold, with times in RFC 3339."""
    groups = [
        {**asdict(group), "sample": group.sample.job, "message": group.sample.message} for group in burials.groups
    ]
    return {
        "groups": groups,
        "read_elsewhere": burials.read_elsewhere,
        "without_record": burials.without_record,
    }


def _group(members: Sequence[BurialRecord]) -> BurialGroup:
    sample = min(members, key=lambda record: record.newest_first)
    first = min(record.time for record in members)
    return BurialGroup(
        sample.tube, sample.kind, sample.error, sample.place, len(members), first, sample.time, sample
    )  # fmt: skip


def _cut(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return these fields with texts that are too long cut."""
    return {
        name: value[: _LENGTHS[name]] if name in _LENGTHS and isinstance(value, str) else value
        for name, value in fields.items()
    }


def _whole(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


@cache
def _adapter() -> TypeAdapter[BurialRecord]:
    """Return what reads records. It is made when the first is read, because a worker only writes records."""
    return TypeAdapter(BurialRecord)
