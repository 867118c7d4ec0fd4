"""Tell what a run does while it works: by its tags, and by the materializations of its images."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import dagster as dg

from imagi_pipeline.contract import (
    CREATED_TAG,
    ERROR_CODE_TAG,
    ERROR_TAG,
    FILE_TAG,
    OWNER_TAG,
    PROGRESS_TAG,
    REQUEST_ID_TAG,
    SETTINGS_TAG,
    Figures,
    handed_in,
    time_handed_in,
)
from imagi_pipeline.core.csv.table import CsvFindings
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.images.compression_settings import ALGORITHM
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable, without_password
from imagi_pipeline.core.reports import ReportSummary
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.orchestration import event_metadata as metadata
from imagi_pipeline.orchestration.internals.event_batches import (
    AssetEvent,
    report_events,
    reported_data_versions,
)
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE, images_partitions_def
from imagi_pipeline.orchestration.run_launcher import change_tags_alone

SECONDS_BETWEEN_FLUSHES = 1.0
MOST_EVENTS_IN_A_BATCH = 500

SHARE_SEEN = 0.005
SECONDS_BETWEEN_COUNTS = 5.0
"""The counts of a run are written when they grew by this share, which a bar shows, or after this time."""

LONGEST_TAG = 500

_log = logging.getLogger(__name__)

Context = dg.AssetExecutionContext | dg.OpExecutionContext


def tag_request(context: Context, request_id: str, manifest: RequestManifest) -> None:
    """Write on the run which request it is of, if it does not say so: a backfill or the UI launched it.

    A re-tried run comes with the tags of the run before it: the error of that one is not its own.
    """
    tags = context.run.tags
    wanted = request_tags(manifest)
    wanted |= {name: "" for name in (ERROR_CODE_TAG, ERROR_TAG) if tags.get(name)}
    if CREATED_TAG not in wanted and CREATED_TAG not in tags:
        wanted |= handed_in(_created(context, request_id))
    _tag(context, {name: value for name, value in wanted.items() if tags.get(name) != value})


def request_tags(manifest: RequestManifest) -> dict[str, str]:
    """Return what every run of a request carries, as far as its manifest tells."""
    tags = {FILE_TAG: manifest.name}
    if manifest.created:
        tags |= handed_in(manifest.created)
    if manifest.owner:
        tags[OWNER_TAG] = manifest.owner
    if manifest.settings:
        tags[SETTINGS_TAG] = f"{ALGORITHM}-{manifest.settings}"
    return tags


def _created(context: Context, request_id: str) -> float:
    """Return when a request came, by its first run: that of a dropped file is written nowhere else."""
    of_request = dg.RunsFilter(tags={REQUEST_ID_TAG: request_id})
    runs = context.instance.get_run_records(of_request, limit=1, ascending=True)
    if not runs:
        return time.time()
    return time_handed_in(runs[0].dagster_run.tags) or runs[0].create_timestamp.timestamp()


def tag_found(context: Context, found: CsvFindings) -> None:
    """Write what is in the CSV into the run's tags, and start the count of its images."""
    _tag_figures(context, Figures(found.image_count, rows=found.data_row_count, problems=found.problem_count))


def tag_start(context: Context, images: int) -> None:
    """Start counting at nothing: a re-tried run comes with the tags of the run before it."""
    before = Figures.of(context.run.tags)
    _tag_figures(context, Figures(images, rows=before.rows, problems=before.problems))


def tag_end(context: Context, summary: ReportSummary) -> None:
    """Write the final figures; they are exact even if chunks ran side by side and overwrote each other's."""
    figures = replace(
        _figures(context),
        images_total=summary.images,
        images_done=summary.images,
        images_failed=summary.failed,
        bytes_before=summary.bytes_before,
        bytes_after=summary.bytes_after,
    )
    _tag_figures(context, figures)


def count_images(instance: dg.DagsterInstance, run_id: str, done: int, failed: int) -> None:
    """Add to what a run has counted, which others do at the same time.

    It is never more than there is: a chunk that is begun again counts again what a killed worker had counted.
    """
    with change_tags_alone(instance, run_id):
        run = instance.get_run_by_id(run_id)
        before = Figures.of(run.tags if run else {})
        total = before.images_total or 0
        figures = replace(
            before,
            images_done=min(before.images_done + done, total),
            images_failed=min(before.images_failed + failed, total),
        )
        instance.add_run_tags(run_id, {PROGRESS_TAG: str(figures)})


def add_image_partitions(context: Context, keys: Sequence[str]) -> None:
    """Add the partitions of images that have none yet."""
    context.instance.add_dynamic_partitions(str(images_partitions_def.name), keys)


def failure(error: ImagiError) -> dg.Failure:
    """Return the failure of a step for a reason that the sender of the CSV understands."""
    return dg.Failure(error.message, metadata={"code": error.code}, allow_retries=False)


