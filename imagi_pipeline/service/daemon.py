"""Run Dagster's daemon, but let it look into the landing folder at once when something arrives, and sooner
at backfills.

Dagster's own daemon evaluates its sensors every five seconds, which is a constant in its code. Here the
sensor is the same, and so are its ticks, run keys and claims: it is only evaluated earlier. At backfills it
looks every 30 seconds, also a constant: one of a few images, two seconds of work, took up to a minute.

This relies on internals of Dagster (1.13.28); `test_daemon.py` fails when they change:

* `SensorDaemon.core_loop(context, shutdown_event)` pauses between looks by `shutdown_event.wait(seconds)`;
* `BackfillDaemon.core_loop(context, shutdown_event)` does so as well;
* `dagster._daemon.sensor.is_under_min_interval(state, sensor)` says that a sensor's turn has not come yet.

Call it like `dagster-daemon`: `python -m imagi_pipeline.service.daemon run -w workspace.yaml`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dagster._daemon import sensor
from dagster._daemon.cli import main as dagster_daemon
from dagster._daemon.daemon import BackfillDaemon, SensorDaemon

from imagi_pipeline.contract import LANDING_SENSOR
from imagi_pipeline.core.storage.landing_watch import LandingWatch
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.service.plain_logs import use_plain_logs
from imagi_pipeline.settings import Settings

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_LOOK_AGAIN = 1.0
"""Seconds until one more look: the early one may have met one that was still at work."""

SECONDS_BETWEEN_LOOKS_AT_BACKFILLS = 5.0
"""As long as Dagster's own pause between looks at sensors; a look in vain is three queries."""


class Pause:
    """The event that tells the daemon to stop; whoever waits for it is also released when `is_due`."""

    def __init__(self, stop: threading.Event, is_due: Callable[[], bool]) -> None:
        self._stop = stop
        self._is_due = is_due
        self._is_early = False

    @property
    def is_early(self) -> bool:
        """Return whether the last wait ended before its time."""
        return self._is_early

    def is_set(self) -> bool:
        """Return whether the daemon is to stop."""
        return self._stop.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for some seconds, or until a look is due; return whether the daemon is to stop."""
        most = min(timeout, SECONDS_TO_LOOK_AGAIN) if self._is_early else timeout
        end = time.monotonic() + most
        self._is_early = False
        while (left := end - time.monotonic()) > 0:
            if self._is_due():
                self._is_early = True
                break
            if self._stop.wait(min(left, SECONDS_BETWEEN_LOOKS)):
                return True
        return self._stop.is_set()


def install(is_due: Callable[[], bool]) -> None:
    """Make this process's sensor daemon look early, and treat the landing folder's sensor as due then."""
    core_loop, is_under_min_interval = SensorDaemon.core_loop, sensor.is_under_min_interval
    pauses: list[Pause] = []

    def early_loop(daemon: SensorDaemon, context: Any, stop: threading.Event) -> Iterator[Any]:
        pauses[:] = [Pause(stop, is_due)]
        yield from core_loop(daemon, context, pauses[0])  # type: ignore[arg-type]

    def is_too_early(state: Any, of_sensor: Any, *arguments: Any) -> bool:
        if of_sensor.name == LANDING_SENSOR and any(pause.is_early for pause in pauses):
            return False
        return bool(is_under_min_interval(state, of_sensor, *arguments))

    SensorDaemon.core_loop = early_loop  # type: ignore[method-assign,assignment]
    sensor.is_under_min_interval = is_too_early  # type: ignore[assignment]


class ShortPause:
    """The event that tells the daemon to stop; nobody waits for it for long."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def wait(self, timeout: float) -> bool:
        """Wait for some seconds; return whether the daemon is to stop."""
        return self._stop.wait(min(timeout, SECONDS_BETWEEN_LOOKS_AT_BACKFILLS))


def look_at_backfills_sooner() -> None:
    """Shorten the pauses of this process's backfill daemon."""
    core_loop = BackfillDaemon.core_loop

    def sooner(daemon: BackfillDaemon, context: Any, stop: threading.Event) -> Iterator[Any]:
        yield from core_loop(daemon, context, ShortPause(stop))  # type: ignore[arg-type]

    BackfillDaemon.core_loop = sooner  # type: ignore[method-assign,assignment]


def main() -> None:
    """Run Dagster's daemons; a bucket cannot be watched, so there the sensor keeps its own turns."""
    use_plain_logs()
    look_at_backfills_sooner()
    settings = Settings()
    store = Store(settings.storage)
    if store.is_local:
        install(LandingWatch(Path(store.landing.path), settings.landing_quiet_period).is_due)
    dagster_daemon()


if __name__ == "__main__":
    main()
