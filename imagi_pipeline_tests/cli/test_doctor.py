"""The doctor on a healthy installation, on every kind of broken one, and as a command."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo
from PIL import features

from imagi_pipeline.cli import doctor
from imagi_pipeline.cli.doctor import check_parts_of_dagster, check_versions, examine, remove_leftovers
from imagi_pipeline.core.images import jpeg_coefficients
from imagi_pipeline.core.storage.landing import publish
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.checks import Finding, Level, check_clock, check_disk
from imagi_pipeline.definitions import defs
from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.records import image_key, image_record

DAY = 24 * 3600.0
LONG_AGO = time.time() - 10 * DAY
URL = "http://a/b.jpg"


class Home(NamedTuple):
    instance: dg.DagsterInstance
    store: Store

    @property
    def root(self) -> Path:
        return Path(str(self.store.root))


@pytest.fixture(autouse=True)
def native_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """The optional extension is there, wherever these tests run."""
    monkeypatch.setattr(jpeg_coefficients, "is_available", lambda: True)


@pytest.fixture
def home(store: Store) -> Iterator[Home]:
    """What a running service has: a daemon that beats, a request with its run, an image."""
    with open_instance() as instance:
        beat(instance)
        home = Home(instance, store)
        begin_run(home, upload(home))
        store.write_image(image_key(URL), image_record(URL), b"abc")
        for name in on_by_default():
            add_state(instance, name, InstigatorStatus.DECLARED_IN_CODE)
        yield home


def on_by_default() -> dict[str, InstigatorType]:
    repository = defs.get_repository_def()
    sensors = [
        (sensor.name, sensor.default_status, InstigatorType.SENSOR) for sensor in repository.sensor_defs
    ]
    schedules = [
        (schedule.name, schedule.default_status, InstigatorType.SCHEDULE)
        for schedule in repository.schedule_defs
    ]
    return {name: kind for name, status, kind in (*sensors, *schedules) if status.value == "RUNNING"}


def beat(instance: dg.DagsterInstance, at: float | None = None, **fields: Any) -> None:
    for daemon in instance.get_required_daemon_types():
        beating = DaemonHeartbeat(at or time.time(), daemon, "1", fields.get("errors"))
        instance.add_daemon_heartbeat(beating)


def add_state(instance: dg.DagsterInstance, name: str, status: InstigatorStatus) -> InstigatorState:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("imagi_pipeline"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    kind = on_by_default()[name]
    data = SensorInstigatorData() if kind == InstigatorType.SENSOR else ScheduleInstigatorData("0 0 * * *")
    state = InstigatorState(origin, kind, status, data)
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    return instance.update_instigator_state(state) if known else instance.add_instigator_state(state)


def upload(home: Home) -> str:
    request_id = str(uuid.uuid4())
    home.store.write_upload(request_id, RequestManifest("a.csv"), b"Images\nhttp://a/b.jpg\n")
    return request_id


def begin_run(home: Home, request_id: str, status: str = "SUCCESS") -> str:
    run = home.instance.create_run_for_job(
        job_def=defs.resolve_job_def("process_csv"),
        tags={"dagster/partition": request_id},
        status=dg.DagsterRunStatus(status),
    )
    return run.run_id


def grow_old(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))


def findings() -> list[Finding]:
    return list(examine(Settings()))


def problem(check: str) -> Finding:
    """Return the one finding that is not good; it is of this check and says how to repair it."""
    (found,) = [finding for finding in findings() if finding.level != Level.OK]
    assert found.check == check, found
    assert found.remedy
    return found


def test_a_healthy_installation_has_nothing_but_good_findings(home: Home) -> None:
    found = findings()
    assert [finding for finding in found if finding.level != Level.OK] == []
    assert {finding.check for finding in found} == {
        *("versions", "database", "disk", "home", "instance", "daemon", "instigators", "runs", "uploads"),
        *("storage", "clock", "landing", "images", "leftovers", "callbacks"),
    }


def test_looking_changes_nothing(home: Home) -> None:
    before = {path: path.stat().st_mtime for path in home.root.rglob("*") if path.is_file()}
    findings()
    assert {path: path.stat().st_mtime for path in home.root.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_an_error(home: Home) -> None:
    shutil.rmtree(home.root / "compressed")
    (home.root / "compressed").write_text("")
    found = [finding for finding in findings() if finding.level == Level.ERROR]
    assert "compressed" in found[0].message
    assert "chown" in str(found[0].remedy)


@pytest.mark.parametrize(
    ("ahead", "level"), [(0, Level.OK), (20, Level.WARNING), (-20, Level.WARNING), (600, Level.ERROR)]
)
def test_a_clock_that_differs_is_found(store: Store, ahead: float, level: Level) -> None:
    (found,) = check_clock(store, time.time() - ahead)
    assert found.level == level
    assert list(Path(str(store.root)).iterdir()) == []


@pytest.mark.parametrize(
    ("free", "level"),
    [(500e9, Level.OK), (30e9, Level.WARNING), (0.9e9, Level.WARNING), (50e6, Level.ERROR)],
)
def test_a_disk_that_fills_is_found_also_below_a_folder_that_is_not_there_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, level: Level
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(total=int(1e12), free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    (found,) = check_disk({"the storage": tmp_path / "not" / "yet"})
    assert found.level == level


def test_a_file_that_nobody_takes_is_found(home: Home) -> None:
    home.store.write(home.store.landing / "shop.csv", b"x")
    assert all(finding.level == Level.OK for finding in findings())
    grow_old(home.root / "landing")
    assert "shop.csv" in problem("landing").message


def test_a_forgotten_unfinished_upload_of_a_person_is_found(home: Home) -> None:
    home.store.write(home.store.landing / "shop.csv.part", b"x")
    grow_old(home.root / "landing")
    assert "shop.csv.part" in problem("landing").message


def test_an_upload_without_a_run_is_found_unless_it_still_waits(home: Home) -> None:
    lost, waiting = upload(home), upload(home)
    publish(home.store, waiting, RequestManifest("a.csv"), b"x")
    grow_old(home.root / "uploads")
    assert lost in problem("uploads").message


@pytest.mark.parametrize("there", ["a.csv", "request.json"])
def test_half_an_upload_is_found(home: Home, there: str) -> None:
    half = str(uuid.uuid4())
    home.store.write(home.store.uploads / half / there, b"{}")
    grow_old(home.root / "uploads")
    assert f"not whole: {half}" in problem("uploads").message


def test_a_record_without_its_image_is_an_error_and_the_other_way_round_a_warning(home: Home) -> None:
    key = image_key(URL)
    home.store.image(key, image_record(URL)).unlink()
    assert all(finding.level == Level.OK for finding in findings())  # it may be about to be written
    grow_old(home.root / "compressed")
    assert (problem("images").level, key in problem("images").message) == (Level.ERROR, True)
    home.store.write_image(key, image_record(URL), b"abc")
    home.store.record(key).unlink()
    grow_old(home.root / "compressed")
    assert (problem("images").level, key in problem("images").message) == (Level.WARNING, True)


def test_what_a_killed_gateway_left_in_the_landing_folder_is_no_file_that_waits(home: Home) -> None:
    folder = home.root / "landing" / f".{uuid.uuid4().hex}.part"
    home.store.write(home.store.landing / folder.name / "a.csv", b"x")
    os.utime(folder / "a.csv", (time.time() - 700, time.time() - 700))
    assert all(finding.level == Level.OK for finding in findings())


@pytest.mark.parametrize("place", ["compressed/ab/.{}.tmp", "reports/.{}.tmp", "landing/.{}.part/a.csv"])
def test_unfinished_files_are_found_and_removed_on_demand(home: Home, place: str) -> None:
    home.store.write(home.store.root / place.format(uuid.uuid4().hex), b"x")
    assert remove_leftovers(home.store) == []
    before = {path for path in home.root.rglob("*") if path.is_file()}
    grow_old(home.root / place.split("/", maxsplit=1)[0])
    assert "--fix" in str(problem("leftovers").remedy)
    assert len(remove_leftovers(home.store)) == 1
    assert len(before - {path for path in home.root.rglob("*") if path.is_file()}) == 1
    assert {finding.level for finding in findings()} == {Level.OK}


def test_in_a_bucket_only_unfinished_files_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("memory://")  # a whole bucket: the path of its root ends with a slash
    store.write_image(image_key(URL), image_record(URL), b"abc")
    store.write(store.report(str(uuid.uuid4())).parent / f".{uuid.uuid4().hex}.tmp", b"x")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    before = {file.path for file in store.files(store.root)}
    (removed,) = remove_leftovers(store)
    assert before - {file.path for file in store.files(store.root)} == {removed.path}
    store.remove_folder(store.root)


def test_a_storage_that_is_not_there_is_told_and_not_made(store: Store) -> None:
    found = next(finding for finding in findings() if finding.check == "storage")
    assert (found.level, "does not exist" in found.message) == (Level.WARNING, True)
    assert not Path(str(store.root)).exists()


def test_a_callback_that_waits_for_days_is_found_with_its_last_error(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    path = home.store.callbacks / f"{uuid.uuid4()}.json"
    pending = {"url": "http://a/b", "created": LONG_AGO, "last_error": "503 Service Unavailable"}
    home.store.write(path, json.dumps(pending).encode())
    assert "503 Service Unavailable" in problem("callbacks").message
    home.store.write(path, json.dumps(pending | {"created": time.time()}).encode())
    assert all(finding.level == Level.OK for finding in findings())
    monkeypatch.delenv("IMAGI_WEBHOOK_SECRET")
    assert "no key" in problem("callbacks").message


def test_a_daemon_that_stopped_is_an_error(home: Home) -> None:
    beat(home.instance, time.time() - 3 * 3600)
    found = problem("daemon")
    assert (found.level, "3 hours ago" in found.message) == (Level.ERROR, True)


def test_an_installation_where_no_daemon_ever_ran_is_told_what_that_means(home: Home) -> None:
    home.instance.wipe_daemon_heartbeats()
    assert problem("daemon").level == Level.WARNING


def test_a_heartbeat_in_the_future_is_an_error_of_the_clock(home: Home) -> None:
    beat(home.instance, time.time() + 3600)
    assert problem("clock").level == Level.ERROR


def test_what_a_daemon_complains_about_is_passed_on(home: Home) -> None:
    error = SerializableErrorInfo("database is locked\n", [], "OperationalError")
    beat(home.instance, errors=[error])
    found = [finding for finding in findings() if finding.level != Level.OK]
    assert {finding.check for finding in found} == {"daemon"}
    assert "database is locked" in found[0].message


@pytest.mark.parametrize("name", ["landing_folder_sensor", "purge_schedule"])
def test_a_sensor_or_schedule_that_somebody_stopped_is_found(home: Home, name: str) -> None:
    add_state(home.instance, name, InstigatorStatus.STOPPED)
    assert problem("instigators").message == f"{name} is stopped."


def fail_tick(home: Home, state: InstigatorState, message: str) -> None:
    home.instance.create_tick(
        TickData(
            state.instigator_origin_id,
            state.instigator_name,
            state.instigator_type,
            TickStatus.FAILURE,
            time.time(),
            error=SerializableErrorInfo(f"{message}\n", [], "Error"),
            selector_id=state.selector_id,
        )
    )


def test_a_sensor_whose_last_tick_failed_is_an_error(home: Home) -> None:
    state = add_state(home.instance, "landing_folder_sensor", InstigatorStatus.DECLARED_IN_CODE)
    fail_tick(home, state, "PermissionError: landing")
    assert "PermissionError: landing" in problem("instigators").message


def test_a_schedule_that_somebody_turned_on_is_looked_at_too(home: Home) -> None:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("imagi_pipeline"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, "refresh_images_schedule")
    data = ScheduleInstigatorData("0 3 * * *")
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    home.instance.add_instigator_state(state)
    fail_tick(home, state, "out of luck")
    assert problem("instigators").message == "The last tick of refresh_images_schedule failed: out of luck"


def test_a_sensor_that_no_daemon_has_seen_is_found(home: Home) -> None:
    home.instance.schedule_storage.wipe()  # type: ignore[union-attr]
    found = [finding.message for finding in findings() if finding.level != Level.OK]
    assert sorted(found) == sorted(f"No daemon has ever looked at {name}." for name in on_by_default())


def test_a_run_without_a_process_is_found_and_one_with_a_process_is_not(home: Home) -> None:
    run_id = begin_run(home, upload(home), "STARTED")
    storage = home.instance.run_storage
    assert all(finding.level == Level.OK for finding in findings())  # it may be about to begin
    with storage.connect() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE runs SET start_time = ? WHERE run_id = ?", (LONG_AGO, run_id))
    assert run_id in problem("runs").message

    lock = Path(home.instance.root_directory) / "run_locks" / f"{run_id}.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert all(finding.level == Level.OK for finding in findings())


@pytest.mark.parametrize(
    ("ours", "spoilt", "said"),
    [
        ("class: ImagiRunLauncher", "class: DefaultRunLauncher", "run_launcher"),
        ("run_monitoring:\n  enabled: true", "run_monitoring:\n  enabled: false", "run_monitoring"),
        ("  enabled: true\n  # A restart of", "  enabled: false\n  # A restart of", "run_retries"),
    ],
)
def test_a_dagster_yaml_that_lacks_what_recovery_needs_is_an_error(
    home: Home, ours: str, spoilt: str, said: str
) -> None:
    path = Path(home.instance.root_directory) / "dagster.yaml"
    text = path.read_text()
    assert text.count(ours) == 1
    if "Default" in spoilt:
        text = text.replace(
            "module: imagi_pipeline.orchestration.run_launcher", "module: dagster.core.launcher"
        )
        text = text.replace("  config:\n    # Longer than", "    # Longer than").replace(
            "    grace_seconds: 30\n", ""
        )
    path.write_text(text.replace(ours, spoilt))
    assert said in problem("instance").message


def test_a_broken_dagster_yaml_is_an_error_and_no_stack_trace(home: Home) -> None:
    path = Path(home.instance.root_directory) / "dagster.yaml"
    path.write_text("run_monitoring:\n  no_such_setting: 1\n")
    assert problem("instance").level == Level.ERROR


def test_a_home_that_is_not_there_is_an_error_and_is_not_made(store: Store) -> None:
    found = next(finding for finding in findings() if finding.check == "home")
    assert (found.level, found.remedy) == (Level.ERROR, "Run `imagi home`, which furnishes it.")
    assert not Path(os.environ["DAGSTER_HOME"]).exists()


def test_a_home_without_our_settings_is_an_error(home: Home) -> None:
    (Path(home.instance.root_directory) / "dagster.yaml").unlink()
    assert problem("home").level == Level.ERROR


@pytest.mark.parametrize(
    ("output_format", "codec", "level"),
    [("same", "avif", Level.WARNING), ("avif", "avif", Level.ERROR), ("auto-webp", "webp", Level.ERROR)],
)
def test_a_codec_that_is_missing_is_an_error_when_it_is_needed(
    home: Home, monkeypatch: pytest.MonkeyPatch, output_format: str, codec: str, level: Level
) -> None:
    monkeypatch.setenv("IMAGI_OUTPUT_FORMAT", output_format)
    real = features.check
    monkeypatch.setattr(features, "check", lambda name: name != codec and real(name))
    assert problem("versions").level == level


def test_the_command_prints_what_it_found_and_fails_on_an_error(home: Home) -> None:
    command = [sys.executable, "-m", "imagi_pipeline", "doctor"]
    good = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert {finding["level"] for finding in json.loads(good.stdout)["findings"]} == {"ok"}

    beat(home.instance, LONG_AGO)
    home.store.write(home.store.root / f"reports/.{uuid.uuid4().hex}.tmp", b"x")
    grow_old(home.root / "reports")
    bad = subprocess.run([*command, "--fix"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "error   daemon" in bad.stdout
    assert "Start `imagi serve`" in bad.stdout
    assert "removed  " in bad.stdout


def test_a_missing_native_extension_is_a_warning_that_tells_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jpeg_coefficients, "is_available", lambda: False)

    findings = [finding for finding in check_versions(Settings()) if finding.level is Level.WARNING]

    assert [finding.message for finding in findings] == [jpeg_coefficients.WHAT_IS_LOST]


def test_a_missing_decoder_of_phone_photos_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "heif_is_available", lambda: False)

    (finding,) = (finding for finding in check_versions(Settings()) if finding.level is Level.WARNING)

    assert "HEIC photos" in finding.message
    assert finding.remedy == "pip install pi-heif"


def test_doctor_finds_parts_of_dagster_that_do_not_fit_and_says_what_to_install() -> None:
    here = metadata.version("dagster-webserver")
    assert check_parts_of_dagster(here) == []
    (finding,) = check_parts_of_dagster("1.99.0")
    assert finding.level == "error"
    assert f"dagster is 1.99.0, but dagster-webserver is for dagster {here}" in finding.message
    assert str(finding.remedy).startswith(f"pip install dagster=={here} dagster-webserver=={here} ")
    assert f"dagster-postgres=={metadata.version('dagster-postgres')}" in str(finding.remedy)
