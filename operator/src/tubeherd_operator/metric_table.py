"""The operator's metrics for Prometheus, each declared once: what /metrics shows is made from these rows.

`METRICS` lists them, and the documentation is checked against it.

The names of beanstalkd's own figures, and their label `tube`, are those of beanstalkd_exporter 2 by David Tannock
(github.com/davidtannock/beanstalkd_exporter, internal/exporter/metrics.go), so that dashboards and alerts made for it
work. It has one server, and here are several: so there is a label `server` in addition. It has no figures of the
binlog, and neither uptime nor draining. It calls all figures gauges; here those are counters that only grow and have a
counter's name.
"""

from collections.abc import Mapping
from typing import Final, Literal

from tubeherd.metric_table import Metric

_Kind = Literal["counter", "gauge"]


def _of_server(stat: str, kind: _Kind, meaning: str, name: str = "") -> tuple[str, Metric]:
    return stat, Metric(name or f"beanstalkd_{stat.replace('-', '_')}_count", kind, meaning, ("server",))


def _of_commands(*commands: str) -> dict[str, Metric]:
    return {
        f"cmd-{command}": Metric(
            f"beanstalkd_cmd_{command.replace('-', '_')}_total",
            "counter",
            f"Commands {command} that the server was sent since it started.",
            ("server",),
        )
        for command in commands
    }


def _of_tube(stat: str, kind: _Kind, meaning: str, name: str = "") -> tuple[str, Metric]:
    return stat, Metric(name or f"beanstalkd_tube_{stat.replace('-', '_')}_count", kind, meaning, ("server", "tube"))


# Of beanstalkd

