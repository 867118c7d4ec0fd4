"""The keys of the assets, and their partitions: requests by request id, and images by `image_key(url)`."""

import dagster as dg

requests_partitions_def = dg.DynamicPartitionsDefinition(name="requests")
images_partitions_def = dg.DynamicPartitionsDefinition(name="images")

UPLOADED_CSV = dg.AssetKey("uploaded_csv")
COMPRESSION_REPORT = dg.AssetKey("compression_report")
ENRICHED_CSV = dg.AssetKey("enriched_csv")
COMPRESSED_IMAGE = dg.AssetKey("compressed_image")
"""The asset that is partitioned by images."""

LINEAGE_ONLY = dg.SpecificPartitionsPartitionMapping([])
"""Between images and requests: the edge is drawn, but no partition of one side depends on the other side.

Anything else makes a backfill of one request target every image, and every image stale after a new request.
"""
