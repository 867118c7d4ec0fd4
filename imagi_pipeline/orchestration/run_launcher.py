"""Launch runs as Dagster does by default, and add the health check by which run monitoring finds dead runs.

The process that executes a run holds a shared `flock` on `<DAGSTER_HOME>/run_locks/<run_id>.lock`,
which the kernel frees however the process ends, and where PostgreSQL is the storage a lock there, for
other machines. A run is alive while somebody holds one of its locks, or while the code server that
launched it says that its process runs (that covers what holds no lock: the time before the first step
and between the steps of a multiprocess run, jobs without our resource). With neither for a grace period
the run is dead: run monitoring fails it and run retries start it again.

What happens on which death (tried with Dagster 1.13.27):

* the run's process dies, the code server lives: the code server fails the run at once;
* the code server dies, the run's process lives: the process goes on to the end of the run, as an
  orphan that no one can terminate through Dagster, and only its lock tells that it is alive;
* both die, or the process of a run without code server (`execute_in_process`): run monitoring fails
  the run. A run without code server cannot be retried: give it the tag `dagster/max_retries: 0`, or
  the UI announces a retry that never comes;
* a run dead before it was STARTED, or while CANCELING, is ended by the timeouts of run monitoring.

The lock is inherited by children that are forked and do not exec: start helpers with `spawn`,
`forkserver` or `subprocess`, or an orphaned one keeps the run alive.

This relies on internals of Dagster (1.13.27):

* `ConfigurableClass`: how the instance makes the launcher from `dagster.yaml`;
* `run_monitoring.monitor_started_run`: it asks `check_run_worker_health` of a launcher that
  `supports_check_run_worker_health`, and fails the run on any answer but RUNNING and SUCCESS;
* `DefaultRunLauncher._get_grpc_client_for_termination`, and the code server's `CanCancelExecution`,
  which is true while the process of the run is alive.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import ConfigurableClass, ConfigurableClassData, deserialize_value

from imagi_pipeline.contract import MAX_RETRIES_TAG
from imagi_pipeline.orchestration.internals.postgres_run_locks import alone, hold_lock, is_held

_CODE_SERVER_TIMEOUT_SECONDS = 5


GRACE = {
    "grace_seconds": dg.Field(
        float,
        default_value=30.0,
        description="Seconds without a sign of life after which a run counts as dead.",
    )
}


class SignsOfLife:
    """Tells a dead run from one that shows no sign of life for a moment."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._lifeless_since: dict[str, float] = {}

    def health(
        self, instance: dg.DagsterInstance, run_id: str, is_known_to_live: Callable[[], bool] = lambda: False
    ) -> CheckRunHealthResult:
        """Return RUNNING, or FAILED once nobody held a lock of the run, or knew of it, for the grace period.

        The period counts from the first check that saw no sign, so it starts again when the daemon starts.
        """
        lock = _lock_path(instance, run_id)
        if _is_locked(lock) or _is_locked_elsewhere(instance, run_id) or is_known_to_live():
            self._lifeless_since.pop(run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        now = time.monotonic()
        if now - self._lifeless_since.setdefault(run_id, now) < self._grace_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # The time is kept: on a full disk the run cannot be failed now, and the next check says so again.
        lock.unlink(missing_ok=True)
        return CheckRunHealthResult(
            WorkerStatus.FAILED,
            f"No process has been executing the run for {self._grace_seconds:g} seconds: it was"
            " killed, or the machine was restarted",
        )


class ImagiRunLauncher(dg.DefaultRunLauncher, ConfigurableClass):
    """Launches runs as Dagster does by default, and tells run monitoring which of them died."""

    def __init__(self, grace_seconds: float, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._signs_of_life = SignsOfLife(grace_seconds)

    @classmethod
    def config_type(cls) -> dict[str, dg.Field]:
        """Return what `dagster.yaml` may say under `run_launcher: config`."""
        return GRACE

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Return the launcher that `dagster.yaml` describes."""
        return cls(grace_seconds=config_value["grace_seconds"], inst_data=inst_data)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Return True; the default launcher says False, and then run monitoring finds no dead run."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING, or FAILED once the run has shown no sign of life for the grace period."""
        return self._signs_of_life.health(
            self._instance, run.run_id, lambda: self._code_server_runs(run.run_id)
        )

    def terminate(self, run_id: str) -> bool:
        """Stop a run. One that is just starting fails then, and must not be started again."""
        self._instance.add_run_tags(run_id, {MAX_RETRIES_TAG: "0"})
        return bool(super().terminate(run_id))  # type: ignore[no-untyped-call]

    def _code_server_runs(self, run_id: str) -> bool:
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return False
        try:
            answer = client.can_cancel_execution(
                CanCancelExecutionRequest(run_id=run_id), timeout=_CODE_SERVER_TIMEOUT_SECONDS
            )
        except DagsterUserCodeUnreachableError:
            return False
        return deserialize_value(answer, CanCancelExecutionResult).can_cancel


@contextmanager
def hold_run_lock(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Show that this process executes the run, until the context ends or the process dies.

    Any number of processes and threads may hold the lock of one run. Raises OSError when the lock
    cannot be had, for example on a file system without `flock`.
    """
    path = _lock_path(instance, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _acquire(path)
    url = _postgres_url(instance)
    try:
        with hold_lock(url, run_id) if url else nullcontext():
            yield
    finally:
        _release(descriptor, path)


def change_tags_alone(instance: dg.DagsterInstance, run_id: str) -> AbstractContextManager[None]:
    """Let nobody else change the tags of a run who asks here too. Only with PostgreSQL a run has more than
    one process that might.
    """
    url = _postgres_url(instance)
    return alone(url, f"{run_id}.tags") if url else nullcontext()


def step_lock(run_id: str, step_key: str) -> str:
    """Name the lock that a process holds, as that of a run, while it executes one step for the run."""
    return f"{run_id}.{step_key}"


def _is_locked_elsewhere(instance: dg.DagsterInstance, run_id: str) -> bool:
    url = _postgres_url(instance)
    return bool(url) and is_held(str(url), run_id)


def _postgres_url(instance: dg.DagsterInstance) -> str | None:
    """Find the database of an instance on PostgreSQL, by Dagster's storage or ours."""
    return getattr(instance.event_log_storage, "postgres_url", None)


def _lock_path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "run_locks" / f"{run_id}.lock"


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_still_at(path, descriptor):
            return descriptor
        # Between our open and our lock the last holder left and removed the file.
        os.close(descriptor)


def _release(descriptor: int, path: Path) -> None:
    try:
        # Only the last holder can have the lock for itself, and only it may remove the file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
