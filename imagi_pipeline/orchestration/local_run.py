"""Do a request in this process: the real job on the real instance, without a daemon."""

from __future__ import annotations

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from imagi_pipeline.contract import ERROR_CODE_TAG, ERROR_TAG, FILE_TAG, JOB_NAME
from imagi_pipeline.core.request_status import INTERRUPTED
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.orchestration.jobs import console_log_level
from imagi_pipeline.orchestration.partitions import requests_partitions_def


def run_request(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    request_id: str,
    manifest: RequestManifest,
    *,
    verbose: bool = False,
) -> bool:
    """Run process_csv for an upload that is in the store already; return whether it succeeded.

    With `verbose`, Dagster's own log goes to standard error.
    """
    instance.add_dynamic_partitions(str(requests_partitions_def.name), [request_id])
    result = defs.resolve_job_def(JOB_NAME).execute_in_process(
        instance=instance,
        partition_key=request_id,
        tags={
            FILE_TAG: manifest.name,
            # No code server could launch it again, and the UI must not announce that.
            "dagster/max_retries": "0",
        },
        run_config=console_log_level("DEBUG" if verbose else "CRITICAL"),
        raise_on_error=False,
    )
    interrupted = any(
        error.cls_name == DagsterExecutionInterruptedError.__name__
        for event in result.get_step_failure_events()
        if (error := event.step_failure_data.error)
    )
    if interrupted:  # the failure hook does not run then
        message = "Interrupted. Run the same command again: what is compressed is not fetched again."
        instance.add_run_tags(result.run_id, {ERROR_CODE_TAG: INTERRUPTED, ERROR_TAG: message})
    return result.success
