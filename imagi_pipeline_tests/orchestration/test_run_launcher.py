"""Locks and health checks with real processes, and the real daemons on real dead runs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._cli.job import _create_run
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.launcher import WorkerStatus
from dagster._core.utils import make_new_run_id as new_run_id
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import (
    EmptyWorkspaceTarget,
    PythonFileTarget,
    WorkspaceLoadTarget,
)
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.controller import create_daemon_grpc_server_registry
from dagster._daemon.daemon import MonitoringDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)

from imagi_pipeline.orchestration.run_launcher import ImagiRunLauncher, hold_run_lock

PACKAGED_SETTINGS = resources.files("imagi_pipeline.orchestration") / "dagster.yaml"
PATIENCE_SECONDS = 60.0

JOBS = """
    import os, time
    from pathlib import Path
    import dagster as dg
    from imagi_pipeline.orchestration.run_launcher import hold_run_lock

    FOLDER = Path(os.environ["DAGSTER_HOME"]) / "test"

    def work(context):
        (FOLDER / context.run_id).write_text(f"{os.getpid()} {os.getppid()}")
        while not (FOLDER / "may_end").exists():
            time.sleep(0.05)

    @dg.op
    def work_with_lock(context):
        with hold_run_lock(context.instance, context.run_id):
            work(context)

    @dg.op
    def work_without_lock(context):
        work(context)

    @dg.job(executor_def=dg.in_process_executor)
    def locking_job():
        work_with_lock()

    @dg.job(executor_def=dg.in_process_executor)
    def lockless_job():
        work_without_lock()

    defs = dg.Definitions(jobs=[locking_job, lockless_job])
"""
IN_PROCESS = """
    import sys
    import dagster as dg
    from jobs import locking_job

    run_id, *tags = sys.argv[1:]
    with dg.DagsterInstance.get() as instance:
        locking_job.execute_in_process(
            instance=instance, run_id=run_id, tags=dict(tag.split("=") for tag in tags)
        )
"""
HOLDER = """
    import sys
    import dagster as dg
    from imagi_pipeline.orchestration.run_launcher import hold_run_lock

    with dg.DagsterInstance.get() as instance, hold_run_lock(instance, sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A DAGSTER_HOME with the packaged settings, but lifeless runs are given up soon."""
    settings = yaml.safe_load(PACKAGED_SETTINGS.read_text())
    settings["run_launcher"]["config"]["grace_seconds"] = 0.3
    settings["code_servers"]["wait_for_local_processes_on_shutdown"] = True
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS))
    (tmp_path / "test").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    yield tmp_path
    (tmp_path / "test" / "may_end").touch()


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that nobody executes."""

    @dg.job
    def some_job() -> None: ...

    return instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED)


def launcher_with(instance: dg.DagsterInstance, grace_seconds: float) -> ImagiRunLauncher:
    launcher = ImagiRunLauncher(grace_seconds)
    launcher.register_instance(instance)
    return launcher


