"""Check the assets: the step that has the data reports the outcome, and the check does when it is launched.

A check reports and does not decide: the request is done whatever it finds, even when the check itself fails.

Checks that have an outcome for each request are a preview of Dagster's, which counts an outcome only if it
names the newest materialization (`AssetCheckEvaluationTargetMaterializationData`).
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from upath import UPath

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.enriching import stored_records
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.checks import Finding, Level, check_images, check_landing
from imagi_pipeline.orchestration.partitions import (
    COMPRESSED_IMAGE,
    COMPRESSION_REPORT,
    ENRICHED_CSV,
    LANDING_FOLDER,
    requests_partitions_def,
)
from imagi_pipeline.orchestration.request_files import read_manifest, read_report, read_upload
from imagi_pipeline.orchestration.resources import ImagiResource

MOST_ROWS_NAMED = 10

# Checks with an outcome for each request: Dagster may still change them.
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", dg.PreviewWarning)


@dg.asset_check(asset=ENRICHED_CSV, partitions_def=requests_partitions_def)
def has_the_rows_of_the_upload(
    context: dg.AssetCheckExecutionContext, imagi: ImagiResource
) -> dg.AssetCheckResult:
    """The enriched CSV has every row of the upload, in its order, with every value at its place.

    The cells of the images' columns may differ: there the URLs are replaced if that was asked for.
    """
    store, request_id = imagi.store(), _request_id(context)
    manifest = read_manifest(store, request_id)
    before = read_upload(store, request_id, manifest, imagi.settings().csv_limits)
    path = store.result(request_id, manifest.name)
    return rows_of_the_upload(before, store, path, in_place=manifest.in_place)


@dg.asset_check(asset=COMPRESSION_REPORT, partitions_def=requests_partitions_def)
def every_image_compressed(
    context: dg.AssetCheckExecutionContext, imagi: ImagiResource
) -> dg.AssetCheckResult:
    """No image of the request failed. This is only a warning, since the other images are there."""
    report = read_report(imagi.store(), _request_id(context))
    return images_compressed(reports.summarize(report))


@dg.asset_check(asset=LANDING_FOLDER)
def nothing_waits_in_landing_folder(imagi: ImagiResource) -> dg.AssetCheckResult:
    """No file has been waiting in the landing folder for more than 10 minutes.

    It is no part of the job of a request; `landing_folder_watch` evaluates it every minute. Nothing
    materializes the folder, because the UI would no longer show an evaluation from before that.
    """
    return _of_findings(check_landing(imagi.store(), time.time()))


@dg.asset_check(asset=COMPRESSED_IMAGE)
def every_image_has_its_record(imagi: ImagiResource) -> dg.AssetCheckResult:
    """Each stored image has its record, and each record its image, as `imagi doctor` checks it.

    It reads the whole storage, so it is evaluated only when somebody launches it, and not by each request.
    """
    return _of_findings(check_images(imagi.store(), time.time()))


def _of_findings(findings: Sequence[Finding]) -> dg.AssetCheckResult:
    bad = [finding for finding in findings if finding.level != Level.OK]
    return _result(
        passed=not bad,
        description="\n".join(f"{finding.message} {finding.remedy}" for finding in bad) or None,
    )


def rows_of_the_upload(before: CsvTable, store: Store, path: UPath, *, in_place: bool) -> dg.AssetCheckResult:
    """Return whether a stored enriched CSV has the rows of the upload; both are gone through side by side.

    With `in_place`, the columns of the images may differ.
    """
    with store.open(path) as file:
        return _compared(before, stored_records(before, file), in_place=in_place)


def _compared(before: CsvTable, after: Iterable[list[str]], *, in_place: bool) -> dg.AssetCheckResult:
    width = len(before.header)  # without the columns of an earlier run, which are replaced
    replaced = [before.header.index(name) for name in before.url_columns] if in_place else []
    counts = [0, 0]
    different: list[int] = []
    for number, (old, new) in enumerate(zip_longest(before.content.records(), after), start=1):
        counts[0] += old is not None
        counts[1] += new is not None
        is_kept = (
            old is not None
            and new is not None
            and _without(replaced, new[: len(old[:width])]) == (_without(replaced, old[:width]))
        )
        if not is_kept and len(different) < MOST_ROWS_NAMED:
            different.append(number)
    return _result(
        passed=not different,
        metadata={
            "rows_before": counts[0],
            "rows_after": counts[1],
            "first_different_rows": str(different),
        },
    )


def _without(columns: list[int], row: list[str]) -> list[str]:
    """Return the row with its cells in these columns blank."""
    return ["" if index in columns else value for index, value in enumerate(row)] if columns else row


def images_compressed(summary: reports.ReportSummary) -> dg.AssetCheckResult:
    """Return whether all images of a report are there."""
    failed, images = summary.failed, summary.images
    return _result(
        passed=not failed,
        description=f"{failed} of {images} images failed." if failed else None,
        metadata={"failed": failed, "images": images},
    )


def report_check(
    context: dg.OpExecutionContext,
    check: dg.AssetChecksDefinition,
    evaluate: Callable[[], dg.AssetCheckResult],
) -> None:
    """Tell the outcome of a check from the step that has just materialized its asset and has the data.

    That is one event, where a step of its own has five.
    """
    try:
        result = evaluate()
    except Exception as error:  # noqa: BLE001 - the request is done, whatever is wrong with its check
        result = _result(
            passed=False, description=f"The check itself failed: {type(error).__name__}: {error}"
        )
    (key,) = check.check_keys
    context.log_event(
        dg.AssetCheckEvaluation(  # type: ignore[arg-type]  # taken, although its signature does not say so
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
            partition=context.partition_key,
            target_materialization_data=_newest_materialization(context, key.asset_key),
        )
    )


def _newest_materialization(
    context: dg.OpExecutionContext, asset: dg.AssetKey
) -> AssetCheckEvaluationTargetMaterializationData | None:
    of_request = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[context.partition_key])
    records = context.instance.fetch_materializations(of_request, limit=1).records
    if not records:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=records[0].storage_id, run_id=records[0].run_id, timestamp=records[0].timestamp
    )


def _result(
    *, passed: bool, description: str | None = None, metadata: dict[str, int | str] | None = None
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=description,
        metadata=metadata or {},
    )


def _request_id(context: dg.AssetCheckExecutionContext) -> str:
    step = context.op_execution_context
    if not step.has_partition_key:
        raise dg.Failure(
            "Dagster cannot execute a check of one request by itself yet: "
            "materialize the asset for the request, and its check is executed too."
        )
    return str(step.partition_key)
