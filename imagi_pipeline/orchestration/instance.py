"""The Dagster instance of this installation."""

from __future__ import annotations

import fcntl
import os
from importlib import resources
from pathlib import Path

import dagster as dg

from imagi_pipeline.core.request_status import JOB_NAME, REQUEST_ID_TAG, RequestStatus, status_of_run
from imagi_pipeline.settings import default_folder

READY = ".imagi_ready"
"""The file in DAGSTER_HOME that says that its databases are made."""


def furnish_home() -> Path:
    """Make DAGSTER_HOME ready, `~/imagi/dagster_home` if it is not set, with our dagster.yaml if it has none.

    Raises OSError when the folder cannot be made.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or default_folder() / "dagster_home").expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    if not (home / READY).exists():
        _furnish(home)
    return home


def _furnish(home: Path) -> None:
    # Dagster makes its databases without a lock, and two processes at once can spoil them.
    with (home / ".imagi_lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "dagster.yaml").exists():
            packaged = resources.files("imagi_pipeline.orchestration") / "dagster.yaml"
            (home / "dagster.yaml").write_bytes(packaged.read_bytes())
        if not (home / READY).exists():
            with dg.DagsterInstance.get() as instance:
                instance.get_runs(limit=1)
            (home / READY).touch()


def open_instance() -> dg.DagsterInstance:
    """The instance in the furnished DAGSTER_HOME; a context manager that closes it."""
    furnish_home()
    return dg.DagsterInstance.get()


def request_status(instance: dg.DagsterInstance, request_id: str) -> RequestStatus | None:
    """The status of a request by its newest run; None when it has no run."""
    records = instance.get_run_records(
        dg.RunsFilter(job_name=JOB_NAME, tags={REQUEST_ID_TAG: request_id}), limit=1
    )
    if not records:
        return None
    record = records[0]
    run = record.dagster_run
    return status_of_run(
        run.run_id, run.status.value, run.tags, record.create_timestamp.timestamp(), record.end_time
    )
