"""The one door of the system: what lies in the landing folder becomes a request."""

import time

import dagster as dg

from imagi_pipeline.core.request_status import (
    CREATED_TAG,
    IMAGES_OF_A_LARGE_RUN,
    LARGE,
    REQUEST_ID_TAG,
    SIZE_TAG,
)
from imagi_pipeline.core.storage.landing import LandedRequest, land_requests, noting, remove_landed
from imagi_pipeline.orchestration.jobs import process_csv
from imagi_pipeline.orchestration.partitions import requests_partitions_def
from imagi_pipeline.orchestration.progress import request_tags
from imagi_pipeline.orchestration.resources import ImagiResource

MOST_LAUNCHED_AT_ONCE = 20
"""The daemon makes the runs of a tick one by one, and looks at nothing new meanwhile."""

BYTES_OF_A_LARGE_CSV = 100 * IMAGES_OF_A_LARGE_RUN
"""It is not read before its run: an image takes about 100 bytes."""


@dg.sensor(job=process_csv, default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=1)
def landing_folder_sensor(
    context: dg.SensorEvaluationContext, imagi: ImagiResource
) -> dg.SensorResult | dg.SkipReason:
    """Claim the complete files of the landing folder and launch one run for each.

    A request leaves the landing folder only once its run exists: whatever is killed meanwhile, nothing is
    lost, and the run key keeps it from being launched twice. Of very many, the oldest come first.
    """
    store = imagi.store()
    landed, problems = land_requests(store, imagi.settings().landing_quiet_period)
    new: list[LandedRequest] = []
    for request in sorted(landed, key=lambda request: request.manifest.created or 0.0):
        if len(new) == MOST_LAUNCHED_AT_ONCE:
            break
        with noting(problems, request.file):
            if _has_run(context.instance, request.request_id):
                remove_landed(store, request)
            else:
                store.write_upload(request.request_id, request.manifest, request.file.read_bytes())
                new.append(request)
    if not new:  # not logged as well: each tick would leave a file, for as long as a problem lies there
        return dg.SkipReason("\n".join(problems) or f"No new CSV in {store.landing}.")
    for problem in problems:
        context.log.warning(problem)
    return dg.SensorResult(
        run_requests=[_run_request(request) for request in new],
        dynamic_partitions_requests=[
            requests_partitions_def.build_add_request([request.request_id for request in new])
        ],
    )


def _has_run(instance: dg.DagsterInstance, request_id: str) -> bool:
    return instance.get_runs_count(dg.RunsFilter(tags={REQUEST_ID_TAG: request_id})) > 0


def _run_request(request: LandedRequest) -> dg.RunRequest:
    tags = {CREATED_TAG: str(time.time()), **request_tags(request.request_id, request.manifest)}
    if request.file.stat().st_size > BYTES_OF_A_LARGE_CSV:
        tags[SIZE_TAG] = LARGE
    return dg.RunRequest(run_key=request.request_id, partition_key=request.request_id, tags=tags)
