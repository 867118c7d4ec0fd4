"""Read the CSV of a request that was accepted before."""

from __future__ import annotations

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store


def uploaded_table(store: Store, request_id: str, manifest: RequestManifest, limits: CsvLimits) -> CsvTable:
    """Return the CSV as it came, parsed as its manifest says. Raises CsvError and StorageError.

    It is read in this process: a run has shown that it can be read within bounds of time and memory.
    """
    return read_request(
        store.read_upload(request_id, manifest),
        url_columns=manifest.url_columns,
        base_url=manifest.base_url,
        limits=limits,
    )
