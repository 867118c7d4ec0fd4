from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import dagster as dg
import pytest

from imagi_pipeline.contract import WILL_RETRY_TAG
from imagi_pipeline.orchestration.checks import nothing_waits_in_landing_folder
from imagi_pipeline.orchestration.sensors import landing_folder_watch, request_failure_sensor
from imagi_pipeline_tests.callback_receiver import CallbackReceiver
from imagi_pipeline_tests.orchestration.conftest import Installation


def failed_run(installation: Installation, **tags: str) -> dg.DagsterRun:
    found = installation.process("")
    assert found.run_id
    installation.instance.add_run_tags(found.run_id, tags)
    run = installation.instance.get_run_by_id(found.run_id)
    assert run
    return run


def evaluate(installation: Installation, run: dg.DagsterRun) -> object:
    (record,) = installation.instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE
    ).records
    assert record.event_log_entry.dagster_event
    with dg.build_run_status_sensor_context(
        sensor_name="request_failure_sensor",
        dagster_event=record.event_log_entry.dagster_event,
        dagster_instance=installation.instance,
        dagster_run=run,
        resources={"imagi": installation.resource},
    ) as context:
        return request_failure_sensor(context.for_run_failure())


def alerts(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_failed_request_is_one_structured_line_and_one_post(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = failed_run(installation)
    with CallbackReceiver() as receiver:
        monkeypatch.setenv("IMAGI_ALERT_URL", receiver.url())
        evaluate(installation, run)
        (message,) = receiver.wait_for(1)
    (alert,) = alerts(caplog)
    assert json.loads(message.body) == alert
    assert (alert["event"], alert["file"], alert["error_code"]) == (
        "request_failed",
        "products.csv",
        "empty_csv",
    )
    assert alert["request_id"] == run.tags["dagster/partition"]


def test_a_run_that_will_be_tried_again_is_no_alert(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    run = failed_run(installation, **{WILL_RETRY_TAG: "true"})
    assert isinstance(evaluate(installation, run), dg.SkipReason)
    assert not alerts(caplog)


def test_a_receiver_that_is_down_costs_nothing_but_a_warning(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IMAGI_ALERT_URL", "http://127.0.0.1:9/secret-path")
    evaluate(installation, failed_run(installation))
    assert len(alerts(caplog)) == 1
    assert "The alert could not be sent to 127.0.0.1" in caplog.text
    assert "secret-path" not in caplog.text


def test_an_alert_follows_no_redirect_and_its_path_is_not_logged(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with CallbackReceiver() as receiver, CallbackReceiver() as other:
        receiver.answers["/secret-path"] = [307]
        receiver.headers = {"Location": other.url("/taken")}
        monkeypatch.setenv("IMAGI_ALERT_URL", receiver.url("/secret-path"))
        evaluate(installation, failed_run(installation))
        assert len(receiver.messages) == 1
        assert not other.messages
    assert "answered 307" in caplog.text
    assert "secret-path" not in caplog.text


def watch(installation: Installation, cursor: str | None) -> str:
    """Return a look at the landing folder, its event stored as the daemon does; the cursor after it."""
    with dg.build_sensor_context(
        instance=installation.instance, cursor=cursor, resources={"imagi": installation.resource}
    ) as context:
        result = landing_folder_watch(context)
        if isinstance(result, dg.SensorResult):
            for event in result.asset_events:
                installation.instance.report_runless_asset_event(event)
            context.update_cursor(result.cursor)
        assert context.cursor
        return context.cursor


def evaluations(installation: Installation) -> list[bool]:
    """Return what the check of the landing folder said, the oldest first."""
    (key,) = nothing_waits_in_landing_folder.check_keys
    records = installation.instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
    found = []
    for record in reversed(records):
        assert record.event
        assert record.event.dagster_event
        found.append(record.event.dagster_event.asset_check_evaluation_data.passed)
    return found


def test_a_landing_folder_that_waits_too_long_fails_its_check_and_is_told_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    files = [Path(str(installation.store.landing)) / name for name in ("one.csv", "two.csv")]
    cursor = watch(installation, None)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("Images\nhttps://a.example/a.jpg\n")
        os.utime(file, (1, 1))
    cursor = watch(installation, cursor)
    assert not alerts(caplog)  # they may just have come, with an old time
    monkeypatch.setattr(time, "time", lambda: now + 600)
    cursor = watch(installation, cursor)
    files[0].unlink()
    cursor = watch(installation, cursor)
    (alert,) = alerts(caplog)
    assert alert["event"] == "landing_folder_waits"
    assert "one.csv, two.csv" in alert["error"]
    files[1].unlink()
    watch(installation, watch(installation, cursor))
    assert evaluations(installation) == [True, False, True]
    assert len(alerts(caplog)) == 1


def test_the_check_of_the_landing_folder_is_no_part_of_a_request(installation: Installation) -> None:
    installation.process("Images\nhttps://host.invalid/a.jpg\n")
    assert evaluations(installation) == []
