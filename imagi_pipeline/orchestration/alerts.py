"""What operators are told: one structured line in the log, and a POST to IMAGI_ALERT_URL.

A request that failed as a whole, a purge that failed, and a landing folder whose files nobody takes.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import dagster as dg
import requests

from imagi_pipeline.core.request_status import (
    ERROR_CODE_TAG,
    ERROR_TAG,
    FILE_TAG,
    JOB_NAME,
    REQUEST_ID_TAG,
    WILL_RETRY_TAG,
)
from imagi_pipeline.orchestration.checks import nothing_waits_in_landing_folder
from imagi_pipeline.orchestration.jobs import process_csv
from imagi_pipeline.orchestration.purge import purge
from imagi_pipeline.orchestration.resources import ImagiResource

SECONDS_TO_ANSWER = 10.0
SECONDS_TO_WAIT = 300.0

_log = logging.getLogger(__name__)


@dg.run_failure_sensor(monitored_jobs=[process_csv, purge], default_status=dg.DefaultSensorStatus.RUNNING)
def request_failure_sensor(context: dg.RunFailureSensorContext, imagi: ImagiResource) -> dg.SkipReason | None:
    """Tell operators of a request, or a purge, that failed and that nothing will try again by itself.

    An alert that its receiver does not take is in the log all the same, and the failure on the run.
    """
    run = context.instance.get_run_by_id(context.dagster_run.run_id) or context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return dg.SkipReason(f"Run {run.run_id} is tried again by itself.")
    alert = {
        "event": "request_failed" if run.job_name == JOB_NAME else "purge_failed",
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
    """Evaluate the check of the landing folder; tell operators once when files wait too long.

    Another sensor than that which takes the files, since that may be what is wrong. Only a change is
    reported: the event log would else grow by one every minute.
    """
    watch = Watch(**json.loads(context.cursor)) if context.cursor else Watch()
    result = cast("dg.AssetCheckResult", nothing_waits_in_landing_folder(imagi=imagi))
    found = result.description or "Nothing waits in the landing folder."
    passed = watch.look(passed=result.passed, now=time.time())
    if passed is None:
        context.update_cursor(json.dumps(asdict(watch)))
        return dg.SkipReason(found)
    if not passed:
        _tell({"event": "landing_folder_waits", "error": found}, imagi)
    (check,) = nothing_waits_in_landing_folder.check_keys
    evaluation = dg.AssetCheckEvaluation(
        asset_key=check.asset_key,
        check_name=check.name,
        passed=passed,
        severity=result.severity,
        description=found,
    )
    return dg.SensorResult(asset_events=[evaluation], cursor=json.dumps(asdict(watch)))


@dataclass
class Watch:
    """What was reported last, and since when, in seconds since 1970, every look has found waiting files.

    A file may be old when it comes, copied with its time: one look does not tell how long it has been there.
    """

    reported: bool | None = None
    waits_since: float | None = None

    def look(self, *, passed: bool, now: float) -> bool | None:
        """What is to be reported, if anything."""
        self.waits_since = None if passed else self.waits_since or now
        too_long = self.waits_since is not None and now - self.waits_since >= SECONDS_TO_WAIT
        is_new = self.reported is not passed and (passed or too_long)
        if is_new:
            self.reported = passed
        return passed if is_new else None


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
