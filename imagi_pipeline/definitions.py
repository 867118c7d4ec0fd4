"""The only place where the Dagster definitions are assembled."""

import dagster as dg

from imagi_pipeline.orchestration.alerts import landing_folder_watch, request_failure_sensor
from imagi_pipeline.orchestration.assets import (
    compressed_image,
    compression_report,
    enriched_csv,
    uploaded_csv,
)
from imagi_pipeline.orchestration.checks import (
    every_image_compressed,
    has_the_rows_of_the_upload,
    nothing_waits_in_landing_folder,
)
from imagi_pipeline.orchestration.jobs import process_csv
from imagi_pipeline.orchestration.purge import purge, purge_schedule
from imagi_pipeline.orchestration.repair_sensor import repaired_images_sensor
from imagi_pipeline.orchestration.resources import ChunkIOManager, ImagiResource
from imagi_pipeline.orchestration.schedules import (
    recompress_images_schedule,
    refresh_images_schedule,
    retry_failed_images_schedule,
)
from imagi_pipeline.orchestration.sensors import landing_folder_sensor


def build_definitions(imagi: ImagiResource) -> dg.Definitions:
    """All definitions on one installation; tests pass one of their own."""
    return dg.Definitions(
        assets=[uploaded_csv, compressed_image, compression_report, enriched_csv],
        asset_checks=[has_the_rows_of_the_upload, every_image_compressed, nothing_waits_in_landing_folder],
        jobs=[process_csv, purge],
        schedules=[
            retry_failed_images_schedule,
            refresh_images_schedule,
            recompress_images_schedule,
            purge_schedule,
        ],
        sensors=[landing_folder_sensor, landing_folder_watch, repaired_images_sensor, request_failure_sensor],
        resources={"imagi": imagi, "io_manager": ChunkIOManager(imagi=imagi)},
        # One process per run: the cores are kept busy by the codec processes of the engine.
        executor=dg.in_process_executor,
    )


defs = build_definitions(ImagiResource.from_environment())
