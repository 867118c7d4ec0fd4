"""Put the results of a request that was dropped as a file into the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath

from imagi_pipeline.core.archive import enriched_name
from imagi_pipeline.core.csv.enriching import failed_rows
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.outbox import deliver
from imagi_pipeline.core.storage.store import Store


def deliver_result(
    store: Store,
    request_id: str,
    manifest: RequestManifest,
    table: CsvTable,
    outcomes: tuple[Mapping[str, str], Mapping[str, str]],
) -> None:
    """Deliver the enriched CSV, and the rows that failed if there are any; `outcomes` as of the report."""
    outputs, errors = outcomes
    with store.open(store.result(request_id, manifest.name)) as result:
        files: dict[str, Iterable[bytes]] = {enriched_name(manifest.name): result}
        if errors or table.problems:
            name = f"{PurePath(manifest.name).stem}_failures.csv"
            files[name] = failed_rows(table, outputs, errors)
        deliver(store, request_id, files)


def deliver_error(store: Store, request_id: str, error: str) -> None:
    """Deliver why a request failed, in plain words, unless it has a result from an earlier run."""
    manifest = store.read_manifest(request_id)
    if manifest is None or not manifest.to_outbox or store.result(request_id, manifest.name).exists():
        return
    text = f"{manifest.name} could not be processed.\n\n{error}\n\nIts request id is {request_id}.\n"
    deliver(store, request_id, {f"{PurePath(manifest.name).stem}_error.txt": [text.encode()]})
