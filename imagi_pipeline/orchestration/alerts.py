"""What operators are told: one structured line in the log, and a POST to IMAGI_ALERT_URL.

A request that failed as a whole, and a landing folder whose files nobody takes.
"""

import json
import logging
from collections.abc import Mapping
from typing import cast

import dagster as dg
import requests

from imagi_pipeline.core.request_status import (
    ERROR_CODE_TAG,
    ERROR_TAG,
    FILE_TAG,
    REQUEST_ID_TAG,
    WILL_RETRY_TAG,
)
from imagi_pipeline.orchestration.checks import nothing_waits_in_landing_folder
from imagi_pipeline.orchestration.jobs import process_csv
from imagi_pipeline.orchestration.resources import ImagiResource

SECONDS_TO_ANSWER = 10.0

_log = logging.getLogger(__name__)


@dg.run_failure_sensor(monitored_jobs=[process_csv], default_status=dg.DefaultSensorStatus.RUNNING)
def request_failure_sensor(context: dg.RunFailureSensorContext, imagi: ImagiResource) -> dg.SkipReason | None:
    """Tell operators of a request that failed and that nothing will try again by itself.

    An alert that its receiver does not take is in the log all the same, and the failure on the run.
    """
    run = context.instance.get_run_by_id(context.dagster_run.run_id) or context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return dg.SkipReason(f"Run {run.run_id} is tried again by itself.")
    alert = {
        "event": "request_failed",
        "request_id": run.tags.get(REQUEST_ID_TAG),
        "file": run.tags.get(FILE_TAG),
        "run_id": run.run_id,
        "error_code": run.tags.get(ERROR_CODE_TAG) or "run_failed",
        "error": run.tags.get(ERROR_TAG) or context.failure_event.message,
    }
    _tell(alert, imagi)
    return None


@dg.sensor(default_status=dg.DefaultSensorStatus.RUNNING, minimum_interval_seconds=60)
def landing_folder_watch(
    context: dg.SensorEvaluationContext, imagi: ImagiResource
) -> dg.SensorResult | dg.SkipReason:
    """Evaluate the check of the landing folder; tell operators once when files begin to wait too long.

    Another sensor than that which takes the files, since that may be what is wrong. Only a new answer is
    reported: the event log would else grow by one every minute.
    """
    result = cast("dg.AssetCheckResult", nothing_waits_in_landing_folder(imagi=imagi))
    found = result.description or "Nothing waits in the landing folder."
    if found == context.cursor:
        return dg.SkipReason(found)
    if not result.passed:
        _tell({"event": "landing_folder_waits", "error": found}, imagi)
    (check,) = nothing_waits_in_landing_folder.check_keys
    evaluation = dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=result.passed,
        severity=result.severity,
        description=found,
    )
    return dg.SensorResult(asset_events=[evaluation], cursor=found)


def _tell(alert: Mapping[str, str | None], imagi: ImagiResource) -> None:
    line = json.dumps(alert, ensure_ascii=False)
    _log.error("%s", line)
    if url := imagi.settings().alert_url:
        _post(url, line)


def _post(url: str, line: str) -> None:
    """Without the guard of the fetcher: this URL is the operator's own, mostly in a private network."""
    try:
        headers = {"Content-Type": "application/json"}
        answer = requests.post(url, line.encode(), headers=headers, timeout=SECONDS_TO_ANSWER)
        answer.raise_for_status()
    except requests.RequestException as error:
        _log.warning("The alert could not be sent: %s", error)
