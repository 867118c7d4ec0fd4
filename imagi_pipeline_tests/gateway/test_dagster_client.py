"""The client against a real `dagster-webserver` with the real definitions; without a daemon, runs wait."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

import imagi_pipeline_tests
from imagi_pipeline.contract import FILE_TAG, OWNER_TAG, REQUEST_ID_TAG, handed_in
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway import dagster_client
from imagi_pipeline.gateway.dagster_client import (
    SENSOR,
    DagsterClient,
    DagsterRefusedError,
    DagsterUnreachableError,
    FailedImage,
)
from imagi_pipeline.orchestration.instance import open_instance
from imagi_pipeline.orchestration.instance import recent_requests as recent_here
from imagi_pipeline.orchestration.instance import request_status as instance_status
from imagi_pipeline_tests.gateway.test_graphql_docs import blocks, example
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.orchestration.conftest import Installation
from imagi_pipeline_tests.processes import alive, descendants
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.running_service import free_port, wait_for

WORKSPACE = Path(imagi_pipeline_tests.__file__).parents[1] / "workspace.yaml"
BROKEN_WORKSPACE = {
    "load_from": [
        {"python_module": {"module_name": "imagi_pipeline.not_there", "location_name": "imagi_pipeline"}}
    ]
}

DOCUMENTED_URL = "http://127.0.0.1:3000"
DOCUMENTED_REQUEST = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"
DOCUMENTED_IMAGE = "shoe-red-6948900c541a385a"

SENSOR_ID = """
query($name: String!) { sensorOrError(sensorSelector: {
  sensorName: $name, repositoryName: "__repository__", repositoryLocationName: "imagi_pipeline"
}) { ... on Sensor { id } } }
"""
STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"
START_SENSOR = """
mutation($name: String!) { startSensor(sensorSelector: {
  sensorName: $name, repositoryName: "__repository__", repositoryLocationName: "imagi_pipeline"
}) { __typename } }
"""


@dataclass
class Dagster:
    """A webserver, its instance, and a request of two images, one failed, that ran in this process."""

    url: str
    instance: dg.DagsterInstance
    processed: RequestStatus
    good: str
    bad: str

    @property
    def client(self) -> DagsterClient:
        return DagsterClient(self.url)

    def add_run(
        self, request_id: str, status: str = "SUCCESS", *, job: str = "process_csv", **tags: str
    ) -> str:
        """Return a run as Dagster's storage has it, without the work."""
        run_id = str(uuid.uuid4())
        self.instance.add_run(
            dg.DagsterRun(
                job_name=job,
                run_id=run_id,
                status=dg.DagsterRunStatus[status],
                tags={REQUEST_ID_TAG: request_id, FILE_TAG: "products.csv", **tags},
            )
        )
        return run_id

    def query(self, text: str, **variables: Any) -> Any:
        answer = requests.post(
            f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=30
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]


