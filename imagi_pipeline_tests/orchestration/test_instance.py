from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest

from imagi_pipeline.orchestration.instance import furnish_home, open_instance, recent_requests
from imagi_pipeline.orchestration.run_launcher import ImagiRunLauncher
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.storages import ON_EVERY_STORAGE

PACKAGED = resources.files("imagi_pipeline.orchestration") / "dagster.yaml"


def test_an_empty_home_is_furnished(tmp_path: Path) -> None:
    assert furnish_home() == tmp_path / "dagster_home"
    assert (tmp_path / "dagster_home" / "dagster.yaml").read_bytes() == PACKAGED.read_bytes()


def test_a_home_without_its_settings_is_furnished_again(tmp_path: Path) -> None:
    furnish_home()
    (tmp_path / "dagster_home" / "dagster.yaml").unlink()
    furnish_home()
    assert (tmp_path / "dagster_home" / "dagster.yaml").exists()


def test_without_a_setting_the_home_is_below_that_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    home = furnish_home()
    assert home == tmp_path / "home" / "imagi" / "dagster_home"
    assert os.environ["DAGSTER_HOME"] == str(home)


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "dagster_home" / "dagster.yaml"
    own.parent.mkdir()
    own.write_text("telemetry:\n  enabled: false\n")
    furnish_home()
    assert own.read_text() == "telemetry:\n  enabled: false\n"


def test_the_packaged_settings_find_dead_runs_and_retry_them() -> None:
    with open_instance() as instance:
        assert isinstance(instance.run_launcher, ImagiRunLauncher)
        assert instance.run_monitoring_enabled
        assert instance.run_retries_enabled
        assert not instance.telemetry_enabled


def test_an_instance_that_captures_nothing_leaves_the_terminal_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    @dg.op
    def speak() -> None:
        os.write(2, b"to the terminal\n")

    @dg.job
    def speaking_job() -> None:
        speak()

    with open_instance(capture_output=False) as instance:
        speaking_job.execute_in_process(instance=instance)
    assert "to the terminal" in capfd.readouterr().err


@ON_EVERY_STORAGE
def test_recent_requests_tell_each_request_once_by_its_newest_run(
    installation: Installation, image_host: ImageHost
) -> None:
    first = installation.process("Images\n" + "\n".join(image_host.add("a.jpg")) + "\n")
    second = installation.process(b"")
    again = installation.run(first.request_id)
    assert recent_requests(installation.instance, 10) == [again, second]
