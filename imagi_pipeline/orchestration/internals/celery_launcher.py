"""Send whole runs to Celery workers (extra `celery`), and find dead ones and stop runs as on one machine.

Name it in `dagster.yaml`, with the configuration of dagster-celery's launcher: see deploy/dagster.yaml.
A run is one task: no task waits for another one, so workers cannot lock each other out (dagster#29660).

dagster-celery asks the broker whether a run lives, which says "started" for ever of a worker that was
killed; here the run's locks tell that (`run_launcher.py`), which needs PostgreSQL if workers are on other
machines. dagster-celery also stops a run without telling Dagster that the run is being stopped.

This relies on internals of dagster-celery (0.29.27), which the tests try with real workers:
`CeleryRunLauncher.celery` is the Celery application; `create_execute_job_task` makes its task; the tag
`dagster-celery/task_id`; a task is ended by SIGTERM, which a run takes as a cancellation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from dagster_celery.tasks import create_execute_job_task

from imagi_pipeline.contract import MAX_RETRIES_TAG
from imagi_pipeline.orchestration.internals.celery_chunks import (
    SpreadingExecutor,
    start_worker,
)
from imagi_pipeline.orchestration.run_launcher import GRACE, SignsOfLife

SETTINGS_OF_CELERY = {
    # A task that a worker has taken and not begun could not be done by other workers until that one ends.
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    # Nobody asks for the results: the run itself tells them.
    "task_ignore_result": True,
    "broker_connection_retry_on_startup": True,
    # Memory that a run left behind goes with its process.
    "worker_max_tasks_per_child": 50,
}


SPREAD_CHUNKS = dg.Field(
    bool,
    default_value=False,
    description="Whether chunks of a large CSV go to workers of their own (`imagi worker --chunks`).",
)


class ImagiCeleryRunLauncher(CeleryRunLauncher):
    """Dagster's launcher with a health check that notices a killed worker, and orderly cancellation."""

    def __init__(self, grace_seconds: float, *, spread_chunks: bool = False, **options: Any) -> None:
        options["config_source"] = SETTINGS_OF_CELERY | (options.get("config_source") or {})
        super().__init__(**options)
        self._grace_seconds = grace_seconds
        self._spreads_chunks = spread_chunks
        self._signs_of_life = SignsOfLife(grace_seconds)

    @classmethod
    def config_type(cls) -> Any:
        """Return what `dagster.yaml` may say under `run_launcher: config`."""
        return {**cast("dict[str, Any]", super().config_type()), **GRACE, "spread_chunks": SPREAD_CHUNKS}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        """Make the launcher that `dagster.yaml` describes."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def supports_resume_run(self) -> bool:
        """Return False: a run whose worker died starts again, and finds its work in the image records."""
        return False

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Return RUNNING, or FAILED once the run has shown no sign of life for the grace period."""
        return self._signs_of_life.health(self._instance, run.run_id)

    def terminate(self, run_id: str) -> bool:
        """Stop a run, even one that no worker has begun."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.add_run_tags(run_id, {MAX_RETRIES_TAG: "0"})
        self._instance.report_run_canceling(run)
        if task := run.tags.get(DAGSTER_CELERY_TASK_ID_TAG):
            self.celery.control.revoke(task, terminate=True)
        return True

    def executor(self) -> SpreadingExecutor | None:
        """Return what executes the steps of a run; None if its process does."""
        if not self._spreads_chunks:
            return None
        options = {"broker": self.broker, "backend": self.broker, "config_source": self.config_source}
        return SpreadingExecutor(self._grace_seconds, **options)

    def work(self, processes: int) -> None:
        """Be a worker that executes so many runs at a time, until SIGTERM; it finishes runs under way."""
        create_execute_job_task(self.celery)
        start_worker(self.celery, processes, self.default_queue)
