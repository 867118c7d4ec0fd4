"""The web server of Dagster that `imagi serve` starts, as other web sites, other names and its UI meet it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from imagi_pipeline.gateway.access import UnsafeAddressError, check_ui_address
from imagi_pipeline.gateway.dagster_client import DagsterClient, DagsterUnreachableError
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.browsers import chromium, needs_browser
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service, free_port, wait_for
from imagi_pipeline_tests.threaded_server import ThreadedServer

with contextlib.suppress(ImportError):  # the tests that need it are skipped
    from playwright.sync_api import Browser, expect

DELETE = 'mutation {{ deletePipelineRun(runId: "{}") {{ __typename }} }}'
QUERY = "{ version }"
ADMIN = "admin-0123456789abcdef"
SHOP = "shop-0123456789abcdef"
GRAPHQL_WS: Any = "graphql-ws"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One in which every name of the site www.evil.test leads to this machine."""
    with chromium("--host-resolver-rules=MAP *.evil.test 127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def run_id(service: Service) -> str:
    """A run that somebody would miss."""
    with ImageHost() as host:
        service.drop("kept.csv", host.add("kept.jpg"))
        done = service.finished(service.request_of("kept.csv"))
    assert done.run_id
    return done.run_id


def exists(service: Service, run_id: str) -> bool:
    query = "query($id: ID!) { runOrError(runId: $id) { __typename } }"
    return bool(service.query(query, id=run_id)["runOrError"]["__typename"] == "Run")


def call(service: Service, **headers: str) -> int:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(
        f"{service.ui}/graphql", json={"query": QUERY}, headers=fields, timeout=10
    ).status_code


def test_programs_and_the_pages_of_dagster_are_answered(service: Service) -> None:
    assert call(service) == 200
    assert call(service, Origin=service.ui, Sec_Fetch_Site="same-origin") == 200
    assert call(service, Host=f"localhost:{urlsplit(service.ui).port}") == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "www.evil.test"},
        {"Host": "www.evil.test", "Origin": "http://www.evil.test"},
        {"Host": "["},
        {"Origin": "http://www.evil.test"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_web_sites_and_names_are_not(service: Service, headers: dict[str, str]) -> None:
    assert call(service, **headers) == 403


def test_a_link_from_another_site_opens_a_page_and_nothing_else_does(service: Service) -> None:
    site = {"Sec-Fetch-Site": "cross-site"}
    link = site | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    frame = link | {"Sec-Fetch-Dest": "iframe"}
    statuses = [
        requests.get(service.ui, headers=each, timeout=10).status_code for each in (link, frame, site)
    ]
    assert statuses == [200, 403, 403]
    assert requests.post(f"{service.ui}/graphql", headers=link, timeout=10).status_code == 403


def test_no_page_may_put_the_ui_into_a_frame(service: Service) -> None:
    assert requests.get(service.ui, timeout=10).headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "mutation",
    [
        DELETE,
        "query Harmless {{ version }} " + DELETE.replace("mutation", "mutation Other"),
        'subscription {{ capturedLogs(logKey: "{}") {{ __typename }} }}',
        "{{ version",
        "{{ a" * 2000 + "{}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_by_get_only_queries_are_executed(service: Service, run_id: str, mutation: str, method: str) -> None:
    params = {"query": mutation.format(run_id), "operationName": "Other" if "Other" in mutation else None}
    answer = requests.request(method, f"{service.ui}/graphql", params=params, timeout=10)
    assert answer.status_code == 405
    assert exists(service, run_id)


def test_a_query_by_get_is_executed(service: Service) -> None:
    answer = requests.get(f"{service.ui}/graphql", params={"query": QUERY}, timeout=10)
    assert answer.json()["data"]["version"]


def test_a_call_says_its_length_and_keeps_to_the_limit(service: Service) -> None:
    connection = http.client.HTTPConnection(urlsplit(service.ui).netloc, timeout=10)
    for headers, status in (({"Transfer-Encoding": "chunked"}, 411), ({"Content-Length": str(10**12)}, 413)):
        connection.request("POST", "/graphql", headers=headers)
        assert connection.getresponse().status == status
        connection.close()


def subscribed(ui: str, **headers: str) -> str:
    """Return what the first message of Dagster over a WebSocket is."""
    url = ui.replace("http", "ws") + "/graphql"
    with connect(url, subprotocols=[GRAPHQL_WS], additional_headers=headers) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        return str(json.loads(socket.recv(10))["type"])


def test_websockets_are_for_the_pages_of_dagster_alone(service: Service) -> None:
    assert subscribed(service.ui) == "connection_ack"
    assert subscribed(service.ui, Origin=service.ui) == "connection_ack"
    for headers in ({"Origin": "http://www.evil.test"}, {"Host": "www.evil.test"}):
        with pytest.raises(InvalidStatus):
            subscribed(service.ui, **headers)


class _OtherSite(BaseHTTPRequestHandler):
    html = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.html.encode())

    def log_message(self, *_: object) -> None:
        pass


@needs_browser
def test_a_page_of_another_site_deletes_nothing(service: Service, run_id: str, browser: Browser) -> None:
    mutation = quote(DELETE.format(run_id))
    html = f"""
      <img src="{service.ui}/graphql?query={mutation}">
      <form method="post" action="{service.ui}/graphql?query={mutation}"><input name="a"></form>
      <script>
        fetch("{service.ui}/graphql?query={mutation}", {{method: "POST", mode: "no-cors"}})
          .finally(() => document.forms[0].submit());
      </script>"""
    handler = type("_Page", (_OtherSite,), {"html": html})
    with ThreadedServer(handler) as site:
        page = browser.new_page()
        with page.expect_navigation(url=f"{service.ui}/**"):
            page.goto(f"http://www.evil.test:{site.port}/")
        page.close()
    assert exists(service, run_id)


@needs_browser
def test_the_ui_works_behind_the_guard(service: Service, run_id: str, browser: Browser) -> None:
    page = browser.new_page()
    refused: list[str] = []
    sockets: list[str] = []
    page.on("response", lambda found: refused.append(found.url) if found.status in (401, 403, 405) else None)
    page.on("websocket", lambda found: sockets.append(found.url))
    page.goto(f"{service.ui}/runs/{run_id}")
    expect(page.get_by_text("compression_report").first).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible()  # the events come over the WebSocket
    page.close()
    assert refused == []
    assert sockets


@contextmanager
def web_server(folder: Path, host: str) -> Iterator[str]:
    """The web server alone, as `imagi serve` calls it, without code."""
    port, workspace = free_port(), folder / "workspace.yaml"
    workspace.write_text("load_from: []")
    (folder / "dagster_home").mkdir()
    command = [sys.executable, "-m", "imagi_pipeline.service.web_server", "-w", str(workspace)]
    with subprocess.Popen([*command, "-h", host, "-p", str(port)]) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: _answers(url))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        requests.get(url, timeout=5)
    except requests.ConnectionError:
        return False
    return True