@contextmanager
def webserver(workspace: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["-w", str(workspace), "-h", "127.0.0.1", "-p", str(port), "--log-level", "error"]
    with subprocess.Popen(
        [sys.executable, "-m", "dagster_webserver", *options],
        start_new_session=True,
        cwd=workspace.parent,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(url))
            yield url
        finally:
            started = descendants(process.pid)
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            wait_for(lambda: not alive(started))


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    folder = tmp_path_factory.mktemp("dagster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGI_STORAGE", str(folder / "storage"))
        patch.setenv("DAGSTER_HOME", str(folder / "home"))
        patch.setenv("IMAGI_ALLOWED_NETWORKS", "127.0.0.0/8")
        patch.setenv("IMAGI_CODEC_PROCESSES", "1")
        yield patch


@pytest.fixture(scope="module")
def dagster(environment: pytest.MonkeyPatch) -> Iterator[Dagster]:
    with open_instance() as instance, webserver(WORKSPACE) as url:
        with ImageHost() as host:
            (good,) = host.add("good.jpg")
            bad = f"{host.base}/bad.jpg"
            installation = Installation(instance, Store(os.environ["IMAGI_STORAGE"]))
            processed = installation.process(f"Images\n{good}\n{bad}\n")
        assert (processed.status, processed.images_failed) == ("completed", 1)
        yield Dagster(url, instance, processed, good, bad)


@pytest.fixture(scope="module")
def without_code(dagster: Dagster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterClient]:
    """A webserver on the same instance whose code location cannot be loaded."""
    workspace = tmp_path_factory.mktemp("broken") / "workspace.yaml"
    workspace.write_text(json.dumps(BROKEN_WORKSPACE))
    with webserver(workspace) as url:
        yield DagsterClient(url)


# -- reading


def test_the_status_of_a_request_is_what_its_run_says(dagster: Dagster) -> None:
    assert dagster.client.request_status(dagster.processed.request_id) == dagster.processed


def test_a_request_without_a_run_has_no_status(dagster: Dagster) -> None:
    assert dagster.client.request_status(str(uuid.uuid4())) is None


def test_the_newest_run_of_a_request_counts(dagster: Dagster) -> None:
    request_id = str(uuid.uuid4())
    dagster.add_run(request_id, "FAILURE")
    newest = dagster.add_run(request_id, "NOT_STARTED")
    found = dagster.client.request_status(request_id)
    assert found
    assert (found.run_id, found.status) == (newest, "In queue")


RETRY = {"imagi/only_failed": "true"}
REFRESH = {"dagster/schedule_name": "refresh_images_schedule"}


@pytest.mark.parametrize(
    ("tags", "status", "what", "expected"),
    [
        (RETRY, "NOT_STARTED", "retry", "In queue"),
        (RETRY, "STARTED", "retry", "processing"),
        (REFRESH, "STARTED", "refresh", "processing"),
        (RETRY, "CANCELED", "retry", "cancelled"),
        (REFRESH, "FAILURE", "refresh", "failed"),
        (REFRESH, "SUCCESS", "refresh", "completed"),
    ],
)
def test_upkeep_is_told_beside_a_result_that_stays(
    dagster: Dagster, tags: dict[str, str], status: str, what: str, expected: str
) -> None:
    request_id = str(uuid.uuid4())
    dagster.add_run(request_id, **{"imagi/progress": "3 of 3 images, 2 failed"})
    newest = dagster.add_run(request_id, status, **{"imagi/progress": "2 of 2 images, 0 failed", **tags})
    for found in (
        dagster.client.request_status(request_id),
        dagster.client.recent_requests(1).requests[0],
        instance_status(dagster.instance, request_id),
        recent_here(dagster.instance, 1)[0],
    ):
        assert found
        assert found.upkeep
        assert (found.request_id, found.status, found.run_id) == (request_id, "completed", newest)
        assert (found.upkeep.what, found.upkeep.status) == (what, expected)
        assert found.images_total == (2 if expected == "completed" else 3)
        assert found.is_finished == (expected not in ("In queue", "processing"))


def test_without_a_result_a_retry_is_the_request_itself(dagster: Dagster) -> None:
    request_id = str(uuid.uuid4())
    dagster.add_run(request_id, "CANCELED")
    dagster.add_run(request_id, "STARTED", **RETRY)
    found = dagster.client.request_status(request_id)
    assert found
    assert (found.status, found.upkeep, found.is_finished) == ("processing", None, False)
    assert instance_status(dagster.instance, request_id) == found


def test_a_whole_run_asked_for_again_goes_through_processing(dagster: Dagster) -> None:
    request_id = str(uuid.uuid4())
    dagster.add_run(request_id)
    dagster.add_run(request_id, "STARTED")
    found = dagster.client.request_status(request_id)
    assert found
    assert (found.status, found.upkeep) == ("processing", None)


def test_requests_are_listed_newest_first_and_page_by_page(dagster: Dagster) -> None:
    ids = add_requests(dagster, "ann", 5)
    first = dagster.client.recent_requests(2, owner="ann")
    second = dagster.client.recent_requests(2, owner="ann", cursor=first.next)
    third = dagster.client.recent_requests(2, owner="ann", cursor=second.next)
    pages = [[found.request_id for found in page.requests] for page in (first, second, third)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert third.next is None


def test_a_page_that_ends_with_the_last_request_has_no_next_one(dagster: Dagster) -> None:
    ids = add_requests(dagster, "bob", 2)
    page = dagster.client.recent_requests(2, owner="bob")
    assert [found.request_id for found in page.requests] == ids[::-1]
    assert page.next is None


def test_a_request_that_was_tried_again_is_listed_once_over_all_pages(dagster: Dagster) -> None:
    tried_again, other = add_requests(dagster, "cid", 2)
    for status in ("FAILURE", "CANCELED", "SUCCESS"):
        newest = dagster.add_run(tried_again, status, **{OWNER_TAG: "cid"})
    first = dagster.client.recent_requests(1, owner="cid")
    second = dagster.client.recent_requests(1, owner="cid", cursor=first.next)
    third = dagster.client.recent_requests(1, owner="cid", cursor=second.next)
    assert [(found.request_id, found.run_id) for found in first.requests] == [(tried_again, newest)]
    assert [found.request_id for found in second.requests] == [other]
    assert (third.requests, third.next) == ([], None)


def test_a_page_is_full_although_a_request_has_many_runs(dagster: Dagster) -> None:
    one, two, three = add_requests(dagster, "dot", 3)
    for _ in range(7):
        dagster.add_run(three, **{OWNER_TAG: "dot"})
    page = dagster.client.recent_requests(3, owner="dot")
    assert [found.request_id for found in page.requests] == [three, two, one]


def test_runs_of_other_jobs_and_runs_that_name_no_request_are_not_listed(dagster: Dagster) -> None:
    other_job = dagster.add_run("not a request", job="something_else")
    run_id = str(uuid.uuid4())
    dagster.instance.add_run(dg.DagsterRun(job_name="process_csv", run_id=run_id))
    listed = {found.run_id for found in dagster.client.recent_requests(100).requests}
    assert not listed & {other_job, run_id}
    assert dagster.processed.run_id in listed


def test_all_requests_that_changed_are_told_however_few_are_asked_for_at_once(dagster: Dagster) -> None:
    quiet, one, two, three = (str(uuid.uuid4()) for _ in range(4))
    dagster.add_run(quiet)
    old = dagster.add_run(one, "STARTED")
    time.sleep(2.1)  # Dagster's own resolution is a second
    since = time.time()
    dagster.instance.add_run_tags(old, {"imagi/progress": "7 of 9 images, 0 failed"})
    dagster.add_run(two, "NOT_STARTED")
    dagster.add_run(three, "FAILURE")
    newest = dagster.add_run(three, "NOT_STARTED")

    changed = {found.request_id: found for found in dagster.client.changed_requests(since, 1)}
    assert set(changed) == {one, two, three}
    assert changed[one].images_done == 7
    assert changed[three].run_id == newest
    assert dagster.client.changed_requests(time.time() + 2, 10) == []


def test_runs_are_counted_by_the_status_of_their_request(dagster: Dagster) -> None:
    before = dagster.client.count_runs()
    dagster.add_run("x", "NOT_STARTED")
    dagster.add_run("x", "STARTED")
    dagster.add_run("x", "CANCELING")
    dagster.add_run("x", job="something_else")
    after = dagster.client.count_runs()
    assert {name: after[name] - before[name] for name in after} == {
        "In queue": 1,
        "processing": 2,
        "completed": 0,
        "failed": 0,
        "cancelled": 0,
    }


def test_the_failed_images_of_a_request_are_told_with_their_reasons(dagster: Dagster) -> None:
    (failed,) = dagster.client.failed_images(dagster.processed.request_id)
    assert failed == FailedImage(dagster.bad, "http_404", failed.error)
    assert "Correct the URL" in failed.error


def test_a_request_without_a_report_has_no_failed_images(dagster: Dagster) -> None:
    assert dagster.client.failed_images(str(uuid.uuid4())) == []


def test_an_image_is_told_with_its_metadata(dagster: Dagster) -> None:
    found = dagster.client.image(image_key(dagster.good))
    assert found
    assert found.run_id == dagster.processed.run_id
    assert abs(found.materialized - time.time()) < 600
    assert found.metadata["source_url"] == dagster.good
    assert found.metadata["bytes_before"] == dagster.processed.bytes_before
    assert found.metadata["bytes_after"] == dagster.processed.bytes_after
    assert found.metadata["dimensions"] == "320x240 -> 320x240"


def test_a_failed_image_was_never_materialized(dagster: Dagster) -> None:
    assert dagster.client.image(image_key(dagster.bad)) is None


# -- doing


def test_a_request_is_launched_again_and_cancelled_while_it_waits(dagster: Dagster) -> None:
    """First the run of this process, which Dagster cannot re-execute, then one that Dagster launched."""
    client, processed = dagster.client, dagster.processed
    assert processed.run_id
    runs = [processed.run_id]
    for attempt in ("1", "2"):
        runs.append(client.retry(runs[-1], {"imagi/only_failed": attempt}))
        waiting = client.request_status(processed.request_id)
        assert waiting
        assert (waiting.run_id, waiting.status, waiting.file) == (runs[-1], "In queue", "products.csv")
        assert waiting.created == processed.created
        run = dagster.instance.get_run_by_id(runs[-1])
        assert run
        assert run.tags["dagster/partition"] == processed.request_id
        assert run.tags["imagi/only_failed"] == attempt
        assert "dagster/max_retries" not in run.tags

        client.cancel(runs[-1])
        cancelled = client.request_status(processed.request_id)
        assert cancelled
        assert (cancelled.run_id, cancelled.status) == (runs[-1], "cancelled")
        assert run.parent_run_id == (runs[1] if attempt == "2" else None)


def test_the_time_of_its_upload_stays_with_a_request(dagster: Dagster) -> None:
    request_id = str(uuid.uuid4())
    first = dagster.add_run(request_id, **handed_in(1795400000.5))
    dagster.client.cancel(dagster.client.retry(first, {}))
    found = dagster.client.request_status(request_id)
    assert found
    assert found.created == 1795400000.5


def test_a_run_that_has_ended_cannot_be_cancelled(dagster: Dagster) -> None:
    run_id = dagster.add_run(str(uuid.uuid4()), "SUCCESS")
    with pytest.raises(DagsterRefusedError, match="could not be terminated due to having status SUCCESS"):
        dagster.client.cancel(run_id)


def test_a_run_that_dagster_did_not_launch_cannot_be_cancelled(dagster: Dagster) -> None:
    run_id = dagster.add_run(str(uuid.uuid4()), "STARTED")
    with pytest.raises(DagsterRefusedError, match=f"Unable to terminate run {run_id}"):
        dagster.client.cancel(run_id)


def test_a_run_that_is_not_there_is_refused_by_name(dagster: Dagster) -> None:
    with pytest.raises(DagsterRefusedError, match="no-such-run"):
        dagster.client.cancel("no-such-run")
    with pytest.raises(DagsterRefusedError, match="no-such-run"):
        dagster.client.retry("no-such-run", {})


def test_a_backfill_of_images_has_just_their_partitions(dagster: Dagster) -> None:
    keys = [image_key(dagster.good), image_key(dagster.bad)]
    backfill = dagster.instance.get_backfill(dagster.client.backfill_images(keys))
    assert backfill
    assert backfill.asset_selection == [dg.AssetKey("compressed_image")]
    assert backfill.asset_backfill_data
    target = backfill.asset_backfill_data.target_subset
    assert {partition.partition_key for partition in target.iterate_asset_partitions()} == set(keys)


def test_an_image_that_is_not_there_cannot_be_backfilled(dagster: Dagster) -> None:
    with pytest.raises(DagsterRefusedError, match="no-such-image"):
        dagster.client.backfill_images([image_key(dagster.good), "no-such-image"])


def test_a_backfill_of_nothing_is_refused(dagster: Dagster) -> None:
    with pytest.raises(DagsterRefusedError, match="at least one"):
        dagster.client.backfill_images([])


# -- health


def beat(dagster: Dagster, *, age: float = 0.0, failing: str | None = None) -> None:
    """Write what the daemon writes when it works, some seconds ago."""
    for daemon in dagster.instance.get_required_daemon_types():
        errors = [SerializableErrorInfo("OSError: disk full\n", [], "OSError")] if daemon == failing else []
        heartbeat = DaemonHeartbeat(time.time() - age, daemon, None, errors)
        dagster.instance.add_daemon_heartbeat(heartbeat)


def test_health_names_the_daemons_that_never_ran_and_what_to_start(dagster: Dagster) -> None:
    dagster.instance.wipe_daemon_heartbeats()
    (problem,) = dagster.client.health()
    assert "SENSOR" in problem
    assert "QUEUED_RUN_COORDINATOR" in problem
    assert "imagi serve" in problem


def test_health_finds_a_daemon_that_stopped_minutes_ago(dagster: Dagster) -> None:
    beat(dagster, age=240)
    (problem,) = dagster.client.health()
    assert "is not running" in problem


def test_health_tells_the_problem_of_a_daemon_that_runs(dagster: Dagster) -> None:
    beat(dagster, failing="SENSOR")
    (problem,) = dagster.client.health()
    assert "SENSOR has a problem: OSError: disk full" in problem


def test_health_has_nothing_to_say_when_all_is_well(dagster: Dagster) -> None:
    beat(dagster)
    assert dagster.client.health() == []


def test_health_says_that_the_sensor_is_stopped_and_where_to_start_it(dagster: Dagster) -> None:
    beat(dagster)
    sensor = dagster.query(SENSOR_ID, name=SENSOR)["sensorOrError"]["id"]
    dagster.query(STOP_SENSOR, id=sensor)
    try:
        (problem,) = dagster.client.health()
    finally:
        dagster.query(START_SENSOR, name=SENSOR)
    assert "landing_folder_sensor is stopped" in problem
    assert "Dagster UI" in problem
    assert dagster.client.health() == []


def test_health_says_why_the_code_cannot_be_loaded(dagster: Dagster, without_code: DagsterClient) -> None:
    beat(dagster)
    (problem,) = without_code.health()
    assert "imagi_pipeline is not loaded" in problem
    assert "No module named 'imagi_pipeline.not_there'" in problem


def test_the_status_is_known_also_when_the_code_cannot_be_loaded(
    dagster: Dagster, without_code: DagsterClient
) -> None:
    request_id = str(uuid.uuid4())
    dagster.add_run(request_id)
    found = without_code.request_status(request_id)
    assert found
    assert found.status == "completed"


def test_without_code_nothing_can_be_launched_and_that_may_pass(
    dagster: Dagster, without_code: DagsterClient
) -> None:
    assert dagster.processed.run_id
    launched = dagster.client.retry(dagster.processed.run_id, {})
    dagster.client.cancel(launched)
    for run_id in (dagster.processed.run_id, launched):
        with pytest.raises(DagsterUnreachableError, match="not_there"):
            without_code.retry(run_id, {})
    with pytest.raises(DagsterUnreachableError, match="lacks the code"):
        without_code.backfill_images([image_key(dagster.good)])


# -- a Dagster that is not there, or is not Dagster


def test_what_dagster_does_not_understand_is_told_in_its_words(dagster: Dagster) -> None:
    with pytest.raises(DagsterUnreachableError, match="Int cannot represent non 32-bit"):
        dagster.client.recent_requests(2**40)


def test_where_nothing_listens_the_error_names_the_url_and_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(DagsterUnreachableError) as caught:
        DagsterClient(url).health()
    assert url in str(caught.value)
    assert "imagi serve" in str(caught.value)
    assert "IMAGI_DAGSTER_URL" in str(caught.value)


def test_a_password_in_the_url_is_not_told() -> None:
    with pytest.raises(DagsterUnreachableError) as caught:
        DagsterClient(f"http://me:secret@127.0.0.1:{free_port()}").count_runs()
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


class OtherServer:
    """A web server that answers every query in the same way."""

    def __init__(self, status: int, body: str, *, delay: float = 0.0, **headers: str) -> None:
        self.connections: set[tuple[str, int]] = set()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner.connections.add(self.client_address)
                self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(delay)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep the test's output clean."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> OtherServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>A page</html>"),
        (500, "<html>Broken</html>"),
        (502, ""),
        (404, '{"detail": "Not Found"}'),
        (200, "[]"),
        (200, '{"data": null}'),
        (200, '{"errors": "none of your business"}'),
    ],
)
def test_a_server_that_is_no_dagster_is_told_with_its_status(status: int, body: str) -> None:
    with (
        OtherServer(status, body) as server,
        pytest.raises(DagsterUnreachableError, match=rf"not Dagster \(HTTP status {status}\)"),
    ):
        DagsterClient(server.url).request_status("x")


