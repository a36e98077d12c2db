"""Which tubes a worker, or a script, takes jobs from. Pure: what the server has is a parameter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from tubeherd.executors import Executor, ExecutorError, executor_for
from tubeherd.formats.globs import TubeSet, is_glob
from tubeherd.formats.text import some_of

TUBES_MOST: Final = 2000
"""From so many tubes a worker takes jobs at a time. Each one costs beanstalkd some time at each reserve."""


class Chosen(NamedTuple):
    """What is chosen among the tubes that a server has."""

    tubes: Sequence[str]
    """Those to take jobs from, beside those that are watched in any case; sorted."""
    beyond: int
    """How many further tubes match, which are too many."""
    lacking: Sequence[str]
    """Those that match, and for which there is no executor; sorted."""


class TubeChoice:
    """The tubes to take jobs from: those with these names, and those that match these globs and have an executor.

    A tube that is excluded is never among them, and neither is one of Tubeherd's own.
    """

    def __init__(
        self, executors: Mapping[str, Executor], include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> None:
        """Take the executors by their names; if `include` is empty, the tubes are those of all executors.

        Both lists may have names and globs. Raises ExecutorError if one of the names has no executor, if a glob of
        `include` can match no tube that has one, or if no tube is left.
        """
        self._executors = executors
        _check(executors, include, exclude)
        self._excluded: Final = TubeSet(exclude)
        of_executors = sorted(name for name in executors if not is_glob(name))
        wanted = TubeSet(include or executors)
        named = [tube for tube in include if not is_glob(tube)] + [tube for tube in of_executors if tube in wanted]
        self.always: Final = tuple(tube for tube in dict.fromkeys(named) if tube not in self._excluded)
        """The tubes that are watched whether or not the server has them."""
        globs = dict.fromkeys(filter(is_glob, include or sorted(executors)))
        self.globs: Final = tuple(glob for glob in globs if not _covers(exclude, glob))
        """The globs by which further tubes are found; if there are none, the server need not be asked for its tubes."""
        self._named: Final = frozenset(self.always)
        self._matching: Final = TubeSet(self.globs)
        self._covered: Final = TubeSet(executors)
        if not self.always and not self.globs:
            raise ExecutorError(f"no tube is left to watch: every one of {some_of(sorted(executors))} is excluded")

    def choose(self, names: Iterable[str]) -> Chosen:
        """Choose among the tubes that a server has. If too many match, the first by name are chosen."""
        others = (name for name in names if name in self._matching and name not in self._named)
        matching = sorted(name for name in others if name not in self._excluded)
        tubes = [name for name in matching if name in self._covered]
        room = max(0, TUBES_MOST - len(self.always))
        lacking = [name for name in matching if name not in self._covered] if len(tubes) < len(matching) else []
        return Chosen(tubes[:room], max(0, len(tubes) - room), lacking)

    def executor_for(self, tube: str) -> Executor | None:
        """Return what does the jobs of a tube."""
        return executor_for(self._executors, tube)

    def executors(self) -> dict[str, Executor]:
        """Return the executors by the tubes that are watched in any case, and by the globs of executors."""
        found = {tube: executor_for(self._executors, tube) for tube in self.always}
        found |= {name: executor for name, executor in self._executors.items() if self.globs and is_glob(name)}
        return {name: executor for name, executor in found.items() if executor is not None}


def _covers(exclude: Sequence[str], glob: str) -> bool:
    """Return whether it is plain that a glob matches no tube that is not excluded, as `*` covers `reports.*`."""
    return glob in exclude or glob in TubeSet(each for each in exclude if "?" not in each)


def _check(executors: Mapping[str, Executor], include: Sequence[str], exclude: Sequence[str]) -> None:
    known = some_of(sorted(executors))
    included = TubeSet(include)
    for tube in (*include, *exclude):
        if not is_glob(tube) and executor_for(executors, tube) is None and (tube in include or tube not in included):
            raise ExecutorError(f"tube {tube!r} has no executor here; the tubes with one are: {known}")
    has_glob = any(map(is_glob, executors))
    for glob in filter(is_glob, include):
        if not has_glob and not any(name in TubeSet((glob,)) for name in executors):
            raise ExecutorError(f"{glob!r} matches no tube that has an executor here; the tubes with one are: {known}")