SERVER_UP: Final = Metric(
    "beanstalkd_up",
    "gauge",
    "Whether the server can be asked (1) or not (0); then its other figures are absent.",
    ("server",),
)
SERVER_FIGURES: Final[Mapping[str, Metric]] = {
    **dict(
        [
            _of_server("current-jobs-urgent", "gauge", "Ready jobs of all tubes with a priority below 1024."),
            _of_server("current-jobs-ready", "gauge", "Jobs of all tubes that wait for a worker."),
            _of_server("current-jobs-reserved", "gauge", "Jobs of all tubes that are being executed."),
            _of_server("current-jobs-delayed", "gauge", "Jobs of all tubes that wait for their time."),
            _of_server("current-jobs-buried", "gauge", "Jobs of all tubes that failed for good."),
            _of_server("current-tubes", "gauge", "Tubes that exist."),
            _of_server("current-connections", "gauge", "Connections that are open."),
            _of_server("current-producers", "gauge", "Open connections that have put a job."),
            _of_server("current-workers", "gauge", "Open connections that have asked for a job."),
            _of_server("current-waiting", "gauge", "Open connections that wait for a job."),
            _of_server(
                "job-timeouts", "gauge", "Reservations since the server started that ended because the TTR passed."
            ),
            _of_server("total-jobs", "gauge", "Jobs that were put since the server started."),
            _of_server("total-connections", "gauge", "Connections that were opened since the server started."),
            _of_server("uptime", "gauge", "Time since the server started.", "beanstalkd_uptime_seconds"),
            _of_server("draining", "gauge", "Whether the server refuses puts (1) or not (0).", "beanstalkd_draining"),
            _of_server(
                "binlog-oldest-index",
                "gauge",
                "Number of the oldest file of the binlog, which a job holds that is not deleted; 0 without a binlog.",
                "beanstalkd_binlog_oldest_index",
            ),
            _of_server(
                "binlog-current-index",
                "gauge",
                "Number of the file of the binlog that is being written; 0 without a binlog.",
                "beanstalkd_binlog_current_index",
            ),
            _of_server("binlog-max-size", "gauge", "Size of a file of the binlog.", "beanstalkd_binlog_max_size_bytes"),
            _of_server(
                "binlog-records-written",
                "counter",
                "Records that were written to the binlog since the server started.",
                "beanstalkd_binlog_records_written_total",
            ),
            _of_server(
                "binlog-records-migrated",
                "counter",
                "Records that were written to the binlog anew since the server started, so that a file could go.",
                "beanstalkd_binlog_records_migrated_total",
            ),
        ]
    ),
    **_of_commands(
        *("put", "peek", "peek-ready", "peek-delayed", "peek-buried", "reserve", "reserve-with-timeout"),
        *("use", "watch", "ignore", "delete", "release", "bury", "kick", "touch", "stats", "stats-job", "stats-tube"),
        *("list-tubes", "list-tube-used", "list-tubes-watched", "pause-tube"),
    ),
}
"""By the names that `stats` of beanstalkd has."""
TUBE_FIGURES: Final[Mapping[str, Metric]] = dict(
    [
        _of_tube("current-jobs-urgent", "gauge", "Ready jobs of a tube with a priority below 1024."),
        _of_tube("current-jobs-ready", "gauge", "Jobs of a tube that wait for a worker."),
        _of_tube("current-jobs-reserved", "gauge", "Jobs of a tube that are being executed."),
        _of_tube("current-jobs-delayed", "gauge", "Jobs of a tube that wait for their time."),
        _of_tube("current-jobs-buried", "gauge", "Jobs of a tube that failed for good."),
        _of_tube("total-jobs", "gauge", "Jobs that were put into a tube since it exists."),
        _of_tube("current-using", "gauge", "Connections that put jobs into a tube."),
        _of_tube("current-watching", "gauge", "Connections that take jobs from a tube, such as those of workers."),
        _of_tube(
            "current-waiting",
            "gauge",
            "Connections that wait for a job of a tube, as they were when anything else last happened in the server.",
        ),
        _of_tube(
            "cmd-delete",
            "counter",
            "Jobs of a tube that were deleted since it exists.",
            "beanstalkd_tube_cmd_delete_total",
        ),
        _of_tube(
            "cmd-pause-tube",
            "counter",
            "How often a tube was paused since it exists.",
            "beanstalkd_tube_cmd_pause_tube_total",
        ),
        _of_tube(
            "pause",
            "gauge",
            "For how long a tube was paused; 0 if it is not paused.",
            "beanstalkd_tube_pause_seconds_total",
        ),
        _of_tube(
            "pause-time-left",
            "gauge",
            "How much longer a tube is paused.",
            "beanstalkd_tube_pause_time_left_seconds_total",
        ),
    ]
)
"""By the names that `stats-tube` of beanstalkd has."""
TUBE_READY_AGE: Final = Metric(
    "tubeherd_tube_oldest_ready_job_age_seconds",
    "gauge",
    "For at least how long the job has been ready that is the next of its tube; absent if none is ready, and for all "
    "but about 50 tubes of a server: those that nobody watches, then those with the most ready jobs.",
    ("server", "tube"),
)

# Of pools

_POOL: Final = ("namespace", "pool")
POOL_INFO: Final = Metric("tubeherd_pool_info", "gauge", "The beanstalkd of a pool; always 1.", (*_POOL, "server"))
POOL_TUBE_INFO: Final = Metric(
    "tubeherd_pool_tube_info",
    "gauge",
    "A tube that a pool serves, of pools with ten tubes at most, and of others if a suspended one serves it; always 1.",
    (*_POOL, "server", "tube"),
)
POOL_JOBS: Final = Metric(
    "tubeherd_pool_jobs",
    "gauge",
    "Jobs of all tubes of a pool, by state; absent while its server cannot be asked.",
    (*_POOL, "state"),
)
POOL_REPLICAS_WANTED: Final = Metric("tubeherd_pool_replicas_wanted", "gauge", "Pods that a pool is to have.", _POOL)
POOL_REPLICAS: Final = Metric("tubeherd_pool_replicas", "gauge", "Pods of a pool that exist.", _POOL)
POOL_REPLICAS_READY: Final = Metric(
    "tubeherd_pool_replicas_ready", "gauge", "Pods of a pool that are connected to beanstalkd and work.", _POOL
)
POOL_SUSPENDED: Final = Metric(
    "tubeherd_pool_suspended", "gauge", "Whether a pool is suspended (1) or not (0): it is to have no pods.", _POOL
)
POOL_CONDITION: Final = Metric(
    "tubeherd_pool_condition",
    "gauge",
    "Conditions of a pool's status, such as Ready: 1 for True, 0 for False, -1 for Unknown.",
    (*_POOL, "type"),
)
POOL_BURIED_JOBS: Final = Metric(
    "tubeherd_pool_buried_jobs",
    "gauge",
    "Buried jobs of a pool by why, as far as that is recorded; the ten largest numbers, and all others as other.",
    (*_POOL, "kind", "error"),
)
POOL_OLDEST_BURIAL: Final = Metric(
    "tubeherd_pool_oldest_burial_timestamp_seconds",
    "gauge",
    "When the first of a pool's buried jobs was buried, as far as that is recorded, in Unix time.",
    _POOL,
)

