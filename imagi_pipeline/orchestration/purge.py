"""Remove what is past its retention: requests, the images that only they referred to, and old history.

The order of each removal is such that a purge that is killed leaves nothing broken for the next one:
files before runs before the partition of a request; the record before the file of an image, and its partition
and events last. Whatever is half removed is found again by what is left of it.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from imagi_pipeline.contract import PURGE_JOB, time_handed_in
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.errors import ErrorCode, StorageError
from imagi_pipeline.core.storage.keys import is_image_key, is_request_id
from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY
from imagi_pipeline.core.storage.store import Store, StoredFile, remove_if_empty
from imagi_pipeline.core.upkeep.retention import (
    LEFTOVER_AGE,
    FolderPlan,
    ImagesInUse,
    RequestFacts,
    by_folder,
    expired_requests,
    is_older,
    landing_leftovers,
    landing_requests,
    plan_folder,
    remove_request_files,
    request_files,
    stored_requests,
    unfinished_files,
    work_folders,
)
from imagi_pipeline.orchestration.event_metadata import MOST_ROWS
from imagi_pipeline.orchestration.internals.backfills import requests_in_flight
from imagi_pipeline.orchestration.internals.embedded_storage import shrink
from imagi_pipeline.orchestration.internals.run_history import (
    IN_FLIGHT,
    OUR_ASSETS,
    delete_backfills,
    delete_run,
    forget_images,
    forget_superseded,
    newest_image_events,
    partition_of_run,
    partitions_under_way,
    request_of_run,
    run_records,
)
from imagi_pipeline.orchestration.partitions import (
    COMPRESSED_IMAGE,
    images_partitions_def,
    requests_partitions_def,
)
from imagi_pipeline.orchestration.progress import failure
from imagi_pipeline.orchestration.resources import ImagiResource
from imagi_pipeline.settings import variable

KEPT_FOR_EVER = f"{variable('retention_days')} is not set: everything is kept."


@dataclass
class Purged:
    """What was removed, or with `dry_run` what would be: ids, keys, counts and bytes.

    `kept` says what stayed although it is past its time, and why.
    """

    dry_run: bool
    requests: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    runs: int = 0
    backfills: int = 0
    files: int = 0
    bytes: int = 0
    kept: list[str] = field(default_factory=list)

    def describe(self) -> dict[str, Any]:
        """Return the counts, then the lists that are not empty."""
        lists = {
            "request_list": self.requests,
            "image_list": self.images,
            "leftover_list": self.leftovers,
            "kept": self.kept,
        }
        return {
            "dry_run": self.dry_run,
            "requests": len(self.requests),
            "images": len(self.images),
            "runs": self.runs,
            "backfills": self.backfills,
            "files": self.files,
            "bytes": self.bytes,
            "leftovers": len(self.leftovers),
            **{name: items for name, items in lists.items() if items},
        }

    def count(self, files: Iterable[StoredFile]) -> None:
        """Add files that are removed."""
        for file in files:
            self.files += 1
            self.bytes += file.size


@dataclass(frozen=True, slots=True)
class _Run:
    run_id: str
    request_id: str | None
    is_upkeep: bool
    created: float
    ended: float | None


class PurgeConfig(dg.Config):
    """The options of a purge."""

    dry_run: bool = False


@dg.op(out=dg.Out(dg.Nothing))
def remove_expired(context: dg.OpExecutionContext, config: PurgeConfig, imagi: ImagiResource) -> None:
    """Remove what is past its retention; with `dry_run`, list it."""
    settings = imagi.settings()
    days = settings.retention_days
    if days is None:
        context.log.info(KEPT_FOR_EVER)
        context.add_output_metadata({"skipped": KEPT_FOR_EVER})
        return
    try:
        purged = Purge(
            context.instance, imagi.store(), days, limits=settings.csv_limits, dry_run=config.dry_run
        ).work()
    except StorageError as error:
        raise failure(error) from error
    context.add_output_metadata(_metadata(purged))


def run_purge(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, Any]:
    """Run the job in this process; return the metadata of what was purged.

    Raises StorageError when the storage fails: the run says so too.
    """
    job = defs.resolve_job_def(PURGE_JOB)
    try:
        result = job.execute_in_process(
            instance=instance,
            tags={"dagster/max_retries": "0"},  # no code server could launch it again
        )
    except dg.Failure as error:
        raise StorageError(ErrorCode.STORAGE_FAILURE, str(error.description)) from error
    output = next(event for event in result.all_events if event.is_successful_output)
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


class Purge:
    """One purge of one installation. Raises StorageError where the storage fails."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        retention_days: float,
        *,
        limits: CsvLimits,
        dry_run: bool = False,
        now: float | None = None,
    ) -> None:
        self._instance = instance
        self._store = store
        self._limits = limits
        self._retention = retention_days * SECONDS_OF_A_DAY
        self._now = time.time() if now is None else now
        self._purged = Purged(dry_run)

    def work(self) -> Purged:
        """Remove what is past its time, or list it."""
        # Partitions first: whatever of a request is there by now has left its trace in what is read later.
        partitions = self._instance.get_dynamic_partitions(str(requests_partitions_def.name))
        runs = list(map(_facts_of_run, run_records(self._instance)))
        spared = newest_image_events(self._instance)
        self._purge_requests(self._requests(partitions, runs), runs, spared)
        self._purge_history(runs, spared)
        self._purge_leftovers(runs)
        self._purge_images()
        if not self._purged.dry_run:
            # It is kept up to date for what is new only.
            self._instance.wipe_asset_cached_status(list(OUR_ASSETS))
            shrink(self._instance)
        return self._purged

    # -- requests

    def _requests(self, partitions: Iterable[str], runs: Iterable[_Run]) -> list[RequestFacts]:
        stored, busy = stored_requests(self._store), self._busy()
        runs_of = _by_request(runs)
        known = {*filter(is_request_id, partitions), *stored, *runs_of}
        facts = []
        for request_id in known:
            of_request = runs_of.get(request_id, [])
            times = [run.created for run in of_request]
            if (oldest := stored.get(request_id)) is not None:
                times.append(oldest)
            facts.append(
                RequestFacts(
                    request_id,
                    # After a purge that was killed, a partition may be all that is left of a request.
                    handed_in=min(times, default=None if request_id in stored else 0.0),
                    last_ended=max((run.ended or self._now for run in of_request), default=None),
                    is_busy=request_id in busy,
                )
            )
        return facts

    def _busy(self) -> set[str]:
        """Return the requests that somebody works on, or is about to."""
        return requests_in_flight(self._instance) | landing_requests(self._store)

    def _purge_requests(
        self, requests: Iterable[RequestFacts], runs: Iterable[_Run], spared: frozenset[int]
    ) -> None:
        runs_of = _by_request(runs)
        for request_id in expired_requests(requests, self._now, self._retention):
            if request_id in self._busy():
                self._purged.kept.append(f"Request {request_id}: somebody works on it again.")
                continue
            self._purged.requests.append(request_id)
            if self._purged.dry_run:
                self._purged.count(request_files(self._store, request_id))
                self._purged.runs += len(runs_of[request_id])
                continue
            self._purged.count(remove_request_files(self._store, request_id))
            self._delete_runs(runs_of[request_id], spared)
            self._instance.delete_dynamic_partition(str(requests_partitions_def.name), request_id)

    # -- history

    def _purge_history(self, runs: Iterable[_Run], spared: frozenset[int]) -> None:
        """Remove backfills of images and earlier purges; the runs of other projects are left alone."""
        before = self._now - self._retention
        old = [run for run in runs if run.is_upkeep and run.ended and run.ended < before]
        if self._purged.dry_run:
            self._purged.runs += len(old)
            return
        self._delete_runs(old, spared)
        forget_superseded(self._instance, newest_image_events(self._instance))
        self._purged.backfills = delete_backfills(self._instance, before)

    def _delete_runs(self, runs: Sequence[_Run], spared: frozenset[int]) -> None:
        for run in runs:
            delete_run(self._instance, run.run_id, spared)
            self._purged.runs += 1

    # -- images

    def _purge_images(self) -> None:
        partitions = by_folder(self._instance.get_dynamic_partitions(str(images_partitions_def.name)))
        gone = self._purged.requests if self._purged.dry_run else ()
        in_use = ImagesInUse(self._store, self._limits, without=gone)
        for folder in sorted({*self._store.names(self._store.compressed), *partitions}):
            files = self._store.files(self._store.compressed / folder)
            in_folder = partitions.get(folder, ())
            if plan_folder(files, in_folder, in_use.keys, self._now).is_empty:
                continue
            if self._images_are_in_work():
                self._purged.kept.append("Images: a backfill works on some; they are looked at next time.")
                return
            in_use.update()
            self._remove(plan_folder(files, in_folder, in_use.keys, self._now))

    def _remove(self, plan: FolderPlan) -> None:
        self._purged.images += plan.keys
        self._purged.count(plan.files)
        if not self._purged.dry_run:
            self._store.remove_files([file.path for file in plan.files])
            forget_images(self._instance, plan.keys)

    def _images_are_in_work(self) -> bool:
        if partitions_under_way(self._instance)[1]:
            return True
        in_flight = self._instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT))
        return any(COMPRESSED_IMAGE in (run.asset_selection or ()) for run in in_flight)

    # -- what processes that were killed left behind

    def _purge_leftovers(self, runs: Iterable[_Run]) -> None:
        files = unfinished_files(self._store, self._now)
        folders = landing_leftovers(self._store, self._now)
        ended = {run.run_id: run.ended for run in runs}
        for run_id, folder in work_folders(self._store):
            if self._is_left(ended.get(run_id, 0.0), self._store.files(folder)):
                folders.append(folder)
        self._purged.leftovers += [file.path for file in files] + [str(folder) for folder in folders]
        self._purged.count(files)
        for folder in folders:
            self._purged.count(self._store.files(folder))
        if self._purged.dry_run:
            return
        self._store.remove_files([file.path for file in files])
        for folder in folders:
            self._store.remove_folder(folder)
            if folder.parent != self._store.landing:
                remove_if_empty(folder.parent)

    def _is_left(self, run_ended: float | None, files: Iterable[StoredFile]) -> bool:
        return (
            run_ended is not None
            and self._now - run_ended > LEFTOVER_AGE
            and all(is_older(file, LEFTOVER_AGE, self._now) for file in files)
        )


def _facts_of_run(record: dg.RunRecord) -> _Run:
    run = record.dagster_run
    created = record.create_timestamp.timestamp()
    created = min(created, time_handed_in(run.tags) or created)
    ended = None
    if run.is_finished:
        ended = record.end_time or record.update_timestamp.timestamp()
    request_id = request_of_run(run)
    of_images = COMPRESSED_IMAGE in (run.asset_selection or ()) or is_image_key(partition_of_run(run))
    is_upkeep = request_id is None and (run.job_name == PURGE_JOB or of_images)
    return _Run(run.run_id, request_id, is_upkeep, created, ended)


def _by_request(runs: Iterable[_Run]) -> dict[str, list[_Run]]:
    found: defaultdict[str, list[_Run]] = defaultdict(list)
    for run in runs:
        if run.request_id:
            found[run.request_id].append(run)
    return found


def _metadata(purged: Purged) -> dict[str, Any]:
    return {
        name: dg.MetadataValue.json(value[:MOST_ROWS]) if isinstance(value, list) else value
        for name, value in purged.describe().items()
    }