@contextmanager
def telling_failure(context: Context) -> Iterator[None]:
    """Write on the run itself why one of its steps failed, so that its record alone tells the status.

    It also goes to the console in one line, where Dagster would show a stack trace even for an empty CSV. A
    failure hook of Dagster does the same, but has an event for each step that does not fail.
    """
    try:
        yield
    except Exception as error:
        _tell(context, error)
        raise


def _tell(context: Context, error: Exception) -> None:
    code, message = "internal_error", f"{type(error).__name__}: {error}"
    if isinstance(error, dg.Failure):
        message = error.description or message
        if "code" in error.metadata:
            code = str(error.metadata["code"].value)
    line = printable(without_password(message), LONGEST_MESSAGE)
    _log.warning(
        "%s failed (run %s): %s", context.run.tags.get(FILE_TAG, "A request"), context.run.run_id, line
    )
    _tag(context, {ERROR_CODE_TAG: code, ERROR_TAG: line[:LONGEST_TAG]})


class ImageProgress:
    """Reports images as they finish: about once a second their events in one batch, and the run's counts.

    Good images get their partitions first and failed images at the end, so that the failed ones stand side by
    side: a backfill starts a run for each gap between its partitions. `named_by` tells by key which requests
    name an image.

    An image that is reused, and that Dagster knows as it is, has no event: nothing new. With `report_all`
    it has one, because a backfill of images counts a partition without an event as failed. With
    `is_one_of_many`, other steps of the run count as well.
    """

    def __init__(
        self,
        context: Context,
        public_url: str,
        keys: Sequence[str],
        *,
        named_by: Callable[[str], list[str]],
        report_all: bool = False,
        is_one_of_many: bool = False,
    ) -> None:
        self._context = context
        self._public_url = public_url
        self._keys = keys
        self._report_all = report_all
        self._is_one_of_many = is_one_of_many
        self._named_by = named_by
        self._events: list[AssetEvent] = []
        self._done_keys: list[str] = []
        self._done = self._failed = self._counted = self._counted_failed = 0
        self._flushed_at = self._counted_at = time.monotonic()

    def add(self, result: ImageResult) -> None:
        """Count an image, and report it, or why it failed."""
        self._done += 1
        is_known = not self._report_all and result.status == "reused" and self._is_known(result)
        if result.record and not result.error and not is_known:
            self._events.append(metadata.materialization(result.key, result.record, self._public_url))
        if result.status == "failed":
            self._failed += 1
            self._events.append(metadata.failure_observation(result, self._named_by(result.key)))
        else:
            self._done_keys.append(result.key)
        now = time.monotonic()
        if len(self._events) >= MOST_EVENTS_IN_A_BATCH or now - self._flushed_at >= SECONDS_BETWEEN_FLUSHES:
            self._flush()
            moved = self._done - self._counted
            if moved >= SHARE_SEEN * len(self._keys) or now - self._counted_at >= SECONDS_BETWEEN_COUNTS:
                self._count()

    def finish(self) -> None:
        """Write what has not been written yet; the last count of a whole request is `tag_end`'s."""
        self._flush()
        add_image_partitions(self._context, self._keys)
        if self._is_one_of_many or self._report_all or self._done < len(self._keys):
            self._count()

    def _is_known(self, result: ImageResult) -> bool:
        # A run that died may have stored an image and not reported it.
        assert result.record is not None
        return self._known_versions.get(result.key) == result.record.data_version

    @cached_property
    def _known_versions(self) -> dict[str, str]:
        return reported_data_versions(self._context.instance, COMPRESSED_IMAGE, self._keys)

    def _flush(self) -> None:
        add_image_partitions(self._context, self._done_keys)
        report_events(self._context, self._events)
        self._done_keys, self._events = [], []
        self._flushed_at = time.monotonic()

    def _count(self) -> None:
        if self._done > self._counted:
            if self._is_one_of_many:
                done, failed = self._done - self._counted, self._failed - self._counted_failed
                count_images(self._context.instance, self._context.run.run_id, done, failed)
            else:
                figures = replace(_figures(self._context), images_done=self._done, images_failed=self._failed)
                _tag_figures(self._context, figures)
        self._counted, self._counted_failed = self._done, self._failed
        self._counted_at = time.monotonic()


def _figures(context: Context) -> Figures:
    """Return what the run has counted until now; its other steps count too."""
    run = context.instance.get_run_by_id(context.run.run_id)
    return Figures.of(run.tags) if run else Figures()


def _tag_figures(context: Context, figures: Figures) -> None:
    _tag(context, {PROGRESS_TAG: str(figures)})


def _tag(context: Context, tags: Mapping[str, str]) -> None:
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)