def test_a_login_page_is_not_followed() -> None:
    with (
        OtherServer(302, "", Location="/login") as server,
        pytest.raises(DagsterUnreachableError, match="HTTP status 302"),
    ):
        DagsterClient(server.url).request_status("x")


def test_the_message_of_an_error_within_dagster_is_told() -> None:
    body = json.dumps({"data": None, "errors": [{"message": "database is locked\n  at line 7"}]})
    with (
        OtherServer(500, body) as server,
        pytest.raises(DagsterUnreachableError, match=r"database is locked$"),
    ):
        DagsterClient(server.url).request_status("x")


def test_an_answer_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagster_client, "TIMEOUT", 0.1)
    with (
        OtherServer(200, "", delay=0.5) as server,
        pytest.raises(DagsterUnreachableError, match="not answer in time"),
    ):
        DagsterClient(server.url).request_status("x")


def test_a_thread_keeps_its_connection_only_while_dagster_keeps_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = '{"data": {"runsOrError": {"__typename": "Runs", "results": []}}}'
    with OtherServer(200, body) as server:
        client = DagsterClient(server.url)
        for _ in range(3):
            client.request_status("x")
        assert len(server.connections) == 1
        with ThreadPoolExecutor(1) as pool:
            pool.submit(client.request_status, "x").result()
        assert len(server.connections) == 2
        monkeypatch.setattr(dagster_client, "SECONDS_CONNECTED", 0.0)
        client.request_status("x")
        assert len(server.connections) == 3


