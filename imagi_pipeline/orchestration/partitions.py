"""Define the keys of the assets, their group and owner, and their partitions: requests and images."""

import dagster as dg

requests_partitions_def = dg.DynamicPartitionsDefinition(name="requests")
images_partitions_def = dg.DynamicPartitionsDefinition(name="images")

LANDING_FOLDER = dg.AssetKey("landing_folder")
UPLOADED_CSV = dg.AssetKey("uploaded_csv")
COMPRESSION_REPORT = dg.AssetKey("compression_report")
ENRICHED_CSV = dg.AssetKey("enriched_csv")
SAVINGS = dg.AssetKey("savings")
COMPRESSED_IMAGE = dg.AssetKey("compressed_image")
"""The asset that is partitioned by images."""

LINEAGE_ONLY = dg.SpecificPartitionsPartitionMapping([])
"""This maps images and requests: the edge is drawn, but no partition of one side depends on the other side.

Anything else makes a backfill of one request target every image, and every image stale after a new request.
"""

GROUP = "catalogue_images"
"""The group of all assets, which sets them apart where other projects share the Dagster UI."""

OWNERS = ["team:imagi"]
"""The owner that the Dagster UI names at every asset, job, schedule and sensor."""
