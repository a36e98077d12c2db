"""For the tests of executors: run a job without a server, or start a real beanstalkd.

The fixture `beanstalkd` of `tubeherd.pytest_plugin`, which pytest finds by itself, starts one for a test.
"""

from tubeherd.by_hand.executing import JobRun, Outcome
from tubeherd.testing.jobs import run_job
from tubeherd.testing.server import Beanstalkd, BeanstalkdFailed

__all__ = ["Beanstalkd", "BeanstalkdFailed", "JobRun", "Outcome", "run_job"]
