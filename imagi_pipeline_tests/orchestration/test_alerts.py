from __future__ import annotations

import json
import logging

import dagster as dg
import pytest

from imagi_pipeline.core.request_status import WILL_RETRY_TAG
from imagi_pipeline.orchestration.alerts import request_failure_sensor
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
    assert alert["request_id"] == run.tags["imagi/request_id"]


def test_a_run_that_will_be_tried_again_is_no_alert(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    run = failed_run(installation, **{WILL_RETRY_TAG: "true"})
    assert isinstance(evaluate(installation, run), dg.SkipReason)
    assert not alerts(caplog)


def test_a_receiver_that_is_down_costs_nothing_but_a_warning(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("IMAGI_ALERT_URL", "http://127.0.0.1:9/alerts")
    evaluate(installation, failed_run(installation))
    assert len(alerts(caplog)) == 1
    assert "The alert could not be sent" in caplog.text
