"""Define the jobs. A run of `process_csv` is one request; its status is the status of the request."""

import dagster as dg

from imagi_pipeline.contract import JOB_NAME, PURGE_JOB
from imagi_pipeline.orchestration.partitions import COMPRESSION_REPORT, ENRICHED_CSV, OWNERS, UPLOADED_CSV
from imagi_pipeline.orchestration.purge import remove_expired


def console_log_level(level: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """Return run configuration with the lowest level of messages of a run that go to the console."""
    return {"loggers": {"console": {"config": {"log_level": level}}}}


process_csv = dg.define_asset_job(
    JOB_NAME,
    # The steps tell the outcome of the checks themselves.
    selection=dg.AssetSelection.assets(UPLOADED_CSV, COMPRESSION_REPORT, ENRICHED_CSV).without_checks(),
    # Image records make a whole run resumable, so the outcomes of single chunks need not be kept.
    tags={"dagster/retry_strategy": "ALL_STEPS"},
    # The event log has everything; on the terminal of `imagi serve` the line of `telling_failure` is enough.
    config=console_log_level("CRITICAL"),
    owners=OWNERS,
    description="A CSV of image URLs becomes the same CSV with the URLs of compressed images.",
)


@dg.job(
    name=PURGE_JOB,
    description="Removes what is past its retention (docs/operations.md, Purge).",
    owners=OWNERS,
    config=console_log_level("CRITICAL"),
)
def purge() -> None:
    """Run the job in one step."""
    remove_expired()
