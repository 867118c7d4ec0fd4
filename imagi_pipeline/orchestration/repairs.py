"""Find images that were repaired outside of a request's run, and bring the requests with them up to date.

Whoever materializes images in the UI or launches a backfill of them repairs images, not the reports and
enriched CSVs that say they failed. `repaired_images_sensor` looks for runs of that kind that have ended. It
does not look at materializations: nearly all of them come from the requests' own runs.
"""

import datetime
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import dagster as dg

from imagi_pipeline.contract import FILE_TAG, ONLY_FAILED_TAG
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.reruns import failed_images, has_failures
from imagi_pipeline.orchestration.internals.backfills import (
    ENDED,
    NOT_URGENT,
    backfill_of,
    is_under_way,
    requests_in_flight,
    runs_of_backfill,
)
from imagi_pipeline.orchestration.internals.run_history import JOB_OF_SINGLE_ASSETS
from imagi_pipeline.orchestration.partitions import COMPRESSED_IMAGE, requests_partitions_def
from imagi_pipeline.orchestration.progress import request_tags

SECONDS_TO_SETTLE = 5.0
"""Seconds that a run has to wait after its end: the time of the end may be written a moment later."""

MOST_RUNS_IN_A_LOOK = 200
IMAGES_IN_A_QUERY = 100
MOST_EVENTS = 1_000


@dataclass
class Cursor:
    """How far the sensor has looked.

    `since` is the time, in seconds since 1970, of the last ended run it saw. `repairs` has the newest run of
    each backfill that is not looked at yet, by the backfill's id, and other runs by their own; `waiting` has
    the run keys of requests that are run once the run that they have in flight has ended.
    """

    since: float = 0.0
    repairs: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """Return the cursor of the look before; at the first look one that has seen nothing."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def note_repairs(instance: dg.DagsterInstance, cursor: Cursor) -> None:
    """Note the runs of images that have ended since the last look."""
    conditions = dg.RunsFilter(
        job_name=JOB_OF_SINGLE_ASSETS,
        statuses=list(ENDED),
        updated_after=_utc(cursor.since),
        updated_before=_utc(time.time() - SECONDS_TO_SETTLE),
    )
    records = instance.get_run_records(
        conditions, limit=MOST_RUNS_IN_A_LOOK, order_by="update_timestamp", ascending=True
    )
    for record in records:
        run = record.dagster_run
        if _is_of_images(run):
            cursor.repairs[backfill_of(run) or run.run_id] = run.run_id
        cursor.since = record.update_timestamp.timestamp()


def _is_of_images(run: dg.DagsterRun) -> bool:
    # A run without a selection, as those in one process are, may be of any asset: its events tell.
    return FILE_TAG not in run.tags and COMPRESSED_IMAGE in (run.asset_selection or {COMPRESSED_IMAGE})


def find_requests(instance: dg.DagsterInstance, store: Store, cursor: Cursor) -> None:
    """Turn the repairs that have ended into requests to run."""
    over = {repair: run_id for repair, run_id in cursor.repairs.items() if not is_under_way(instance, repair)}
    if not over:
        return
    existing = instance.get_dynamic_partitions(str(requests_partitions_def.name))
    for repair, run_id in over.items():
        runs = runs_of_backfill(instance, repair) or instance.get_run_records(dg.RunsFilter([run_id]))
        for request_id, keys in failed_images(store, existing) if runs else ():  # they may be purged by now
            if _is_any_repaired(instance, keys, runs):
                # Its newest run, since a run of the backfill that is launched again later is another repair.
                cursor.waiting.setdefault(request_id, f"{run_id}:{request_id}")
        del cursor.repairs[repair]


def _is_any_repaired(instance: dg.DagsterInstance, keys: Sequence[str], runs: Sequence[dg.RunRecord]) -> bool:
    """Return whether one of some images was materialized by one of some runs.

    The events of these images are asked for, not those of the runs: reading 100,000 takes 40 seconds.
    """
    run_ids = {run.dagster_run.run_id for run in runs}
    began = min(run.create_timestamp for run in runs).timestamp()
    for start in range(0, len(keys), IMAGES_IN_A_QUERY):
        some = dg.AssetRecordsFilter(
            asset_key=COMPRESSED_IMAGE,
            asset_partitions=list(keys[start : start + IMAGES_IN_A_QUERY]),
            after_timestamp=began,
        )
        found = instance.fetch_materializations(some, limit=MOST_EVENTS).records
        if any(record.run_id in run_ids for record in found):
            return True
    return False


def take_ready(instance: dg.DagsterInstance, store: Store, cursor: Cursor) -> list[dg.RunRequest]:
    """Return the runs of the waiting requests that have none in flight; they wait no longer."""
    in_flight = requests_in_flight(instance) if cursor.waiting else set()
    ready = [request_id for request_id in cursor.waiting if request_id not in in_flight]
    requests = []
    for request_id in ready:
        run_key = cursor.waiting.pop(request_id)
        manifest = store.read_manifest(request_id)
        if manifest and has_failures(store, request_id):  # the run that it waited for may have repaired it
            tags = {**NOT_URGENT, **request_tags(manifest), ONLY_FAILED_TAG: "true"}
            requests.append(dg.RunRequest(run_key=run_key, partition_key=request_id, tags=tags))
    return requests


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
