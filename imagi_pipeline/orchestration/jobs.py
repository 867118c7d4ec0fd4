"""The jobs. A run of `process_csv` is one request, and the status of the run is the status of the request."""

import dagster as dg

from imagi_pipeline.contract import JOB_NAME, PURGE_JOB
from imagi_pipeline.orchestration.assets import COMPRESSION_REPORT, enriched_csv, uploaded_csv
from imagi_pipeline.orchestration.checks import nothing_waits_in_landing_folder
from imagi_pipeline.orchestration.progress import tag_error
from imagi_pipeline.orchestration.purge import remove_expired


def console_log_level(level: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """Run configuration: the least important messages of a run that go to the console."""
    return {"loggers": {"console": {"config": {"log_level": level}}}}


process_csv = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(uploaded_csv, COMPRESSION_REPORT, enriched_csv)
    - dg.AssetSelection.checks(nothing_waits_in_landing_folder),
    # Image records make a whole run resumable; the outcomes of single chunks need not be.
    tags={"dagster/retry_strategy": "ALL_STEPS"},
    # The event log has it all; on the terminal of `imagi serve` one line by `tag_error` is enough.
    config=console_log_level("CRITICAL"),
    hooks={tag_error},
    description="A CSV of image URLs becomes the same CSV with the URLs of compressed images.",
)


@dg.job(
    name=PURGE_JOB,
    description="Removes what is past its retention (docs/operations.md, Purge).",
    config=console_log_level("CRITICAL"),
)
def purge() -> None:
    """The job."""
    remove_expired()
