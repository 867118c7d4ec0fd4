"""Define the assets landing_folder, uploaded_csv, compressed_image, compression_report and enriched_csv.

Everything that a run needs is found from its partition key, so every asset can be materialized from the UI
without configuration. What steps hand to each other lies in the storage, where other machines find it, so no
step has an input or output that Dagster would have to hand over.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import dagster as dg

from imagi_pipeline.contract import CHUNK_QUEUE, JOB_NAME, ONLY_FAILED_TAG, is_asked_for
from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.enriching import enriched_pieces
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.engine import ImageResult, compress_images
from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.image_lookup import Image, images_of_keys, requests_naming
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.options import MOST, WORDS
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store, remove_if_empty
from imagi_pipeline.orchestration import event_metadata as metadata
from imagi_pipeline.orchestration.checks import (
    every_image_compressed,
    has_the_rows_of_the_upload,
    images_compressed,
    report_check,
    rows_of_the_upload,
)
from imagi_pipeline.orchestration.deliveries import deliver_result
from imagi_pipeline.orchestration.partitions import (
    COMPRESSED_IMAGE,
    COMPRESSION_REPORT,
    ENRICHED_CSV,
    GROUP,
    LANDING_FOLDER,
    LINEAGE_ONLY,
    OWNERS,
    SAVINGS,
    UPLOADED_CSV,
    images_partitions_def,
    requests_partitions_def,
)
from imagi_pipeline.orchestration.progress import (
    Context,
    ImageProgress,
    failure,
    tag_end,
    tag_found,
    tag_request,
    tag_start,
    telling_failure,
)
from imagi_pipeline.orchestration.request_files import (
    find_in_upload,
    read_images,
    read_manifest,
    read_report,
    read_upload,
    settle_manifest,
)
from imagi_pipeline.orchestration.resources import ImagiResource
from imagi_pipeline.orchestration.run_launcher import hold_run_lock, step_lock

CONTACT_SHEET_IMAGES = 8

OPTIONS_OF_A_RUN = {
    **{
        name: dg.Field(dg.Enum(name, [dg.EnumValue(word) for word in words]), is_required=False)
        for name, words in WORDS.items()
    },
    **{
        name: dg.Field(int, is_required=False, description=f"From 1 to {most:,}.")
        for name, most in MOST.items()
    },
}
"""What the launchpad takes for a request; what it does not name stays as it was chosen before."""


landing_folder = dg.AssetSpec(
    LANDING_FOLDER,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"file"},
    description="Where CSVs arrive: dropped by people, or put there by the gateway. "
    "landing_folder_sensor makes a request of each.",
)


@dg.asset(
    key=UPLOADED_CSV,
    deps=[LANDING_FOLDER],
    partitions_def=requests_partitions_def,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"csv"},
    code_version="1",
    config_schema=OPTIONS_OF_A_RUN,
)
def uploaded_csv(context: dg.AssetExecutionContext, imagi: ImagiResource) -> dg.MaterializeResult[Any]:
    """Has a row for each image reference of the uploaded CSV, and for each entry that cannot be used."""
    with telling_failure(context):
        store, request_id = imagi.store(), context.partition_key
        manifest = settle_manifest(
            store,
            request_id,
            imagi.settings().compression,
            context.op_execution_context.op_config,
            is_asked_for=is_asked_for(context.run.tags),
        )
        tag_request(context, request_id, manifest)
        found = find_in_upload(store, request_id, manifest, imagi.settings().csv_limits)
        store.write(store.references(request_id), reports.references_csv(found))
        tag_found(context, found)
        return dg.MaterializeResult(metadata=metadata.of_upload(manifest, found))


def build_compressed_image(code_version: str) -> dg.AssetsDefinition:
    """Return the asset of images. Another `code_version`, that of the algorithm, makes all stale."""
    return dg.multi_asset(
        name="compressed_image",
        specs=[
            dg.AssetSpec(
                COMPRESSED_IMAGE,
                partitions_def=images_partitions_def,
                deps=[dg.AssetDep(UPLOADED_CSV, partition_mapping=LINEAGE_ONLY)],
                description="One compressed image for each distinct URL and the options it is made with. A "
                "failed image is a partition without a materialization.",
                group_name=GROUP,
                owners=OWNERS,
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
    images = images_of_keys(store, keys)
    known = [image.key for image in images]
    failures = [f"{key}: no request names this image." for key in keys if key not in set(known)]
    tag_start(context, len(images))
    naming = cache(lambda: requests_naming(store, known))  # looked for only when an image failed
    progress = ImageProgress(
        context, imagi.settings().public_url, known, named_by=lambda key: naming()[key], report_all=True
    )
    results = _compress(imagi, images, progress)
    failures += [f"{done.key}: {done.url}: {done.error.message}" for done in results if done.error]
    # A generator has no output: of a plain function Dagster would report all partitions once more.
    yield from ()
    if failures:
        raise dg.Failure(
            f"{len(failures)} of {len(keys)} images failed:\n" + "\n".join(failures[: metadata.MOST_ROWS]),
            allow_retries=False,
        )


@dg.op(
    ins={"uploaded_csv": dg.In(dg.Nothing), "compressed_image": dg.In(dg.Nothing)},
    out=dg.DynamicOut(int),  # not of Nothing: that would be an output also where there is no chunk
)
def split_images(context: dg.OpExecutionContext, imagi: ImagiResource) -> Iterator[dg.DynamicOutput[int]]:
    """Split the images of a large request into chunks, which an executor may spread.

    One chunk needs no step of its own: `finish_request` compresses what nobody has.
    """
    if COMPRESSION_REPORT not in context.selected_asset_keys:
        return
    with telling_failure(context):
        images = len(read_images(imagi.store(), context.partition_key))
        if not _is_whole(context):
            tag_start(context, images)
        starts = range(0, images, imagi.settings().chunk_size)
        for start in starts if len(starts) > 1 else ():
            yield dg.DynamicOutput(start, mapping_key=str(start))


@dg.op(
    ins={"chunk": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    tags={"dagster-celery/queue": CHUNK_QUEUE},  # where `dagster.yaml` spreads chunks
)
def compress_chunk(context: dg.OpExecutionContext, imagi: ImagiResource) -> None:
    """Fetch, compress and store the images of one chunk, and keep its part of the report.

    A worker may get it twice, or late: then it does nothing that is done, and nothing for a run that ended.
    """
    step = step_lock(context.run.run_id, context.get_step_execution_context().step.key)
    with telling_failure(context), hold_run_lock(context.instance, step):
        store, start = imagi.store(), int(context.get_mapping_key() or 0)
        place = _place(context, store, start)
        if _has_ended(context) or store.read(place):
            return
        images = read_images(store, context.partition_key)
        chunk = _Chunk(context, imagi, start, images[start : start + imagi.settings().chunk_size])
        store.write(place, json.dumps(chunk.compress(is_one_of_many=True)).encode())


@dg.op(
    ins={"chunks": dg.In(dg.Nothing)},
    out={
        "compression_report": dg.Out(dg.Nothing, is_required=False),
        "enriched_csv": dg.Out(dg.Nothing, is_required=False),
    },
)
def finish_request(context: dg.OpExecutionContext, imagi: ImagiResource) -> Iterator[dg.Output[None]]:
    """Write the report of a request and its enriched CSV, or one of them if no more is selected."""
    with telling_failure(context):
        if not _is_whole(context):
            manifest = read_manifest(imagi.store(), context.partition_key)
            tag_request(context, context.partition_key, manifest)
        # It is read once for both, and only when it is needed.
        upload = cache(lambda: _read_upload(context, imagi))
        if COMPRESSION_REPORT in context.selected_asset_keys:
            yield from _write_report(context, imagi, upload)
        if ENRICHED_CSV in context.selected_asset_keys:
            yield from _write_enriched_csv(context, imagi, *upload())


@dg.graph(
    out={"compression_report": dg.GraphOut(), "enriched_csv": dg.GraphOut()},
)
def complete_request(uploaded_csv: Any, compressed_image: Any) -> Any:
    """Lead from the images of a request to its enriched CSV."""
    chunks = split_images(uploaded_csv=uploaded_csv, compressed_image=compressed_image)
    written = finish_request(chunks.map(compress_chunk).collect())
    return {"compression_report": written.compression_report, "enriched_csv": written.enriched_csv}


compression_report_and_enriched_csv = dg.AssetsDefinition.from_graph(
    complete_request,
    keys_by_input_name={"uploaded_csv": UPLOADED_CSV, "compressed_image": COMPRESSED_IMAGE},
    keys_by_output_name={"compression_report": COMPRESSION_REPORT, "enriched_csv": ENRICHED_CSV},
    partitions_def=requests_partitions_def,
    partition_mappings={"compressed_image": LINEAGE_ONLY},
    group_name=GROUP,
    owners_by_output_name={"compression_report": OWNERS, "enriched_csv": OWNERS},
    internal_asset_deps={
        "compression_report": {UPLOADED_CSV, COMPRESSED_IMAGE},
        "enriched_csv": {UPLOADED_CSV, COMPRESSION_REPORT},
    },
    descriptions_by_output_name={
        "compression_report": "One row per distinct image of the request: ok, reused or failed, its "
        "sizes, and why it failed.",
        "enriched_csv": "The CSV as it came, plus the URLs of the compressed images and what went wrong with "
        "the others; or with these URLs in the place of the old ones, if its sender asked for that.",
    },
    tags_by_output_name={
        "compression_report": {"dagster/kind/csv": "", "dagster/kind/pillow": ""},
        "enriched_csv": {"dagster/kind/csv": ""},
    },
    code_versions_by_output_name={"compression_report": None, "enriched_csv": "1"},
    can_subset=True,
)


@dg.asset(
    key=SAVINGS,
    deps=[dg.AssetDep(COMPRESSION_REPORT, partition_mapping=LINEAGE_ONLY)],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas"},
    description="What compression has saved in all requests, by host and format of the source. Materialize "
    "it whenever you want to know.",
)
def savings(imagi: ImagiResource) -> dg.MaterializeResult[Any]:
    """Sum up the reports of all requests that are there."""
    from imagi_pipeline.core.savings import savings_by_host  # pandas takes 0.3 s, and no request needs it

    store = imagi.store()
    found = (store.read(store.report(request_id)) for request_id in store.names(store.uploads))
    rows = savings_by_host(report for report in found if report is not None)
    return dg.MaterializeResult(metadata=metadata.of_savings(rows.to_dict("records")))


def _is_whole(context: dg.OpExecutionContext) -> bool:
    """Return whether `uploaded_csv` is surely a part of the run, which has then written the tags of its
    start.
    """
    return context.job_name == JOB_NAME and context.run.parent_run_id is None


def _has_ended(context: dg.OpExecutionContext) -> bool:
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is None or run.is_finished


def _read_upload(context: dg.OpExecutionContext, imagi: ImagiResource) -> tuple[RequestManifest, CsvTable]:
    store, request_id = imagi.store(), context.partition_key
    manifest = read_manifest(store, request_id)
    return manifest, read_upload(store, request_id, manifest, imagi.settings().csv_limits)


def _write_report(
    context: dg.OpExecutionContext,
    imagi: ImagiResource,
    upload: Callable[[], tuple[RequestManifest, CsvTable]],
) -> Iterator[dg.Output[None]]:
    store, request_id = imagi.store(), context.partition_key
    chunks = _chunks(context, imagi)
    manifest, table = upload()
    data = reports.with_places(reports.join_csv([chunk["report"] for chunk in chunks]), table)
    store.write(store.report(request_id), data)
    report = reports.Table(data)
    summary = reports.summarize(report)
    tag_end(context, summary)
    _remove_work(context, store, request_id)
    pairs = [pair for chunk in chunks for pair in chunk["thumbnails"]]
    shown = metadata.of_report(manifest.name, report, summary, pairs)
    yield dg.Output(None, "compression_report", metadata=shown)
    report_check(context, every_image_compressed, lambda: images_compressed(summary))


def _write_enriched_csv(
    context: dg.OpExecutionContext, imagi: ImagiResource, manifest: RequestManifest, table: CsvTable
) -> Iterator[dg.Output[None]]:
    store, request_id = imagi.store(), context.partition_key
    report = read_report(store, request_id)
    path = store.result(request_id, manifest.name)
    outputs, errors = reports.outcomes(report, imagi.settings().public_url)
    in_place = manifest.in_place
    store.write_pieces(path, enriched_pieces(table, outputs, errors, in_place=in_place))
    if manifest.to_outbox:
        deliver_result(store, request_id, manifest, table, (outputs, errors))
    with store.open(path) as file:
        shown = metadata.of_result(
            str(path), table, file.read(metadata.PREVIEW_BYTES), reports.summarize(report)
        )
    yield dg.Output(None, "enriched_csv", metadata=shown)
    report_check(
        context,
        has_the_rows_of_the_upload,
        lambda: rows_of_the_upload(table, store, path, in_place=in_place),
    )


def _chunks(context: dg.OpExecutionContext, imagi: ImagiResource) -> list[dict[str, Any]]:
    """Return what the steps of the chunks kept; a chunk without is compressed here.

    Such a chunk had no step, or it had one in an earlier run, which this one continues.
    """
    store, size = imagi.store(), imagi.settings().chunk_size
    images = read_images(store, context.partition_key)
    chunks = []
    for start in range(0, len(images), size):
        kept = store.read(_place(context, store, start))
        chunk = _Chunk(context, imagi, start, images[start : start + size])
        chunks.append(json.loads(kept) if kept else chunk.compress(is_one_of_many=len(images) > size))
    return chunks


def _place(context: dg.OpExecutionContext, store: Store, start: int) -> Any:
    return store.work(context.partition_key) / context.run.run_id / f"compress_chunk-{start}.json"


class _Chunk:
    """Some images of a request, the first of which is number `start` of it."""

    def __init__(
        self, context: dg.OpExecutionContext, imagi: ImagiResource, start: int, images: list[Image]
    ) -> None:
        self._context = context
        self._imagi = imagi
        self._start = start
        self._images = images

    def compress(self, *, is_one_of_many: bool) -> dict[str, Any]:
        """Compress the images; return their part of the report as CSV, pictures of the first as JSON."""
        keys = [image.key for image in self._images]
        public_url = self._imagi.settings().public_url
        request_id = self._context.partition_key
        request = f"{read_manifest(self._imagi.store(), request_id).name} ({request_id})"
        progress = ImageProgress(
            self._context, public_url, keys, named_by=lambda _: [request], is_one_of_many=is_one_of_many
        )
        rows, pairs = [], []
        wanted = CONTACT_SHEET_IMAGES if self._start == 0 else 0
        settled = _settled(self._context, self._imagi.store())
        for result in _compress(self._imagi, self._images, progress, thumbnails=wanted, settled=settled):
            rows.append(reports.report_row(result))
            if result.thumbnails:
                pairs.append(metadata.thumbnail_pair(result))
        urls = [image.url for image in self._images]
        return {"report": reports.report_csv(rows, urls).decode(), "thumbnails": pairs}


def _settled(context: dg.OpExecutionContext, store: Store) -> frozenset[str]:
    """Return the images that a run which is to try only the failed ones again leaves as they are."""
    if ONLY_FAILED_TAG not in context.run.tags:
        return frozenset()
    report = store.read(store.report(context.partition_key))
    if report is None:
        return frozenset()
    return frozenset(row["url"] for row in reports.Table(report) if row["status"] != "failed")


def _compress(
    imagi: ImagiResource,
    images: Sequence[Image],
    progress: ImageProgress,
    *,
    thumbnails: int = 0,
    settled: frozenset[str] = frozenset(),
) -> Iterator[ImageResult]:
    """Compress images, each with its own settings, and report each as it is done."""
    try:
        for settings, keys in _groups(images, imagi.settings().compression):
            for result in compress_images(
                keys,
                imagi.store(),
                settings,
                imagi.settings().engine_limits,
                thumbnails=thumbnails,
                settled=settled,
            ):
                progress.add(result)
                yield result
    except StorageError as error:
        raise failure(error) from error
    finally:
        progress.finish()


def _groups(
    images: Sequence[Image], defaults: CompressionSettings
) -> list[tuple[CompressionSettings, dict[str, str]]]:
    """Group images by the settings that they are made with: the keys by URL, each URL once in a group.

    The images of one request are one group, unless a version without options accepted it.
    """
    groups: dict[tuple[CompressionSettings, bool], dict[str, str]] = {}
    for image in images:
        settings = replace(image.settings or defaults, max_pixels=defaults.max_pixels)
        groups.setdefault((settings, image.is_named_by_url), {})[image.url] = image.key
    return [(settings, keys) for (settings, _), keys in groups.items()]


def _remove_work(context: Context, store: Store, request_id: str) -> None:
    """Remove what the steps of this run, and of earlier ones of the request that died, left for others."""
    for run_id in store.names(store.work(request_id)):
        run = None if run_id == context.run.run_id else context.instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            store.remove_folder(store.work(request_id) / run_id)
    remove_if_empty(store.work(request_id))
