"""Define the sensors. All requests come in by one of them, which looks into the landing folder."""

import json
import time
from dataclasses import asdict
from typing import cast

import dagster as dg

from imagi_pipeline.contract import (
    ERROR_CODE_TAG,
    ERROR_TAG,
    FILE_TAG,
    IMAGES_OF_A_LARGE_RUN,
    JOB_NAME,
    LARGE,
    REQUEST_ID_TAG,
    SIZE_TAG,
    WILL_RETRY_TAG,
    handed_in,
)
from imagi_pipeline.core.storage.landing import (
    LandedRequest,
    collecting_problems,
    land_requests,
    remove_landed,
)
from imagi_pipeline.orchestration.alerts import Watch, tell
from imagi_pipeline.orchestration.checks import nothing_waits_in_landing_folder
from imagi_pipeline.orchestration.deliveries import deliver_error
from imagi_pipeline.orchestration.jobs import process_csv, purge
from imagi_pipeline.orchestration.partitions import OWNERS, requests_partitions_def
from imagi_pipeline.orchestration.progress import request_tags
from imagi_pipeline.orchestration.repairs import Cursor, find_requests, note_repairs, take_ready
from imagi_pipeline.orchestration.resources import ImagiResource

MOST_LAUNCHED_AT_ONCE = 20
"""Runs of one tick: the daemon makes them one by one, and looks at nothing new meanwhile."""

SECONDS_TO_RECORD = 1.0
"""Seconds from the event of a failure until the record of its run says so, and whether it is tried again."""

BYTES_OF_A_LARGE_CSV = 100 * IMAGES_OF_A_LARGE_RUN
"""It is not read before its run: an image takes about 100 bytes."""


@dg.sensor(
    job=process_csv,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=1,
    description="Launches one run of process_csv for each CSV that arrives in the landing folder.",
    owners=OWNERS,
)
def landing_folder_sensor(
    context: dg.SensorEvaluationContext, imagi: ImagiResource
) -> dg.SensorResult | dg.SkipReason:
    """Claim the complete files of the landing folder and launch one run for each.

    A request leaves the landing folder only once its run exists: nothing is lost if a process is killed,
    and the run key keeps it from being launched twice. If there are very many, the oldest come first.
    """
    store = imagi.store()
    landed, problems = land_requests(store, imagi.settings().landing_quiet_period)
    new: list[LandedRequest] = []
    for request in sorted(landed, key=lambda request: request.manifest.created or 0.0):
        if len(new) == MOST_LAUNCHED_AT_ONCE:
            break
        with collecting_problems(problems, request.file):
            if _has_run(context.instance, request.request_id):
                remove_landed(store, request)
            else:
                accepted = request.accepted(imagi.settings().compression)
                store.write_upload(request.request_id, accepted.manifest, request.file.read_bytes())
                new.append(accepted)
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
    tags = {**handed_in(time.time()), **request_tags(request.manifest)}
    if request.file.stat().st_size > BYTES_OF_A_LARGE_CSV:
        tags[SIZE_TAG] = LARGE
    return dg.RunRequest(run_key=request.request_id, partition_key=request.request_id, tags=tags)


@dg.run_failure_sensor(
    monitored_jobs=[process_csv, purge],
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert (IMAGI_ALERT_URL) when a request or a purge has failed and nothing will try "
    "it again by itself.",
)
def request_failure_sensor(context: dg.RunFailureSensorContext, imagi: ImagiResource) -> dg.SkipReason | None:
    """Tell operators of a request, or a purge, that failed and that nothing will try again by itself.

    Whoever dropped the CSV of the request into the landing folder finds the reason in the outbox.

    If the receiver does not take an alert, it is still in the log, and the failure is on the run.
    """
    run = _once_recorded(context.instance, context.dagster_run)
    if run.status is not dg.DagsterRunStatus.FAILURE:
        return dg.SkipReason(f"Run {run.run_id} is {run.status.value}: what ends it will be told.")
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return dg.SkipReason(f"Run {run.run_id} is tried again by itself.")
    error = run.tags.get(ERROR_TAG) or context.failure_event.message or "Its run failed."
    if run.job_name == JOB_NAME and (request_id := run.tags.get(REQUEST_ID_TAG)):
        deliver_error(imagi.store(), request_id, error)
    alert = {
        "event": "request_failed" if run.job_name == JOB_NAME else "purge_failed",
        "request_id": run.tags.get(REQUEST_ID_TAG),
        "file": run.tags.get(FILE_TAG),
        "run_id": run.run_id,
        "error_code": run.tags.get(ERROR_CODE_TAG) or "run_failed",
        "error": error,
    }
    tell(alert, imagi)
    return None


def _once_recorded(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun:
    """Return a run as its record tells it: written a moment after the event, or never, on a full disk."""
    give_up_at = time.monotonic() + SECONDS_TO_RECORD
    while True:
        run = instance.get_run_by_id(run.run_id) or run
        if WILL_RETRY_TAG in run.tags or time.monotonic() > give_up_at:
            return run
        time.sleep(0.1)


@dg.sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=60,
    description="Checks every minute that no file waits in the landing folder for long, and sends an alert "
    "(IMAGI_ALERT_URL) when one does.",
    owners=OWNERS,
)
def landing_folder_watch(
    context: dg.SensorEvaluationContext, imagi: ImagiResource
) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the check of the landing folder; tell operators once when files wait too long.

    It is not the sensor that takes the files, since that one may be what is wrong. Only a change is reported:
    otherwise the event log would grow by one event every minute.
    """
    watch = Watch(**json.loads(context.cursor)) if context.cursor else Watch()
    result = cast("dg.AssetCheckResult", nothing_waits_in_landing_folder(imagi=imagi))
    found = result.description or "Nothing waits in the landing folder."
    passed = watch.look(passed=result.passed, now=time.time())
    if passed is None:
        context.update_cursor(json.dumps(asdict(watch)))
        return dg.SkipReason(found)
    if not passed:
        tell({"event": "landing_folder_waits", "error": found}, imagi)
    (check,) = nothing_waits_in_landing_folder.check_keys
    evaluation = dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=passed,
        severity=result.severity,
        description=found,
    )
    return dg.SensorResult(asset_events=[evaluation], cursor=json.dumps(asdict(watch)))


@dg.sensor(
    job=process_csv,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Runs a request again when images that had failed in it were materialized by another run.",
    owners=OWNERS,
)
def repaired_images_sensor(
    context: dg.SensorEvaluationContext, imagi: ImagiResource
) -> dg.SensorResult | dg.SkipReason:
    """Run the requests again whose failed images were repaired by a run that was not theirs.

    A backfill of images is looked at once it has ended, so that a request is run once, not for each of its
    runs.
    """
    cursor = Cursor.read(context.cursor)
    note_repairs(context.instance, cursor)
    if not (cursor.repairs or cursor.waiting):
        context.update_cursor(str(cursor))
        return dg.SkipReason("No image was repaired outside of a request.")
    find_requests(context.instance, imagi.store(), cursor)
    requests = take_ready(context.instance, imagi.store(), cursor)
    skip_reason = None if requests else f"Waiting for the end of {[*cursor.repairs, *cursor.waiting]}."
    if not requests and not cursor.repairs and not cursor.waiting:
        skip_reason = "Images were repaired, but no request says that they failed."
    return dg.SensorResult(run_requests=requests, cursor=str(cursor), skip_reason=skip_reason)
