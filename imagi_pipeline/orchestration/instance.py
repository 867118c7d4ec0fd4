"""Open the Dagster instance of this installation.

This relies on internals of Dagster (1.13.27): `InstanceRef.from_dir(overrides=...)` and the class
`NoOpComputeLogManager`, which captures nothing.
"""

from __future__ import annotations

import fcntl
import os
from importlib import resources
from pathlib import Path

import dagster as dg
from dagster._core.instance import InstanceRef

from imagi_pipeline.contract import (
    FILE_TAG,
    JOB_NAME,
    REQUEST_ID_TAG,
    status_of_run,
    upkeep_of_run,
    with_upkeep,
)
from imagi_pipeline.core.request_status import COMPLETED, RequestStatus
from imagi_pipeline.orchestration.storage_checks import network_file_system, unusable_database, wrong_driver
from imagi_pipeline.settings import default_folder

NO_CAPTURE = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}

READY = ".imagi_ready"
"""This file in DAGSTER_HOME says that its databases are complete."""


def furnish_home() -> Path:
    """Make DAGSTER_HOME ready, `~/imagi/dagster_home` if it is not set, with our dagster.yaml if it has none.

    Raises OSError when the folder cannot be made, or the storage that its dagster.yaml names cannot be used.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or default_folder() / "dagster_home").expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    if problem := wrong_driver(home) or unusable_database(home):
        raise OSError(problem)
    if not ((home / READY).exists() and (home / "dagster.yaml").exists()):
        _furnish(home)
    return home


def _furnish(home: Path) -> None:
    # Dagster makes its databases without a lock, and two processes at once can spoil them.
    with (home / ".imagi_lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "dagster.yaml").exists():
            if kind := network_file_system(home):
                raise OSError(
                    f"DAGSTER_HOME, {home}, is on a network share ({kind}), where SQLite loses what it "
                    "stores. Set it to a folder on a local disk, or use PostgreSQL (docs/operations.md)."
                )
            packaged = resources.files("imagi_pipeline.orchestration") / "dagster.yaml"
            (home / "dagster.yaml").write_bytes(packaged.read_bytes())
        if not (home / READY).exists():
            with dg.DagsterInstance.get() as instance:
                instance.get_runs(limit=1)
            (home / READY).touch()


def open_instance(*, capture_output: bool = True) -> dg.DagsterInstance:
    """Return the instance in the furnished DAGSTER_HOME; a context manager that closes it.

    Without `capture_output` the terminal stays with this process while it executes steps: Dagster would turn
    it into files, through helper processes that answer Ctrl-C with a stack trace.
    """
    home = furnish_home()
    if capture_output:
        return dg.DagsterInstance.get()
    return dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(home), overrides={"compute_logs": NO_CAPTURE})
    )


def recent_requests(instance: dg.DagsterInstance, most: int) -> list[RequestStatus]:
    """Return the status of the requests of the newest runs, newest first."""
    records = instance.get_run_records(dg.RunsFilter(job_name=JOB_NAME), limit=most)
    newest: dict[str, RequestStatus] = {}
    for record in records:
        if FILE_TAG in record.dagster_run.tags:  # a run that the UI launched is tagged when it starts
            request_id = record.dagster_run.tags[REQUEST_ID_TAG]
            if request_id not in newest:
                newest[request_id] = _with_upkeep(instance, record)
    return list(newest.values())


def request_status(instance: dg.DagsterInstance, request_id: str) -> RequestStatus | None:
    """Return the status of a request by its newest run; None when it has no run."""
    records = instance.get_run_records(
        dg.RunsFilter(job_name=JOB_NAME, tags={REQUEST_ID_TAG: request_id}), limit=1
    )
    return _with_upkeep(instance, records[0]) if records else None


def _with_upkeep(instance: dg.DagsterInstance, newest: dg.RunRecord) -> RequestStatus:
    """Return the status of a request by its newest run; beside its result, if the run is upkeep."""
    status, what = _status_of_record(newest), upkeep_of_run(newest.dagster_run.tags)
    if what is None:
        return status
    result: RequestStatus | None = status
    if status.status != COMPLETED:
        successes = dg.RunsFilter(
            job_name=JOB_NAME,
            tags={REQUEST_ID_TAG: status.request_id},
            statuses=[dg.DagsterRunStatus.SUCCESS],
        )
        records = instance.get_run_records(successes, limit=1)
        result = _status_of_record(records[0]) if records else None
    return with_upkeep(status, what, newest.create_timestamp.timestamp(), result) if result else status


def _status_of_record(record: dg.RunRecord) -> RequestStatus:
    run = record.dagster_run
    return status_of_run(
        run.run_id, run.status.value, run.tags, record.create_timestamp.timestamp(), record.end_time
    )
