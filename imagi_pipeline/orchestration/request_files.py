"""Read what the steps of a run need of their request; dg.Failure says in plain words what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import dagster as dg

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reader import CsvReader
from imagi_pipeline.core.csv.table import CsvFindings, CsvTable
from imagi_pipeline.core.errors import ImagiError, OptionError, StorageError
from imagi_pipeline.core.image_lookup import Image, images_of_request
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import CompressionOptions
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.uploads import uploaded_table
from imagi_pipeline.orchestration.progress import failure


def read_manifest(store: Store, request_id: str) -> RequestManifest:
    """Return what came with the CSV of a request."""
    manifest = store.read_manifest(request_id)
    if manifest is None:
        raise dg.Failure(
            f"There is no upload with the request id {request_id}. Drop a CSV into {store.landing}.",
            allow_retries=False,
        )
    return manifest


def find_in_upload(
    store: Store, request_id: str, manifest: RequestManifest, limits: CsvLimits
) -> CsvFindings:
    """Return what a process finds in the CSV; it is ended if it takes too much. Raises dg.Failure."""
    try:
        with CsvReader(limits) as reader:
            return reader.read(
                store.read_upload(request_id, manifest),
                url_columns=manifest.url_columns,
                base_url=manifest.base_url,
            )
    except ImagiError as error:
        raise failure(error) from error


def read_upload(store: Store, request_id: str, manifest: RequestManifest, limits: CsvLimits) -> CsvTable:
    """Return the CSV as it came, parsed; raises dg.Failure also when it cannot be processed.

    Only for a CSV of which `find_in_upload` has shown that it can be read within bounds of time and memory.
    """
    try:
        return uploaded_table(store, request_id, manifest, limits)
    except ImagiError as error:
        raise failure(error) from error


def settle_manifest(
    store: Store,
    request_id: str,
    defaults: CompressionSettings,
    given: Mapping[str, object],
    *,
    is_asked_for: bool,
) -> RequestManifest:
    """Return what came with the CSV of a request, with what its images are made with, which is kept there.

    `given` are the options in the configuration of the run: they count from now on. A run that is asked for
    once more, after a report was made, gets today's defaults for all that was not chosen.
    """
    manifest = read_manifest(store, request_id)
    try:
        options = manifest.options.updated(CompressionOptions.parse(given))
    except OptionError as error:
        raise failure(error) from error
    is_done = store.report(request_id).exists()
    if given or (is_asked_for if is_done else manifest.settings is None):
        manifest = replace(manifest, options=options).settled(defaults)
        try:
            store.write_manifest(request_id, manifest)
        except StorageError as error:
            raise failure(error) from error
    return manifest


def read_images(store: Store, request_id: str) -> list[Image]:
    """Return the images of a request, in their order in the CSV."""
    data = store.read(store.references(request_id))
    if data is None:
        raise dg.Failure("There is no uploaded_csv of this request yet. Materialize it first.")
    urls = reports.distinct_urls(reports.Table(data))
    return images_of_request(store, read_manifest(store, request_id), urls)


def read_report(store: Store, request_id: str) -> reports.Table:
    """Return the report of a request."""
    data = store.read(store.report(request_id))
    if data is None:
        raise dg.Failure("There is no compression_report of this request yet. Materialize it first.")
    return reports.Table(data)
