"""Do on this machine, without a service, what commands need: run the job here, and look into the storage.

Dagster is imported inside the functions: it takes seconds.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from imagi_pipeline.cli.terminal import progress_bar
from imagi_pipeline.core.request_status import COMPLETED, RequestStatus
from imagi_pipeline.settings import Settings

if TYPE_CHECKING:
    from imagi_pipeline.core.storage.manifests import RequestManifest
    from imagi_pipeline.core.storage.store import Store


def process_file(file: Path, manifest: RequestManifest, *, verbose: bool) -> dict[str, Any]:
    """Run the job on a file with the options in `manifest`; what became of it as one document.

    Raises ImagiError when the file or the storage cannot be used, OSError when the file cannot be read.
    """
    from imagi_pipeline.core.csv.reading import read_request

    own, request_id = store(), str(uuid.uuid4())
    data = file.read_bytes()
    # Before Dagster is loaded, which takes long.
    limits = Settings().csv_limits
    read_request(data, url_columns=manifest.url_columns, base_url=manifest.base_url, limits=limits)
    manifest = manifest.settled(Settings().compression)
    own.write_upload(request_id, manifest, data)
    found = _run(request_id, manifest, verbose)
    document = asdict(found)
    if found.status == COMPLETED:
        document |= places(own, found) | {"copies": []}
    return document


def _run(request_id: str, manifest: RequestManifest, verbose: bool) -> RequestStatus:
    from imagi_pipeline.definitions import defs
    from imagi_pipeline.orchestration.instance import open_instance, request_status
    from imagi_pipeline.orchestration.local_run import run_request

    with open_instance(capture_output=False) as instance:
        with progress_bar(lambda: request_status(instance, request_id)):
            run_request(defs, instance, request_id, manifest, verbose=verbose)
        found = request_status(instance, request_id)
    assert found is not None
    return found


def purged(days: float, *, dry_run: bool) -> dict[str, Any]:
    """Return what was purged by a run of the job in this process, or what a purge would remove."""
    from imagi_pipeline.definitions import defs
    from imagi_pipeline.orchestration.instance import open_instance
    from imagi_pipeline.orchestration.purge import Purge, run_purge

    with open_instance(capture_output=False) as instance:
        if dry_run:
            limits = Settings().csv_limits
            return Purge(instance, store(), days, limits=limits, dry_run=True).work().describe()
        return run_purge(defs, instance)


def places(own: Store, found: RequestStatus) -> dict[str, Any]:
    """Return where the result and the report of a request are."""
    name = found.file or ""
    return {
        "result": str(own.result(found.request_id, name)),
        "report": str(own.report(found.request_id)),
    }


def copies(document: dict[str, Any], output: Path, *, images: bool, paths: bool) -> list[str]:
    """Write what a completed request gives into a folder; return the paths: CSV, report, images.

    The copy of the CSV has the public URLs of the images, or with `paths` those of the `images` beside it.
    """
    from imagi_pipeline.core.archive import archive_members, copies_in, enriched_name
    from imagi_pipeline.core.storage.store import Store

    own, folder, request_id, name = store(), Store(output), document["request_id"], document["file"]
    # Never the name of the input, which may lie in the same folder.
    enriched, report = output / enriched_name(name), output / f"{Path(name).stem}_report.csv"
    if images:
        manifest = own.read_manifest(request_id)
        assert manifest is not None  # the request was just done
        for path, content in archive_members(own, request_id, manifest, Settings().csv_limits):
            folder.write_pieces(folder.root / path, content)
    else:
        _copy(document["report"], report)
    if not (paths and images):
        _copy(document["result"], enriched)
    return copies_in(output, name, images=images)


def _copy(stored: str, target: Path) -> None:
    with UPath(stored).open("rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def status_here(request_id: str) -> RequestStatus | None:
    """Return the status of a request of this installation; None when there is none."""
    from imagi_pipeline.core.storage.landing import status_without_run
    from imagi_pipeline.orchestration.instance import open_instance, request_status

    with open_instance() as instance:
        found = request_status(instance, request_id)
    return found or status_without_run(store(), request_id)


def store() -> Store:
    """Return the storage of this installation. Raises StorageError."""
    from imagi_pipeline.core.storage.store import Store

    return Store(Settings().storage)


def recent_requests(most: int) -> list[RequestStatus]:
    """Return the newest requests of this installation, newest first."""
    from imagi_pipeline.orchestration import instance as instances

    with instances.open_instance() as instance:
        return instances.recent_requests(instance, most)
