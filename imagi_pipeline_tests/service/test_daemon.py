from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from dagster._daemon import backfill, sensor
from dagster._daemon.daemon import BackfillDaemon, SensorDaemon

from imagi_pipeline.contract import LANDING_SENSOR
from imagi_pipeline.orchestration.sensors import landing_folder_sensor
from imagi_pipeline.service.daemon import ShortPause, install, look_at_backfills_sooner

SECONDS_OF_PATIENCE = 60


class Looks:
    """The sensor daemon's real loop, with a look that only counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stop = threading.Event()
        self.looked = threading.Semaphore(0)
        self.due = threading.Event()
        monkeypatch.setattr(SensorDaemon, "core_loop", SensorDaemon.core_loop)
        monkeypatch.setattr(sensor, "is_under_min_interval", lambda *_: True)
        monkeypatch.setattr(sensor, "execute_sensor_iteration", self._look)
        monkeypatch.setattr(sensor, "MIN_INTERVAL_LOOP_TIME", 3600)
        install(self._take)

    def run(self) -> None:
        for _ in SensorDaemon({}).core_loop(None, self.stop):  # type: ignore[arg-type]
            if self.stop.is_set():
                return

    def _look(self, *_: object, **__: object) -> Iterator[None]:
        self.looked.release()
        yield None

    def _take(self) -> bool:
        is_due = self.due.is_set()
        self.due.clear()
        return is_due


class NamedSensor:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    looks = Looks(monkeypatch)
    thread = threading.Thread(target=looks.run)
    thread.start()
    yield looks
    looks.stop.set()
    thread.join(SECONDS_OF_PATIENCE)
    assert not thread.is_alive()


def is_waiting(name: str) -> Any:
    return sensor.is_under_min_interval(None, NamedSensor(name))  # type: ignore[arg-type]


def test_the_daemon_looks_again_when_something_arrived(looks: Looks) -> None:
    assert looks.looked.acquire(timeout=SECONDS_OF_PATIENCE)
    assert is_waiting(LANDING_SENSOR)
    looks.due.set()
    assert looks.looked.acquire(timeout=SECONDS_OF_PATIENCE)
    assert looks.looked.acquire(timeout=SECONDS_OF_PATIENCE)  # and once more, for what that look missed


def test_only_the_sensor_of_the_landing_folder_is_due_early(looks: Looks) -> None:
    seen: list[tuple[bool, bool]] = []
    count = looks.looked.release

    def note() -> None:
        seen.append((is_waiting(LANDING_SENSOR), is_waiting("another_sensor")))
        count()

    assert looks.looked.acquire(timeout=SECONDS_OF_PATIENCE)
    looks.looked.release = note  # type: ignore[method-assign,assignment]
    looks.due.set()
    assert looks.looked.acquire(timeout=SECONDS_OF_PATIENCE)
    assert seen[0] == (False, True)


def test_dagster_asks_whether_the_turn_of_a_sensor_has_come() -> None:
    assert "is_under_min_interval" in sensor.execute_sensor_iteration.__code__.co_names
    assert landing_folder_sensor.name == LANDING_SENSOR


def test_the_real_loop_of_backfills_pauses_for_a_short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, stop = threading.Semaphore(0), threading.Event()

    def look(*_: object, **__: object) -> Iterator[None]:
        looked.release()
        yield None

    monkeypatch.setattr(BackfillDaemon, "core_loop", BackfillDaemon.core_loop)
    monkeypatch.setattr(backfill, "execute_backfill_iteration", look)
    monkeypatch.setattr("dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS", 3600)
    monkeypatch.setattr("imagi_pipeline.service.daemon.SECONDS_BETWEEN_LOOKS_AT_BACKFILLS", 0.1)
    look_at_backfills_sooner()

    def run() -> None:
        with BackfillDaemon({"use_threads": False}) as daemon:
            for _ in daemon.core_loop(None, stop):
                if stop.is_set():
                    return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert all(looked.acquire(timeout=SECONDS_OF_PATIENCE) for _ in range(3))
    stop.set()
    thread.join(SECONDS_OF_PATIENCE)
    assert not thread.is_alive()


def test_a_daemon_that_is_to_stop_waits_no_longer() -> None:
    stop = threading.Event()
    stop.set()
    assert ShortPause(stop).wait(3600)
