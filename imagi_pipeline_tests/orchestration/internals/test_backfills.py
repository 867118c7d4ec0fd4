from __future__ import annotations

import datetime
import time

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData

from imagi_pipeline.contract import ONLY_FAILED_TAG, REQUEST_ID_TAG
from imagi_pipeline.core.request_status import COMPLETED
from imagi_pipeline.orchestration.internals.backfills import (
    backfill_id,
    is_launched,
    is_under_way,
    launch_backfill,
    past_runs,
    requests_in_flight,
)
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation

NAMES = ["retry_failed_images_schedule", "refresh_images_schedule", "recompress_images_schedule"]


def declare_code_location(
    instance: dg.DagsterInstance, location: str = "imagi_pipeline", last_tick: float = 1.0
) -> None:
    """Leave the state that the daemon keeps of the landing folder's sensor."""
    origin = RemoteRepositoryOrigin(
        GrpcServerCodeLocationOrigin("localhost", 1, None, location), "__repository__"
    )
    data = SensorInstigatorData(last_tick_timestamp=last_tick, sensor_type=SensorType.STANDARD)
    sensor = origin.get_instigator_origin("landing_folder_sensor")
    instance.add_instigator_state(
        InstigatorState(sensor, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, data)
    )


def launch(instance: dg.DagsterInstance, launch_id: str = "retry-1", *request_ids: str) -> None:
    launch_backfill(
        instance, launch_id, request_ids, title="Re-try: 1 request", schedule="by_a_test", tags={"a": "b"}
    )


def end(instance: dg.DagsterInstance, launch_id: str) -> None:
    """End a backfill as the daemon does."""
    backfill = instance.get_backfill(launch_id)
    assert backfill
    instance.update_backfill(backfill._replace(status=BulkActionStatus.COMPLETED_SUCCESS))


def test_the_id_is_made_of_name_and_time_and_fits_into_its_column() -> None:
    noon = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    ids = [backfill_id(name, noon) for name in NAMES]
    assert ids[0] == "retry_20260301T1100Z"
    assert len(set(ids)) == 3
    assert max(map(len, ids)) <= 32


def test_a_backfill_is_of_the_job_and_targets_the_location_of_the_last_tick(
    installation: Installation,
) -> None:
    instance = installation.instance
    declare_code_location(instance, "renamed", last_tick=1.0)
    declare_code_location(instance, "imagi_pipeline", last_tick=2.0)
    launch(instance, "retry-1", "r1", "r2")
    backfill = instance.get_backfill("retry-1")
    assert backfill
    assert (backfill.job_name, backfill.partition_names) == ("process_csv", ["r1", "r2"])
    assert backfill.status == BulkActionStatus.REQUESTED
    assert backfill.tags == {
        "dagster/priority": "-10",
        "dagster/schedule_name": "by_a_test",
        "imagi/size": "large",
        "a": "b",
    }
    assert backfill.title == "Re-try: 1 request"
    assert backfill.partition_set_origin
    location = backfill.partition_set_origin.repository_origin.code_location_origin.location_name
    assert location == "imagi_pipeline"


def test_a_backfill_before_the_daemon_ever_ran_says_what_to_do(installation: Installation) -> None:
    with pytest.raises(RuntimeError, match="daemon has not run yet"):
        launch(installation.instance, "retry-1", "r1")


def test_a_backfill_is_under_way_until_it_has_ended(installation: Installation) -> None:
    instance = installation.instance
    assert not is_launched(instance, "retry-1")
    declare_code_location(instance)
    launch(instance, "retry-1", "r1", "r2")
    assert is_launched(instance, "retry-1")
    assert is_under_way(instance, "retry-1")
    assert requests_in_flight(instance) == {"r1", "r2"}

    end(instance, "retry-1")
    assert not is_under_way(instance, "retry-1")
    assert requests_in_flight(instance) == set()


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_of_a_request_is_in_flight(installation: Installation, status: dg.DagsterRunStatus) -> None:
    installation.instance.create_run_for_job(
        installation.definitions.resolve_job_def("process_csv"), tags={REQUEST_ID_TAG: "r1"}, status=status
    )
    assert requests_in_flight(installation.instance) == {"r1"}


def test_a_failed_run_that_is_about_to_be_retried_is_in_flight(installation: Installation) -> None:
    job = installation.definitions.resolve_job_def("process_csv")
    failed = {"status": dg.DagsterRunStatus.FAILURE}
    for tags in (
        {REQUEST_ID_TAG: "r1", "dagster/will_retry": "true"},
        {REQUEST_ID_TAG: "r2", "dagster/will_retry": "true", "dagster/auto_retry_run_id": "x"},
        {REQUEST_ID_TAG: "r3", "dagster/will_retry": "false"},
    ):
        installation.instance.create_run_for_job(job, tags=tags, **failed)  # type: ignore[arg-type]
    assert requests_in_flight(installation.instance) == {"r1"}


def test_past_runs_are_those_that_have_ended_newest_first(
    installation: Installation, image_host: ImageHost
) -> None:
    (url,) = image_host.add("a.jpg")
    began = time.time() - 1  # SQLite has the time of creation in whole seconds
    done = installation.process(f"Images\n{url}\n{image_host.base}/gone.jpg\n")
    installation.definitions.resolve_job_def("process_csv").execute_in_process(
        instance=installation.instance, partition_key=done.request_id, tags={ONLY_FAILED_TAG: "true"}
    )
    installation.instance.create_run_for_job(
        installation.definitions.resolve_job_def("process_csv"),
        tags={REQUEST_ID_TAG: done.request_id},
        status=dg.DagsterRunStatus.STARTED,
    )
    again, first = past_runs(installation.instance, created_after=began)
    assert (again.only_failed, first.only_failed) == (True, False)
    assert first.request_id == done.request_id
    assert (first.status, first.images_failed) == (COMPLETED, 1)
    assert first.ended == done.finished
    assert began <= first.created <= first.ended <= again.ended
    assert list(past_runs(installation.instance, created_after=time.time() + 1)) == []
