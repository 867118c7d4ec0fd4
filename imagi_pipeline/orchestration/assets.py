"""The four assets: uploaded_csv -> compressed_image -> compression_report -> enriched_csv.

All that a run needs is found from its partition key, so every asset can be materialized from the UI without
configuration.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from imagi_pipeline.contract import ONLY_FAILED_TAG
from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.engine import ImageResult, compress_images
from imagi_pipeline.core.errors import ImagiError, StorageError
from imagi_pipeline.core.image_lookup import image_urls
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store, remove_if_empty
from imagi_pipeline.orchestration import event_metadata as metadata
from imagi_pipeline.orchestration.partitions import (
    COMPRESSED_IMAGE,
    LINEAGE_ONLY,
    images_partitions_def,
    requests_partitions_def,
)
from imagi_pipeline.orchestration.progress import (
    Context,
    ImageProgress,
    add_image_partitions,
    failure,
    tag_end,
    tag_found,
    tag_request,
    tag_start,
)
from imagi_pipeline.orchestration.resources import ImagiResource

CONTACT_SHEET_IMAGES = 8
COMPRESSION_REPORT = dg.AssetKey("compression_report")


@dg.asset(partitions_def=requests_partitions_def, kinds={"csv"}, code_version="1")
def uploaded_csv(context: dg.AssetExecutionContext, imagi: ImagiResource) -> dg.MaterializeResult[Any]:
    """The uploaded CSV, parsed: one row per image reference, and one per cell entry that cannot be used."""
    store, request_id = imagi.store(), context.partition_key
    manifest = _manifest(store, request_id)
    tag_request(context, request_id, manifest)
    table = _read_upload(store, request_id, manifest)
    tag_found(context, table.data_row_count, len(table.problems))
    references = reports.references_frame(table)
    store.write(store.references(request_id), reports.to_csv(references))
    return dg.MaterializeResult(metadata=metadata.of_upload(manifest, table, references))


def build_compressed_image(code_version: str) -> dg.AssetsDefinition:
    """The asset of images. Another `code_version`, the fingerprint of the compression, makes all stale."""
    return dg.multi_asset(
        name="compressed_image",
        specs=[
            dg.AssetSpec(
                COMPRESSED_IMAGE,
                partitions_def=images_partitions_def,
                deps=[dg.AssetDep("uploaded_csv", partition_mapping=LINEAGE_ONLY)],
                description="One compressed image for each distinct URL. A failed image is a partition "
                "without a materialization.",
                kinds={"pillow"},
                code_version=code_version,
                skippable=True,
            )
        ],
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=500),
    )(compressed_image)


def compressed_image(context: dg.AssetExecutionContext, imagi: ImagiResource) -> Iterator[Any]:
    """Compress the images of the run's partitions; the good ones are materialized, the others fail it."""
    store, keys = imagi.store(), list(context.partition_keys)
    urls = image_urls(store, keys)
    failures = [f"{key}: no request names this image." for key in keys if key not in urls]
    tag_start(context, len(urls), imagi.settings().compression.fingerprint)
    results = _compress(context, imagi, list(urls.values()), report_all=True)
    failures += [f"{done.key}: {done.url}: {done.error.message}" for done in results if done.error]
    # A generator without an output: of a plain function Dagster would report all partitions once more.
    yield from ()
    if failures:
        raise dg.Failure(
            f"{len(failures)} of {len(keys)} images failed:\n" + "\n".join(failures[: metadata.MOST_ROWS]),
            allow_retries=False,
        )


@dg.op(
    ins={"uploaded_csv": dg.In(dg.Nothing), "compressed_image": dg.In(dg.Nothing)}, out=dg.DynamicOut(dict)
)
def split_images(context: dg.OpExecutionContext, imagi: ImagiResource) -> Iterator[dg.DynamicOutput[Any]]:
    """Split the distinct images of the request into chunks, which an executor may spread."""
    store, request_id = imagi.store(), context.partition_key
    tag_request(context, request_id, _manifest(store, request_id))
    urls = reports.distinct_urls(_references(store, request_id))
    tag_start(context, len(urls), imagi.settings().compression.fingerprint)
    size = imagi.settings().chunk_size
    for start in range(0, len(urls), size):
        yield dg.DynamicOutput({"start": start, "urls": urls[start : start + size]}, mapping_key=str(start))


@dg.op
def compress_chunk(
    context: dg.OpExecutionContext, imagi: ImagiResource, chunk: dict[str, Any]
) -> dict[str, Any]:
    """Fetch, compress and store the images of one chunk; its part of the report, as CSV."""
    add_image_partitions(context, chunk["urls"])
    rows, pairs = [], []
    wanted = CONTACT_SHEET_IMAGES if chunk["start"] == 0 else 0
    settled = _settled(context, imagi.store())
    for result in _compress(context, imagi, chunk["urls"], thumbnails=wanted, settled=settled):
        rows.append(reports.report_row(result))
        if result.thumbnails:
            pairs.append(metadata.thumbnail_pair(result))
    report = reports.report_frame(rows, chunk["urls"])
    return {"start": chunk["start"], "report": reports.to_csv(report).decode(), "thumbnails": pairs}