def add_requests(dagster: Dagster, owner: str, count: int) -> list[str]:
    """Return the ids of some requests of an owner, each with one run that succeeded, the newest last."""
    ids = [str(uuid.uuid4()) for _ in range(count)]
    for request_id in ids:
        dagster.add_run(request_id, **{OWNER_TAG: owner})
    return ids


# -- docs/graphql.md


def paths(value: Any) -> set[str]:
    """Return the ways to all that is in a JSON document; the elements of a list count as one."""
    if isinstance(value, dict):
        return {f"{name}/{path}" for name, inner in value.items() for path in paths(inner) | {""}}
    if isinstance(value, list):
        return {path for inner in value for path in paths(inner)}
    return set()


def test_the_documented_queries_are_answered_as_documented(dagster: Dagster) -> None:
    client, processed = dagster.client, dagster.processed
    assert processed.run_id

    def ask(name: str, **given: Any) -> Any:
        variables, documented = example(name)
        answer = client._ask(name, variables | given)
        assert not paths(documented) - paths(answer)
        assert typenames(answer) == typenames(documented)
        return answer

    beat(dagster)
    ask("health")
    ask("count_runs")
    this = {"key": REQUEST_ID_TAG, "value": processed.request_id}
    file = {"key": FILE_TAG, "value": "products.csv"}
    ask("failed_images", requestId=processed.request_id)
    ask("image", key=image_key(dagster.good))
    ask("backfill_images", keys=[image_key(dagster.bad)])

    launched = ask("launch_request", tags=[this, file])["launchRun"]["run"]["runId"]
    ask("requests", filter={"pipelineName": "process_csv", "tags": [this]})
    ask("cancel_request", runId=launched)
    again = ask("retry_request", runId=launched)["launchPipelineReexecution"]["run"]["runId"]
    ask("cancel_request", runId=again)


