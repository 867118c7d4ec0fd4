"""The job: one run is one request, and the status of the run is the status of the request."""

import dagster as dg

from imagi_pipeline.core.request_status import JOB_NAME
from imagi_pipeline.orchestration.assets import COMPRESSION_REPORT, enriched_csv, uploaded_csv
from imagi_pipeline.orchestration.partitions import requests_partitions_def

process_csv = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(uploaded_csv, COMPRESSION_REPORT, enriched_csv),
    partitions_def=requests_partitions_def,
    # Image records make a whole run resumable; the outcomes of single chunks need not be.
    tags={"dagster/retry_strategy": "ALL_STEPS"},
    description="A CSV of image URLs becomes the same CSV with the URLs of compressed images.",
)
