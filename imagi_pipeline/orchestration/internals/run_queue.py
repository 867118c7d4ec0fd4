"""Look into the run queue as soon as a run is submitted, and not only every few seconds.

Only Dagster's daemon decides what may run, with its limits and priorities, and each run starts once. Only
its pause between two looks ends early: `submit_run`, in whatever process of this machine, sets the
time of a file in DAGSTER_HOME after it has put a run into the queue. While runs wait for a place the daemon
looks often. Whoever is killed before the file is set, or submits from another machine, is found by the next
look.

This relies on internals of Dagster (1.13.28), which the tests try: `QueuedRunCoordinatorDaemon.core_loop`,
which is replaced in the daemon's process, `run_iteration`, which is one look, and the order in which that
process imports the daemon's class and makes the coordinator.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Event
from typing import Any

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

MARK = ".run_submitted"

SECONDS_BETWEEN_LOOKS_AT_THE_MARK = 0.1
SECONDS_WHILE_RUNS_WAIT = 0.2
"""Seconds from one look at the queue to the next; more if a look takes long, as one does that starts runs:
the daemon rests for as long as it looked."""

_DAEMON = "dagster._daemon.run_coordinator.queued_run_coordinator_daemon"


class WokenRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's coordinator, with its options; the daemon looks into the queue when a run was put there."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if module := sys.modules.get(_DAEMON):  # this is the daemon
            module.QueuedRunCoordinatorDaemon.core_loop = _core_loop

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Put a run into the queue, and make the daemon look at once."""
        run = super().submit_run(context)
        mark = self._mark
        mark.touch()
        now = time.time_ns()
        os.utime(mark, ns=(now, now))  # finer than the clock of the file system
        return run

    @property
    def last_submission(self) -> int:
        """Return when a run was put into the queue, in nanoseconds since 1970; 0 if never."""
        try:
            return self._mark.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    @property
    def _mark(self) -> Path:
        return Path(self._instance.root_directory) / MARK


def _core_loop(daemon: Any, context: Any, shutdown: Event) -> Any:
    """Take the place of the loop of Dagster's daemon: looks, forever, with pauses that a submission ends."""
    from dagster._daemon.daemon import SpanMarker
    from dagster._utils.error import serializable_error_info_from_exc_info

    coordinator = context.instance.run_coordinator
    while True:
        seen = coordinator.last_submission  # before the look: what comes during it causes another one
        started = time.monotonic()
        yield SpanMarker.START_SPAN
        try:
            yield from daemon.run_iteration(context)
            pause = _pause(daemon, context.instance, time.monotonic() - started)
        except Exception:  # as Dagster's own loop: one failed look must not end the daemon
            error = serializable_error_info_from_exc_info(sys.exc_info())
            daemon._logger.exception("A look at the run queue failed.")
            pause = daemon.interval_seconds
            yield error
        yield SpanMarker.END_SPAN
        while time.monotonic() - started < pause and coordinator.last_submission == seen:
            if shutdown.wait(SECONDS_BETWEEN_LOOKS_AT_THE_MARK):
                break
            yield None
        yield None


def _pause(daemon: Any, instance: dg.DagsterInstance, look: float) -> float:
    """Return the seconds from one look to the next, when nothing is submitted."""
    interval = float(daemon.interval_seconds)
    if instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
        return min(interval, max(SECONDS_WHILE_RUNS_WAIT, 2 * look))
    return interval
