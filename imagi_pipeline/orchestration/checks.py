"""What must hold of the assets, checked after each materialization, and always of the landing folder."""

import time

import dagster as dg

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.dialect import open_csv
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.upkeep.checks import Level, check_landing
from imagi_pipeline.orchestration.assets import COMPRESSION_REPORT, enriched_csv, read_report, uploaded_csv
from imagi_pipeline.orchestration.resources import ImagiResource


@dg.asset_check(asset=enriched_csv)
def has_the_rows_of_the_upload(
    context: dg.AssetCheckExecutionContext, imagi: ImagiResource
) -> dg.AssetCheckResult:
    """The enriched CSV has every row of the upload, in its order, with every value at its place."""
    store, request_id = imagi.store(), _request_id(context, enriched_csv.key)
    manifest = store.read_manifest(request_id)
    assert manifest is not None
    before = read_csv(store.read_upload(request_id, manifest))
    after = list(open_csv(store.read(store.result(request_id, manifest.name)) or b"").content.records())
    width = len(before.header)  # without the columns of an earlier run, which are replaced
    different = [
        number
        for number, (old, new) in enumerate(zip(before.rows, after, strict=False), start=1)
        if new[: len(old[:width])] != old[:width]
    ]
    return dg.AssetCheckResult(
        passed=not different and len(before.rows) == len(after),
        metadata={
            "rows_before": len(before.rows),
            "rows_after": len(after),
            "first_different_rows": str(different[:10]),
        },
    )


@dg.asset_check(asset=COMPRESSION_REPORT)
def every_image_compressed(
    context: dg.AssetCheckExecutionContext, imagi: ImagiResource
) -> dg.AssetCheckResult:
    """No image of the request failed; a warning, since the others are there all the same."""
    report = read_report(imagi.store(), _request_id(context, COMPRESSION_REPORT))
    failed = reports.summarize(report).failed
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{failed} of {len(report)} images failed." if failed else None,
        metadata={"failed": failed, "images": len(report)},
    )


@dg.asset_check(asset=uploaded_csv)
def nothing_waits_in_landing_folder(imagi: ImagiResource) -> dg.AssetCheckResult:
    """No file has been waiting in the landing folder for more than 10 minutes.

    No part of the job of a request; `landing_folder_watch` evaluates it every minute.
    """
    findings = check_landing(imagi.store(), time.time())
    waits = [finding for finding in findings if finding.level != Level.OK]
    return dg.AssetCheckResult(
        passed=not waits,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n".join(f"{finding.message} {finding.remedy}" for finding in waits) or None,
    )


def _request_id(context: dg.AssetCheckExecutionContext, asset: dg.AssetKey) -> str:
    """The request of the run; of a check that was launched by itself, the newest request."""
    step = context.op_execution_context
    if step.has_partition_key:
        return str(step.partition_key)
    newest = context.instance.get_latest_materialization_event(asset)
    partition: str | None = newest.dagster_event.partition if newest and newest.dagster_event else None
    if partition is None:
        raise dg.Failure(f"{asset.to_user_string()} was never materialized: there is nothing to check.")
    return partition
