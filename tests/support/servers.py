"""What tests of the operator's side of beanstalkd share: two pools, and errands for one of them."""

from typing import Final

from tests.support.waiting import wait_for
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Request, Step
from tubeherd_operator.decisions.request_value import Deed, parse_value
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.servers import Servers

MAIL: Final = Key("shop", "mail")
SMS: Final = Key("shop", "sms")


class Changed:
    """Remembers which pools are to be looked at."""

    def __init__(self) -> None:
        self.keys: list[Key] = []

    def __call__(self, key: Key) -> None:
        self.keys.append(key)

    def wait(self, key: Key, count: int = 1) -> None:
        """Wait until a pool was to be looked at so often."""
        given = self.keys.count
        wait_for(lambda: given(key) >= count, lambda: f"{key} was given {given(key)} counts, not {count}")


def serving(*tubes: str, retries: int = 1, excluded: tuple[str, ...] = ()) -> Served:
    """Return what a pool serves that keeps no burial records."""
    return Served(PoolTubes(tubes, excluded), retries, records=False)


def ask(servers: Servers, key: Key, work: Find | Step) -> Found | Done:
    """Have an errand run, and return its answer."""
    servers.give(key, Errand(f"{work}", work))

    def answered() -> list[Found | Done]:
        errand = servers.errand(key)
        return [errand.answer] if errand and errand.answer else []

    (answer,) = wait_for(answered, "the errand is answered")
    return answer


def find(
    servers: Servers, value: str, *names: str, deed: Deed = "kick", tubes: PoolTubes | None = None
) -> Found | Done:
    """Ask which jobs a request of this value is about, by a pool with these tubes, or with mail and sms."""
    wanted = parse_value(deed, value, tubes or PoolTubes(names or ("mail", "sms")))
    return ask(servers, MAIL, Find(Request("uid", deed, value), wanted))