# Of the operator itself

OPERATOR_INFO: Final = Metric("tubeherd_operator_info", "gauge", "The version of the operator; always 1.", ("version",))
LEADER: Final = Metric(
    "tubeherd_operator_leader", "gauge", "Whether this operator acts (1), or waits because another one does (0)."
)
KNOWN_POOLS: Final = Metric("tubeherd_operator_pools", "gauge", "Pools that the operator knows.")
WATCHES: Final = Metric(
    "tubeherd_operator_watches",
    "gauge",
    "Watches without which the operator is not ready, by kind of object and by whether they are open or failing.",
    ("kind", "state"),
)
QUEUE_POOLS: Final = Metric(
    "tubeherd_operator_queue_pools",
    "gauge",
    "Pools in the queue of passes of the operator that acts: due now, to be looked at later, or in a pass.",
    ("state",),
)
PASS_SECONDS: Final = Metric(
    "tubeherd_operator_pass_seconds", "histogram", "Time that passes took, each over one pool, with those that failed."
)
PASS_FAILURES: Final = Metric(
    "tubeherd_operator_pass_failures_total",
    "counter",
    "Passes that failed and are repeated, by why: the API server is out of reach, refused a request, had another "
    "version of an object (conflict), was overloaded or gave another answer, or there is an error in the operator.",
    ("kind",),
)
API_REQUESTS: Final = Metric(
    "tubeherd_operator_api_requests_total",
    "counter",
    "Requests to the API server, by verb, kind of object and HTTP status; 0 if there was no answer.",
    ("verb", "resource", "code"),
)
KICKS: Final = Metric(
    "tubeherd_operator_kicks_total", "counter", "Kicks that pools were annotated with, and that came to their end."
)
KICKED_JOBS: Final = Metric(
    "tubeherd_operator_kicked_jobs_total", "counter", "Jobs that these kicks put back to be executed."
)
DISCARDS: Final = Metric(
    "tubeherd_operator_discards_total",
    "counter",
    "Discards that pools were annotated with, and that came to their end.",
)
DISCARDED_JOBS: Final = Metric(
    "tubeherd_operator_discarded_jobs_total", "counter", "Buried jobs that these discards deleted."
)
LEFT_OUT: Final = Metric(
    "tubeherd_operator_left_out",
    "gauge",
    "What is left out of the metrics, so that they do not become too many: servers beyond 100, tubes beyond 250 of a "
    "server, and pools with more than ten tubes, which have no tubeherd_pool_tube_info.",
    ("what",),
)

METRICS: Final = (
    SERVER_UP,
    *SERVER_FIGURES.values(),
    *TUBE_FIGURES.values(),
    TUBE_READY_AGE,
    POOL_INFO,
    POOL_TUBE_INFO,
    POOL_JOBS,
    POOL_REPLICAS_WANTED,
    POOL_REPLICAS,
    POOL_REPLICAS_READY,
    POOL_SUSPENDED,
    POOL_CONDITION,
    POOL_BURIED_JOBS,
    POOL_OLDEST_BURIAL,
    OPERATOR_INFO,
    LEADER,
    KNOWN_POOLS,
    WATCHES,
    QUEUE_POOLS,
    PASS_SECONDS,
    PASS_FAILURES,
    API_REQUESTS,
    KICKS,
    KICKED_JOBS,
    DISCARDS,
    DISCARDED_JOBS,
    LEFT_OUT,
)
"""Every metric of an operator but those of its process, which begin with `process_`."""
