"""The methods of `QueueManager` that change jobs which nobody holds. They need only the address of the server."""

from collections.abc import Callable, Iterable
from datetime import timedelta

from tubeherd.by_hand.changing.acted import Acted, Deed
from tubeherd.by_hand.changing.choice import STATES, Choice, choose, parse_rate
from tubeherd.by_hand.changing.pausing import Paused


class ChangesByHand:
    """Kicks and deletes jobs, and pauses tubes, each time on a connection of its own.

    Jobs that others have reserved are left alone, and so are the tubes whose names begin with `tubeherd.`.
    """

    def __init__(self, server: str) -> None:
        """Take the beanstalkd at `host:port`."""
        self._server = server

    def kick(
        self,
        tube: str | None = None,
        *,
        all_tubes: bool = False,
        jobs: Iterable[int] | None = None,
        error: str | None = None,
        older_than: str | float | timedelta | None = None,
        count: int | None = None,
        rate: str | None = None,
        dry_run: bool = False,
        progress: Callable[[Acted], object] | None = None,
    ) -> Acted:
        """Make buried jobs ready: those of a tube, or of all tubes, or those with the ids in `jobs`.

        Of a tube or of all tubes, only the jobs that were buried because of `error` (the name of an exception's type,
        or `deadline`, `memory`, `killed`, `invalid`, `poison`, `rejected`), as their burial records say; only those
        that were put longer than `older_than` ago ("1h", seconds, timedelta); and `count` at most. Those that were
        buried first are kicked first, unless `older_than` is given: then they come in no order.

        With a `rate`, such as "50/s", jobs are kicked slowly, and no further one is kicked once at least ten, and more
        than are done, have come back buried. Delayed jobs stay delayed. beanstalkd cannot promise that if somebody else
        takes all buried jobs of the tube in the instant between two commands, and jobs were chosen by nothing but their
        tube.

        Of a `dry_run`, `done` says how many jobs would be kicked. `progress` is called again and again with what was
        done so far.

        Raises ValueError for values that make no sense, alone or together; QueueUnavailable; and BrokenOff, which is a
        QueueUnavailable that says how many jobs were kicked, if the connection breaks in the middle. If anything else
        is raised in the middle, such as KeyboardInterrupt, it has a note of that.
        """
        choice = choose(tube, all_tubes=all_tubes, jobs=jobs, error=error, older_than=older_than, count=count)
        return self._act(choice, "kicked", dry_run, progress, None if rate is None else parse_rate(rate))

    def clear(
        self,
        tube: str | None = None,
        *,
        all_tubes: bool = False,
        states: Iterable[str] | None = None,
        error: str | None = None,
        older_than: str | float | timedelta | None = None,
        count: int | None = None,
        dry_run: bool = False,
        progress: Callable[[Acted], object] | None = None,
    ) -> Acted:
        """Delete the jobs of a tube, or of all tubes, that nobody holds: the ready, delayed and buried ones.

        If `states` are given, only those in one of these states; if an `error`, only buried ones. All other arguments,
        what is returned and what is raised are as with `kick`. Never more jobs are deleted than there were at the
        beginning, so this ends beside producers that put further jobs.
        """
        if states is None:
            states = STATES if error is None else ["buried"]
        choice = choose(tube, all_tubes=all_tubes, states=states, error=error, older_than=older_than, count=count)
        return self._act(choice, "deleted", dry_run, progress)

    def pause(self, tube: str, duration: str | float | timedelta, *, dry_run: bool = False) -> Paused:
        """Have beanstalkd give out no job of a tube for this long ("10m", seconds, timedelta), at least a second.

        Jobs can still be put, and those that are reserved go on. beanstalkd forgets the pause if it is restarted, or if
        the tube has no jobs and no connection any more. Raises ValueError, QueueUnavailable and RefusedError.
        """
        from tubeherd.by_hand.changing.pausing import pause

        return pause(self._server, tube, duration, dry_run=dry_run)

    def resume(self, tube: str, *, dry_run: bool = False) -> Paused:
        """End the pause of a tube, if it is paused; raises what `pause` raises."""
        from tubeherd.by_hand.changing.pausing import resume

        return resume(self._server, tube, dry_run=dry_run)

    def _act(
        self,
        choice: Choice,
        deed: Deed,
        dry_run: bool,
        progress: Callable[[Acted], object] | None,
        rate: float | None = None,
    ) -> Acted:
        # Imported here, as a process that only puts or executes jobs needs it never.
        from tubeherd.by_hand.changing.acting import Acting
        from tubeherd.by_hand.changing.changer import show_nothing

        acting = Acting(self._server, choice, deed, rate=rate, dry_run=dry_run, show=progress or show_nothing)
        try:
            return acting.run()
        except BaseException as error:
            error.add_note(acting.acted().in_words)
            raise