def lock_file(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / "run_locks" / f"{run_id}.lock"


@contextmanager
def script(home: Path, source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def lock_held_by_another_process(home: Path, run_id: str) -> Iterator[subprocess.Popen[str]]:
    with script(home, HOLDER, run_id) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        yield holder


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_a_run_is_running_as_long_as_another_process_holds_its_lock(
    home: Path, instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    launcher = launcher_with(instance, grace_seconds=0)
    with lock_held_by_another_process(home, run.run_id) as holder:
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        holder.kill()
        holder.wait()
        assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED
        assert not lock_file(instance, run.run_id).exists()


def test_a_run_without_sign_of_life_is_failed_only_after_the_grace_period(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    patient = launcher_with(instance, grace_seconds=3600)
    assert patient.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert patient.check_run_worker_health(run).status == WorkerStatus.RUNNING

    impatient = launcher_with(instance, grace_seconds=0.2)
    assert impatient.check_run_worker_health(run).status == WorkerStatus.RUNNING
    time.sleep(0.2)
    result = impatient.check_run_worker_health(run)
    assert result.status == WorkerStatus.FAILED
    assert result.msg == (
        "No process has been executing the run for 0.2 seconds: it was killed, or the machine was restarted"
    )


def test_a_sign_of_life_starts_the_grace_period_anew(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    launcher = launcher_with(instance, grace_seconds=0.2)
    launcher.check_run_worker_health(run)
    time.sleep(0.2)
    with hold_run_lock(instance, run.run_id):
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_the_last_of_several_holders_removes_the_lock_file(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    with hold_run_lock(instance, run.run_id):
        with hold_run_lock(instance, run.run_id):
            pass
        assert lock_file(instance, run.run_id).exists()
    assert not lock_file(instance, run.run_id).exists()


def test_a_lock_is_seen_however_many_holders_come_and_go(
    instance: dg.DagsterInstance, run: dg.DagsterRun
) -> None:
    def come_and_go(_: int) -> list[WorkerStatus]:
        launcher = launcher_with(instance, grace_seconds=0)
        seen = []
        for _ in range(200):
            with hold_run_lock(instance, run.run_id):
                seen.append(launcher.check_run_worker_health(run).status)
        return seen

    with ThreadPoolExecutor(8) as holders:
        seen = [status for statuses in holders.map(come_and_go, range(8)) for status in statuses]
    assert seen == [WorkerStatus.RUNNING] * 1600
    assert not lock_file(instance, run.run_id).exists()


def test_the_packaged_settings_load_without_warnings_and_say_what_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dagster.yaml").write_text(PACKAGED_SETTINGS.read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dg.DagsterInstance.get() as instance:
            assert isinstance(instance.run_launcher, ImagiRunLauncher)
            assert instance.run_launcher.supports_check_run_worker_health
            assert instance.run_monitoring_enabled
            assert instance.run_retries_enabled
            assert not instance.run_retries_retry_on_asset_or_op_failure
            assert not instance.telemetry_enabled
            queue = instance.get_concurrency_config().run_queue_config
            assert queue
            assert queue.max_concurrent_runs == 4
            assert {"MONITORING", "EVENT_LOG_CONSUMER", "QUEUED_RUN_COORDINATOR"} <= set(
                instance.get_required_daemon_types()
            )
            assert instance.get_tick_retention_settings(InstigatorType.SENSOR)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


class Dagster:
    """The daemons that matter here, on a workspace with a real code server."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace
        self._instance = workspace.instance
        self._daemons = (
            MonitoringDaemon(interval_seconds=1),
            EventLogConsumerDaemon(),
            QueuedRunCoordinatorDaemon(interval_seconds=1),
        )

    def look_around(self) -> None:
        """Run one iteration of each daemon, none of which may report an error."""
        for daemon in self._daemons:
            assert [error for error in daemon.run_iteration(self._workspace) if error] == []

    def look_around_until(self, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRun:
        def reached() -> bool:
            self.look_around()
            return self._run(run_id).status in statuses

        eventually(reached)
        return self._run(run_id)

    def submit(self, job_name: str) -> str:
        request = self._workspace.create_request_context()
        location = request.get_code_location("jobs")
        (repository,) = location.get_repositories().values()
        job = repository.get_full_job(job_name)
        run = _create_run(self._instance, location, repository, job, {}, None, None, None)
        return self._instance.submit_run(run.run_id, request).run_id

    def retry_of(self, run_id: str) -> dg.DagsterRun | None:
        self.look_around()
        others = [run for run in self._instance.get_runs() if run.root_run_id == run_id]
        return others[0] if others else None

    def _run(self, run_id: str) -> dg.DagsterRun:
        run = self._instance.get_run_by_id(run_id)
        assert run
        return run


@contextmanager
def started_dagster(instance: dg.DagsterInstance, code_locations: WorkspaceLoadTarget) -> Iterator[Dagster]:
    with (
        create_daemon_grpc_server_registry(instance) as code_servers,
        WorkspaceProcessContext(instance, code_locations, grpc_server_registry=code_servers) as workspace,
    ):
        yield Dagster(workspace)


def jobs_of(home: Path) -> WorkspaceLoadTarget:
    return PythonFileTarget(str(home / "jobs.py"), None, None, "jobs")


def pids_of(home: Path, run_id: str) -> tuple[int, int]:
    """Return the process that executes the run, once it is at work, and the parent of that process."""
    note = home / "test" / run_id
    eventually(lambda: note.exists() and note.read_text() != "")
    worker, parent = note.read_text().split()
    return int(worker), int(parent)


def messages(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.message for entry in instance.all_logs(run_id))


def test_a_run_killed_with_its_code_server_is_failed_and_retried(
    home: Path, instance: dg.DagsterInstance
) -> None:
    with started_dagster(instance, jobs_of(home)) as dagster:
        run_id = dagster.submit("locking_job")
        dagster.look_around_until(run_id, dg.DagsterRunStatus.STARTED)
        worker, code_server = pids_of(home, run_id)
        os.kill(code_server, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)

    (home / "test" / "may_end").touch()
    with started_dagster(instance, jobs_of(home)) as dagster:
        failed = dagster.look_around_until(run_id, dg.DagsterRunStatus.FAILURE)
        assert "Detected run worker status FAILED: 'No process has been executing" in messages(
            instance, run_id
        )
        eventually(lambda: dagster.retry_of(run_id) is not None)
        retry = dagster.retry_of(run_id)
        assert retry
        assert retry.parent_run_id == failed.run_id
        dagster.look_around_until(retry.run_id, dg.DagsterRunStatus.SUCCESS)


def test_a_run_whose_daemon_died_while_it_started_goes_on_within_a_minute(
    home: Path, instance: dg.DagsterInstance
) -> None:
    (home / "test" / "may_end").touch()
    settings = yaml.safe_load(PACKAGED_SETTINGS.read_text())["run_monitoring"]
    longest = settings["start_timeout_seconds"] + settings["poll_interval_seconds"]
    assert longest <= 50
    with started_dagster(instance, jobs_of(home)) as dagster:
        dagster.look_around()  # a daemon that was never up before ignores what failed until then
        started, waiting = dagster.submit("locking_job"), dagster.submit("locking_job")
        for run_id, seconds in ((started, longest), (waiting, 1)):
            starting = dg.DagsterEvent("PIPELINE_STARTING", "locking_job")  # and the daemon was killed
            instance.report_dagster_event(starting, run_id, timestamp=time.time() - seconds)
        failed = dagster.look_around_until(started, dg.DagsterRunStatus.FAILURE)
        assert dagster.look_around_until(waiting, dg.DagsterRunStatus.STARTING)
        eventually(lambda: dagster.retry_of(failed.run_id) is not None)
        retry = dagster.retry_of(failed.run_id)
        assert retry
        dagster.look_around_until(retry.run_id, dg.DagsterRunStatus.SUCCESS)


def test_a_run_lives_by_the_word_of_its_code_server_and_after_its_death_by_its_lock(
    home: Path, instance: dg.DagsterInstance
) -> None:
    launcher = launcher_with(instance, grace_seconds=0)
    with started_dagster(instance, jobs_of(home)) as dagster:
        locking, lockless = dagster.submit("locking_job"), dagster.submit("lockless_job")
        locking_run = dagster.look_around_until(locking, dg.DagsterRunStatus.STARTED)
        lockless_run = dagster.look_around_until(lockless, dg.DagsterRunStatus.STARTED)
        _, code_server = pids_of(home, locking)
        pids_of(home, lockless)
        assert not lock_file(instance, lockless).exists()
        assert launcher.check_run_worker_health(lockless_run).status == WorkerStatus.RUNNING

        os.kill(code_server, signal.SIGKILL)
        assert launcher.check_run_worker_health(locking_run).status == WorkerStatus.RUNNING
        assert launcher.check_run_worker_health(lockless_run).status == WorkerStatus.FAILED
        (home / "test" / "may_end").touch()
        dagster.look_around_until(locking, dg.DagsterRunStatus.SUCCESS)


def test_a_killed_in_process_run_is_failed_and_stops_no_daemon(
    home: Path, instance: dg.DagsterInstance
) -> None:
    announced, final = new_run_id(), new_run_id()
    with (
        script(home, IN_PROCESS, announced),
        script(home, IN_PROCESS, final, "dagster/max_retries=0"),
    ):
        for run_id in (announced, final):
            pids_of(home, run_id)
    with started_dagster(instance, EmptyWorkspaceTarget()) as dagster:
        dagster.look_around()
        for run_id in (announced, final):
            dagster.look_around_until(run_id, dg.DagsterRunStatus.FAILURE)
        dagster.look_around()
    not_retried = "does not have an external job origin, unable to retry"
    assert not_retried in messages(instance, announced)
    assert not_retried not in messages(instance, final)
    assert instance.get_runs_count() == 2