@dg.op(out=dg.Out(dg.Nothing))
def build_report(context: dg.OpExecutionContext, imagi: ImagiResource, chunks: list[dict[str, Any]]) -> None:
    """Join the parts of the chunks into the report of the request."""
    store, request_id = imagi.store(), context.partition_key
    chunks.sort(key=lambda chunk: int(chunk["start"]))
    data = reports.join_csv([chunk["report"] for chunk in chunks])
    store.write(store.report(request_id), data)
    report = reports.from_csv(data)
    tag_end(context, reports.summarize(report))
    pairs = [pair for chunk in chunks for pair in chunk["thumbnails"]]
    context.add_output_metadata(metadata.of_report(report, pairs))
    _remove_work(context, store, request_id)


@dg.graph_asset(
    partitions_def=requests_partitions_def,
    ins={
        "uploaded_csv": dg.AssetIn("uploaded_csv", dagster_type=dg.Nothing),
        "compressed_image": dg.AssetIn(
            COMPRESSED_IMAGE, dagster_type=dg.Nothing, partition_mapping=LINEAGE_ONLY
        ),
    },
    kinds={"csv", "pillow"},
)
def compression_report(uploaded_csv: Any, compressed_image: Any) -> Any:
    """One row per distinct image of the request: ok, reused or failed, its sizes, and why it failed."""
    chunks = split_images(uploaded_csv=uploaded_csv, compressed_image=compressed_image)
    return build_report(chunks.map(compress_chunk).collect())


@dg.asset(
    partitions_def=requests_partitions_def,
    deps=[uploaded_csv, compression_report],
    kinds={"csv"},
    code_version="1",
)
def enriched_csv(context: dg.AssetExecutionContext, imagi: ImagiResource) -> dg.MaterializeResult[Any]:
    """The CSV as it came, plus the URLs of the compressed images and what went wrong with the others."""
    store, request_id = imagi.store(), context.partition_key
    manifest = _manifest(store, request_id)
    tag_request(context, request_id, manifest)
    table = _read_upload(store, request_id, manifest)
    report = read_report(store, request_id)
    path = store.result(request_id, manifest.name)
    outputs, errors = reports.outcomes(report, imagi.settings().public_url)
    enriched = enrich(table, outputs, errors)
    store.write(path, enriched)
    return dg.MaterializeResult(metadata=metadata.of_result(str(path), table, enriched, report))


def read_report(store: Store, request_id: str) -> pd.DataFrame:
    """The report of a request; raises dg.Failure when it is not there yet."""
    data = store.read(store.report(request_id))
    if data is None:
        raise dg.Failure("There is no compression_report of this request yet. Materialize it first.")
    return reports.from_csv(data)


def _settled(context: dg.OpExecutionContext, store: Store) -> frozenset[str]:
    """The images that a run which is to try only the failed ones again leaves as they are."""
    report = store.read(store.report(context.partition_key))
    if ONLY_FAILED_TAG not in context.run.tags or report is None:
        return frozenset()
    earlier = reports.from_csv(report)
    return frozenset(earlier[earlier["status"] != "failed"]["url"])


def _compress(
    context: Context,
    imagi: ImagiResource,
    urls: list[str],
    *,
    thumbnails: int = 0,
    settled: frozenset[str] = frozenset(),
    report_all: bool = False,
) -> Iterator[ImageResult]:
    """Compress images and report each as it is done."""
    settings = imagi.settings()
    progress = ImageProgress(context, settings.public_url, urls, report_all=report_all)
    try:
        for result in compress_images(
            urls,
            imagi.store(),
            settings.compression,
            settings.engine_limits,
            thumbnails=thumbnails,
            settled=settled,
        ):
            progress.add(result)
            yield result
    except StorageError as error:
        raise failure(error) from error
    finally:
        progress.flush()


def _remove_work(context: dg.OpExecutionContext, store: Store, request_id: str) -> None:
    """Remove what passed between the steps of this run, and of earlier runs of the request that died."""
    for folder in list(store.work(request_id).iterdir()):
        run = context.instance.get_run_by_id(folder.name)
        if run is None or run.is_finished or run.run_id == context.run.run_id:
            store.remove_folder(folder)
    remove_if_empty(store.work(request_id))


def _references(store: Store, request_id: str) -> pd.DataFrame:
    data = store.read(store.references(request_id))
    if data is None:
        raise dg.Failure("There is no uploaded_csv of this request yet. Materialize it first.")
    return reports.from_csv(data)


def _manifest(store: Store, request_id: str) -> RequestManifest:
    manifest = store.read_manifest(request_id)
    if manifest is None:
        raise dg.Failure(
            f"There is no upload with the request id {request_id}. Drop a CSV into {store.landing}.",
            allow_retries=False,
        )
    return manifest


def _read_upload(store: Store, request_id: str, manifest: RequestManifest) -> CsvTable:
    try:
        return read_request(
            store.read_upload(request_id, manifest),
            url_columns=manifest.url_columns,
            base_url=manifest.base_url,
        )
    except ImagiError as error:
        raise failure(error) from error