def typenames(answer: Any) -> list[str]:
    return re.findall(r'"__typename": "(\w+)"', json.dumps(answer))


@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("curl"), reason="needs curl and jq")
def test_the_documented_commands_work(dagster: Dagster) -> None:
    request_id, image = str(uuid.uuid4()), image_key(dagster.good)
    run_id = dagster.add_run(request_id, **{"imagi/progress": "1 of 2 images, 0 failed"})

    def run(command: list[str], text: str) -> str:
        adapted = text.replace(DOCUMENTED_URL, dagster.url).replace(DOCUMENTED_IMAGE, image)
        adapted = adapted.replace(DOCUMENTED_REQUEST, request_id)
        assert adapted != text
        done = subprocess.run(
            [*command, adapted], cwd=WORKSPACE.parent, capture_output=True, text=True, check=True
        )
        return done.stdout

    with_curl, with_jq = blocks("sh")
    assert json.loads(run(["sh", "-c"], with_curl))["data"]["runsOrError"]["results"] == [
        {"runId": run_id, "status": "SUCCESS"}
    ]
    assert image in run(["sh", "-c"], with_jq)
    (with_python,) = blocks("python")
    assert run([sys.executable, "-c"], with_python) == "SUCCESS 1 of 2 images, 0 failed\n"
