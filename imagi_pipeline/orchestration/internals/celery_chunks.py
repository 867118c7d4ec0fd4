"""Spread the chunks of one large CSV over Celery workers (extra `celery`), by dagster-celery's executor.

dagster-celery's executor alone cannot be used in a run that is itself a task of Celery (dagster#29660): it
asks for results inside a task, which Celery forbids because workers that all wait for a task lock each other
out. And it waits for ever for a step whose worker was killed. Here

* only steps whose op names a queue are sent, and that queue has workers of its own (`imagi worker --chunks`):
  a run waits for chunks, a chunk waits for nobody. All other steps are executed in the run's own process;
* a chunk holds a lock while it is worked on. One that a worker has begun and whose lock is free, or that
  nobody has begun for long, is sent again; what it had stored is not fetched again.

This relies on internals of dagster-celery (0.29.27), which the tests try with real workers:
`core_celery_execution_loop` takes the function that starts a step, and asks what that returns for `ready`,
`get` and `revoke`; `create_task` makes the task that executes a step, and passes on its options.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import dagster as dg
from celery import states
from celery.exceptions import BackendError, TaskRevokedError
from celery.result import AsyncResult, allow_join_result
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import IExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import WorkerStatus
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import pack_value
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_task
from kombu.exceptions import OperationalError

from imagi_pipeline.contract import CHUNK_QUEUE, LARGE, SIZE_TAG
from imagi_pipeline.orchestration.run_launcher import SignsOfLife, hold_run_lock, step_lock

SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_TO_WAIT_FOR_A_WORKER = 600.0
"""A chunk that nobody has begun for so long may have been lost by the broker."""

MOST_TRIES = 4

_BROKER_ERRORS = (OperationalError, BackendError, OSError)

_log = logging.getLogger(__name__)


@cache  # Celery warns of a second one of the same name
def step_task(app: Any) -> Any:
    """Return the task that executes one step. Its result is kept, and it is told when it has begun."""
    return create_task(app, ignore_result=False, track_started=True)


def start_worker(app: Any, processes: int, queue: str) -> None:
    """Execute the tasks of a queue, so many at a time, until SIGTERM."""
    options = ["--concurrency", str(processes), "--queues", queue]
    # Workers need not know of each other.
    options += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    app.worker_main(["worker", *options])


class SpreadingExecutor(CeleryExecutor):
    """Sends the chunks of large runs to workers; all else is executed in the process of the run."""

    def __init__(self, grace_seconds: float, **options: Any) -> None:
        super().__init__(retries=RetryMode.ENABLED, **options)
        self._grace_seconds = grace_seconds

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Execute a run. A small one has nothing to spread, and would wait for the ticks of the loop."""
        run = plan_context.dagster_run
        if run.tags.get(SIZE_TAG) != LARGE:
            yield from InProcessExecutor(self.retries).execute(plan_context, execution_plan)
            return
        # Results are asked for only when they are there.
        with hold_run_lock(plan_context.instance, run.run_id), allow_join_result():
            yield from core_celery_execution_loop(plan_context, execution_plan, self._start)

    def work(self, processes: int) -> None:
        """Be a worker that executes so many chunks at a time, until SIGTERM; it finishes those under way."""
        app = make_app(self.app_args())
        step_task(app)
        start_worker(app, processes, CHUNK_QUEUE)

    def _start(
        self,
        app: Any,
        plan_context: PlanOrchestrationContext,
        step: IExecutionStep,
        queue: str,
        priority: int,
        known_state: Any,
    ) -> Any:
        args = ExecuteStepArgs(
            job_origin=plan_context.reconstructable_job.get_python_origin(),
            run_id=plan_context.run_id,
            step_keys_to_execute=[step.key],
            instance_ref=plan_context.instance.get_ref(),
            retry_mode=self.retries.for_inner_plan(),
            known_state=known_state,
        )
        task = step_task(app).si(
            execute_step_args_packed=pack_value(args),
            executable_dict=plan_context.reconstructable_job.to_dict(),
        )
        if queue != CHUNK_QUEUE:
            return task.apply()
        signs, instance = SignsOfLife(self._grace_seconds), plan_context.instance
        lock = step_lock(plan_context.run_id, step.key)
        return _SentStep(
            step.key,
            lambda: task.apply_async(queue=queue, priority=priority),
            lambda: signs.health(instance, lock).status == WorkerStatus.RUNNING,
        )


class _SentStep:
    """A step that a worker is to execute, as the loop asks for it; it is sent again when it was lost."""

    def __init__(self, key: str, send: Callable[[], AsyncResult], is_alive: Callable[[], bool]) -> None:
        self._key = key
        self._send = send
        self._is_alive = is_alive
        self._sent: AsyncResult | None = None
        self._sent_at = self._looked_at = time.monotonic()
        self._tries = 0
        self._is_revoked = False

    def ready(self) -> bool:
        """Return whether the step has ended, or will not any more. Without a broker that is not known."""
        try:
            return self._is_revoked or self._has_ended()
        except _BROKER_ERRORS as error:
            _log.warning("Of %s nothing is known, the broker does not answer: %s", self._key, error)
            return False

    def get(self) -> Any:
        """Return the events of the step. Raises what ended its last try."""
        if self._is_revoked or self._sent is None:
            raise TaskRevokedError(self._key)
        return self._sent.get()

    def revoke(self) -> None:
        """Stop the step; what nobody has begun is not begun any more."""
        self._is_revoked = True
        if self._sent:
            self._sent.revoke(terminate=True)

    def _has_ended(self) -> bool:
        if self._sent is None:
            self._try()
            return False
        state = self._sent.state
        if state == states.SUCCESS:
            return True
        now = time.monotonic()
        if state == states.FAILURE:
            why = "the process of its worker ended"
        elif state != states.STARTED and now - self._sent_at > SECONDS_TO_WAIT_FOR_A_WORKER:
            why = "no worker has begun it"
        elif state == states.STARTED and now - self._looked_at > SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            if self._is_alive():
                return False
            why = "its worker is gone"
        else:
            return False
        if state != states.PENDING and self._tries == MOST_TRIES:
            return True
        _log.warning("%s is sent again: %s.", self._key, why)
        self._sent.revoke()
        self._try()
        return False

    def _try(self) -> None:
        self._sent = self._send()
        self._sent_at = time.monotonic()
        self._tries += 1
