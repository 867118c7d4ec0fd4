"""Define the schedules. All but that of the purge launch a Dagster backfill of some requests.

A schedule cannot return a backfill. It adds one to the instance, under an id made of its name and the
scheduled time so that it is launched once, and says in the reason for which it "skips" what it launched, or
why nothing.
"""

from collections.abc import Callable

import dagster as dg

from imagi_pipeline.contract import ONLY_FAILED_TAG, PURGE_JOB
from imagi_pipeline.core.images.compression_settings import ALGORITHM
from imagi_pipeline.core.request_status import CANCELLED
from imagi_pipeline.core.upkeep.reruns import Plan, plan_recompression, plan_refresh, plan_retries
from imagi_pipeline.orchestration.internals.backfills import (
    backfill_id,
    is_launched,
    launch_backfill,
    past_runs,
    requests_in_flight,
)
from imagi_pipeline.orchestration.internals.run_history import IN_FLIGHT
from imagi_pipeline.orchestration.jobs import process_csv, purge
from imagi_pipeline.orchestration.partitions import OWNERS, requests_partitions_def
from imagi_pipeline.orchestration.purge import KEPT_FOR_EVER
from imagi_pipeline.orchestration.resources import ImagiResource
from imagi_pipeline.settings import Settings


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Return all schedules, at the times that the settings name."""
    on, off = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED
    return [
        dg.schedule(
            job=job,
            cron_schedule=cron,
            execution_timezone=settings.time_zone,
            default_status=status,
            description=description,
            owners=OWNERS,
        )(evaluate)
        for evaluate, job, cron, status, description in (
            (
                retry_failed_images_schedule,
                process_csv,
                settings.retry_cron,
                on,
                "Tries images again that failed for a reason that may pass. The first time an hour after "
                "their request ended (IMAGI_RETRY_AFTER), then after twice as long each time.",
            ),
            (
                refresh_images_schedule,
                process_csv,
                settings.refresh_cron,
                off,
                "Asks the hosts of images that were not checked for long whether the images have changed.",
            ),
            (
                recompress_images_schedule,
                process_csv,
                settings.recompress_cron,
                off,
                "Compresses images again that an older version of the compression made.",
            ),
            (
                purge_schedule,
                purge,
                settings.purge_cron,
                on,
                "Removes requests that are past their retention (IMAGI_RETENTION_DAYS), and their images.",
            ),
        )
    ]


def retry_failed_images_schedule(
    context: dg.ScheduleEvaluationContext, imagi: ImagiResource
) -> dg.SkipReason:
    """Launch a backfill of the requests with transient failures whose next try is due."""
    settings, now = imagi.settings(), _now(context)

    def plan() -> Plan:
        existing = _existing(context)
        recent = past_runs(context.instance, created_after=now - settings.retry_for)
        return plan_retries(
            imagi.store(),
            [run for run in recent if run.request_id in existing],
            requests_in_flight(context.instance),
            now,
            first_delay=settings.retry_after,
            give_up_after=settings.retry_for,
        )

    return _backfill(
        context, "retry_failed_images_schedule", "Re-try failed images", plan, {ONLY_FAILED_TAG: "true"}
    )


def refresh_images_schedule(context: dg.ScheduleEvaluationContext, imagi: ImagiResource) -> dg.SkipReason:
    """Launch a backfill of the requests that refer to images not checked for long."""
    settings = imagi.settings()
    # A record younger than this is reused without asking its host.
    before = _now(context) - max(settings.refresh_after, settings.reuse_for)

    def plan() -> Plan:
        lately = {
            run.request_id
            for run in past_runs(context.instance, created_after=before)
            if run.status != CANCELLED and not run.only_failed
        }
        in_flight = requests_in_flight(context.instance)
        return plan_refresh(imagi.store(), _existing(context), in_flight, lately, before)

    return _backfill(context, "refresh_images_schedule", "Refresh images", plan)


def recompress_images_schedule(context: dg.ScheduleEvaluationContext, imagi: ImagiResource) -> dg.SkipReason:
    """Launch a backfill of the requests that refer to images that another version of the compression made."""

    def plan() -> Plan:
        attempted: dict[str, float] = {}
        for run in past_runs(context.instance):
            of_today = run.settings.startswith(f"{ALGORITHM}-")
            if of_today and run.status != CANCELLED and not run.only_failed:
                attempted.setdefault(run.request_id, run.created)
        in_flight = requests_in_flight(context.instance)
        return plan_recompression(imagi.store(), _existing(context), in_flight, attempted, ALGORITHM)

    return _backfill(context, "recompress_images_schedule", "Compress with today's version", plan)


def purge_schedule(
    context: dg.ScheduleEvaluationContext, imagi: ImagiResource
) -> dg.RunRequest | dg.SkipReason:
    """Purge once a day, unless everything is kept or the last purge still works."""
    if imagi.settings().retention_days is None:
        return dg.SkipReason(KEPT_FOR_EVER)
    at_work = context.instance.get_runs(dg.RunsFilter(job_name=PURGE_JOB, statuses=IN_FLIGHT), limit=1)
    if at_work:
        return dg.SkipReason(f"The purge of run {at_work[0].run_id} is still at work.")
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


def _backfill(
    context: dg.ScheduleEvaluationContext,
    schedule: str,
    title: str,
    make_plan: Callable[[], Plan],
    tags: dict[str, str] | None = None,
) -> dg.SkipReason:
    """Launch a backfill of what is planned, unless this tick did already; return what was done."""
    launch_id = backfill_id(schedule, context.scheduled_execution_time)
    if is_launched(context.instance, launch_id):
        return dg.SkipReason(f"Backfill {launch_id} was launched already.")
    plan = make_plan()
    if not plan.request_ids:
        return dg.SkipReason(f"Nothing to do. {plan.reason}")
    count = f"{len(plan.request_ids):,} request{'s' if len(plan.request_ids) > 1 else ''}"
    launch_backfill(
        context.instance,
        launch_id,
        plan.request_ids,
        title=f"{title}: {count}",
        schedule=schedule,
        tags=tags or {},
    )
    return dg.SkipReason(f"Launched backfill {launch_id} of {count}. {plan.reason}")


def _now(context: dg.ScheduleEvaluationContext) -> float:
    return context.scheduled_execution_time.timestamp()


def _existing(context: dg.ScheduleEvaluationContext) -> set[str]:
    return set(context.instance.get_dynamic_partitions(str(requests_partitions_def.name)))
