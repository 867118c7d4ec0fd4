"""Check the Dagster instance for `imagi doctor`: each function makes one check, and returns findings.

It relies on internals of Dagster (1.13.27): `InstigatorState` and the ticks of an instigator, as the instance
gives them; `get_required_daemon_types`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.launcher import WorkerStatus
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickStatus
from dagster._core.storage.event_log import SqliteEventLogStorage

from imagi_pipeline.contract import SECONDS_OF_SILENCE
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable, without_password
from imagi_pipeline.core.upkeep.checks import CLOCK_LIMIT, Finding, Level
from imagi_pipeline.orchestration.instance import READY
from imagi_pipeline.orchestration.internals import embedded_storage
from imagi_pipeline.orchestration.internals.run_history import request_of_run, run_records
from imagi_pipeline.orchestration.run_launcher import ImagiRunLauncher
from imagi_pipeline.orchestration.storage_checks import network_file_system, unusable_database, wrong_driver
from imagi_pipeline.settings import default_folder

SECONDS_TO_BEGIN = 60.0

_FURNISH = "Run `imagi home`, which furnishes it."
_START = "Start `imagi serve`, or `dagster-daemon run` with this DAGSTER_HOME."


def dagster_home() -> Path:
    """Return the home of the instance, as all commands find it; it need not be there."""
    return Path(os.environ.get("DAGSTER_HOME") or default_folder() / "dagster_home").expanduser().absolute()


def check_home(home: Path) -> list[Finding]:
    """Return whether DAGSTER_HOME is there and furnished."""
    if not home.is_dir():
        return [Finding("home", Level.ERROR, f"DAGSTER_HOME, {home}, does not exist.", _FURNISH)]
    if not (home / "dagster.yaml").exists():
        message = f"{home} has no dagster.yaml: Dagster's own defaults find no dead runs."
        return [Finding("home", Level.ERROR, message, _FURNISH)]
    if not (home / READY).exists():
        message = f"The databases of {home} were never made by a command of ours."
        return [Finding("home", Level.WARNING, message, _FURNISH)]
    if problem := wrong_driver(home) or unusable_database(home):
        return [Finding("home", Level.ERROR, problem, "Correct it, and restart.")]
    if not os.access(home, os.W_OK):
        return [Finding("home", Level.ERROR, f"{home} cannot be written.", f"chown -R {os.getuid()} {home}")]
    return [Finding("home", Level.OK, f"DAGSTER_HOME is {home}.")]


@contextmanager
def existing_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """Open the instance of a home as it is; raises whatever Dagster raises about a bad dagster.yaml."""
    os.environ["DAGSTER_HOME"] = str(home)  # our storage in dagster.yaml is where this says
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def check_instance(instance: dg.DagsterInstance) -> list[Finding]:
    """Return whether dagster.yaml says what dead runs need to be found and tried again."""
    said = {
        f"run_launcher is not {ImagiRunLauncher.__name__}: runs that lost their process are never found": (
            type(instance.run_launcher).__module__.startswith("imagi_pipeline.")  # or that of Celery workers
        ),
        "run_monitoring is off: runs that lost their process stay STARTED": instance.run_monitoring_enabled,
        "run_retries is off: a run whose process was killed is not tried again": instance.run_retries_enabled,
    }
    repair = "Take the block over from imagi_pipeline/orchestration/dagster.yaml, and restart."
    findings = [
        Finding("instance", Level.ERROR, f"dagster.yaml: {what}.", repair)
        for what, good in said.items()
        if not good
    ]
    return findings or [Finding("instance", Level.OK, "dagster.yaml has what the recovery of runs needs.")]


def check_event_storage(instance: dg.DagsterInstance, home: Path) -> list[Finding]:
    """Return which storage the runs and events are in, and whether it is in a good place."""
    storage = instance.event_log_storage
    kind = network_file_system(home)
    if kind and type(storage).__module__.startswith(("dagster.", embedded_storage.__name__)):
        message = (
            f"The databases in {home} are on a network share ({kind}), where SQLite loses what it stores."
        )
        return [Finding("database", Level.ERROR, message, "Use a local disk, or PostgreSQL.")]
    if isinstance(storage, embedded_storage.EmbeddedEventLogStorage):
        size = sum(path.stat().st_size for path in storage.folder.glob("*.db*")) / 1024**2
        message = f"Runs and events are in {storage.folder}: SQLite, {size:,.1f} MB."
        return [Finding("database", Level.OK, message)]
    if isinstance(storage, SqliteEventLogStorage):
        message = "Runs and events are in Dagster's own SQLite files: a run costs five times the CPU of ours."
        remedy = "Stop the service and run `imagi home --move-storage` (docs/operations.md)."
        return [Finding("database", Level.WARNING, message, remedy)]
    return [Finding("database", Level.OK, f"Runs and events are in {type(storage).__name__}.")]


def check_daemon(instance: dg.DagsterInstance, now: float) -> list[Finding]:
    """Return whether every daemon that the instance needs has told lately that it lives and works."""
    beats = instance.get_daemon_heartbeats()
    if not beats:
        message = "No daemon has run here yet: enough for `imagi process`, too little for the landing folder."
        return [Finding("daemon", Level.WARNING, message, _START)]
    findings = []
    needed = instance.get_required_daemon_types()
    silent = [
        name for name in needed if name not in beats or now - beats[name].timestamp > SECONDS_OF_SILENCE
    ]
    if silent:
        last = max(beat.timestamp for beat in beats.values())
        message = f"The daemon does not run ({', '.join(silent)}); last sign of life {_ago(now - last)} ago."
        findings.append(Finding("daemon", Level.ERROR, message, _START))
    if any(beat.timestamp - now > CLOCK_LIMIT for beat in beats.values()):
        message = "The daemon's last sign of life lies in the future: clocks differ, or one was set back."
        repair = "Let a time service (chrony, systemd-timesyncd) set all clocks, and restart the daemon."
        findings.append(Finding("clock", Level.ERROR, message, repair))
    for name in needed:
        if name in beats and name not in silent and (errors := beats[name].errors):
            line = printable(without_password(errors[0].message.strip().splitlines()[0]), LONGEST_MESSAGE)
            message = f"The daemon {name} has a problem: {line}"
            findings.append(Finding("daemon", Level.WARNING, message, "Its log and the UI say more."))
    return findings or [Finding("daemon", Level.OK, f"{len(needed)} daemons run.")]


def check_instigators(instance: dg.DagsterInstance, defs: dg.Definitions) -> list[Finding]:
    """Return whether the sensors and schedules that are on by default are on, and all that are on do their
    work.
    """
    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    findings = []
    expected = _on_by_default(defs)
    turned_on = [state for state in states.values() if state.status == InstigatorStatus.RUNNING]
    expected = {**expected, **{state.instigator_name: state.instigator_type for state in turned_on}}
    for name, kind in expected.items():
        state = states.get(name)
        if state is not None:
            findings += _about_instigator(instance, name, kind, state)
        elif instance.get_daemon_heartbeats():
            message = f"No daemon has ever looked at {name}."
            repair = (
                "Restart the service if its code is older; see under Deployment in the UI that it is loaded."
            )
            findings.append(Finding("instigators", Level.WARNING, message, repair))
    return findings or [
        Finding("instigators", Level.OK, f"None of {', '.join(expected)} is stopped or fails.")
    ]


def check_runs(instance: dg.DagsterInstance, now: float) -> list[Finding]:
    """Return whether a process works on each run that is STARTED."""
    launcher = ImagiRunLauncher(grace_seconds=0)
    launcher.register_instance(instance)
    started = list(run_records(instance, dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))
    dead = [
        record.dagster_run.run_id
        for record in started
        if now - (record.start_time or now) > SECONDS_TO_BEGIN
        and launcher.check_run_worker_health(record.dagster_run).status != WorkerStatus.RUNNING
    ]
    if not dead:
        return [Finding("runs", Level.OK, f"{len(started)} runs are at work, each in a process that lives.")]
    message = f"{len(dead)} runs are STARTED and have no process: {', '.join(dead[:3])}."
    repair = (
        "The daemon ends them within a minute and tries them again; without it, terminate them in the UI."
    )
    return [Finding("runs", Level.WARNING, message, repair)]


def requests_with_runs(instance: dg.DagsterInstance) -> set[str]:
    """Return the requests that have a run."""
    return {found for record in run_records(instance) if (found := request_of_run(record.dagster_run))}


def _on_by_default(defs: dg.Definitions) -> Mapping[str, InstigatorType]:
    repository = defs.get_repository_def()
    found = {
        sensor.name: InstigatorType.SENSOR
        for sensor in repository.sensor_defs
        if sensor.default_status == dg.DefaultSensorStatus.RUNNING
    }
    found |= {
        schedule.name: InstigatorType.SCHEDULE
        for schedule in repository.schedule_defs
        if schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    }
    return found


def _about_instigator(
    instance: dg.DagsterInstance, name: str, kind: InstigatorType, state: InstigatorState
) -> list[Finding]:
    if state.status == InstigatorStatus.STOPPED:
        repair = f"Turn it on in the UI under Automation, or `dagster {kind.value.lower()} start {name}`."
        return [Finding("instigators", Level.WARNING, f"{name} is stopped.", repair)]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    if ticks and ticks[0].status == TickStatus.FAILURE:
        error = ticks[0].error
        line = error.message.strip().splitlines()[0] if error else "no reason is known"
        message = f"The last tick of {name} failed: {line}"
        return [Finding("instigators", Level.ERROR, message, "Its ticks in the UI say more.")]
    return []


def _ago(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
