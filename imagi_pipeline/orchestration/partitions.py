"""The two kinds of partitions: requests, keyed by request id, and images, keyed by `image_key(url)`."""

import dagster as dg

requests_partitions_def = dg.DynamicPartitionsDefinition(name="requests")
images_partitions_def = dg.DynamicPartitionsDefinition(name="images")

COMPRESSED_IMAGE = dg.AssetKey("compressed_image")
"""The asset that is partitioned by images."""

LINEAGE_ONLY = dg.SpecificPartitionsPartitionMapping([])
"""Between images and requests: the edge is drawn, but no partition of one side depends on the other side.

Anything else makes a backfill of one request target every image, and every image stale after a new request.
"""
