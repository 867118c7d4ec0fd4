"""Assemble the Dagster definitions; that is done only here."""

import dagster as dg

from imagi_pipeline.core.images.compression_settings import ALGORITHM
from imagi_pipeline.orchestration.assets import (
    build_compressed_image,
    compression_report_and_enriched_csv,
    landing_folder,
    savings,
    uploaded_csv,
)
from imagi_pipeline.orchestration.checks import (
    every_image_compressed,
    every_image_has_its_record,
    has_the_rows_of_the_upload,
    nothing_waits_in_landing_folder,
)
from imagi_pipeline.orchestration.executor import run_executor
from imagi_pipeline.orchestration.jobs import process_csv, purge
from imagi_pipeline.orchestration.resources import ImagiResource, NothingIsHandedOver
from imagi_pipeline.orchestration.schedules import build_schedules
from imagi_pipeline.orchestration.sensors import (
    landing_folder_sensor,
    landing_folder_watch,
    repaired_images_sensor,
    request_failure_sensor,
)


def build_definitions(imagi: ImagiResource) -> dg.Definitions:
    """Return all definitions on one installation; tests pass one of their own."""
    settings = imagi.settings()
    return dg.Definitions(
        assets=[
            landing_folder,
            uploaded_csv,
            build_compressed_image(ALGORITHM),
            compression_report_and_enriched_csv,
            savings,
        ],
        asset_checks=[
            nothing_waits_in_landing_folder,
            every_image_has_its_record,
            every_image_compressed,
            has_the_rows_of_the_upload,
        ],
        jobs=[process_csv, purge],
        schedules=build_schedules(settings),
        sensors=[landing_folder_sensor, landing_folder_watch, repaired_images_sensor, request_failure_sensor],
        resources={"imagi": imagi, "io_manager": NothingIsHandedOver()},
        executor=run_executor,
    )


defs = build_definitions(ImagiResource())