def test_on_other_addresses_it_asks_for_the_login_of_an_admin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_API_TOKENS", f"ops:{ADMIN}:admin,shop:{SHOP}")
    monkeypatch.setenv("IMAGI_DAGSTER_URL", "http://gateway:secret-of-the-gateway@127.0.0.1:3000")
    with web_server(tmp_path, "0.0.0.0") as url:
        rejected = [None, ("ops", "wrong"), ("shop", SHOP), ("", ""), ("ops", "")]
        for login in rejected:
            answer = requests.get(url, auth=login, timeout=10)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Dagster"')
        assert requests.get(url, headers={"Authorization": "Basic é"}, timeout=10).status_code == 401
        assert requests.get(url, auth=("ops", ADMIN), timeout=10).status_code == 200
        with pytest.raises(InvalidStatus):
            subscribed(url)
        basic = base64.b64encode(f"ops:{ADMIN}".encode()).decode()
        assert subscribed(url, Authorization=f"Basic {basic}") == "connection_ack"
        assert DagsterClient(url.replace("//", "//gateway:secret-of-the-gateway@")).health()
        with pytest.raises(DagsterUnreachableError, match="IMAGI_DAGSTER_URL"):
            DagsterClient(url).health()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_the_ui_needs_no_login(host: str) -> None:
    check_ui_address(host, Settings())


def test_on_other_addresses_the_ui_needs_an_admin_or_the_explicit_wish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGI_API_TOKENS", f"shop:{SHOP}")
    with pytest.raises(UnsafeAddressError, match="IMAGI_API_TOKENS"):
        check_ui_address("0.0.0.0", Settings())
    monkeypatch.setenv("IMAGI_API_TOKENS", f"ops:{ADMIN}:admin")
    check_ui_address("0.0.0.0", Settings())
    monkeypatch.delenv("IMAGI_API_TOKENS")
    monkeypatch.setenv("IMAGI_ALLOW_ANONYMOUS", "true")
    check_ui_address("0.0.0.0", Settings())


def test_serve_refuses_to_open_the_ui_to_the_network_without_a_login() -> None:
    command = [
        sys.executable,
        "-m",
        "imagi_pipeline",
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        str(free_port()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "IMAGI_API_TOKENS" in done.stderr
