"""Launch Dagster backfills by program, and find out what must be known before that.

A backfill of the job `process_csv` is what *Launch backfill* on the job's page makes: the daemon launches one
run of the job for each partition, 25 at a time, so that the status, the tags and the progress of a request
work in it as always. A schedule or sensor can only ask for runs; that is why there is `launch_backfill`.

This relies on internals of Dagster (1.13.27), which the tests try with a real daemon:

* `PartitionBackfill` of a job: its fields, `BulkActionStatus`, the name of a job's partition set
  (`partition_set_snap_name_for_job_name`); an id has at most 32 characters and is unique in the run storage;
* `RemotePartitionSetOrigin`: where the code is. Dagster does not tell a schedule where it is loaded from, so
  that is read from the state that the daemon keeps of the landing folder's sensor (`InstigatorState`);
* `dagster/will_retry` and `dagster/auto_retry_run_id`: the tags of a failed run that run retries are about to
  launch again, and have launched again.
"""

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.remote_origin import RemotePartitionSetOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation.external_data import partition_set_snap_name_for_job_name
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    SCHEDULE_NAME_TAG,
)

from imagi_pipeline.contract import (
    JOB_NAME,
    LANDING_SENSOR,
    LARGE,
    ONLY_FAILED_TAG,
    PRIORITY_TAG,
    REQUEST_ID_TAG,
    SETTINGS_TAG,
    SIZE_TAG,
    WILL_RETRY_TAG,
    Figures,
)
from imagi_pipeline.core.request_status import CANCELLED, COMPLETED, FAILED
from imagi_pipeline.core.upkeep.reruns import PastRun
from imagi_pipeline.orchestration.internals.run_history import IN_FLIGHT, partitions_under_way, run_records

ENDED = {
    dg.DagsterRunStatus.SUCCESS: COMPLETED,
    dg.DagsterRunStatus.FAILURE: FAILED,
    dg.DagsterRunStatus.CANCELED: CANCELLED,
}

NOT_URGENT = {PRIORITY_TAG: "-10", SIZE_TAG: LARGE}
"""Tags of runs that nobody waits for: new requests go before them, and they get half of the places."""

TIME_TO_RETRY = datetime.timedelta(hours=1)
"""Seconds after which a run retry that has not come does not come any more."""


def backfill_id(name: str, scheduled: datetime.datetime) -> str:
    """Return the id of what a schedule launches at a time: the same for the same time, and so launched once.

    The UI shows it as it is; of one with a hyphen it would show the part before that.
    """
    return f"{name.partition('_')[0]}_{scheduled.astimezone(datetime.UTC):%Y%m%dT%H%MZ}"


def launch_backfill(
    instance: dg.DagsterInstance,
    backfill_id: str,
    request_ids: Sequence[str],
    *,
    title: str,
    schedule: str,
    tags: Mapping[str, str],
) -> None:
    """Make the daemon run `process_csv` for each of some requests; `tags` are those of the runs.

    `schedule` is the name of the schedule that launches it.

    Raises RuntimeError when the daemon never ran, because then it is unknown where the code is loaded.
    """
    origin = RemotePartitionSetOrigin(
        repository_origin=_repository_origin(instance),
        partition_set_name=partition_set_snap_name_for_job_name(JOB_NAME),
    )
    instance.add_backfill(
        PartitionBackfill(
            backfill_id=backfill_id,
            status=BulkActionStatus.REQUESTED,
            partition_set_origin=origin,
            partition_names=list(request_ids),
            from_failure=False,
            tags={**NOT_URGENT, SCHEDULE_NAME_TAG: schedule, **tags},
            backfill_timestamp=time.time(),
            title=title,
            description=f"Launched by {schedule}.",
        )
    )


def is_launched(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Return whether there is a backfill of this id, in whatever state."""
    return instance.get_backfill(backfill_id) is not None


def is_under_way(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    """Return whether runs of a backfill are still to come or to end."""
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status not in BULK_ACTION_TERMINAL_STATUSES


def runs_of_backfill(instance: dg.DagsterInstance, backfill_id: str) -> Sequence[dg.RunRecord]:
    """Return the runs that a backfill launched."""
    return instance.get_run_records(dg.RunsFilter(tags={BACKFILL_ID_TAG: backfill_id}))


def backfill_of(run: dg.DagsterRun) -> str | None:
    """Return the id of the backfill that a run is part of."""
    return run.tags.get(BACKFILL_ID_TAG)


def requests_in_flight(instance: dg.DagsterInstance) -> set[str]:
    """Return the requests with a run, of the job or of one of its assets, that has not ended or is still to
    come.
    """
    found: set[str] = set()
    for record in run_records(instance, dg.RunsFilter(statuses=IN_FLIGHT)):
        found |= _requests_of(record.dagster_run)
    for record in run_records(instance, _to_be_retried()):
        if AUTO_RETRY_RUN_ID_TAG not in record.dagster_run.tags:
            found |= _requests_of(record.dagster_run)
    return found | partitions_under_way(instance)[0]


def past_runs(instance: dg.DagsterInstance, *, created_after: float | None = None) -> Iterator[PastRun]:
    """Yield the ended runs of requests, newest first; `created_after` in seconds since 1970."""
    since = datetime.datetime.fromtimestamp(created_after, datetime.UTC) if created_after else None
    conditions = dg.RunsFilter(job_name=JOB_NAME, statuses=list(ENDED), created_after=since)
    for record in run_records(instance, conditions):
        run = record.dagster_run
        if REQUEST_ID_TAG in run.tags:
            yield PastRun(
                request_id=run.tags[REQUEST_ID_TAG],
                status=ENDED[run.status],
                only_failed=ONLY_FAILED_TAG in run.tags,
                images_failed=Figures.of(run.tags).images_failed,
                created=record.create_timestamp.timestamp(),
                ended=record.end_time or record.update_timestamp.timestamp(),
                settings=run.tags.get(SETTINGS_TAG, ""),
            )


def _to_be_retried() -> dg.RunsFilter:
    lately = datetime.datetime.now(datetime.UTC) - TIME_TO_RETRY
    failed = [dg.DagsterRunStatus.FAILURE]
    return dg.RunsFilter(statuses=failed, tags={WILL_RETRY_TAG: "true"}, updated_after=lately)


def _requests_of(run: dg.DagsterRun) -> set[str]:
    return {run.tags[REQUEST_ID_TAG]} if REQUEST_ID_TAG in run.tags else set()


def _repository_origin(instance: dg.DagsterInstance) -> RemoteRepositoryOrigin:
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    of_sensor = [state for state in states if state.instigator_name == LANDING_SENSOR]
    if not of_sensor:
        raise RuntimeError("The Dagster daemon has not run yet: start `imagi serve` or `dagster-daemon run`.")

    def last_tick(state: object) -> float:
        data = getattr(state, "instigator_data", None)
        return (data.last_tick_timestamp or 0.0) if isinstance(data, SensorInstigatorData) else 0.0

    # A code location that was renamed leaves its state behind for a while.
    return max(of_sensor, key=last_tick).origin.repository_origin
