"""What a run tells about itself while it works: its tags, and the materializations of its images."""

import logging
import time
from collections.abc import Sequence
from functools import cached_property

import dagster as dg

from imagi_pipeline.contract import (
    BYTES_AFTER_TAG,
    BYTES_BEFORE_TAG,
    CREATED_TAG,
    ERROR_CODE_TAG,
    ERROR_TAG,
    FILE_TAG,
    IMAGES_DONE_TAG,
    IMAGES_FAILED_TAG,
    IMAGES_TOTAL_TAG,
    OWNER_TAG,
    PROBLEMS_TAG,
    REQUEST_ID_TAG,
    ROWS_TAG,
    SETTINGS_TAG,
)
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.reports import ReportSummary
from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.orchestration import event_metadata as metadata
from imagi_pipeline.orchestration.internals.event_batches import (
    report_materializations,
    reported_data_versions,
)
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE, images_partitions_def

SECONDS_BETWEEN_FLUSHES = 1.0
MOST_EVENTS_IN_A_BATCH = 500
LONGEST_TAG = 500

_log = logging.getLogger(__name__)

Context = dg.AssetExecutionContext | dg.OpExecutionContext


def tag_request(context: Context, request_id: str, manifest: RequestManifest) -> None:
    """Say on the run whose request it is, which a run of a backfill or launched from the UI lacks.

    A re-tried run comes with the tags of the run before it: the error of that one is not its own.
    """
    old = {name: "" for name in (ERROR_CODE_TAG, ERROR_TAG) if context.run.tags.get(name)}
    known = request_tags(request_id, manifest)
    if CREATED_TAG not in known and CREATED_TAG not in context.run.tags:
        known[CREATED_TAG] = str(_created(context, request_id))
    _tag(context, {**known, **old})


def request_tags(request_id: str, manifest: RequestManifest) -> dict[str, str]:
    """What every run of a request carries, as far as its manifest tells."""
    tags = {REQUEST_ID_TAG: request_id, FILE_TAG: manifest.name}
    if manifest.created:
        tags[CREATED_TAG] = str(manifest.created)
    if manifest.owner:
        tags[OWNER_TAG] = manifest.owner
    return tags


def _created(context: Context, request_id: str) -> float:
    """When a request came, by its first run: that of a dropped file is written nowhere else."""
    of_request = dg.RunsFilter(tags={REQUEST_ID_TAG: request_id})
    runs = context.instance.get_run_records(of_request, limit=1, ascending=True)
    if not runs:
        return time.time()
    return float(runs[0].dagster_run.tags.get(CREATED_TAG) or runs[0].create_timestamp.timestamp())


def tag_found(context: Context, rows: int, problems: int) -> None:
    """How many rows the CSV has, and how many entries in it are no usable URLs."""
    _tag(context, {ROWS_TAG: rows, PROBLEMS_TAG: problems})


def tag_start(context: Context, images: int, settings: str) -> None:
    """Start counting at nothing: a re-tried run comes with the tags of the run before it.

    `settings` is the fingerprint of those that images are made with.
    """
    start = {IMAGES_TOTAL_TAG: images, IMAGES_DONE_TAG: 0, IMAGES_FAILED_TAG: 0}
    _tag(context, {**start, SETTINGS_TAG: settings})


def tag_end(context: Context, summary: ReportSummary) -> None:
    """The final figures, exact also when chunks ran side by side and wrote over each other's.

    `settings` is the fingerprint of those that the images were compressed with.
    """
    _tag(
        context,
        {
            IMAGES_TOTAL_TAG: summary.images,
            IMAGES_DONE_TAG: summary.images,
            IMAGES_FAILED_TAG: summary.failed,
            BYTES_BEFORE_TAG: summary.bytes_before,
            BYTES_AFTER_TAG: summary.bytes_after,
        },
    )


def add_image_partitions(context: Context, urls: Sequence[str]) -> None:
    """Make partitions of images before the work, so that one that fails is seen as missing."""
    keys = [image_key(url) for url in urls]
    context.instance.add_dynamic_partitions(str(images_partitions_def.name), keys)


def failure(error: ImagiError) -> dg.Failure:
    """The failure of a step for a reason that the sender of the CSV understands."""
    return dg.Failure(error.message, metadata={"code": error.code}, allow_retries=False)


@dg.failure_hook
def tag_error(context: dg.HookContext) -> None:
    """Say on the run itself why it failed, so that its record alone answers for the request.

    And in one line on the console, where Dagster would show a stack trace also for an empty CSV.
    """
    error = context.op_exception
    code, message = "internal_error", f"{type(error).__name__}: {error}"
    if isinstance(error, dg.Failure):
        message = error.description or message
        if "code" in error.metadata:
            code = str(error.metadata["code"].value)
    line = " ".join(message.split())
    run = context.instance.get_run_by_id(context.run_id)
    name = run.tags.get(FILE_TAG) if run else None
    _log.warning("%s failed (run %s): %s", name or "A request", context.run_id, line)
    context.instance.add_run_tags(context.run_id, {ERROR_CODE_TAG: code, ERROR_TAG: line[:LONGEST_TAG]})


class ImageProgress:
    """Reports images as they finish: about once a second their events in one batch, and the run's counts.

    An image that is reused and known to Dagster as it is has no event: nothing was made. With `report_all`
    it has one: a backfill of images counts as failed for each partition without.
    """

    def __init__(
        self, context: Context, public_url: str, urls: Sequence[str], *, report_all: bool = False
    ) -> None:
        self._context = context
        self._public_url = public_url
        self._urls = urls
        self._report_all = report_all
        self._events: list[dg.AssetMaterialization] = []
        self._done = self._failed = 0
        self._flushed_at = time.monotonic()

    def add(self, result: ImageResult) -> None:
        """Count an image, and report it unless it failed."""
        self._done += 1
        is_known = not self._report_all and result.status == "reused" and self._is_known(result)
        if result.record and not result.error and not is_known:
            self._events.append(metadata.materialization(result.key, result.record, self._public_url))
        self._failed += result.status == "failed"
        if (
            len(self._events) >= MOST_EVENTS_IN_A_BATCH
            or time.monotonic() - self._flushed_at >= SECONDS_BETWEEN_FLUSHES
        ):
            self.flush()

    def _is_known(self, result: ImageResult) -> bool:
        # A run that died may have stored an image and not reported it.
        assert result.record is not None
        return self._known_versions.get(result.key) == result.record.data_version

    @cached_property
    def _known_versions(self) -> dict[str, str]:
        keys = [image_key(url) for url in self._urls]
        return reported_data_versions(self._context.instance, COMPRESSED_IMAGE, keys)

    def flush(self) -> None:
        """Write what has not been written yet."""
        report_materializations(self._context, self._events)
        self._events = []
        if self._done:
            tags = self._context.instance.get_run_by_id(self._context.run.run_id).tags  # type: ignore[union-attr]
            done, failed = (int(tags.get(name, 0)) for name in (IMAGES_DONE_TAG, IMAGES_FAILED_TAG))
            _tag(
                self._context,
                {IMAGES_DONE_TAG: done + self._done, IMAGES_FAILED_TAG: failed + self._failed},
            )
        self._done = self._failed = 0
        self._flushed_at = time.monotonic()


def _tag(context: Context, tags: dict[str, str | int]) -> None:
    context.instance.add_run_tags(context.run.run_id, {name: str(value) for name, value in tags.items()})
