"""Who may call the API, tried on the application itself with the tokens and addresses of each test."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from imagi_pipeline.core.storage.landing import land_requests, publish, status_without_run
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.access import UnsafeAddressError, authenticate, check_address
from imagi_pipeline.gateway.problems import ApiError
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.running_service import served_gateway

SHOP, OTHER, ADMIN = "shop-0123456789abcdef", "other-0123456789abcdef", "admin-0123456789abcdef"
TOKENS = f"shop:{SHOP}, other:{OTHER},ops:{ADMIN}:admin"

PROTECTED = (
    ("POST", "/imagi-process/upload_csv/"),
    ("POST", "/imagi-process/inspect_csv/"),
    ("GET", f"/imagi-process/check_request_status/{uuid.uuid4()}/"),
    ("GET", "/imagi-process/requests/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/result/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/report/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/failures/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/failures.csv/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/archive/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/images/"),
    ("GET", f"/imagi-process/requests/{uuid.uuid4()}/images/a-0123/source/"),
    ("POST", f"/imagi-process/requests/{uuid.uuid4()}/cancel/"),
    ("POST", f"/imagi-process/requests/{uuid.uuid4()}/retry/"),
    ("GET", "/metrics"),
)


@dataclass
class Client:
    """Calls one gateway, by paths."""

    url: str

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=10, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.request("POST", path, **options)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A gateway with tokens whose Dagster is down."""
    monkeypatch.setenv("IMAGI_API_TOKENS", TOKENS)
    monkeypatch.setenv("IMAGI_DAGSTER_URL", "http://127.0.0.1:9")
    with served_gateway(Settings()) as url:
        yield Client(url)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_without_a_valid_token_nothing_is_told_or_done(client: Client) -> None:
    wrong: list[dict[str, str]] = [{}, bearer("wrong"), bearer(""), {"Authorization": f"Basic {SHOP}"}]
    for method, path in PROTECTED:
        for headers in wrong:
            answer = client.request(method, path, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_endpoint_of_the_api_is_among_the_protected(client: Client) -> None:
    documented = client.get("/openapi.json").json()["paths"]
    open_to_all = {"/healthz", "/readyz"}
    assert len([path for path in documented if path not in open_to_all]) == len(PROTECTED)


@pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json"])
def test_the_page_and_the_signs_of_life_need_no_token(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_token_hands_in_under_its_name(client: Client, store: Store) -> None:
    files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
    answer = client.post("/imagi-process/upload_csv/", files=files, headers=bearer(SHOP))
    folder = store.landing / answer.json()["request_id"]
    assert RequestManifest.from_json((folder / "request.json").read_bytes()).owner == "shop"


def test_the_same_idempotency_key_of_two_tokens_is_two_keys(client: Client) -> None:
    files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
    ids = {
        client.post(
            "/imagi-process/upload_csv/",
            files=files,
            headers=bearer(token) | {"Idempotency-Key": "order-1"},
        ).json()["request_id"]
        for token in (SHOP, OTHER, SHOP)
    }
    assert len(ids) == 2


def test_a_caller_sees_its_own_requests_and_an_admin_all() -> None:
    tokens = Settings(api_tokens=TOKENS).api_tokens
    shop, admin = authenticate(f"Bearer {SHOP}", tokens), authenticate(f"bearer {ADMIN}", tokens)
    assert [shop.may_see(owner) for owner in ("shop", "other", None)] == [True, False, False]
    assert [admin.may_see(owner) for owner in ("shop", "other", None)] == [True, True, True]
    with pytest.raises(ApiError):
        authenticate(f"Bearer {SHOP} {SHOP}", tokens)


def test_while_dagster_is_down_uploads_are_taken_and_status_says_to_come_back(
    client: Client, store: Store
) -> None:
    files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
    accepted = client.post("/imagi-process/upload_csv/", files=files, headers=bearer(SHOP))
    assert accepted.status_code == 202
    assert (store.landing / accepted.json()["request_id"] / "a.csv").exists()
    answer = client.get(accepted.headers["Location"], headers=bearer(SHOP))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "dagster_unreachable")
    assert int(answer.headers["Retry-After"]) > 0
    ready = client.get("/readyz")
    assert (ready.status_code, len(ready.json()["problems"])) == (503, 1)


def test_a_storage_that_cannot_be_written_is_named_and_nothing_is_acknowledged(
    client: Client, store: Store
) -> None:
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "landing").write_bytes(b"in the way")
    files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
    answer = client.post("/imagi-process/upload_csv/", files=files, headers=bearer(SHOP))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_failure")
    assert "landing" in client.get("/readyz").json()["problems"][0]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.9.1"])
def test_loopback_needs_no_tokens(host: str) -> None:
    check_address(host, Settings())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example"])
def test_other_addresses_need_tokens_or_the_explicit_wish(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsafeAddressError, match="IMAGI_API_TOKENS"):
        check_address(host, Settings())
    monkeypatch.setenv("IMAGI_ALLOW_ANONYMOUS", "true")
    check_address(host, Settings())
    monkeypatch.delenv("IMAGI_ALLOW_ANONYMOUS")
    monkeypatch.setenv("IMAGI_API_TOKENS", TOKENS)
    check_address(host, Settings())


def test_without_tokens_only_known_names_of_this_machine_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IMAGI_GATEWAY_URL", "https://imagi.shop.example")
    with served_gateway(Settings()) as url:
        known = ("localhost", "127.0.0.1:8000", "[::1]:8000", "imagi.shop.example")
        for host, status in [*((name, 200) for name in known), ("evil.example", 403), ("[", 403)]:
            assert requests.get(f"{url}/healthz", headers={"Host": host}, timeout=10).status_code == status


def test_a_waiting_request_of_somebody_else_is_unknown(store: Store) -> None:
    request_id = str(uuid.uuid4())
    publish(store, request_id, RequestManifest("a.csv", owner="other"), b"Image\nhttps://a.example/a.jpg\n")
    tokens = Settings(api_tokens=TOKENS).api_tokens
    shop = authenticate(f"Bearer {SHOP}", tokens)
    found = status_without_run(store, request_id)
    assert found
    assert not shop.may_see(found.owner)


def test_a_page_of_another_site_cannot_call_also_where_browsers_tell_only_the_origin(client: Client) -> None:
    files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
    for origin, status in [("http://evil.example", 403), ("null", 403), ("http://shop.example", 202)]:
        headers = bearer(SHOP) | {"Origin": origin, "Host": "shop.example"}
        answer = client.post("/imagi-process/upload_csv/", files=files, headers=headers)
        assert answer.status_code == status


def test_before_the_first_image_there_is_none_and_that_is_no_fault(client: Client) -> None:
    assert client.get("/media/aa/a.jpg").status_code == 404


def test_head_answers_as_get_does_without_the_body(client: Client) -> None:
    for path in ("/", "/healthz", "/openapi.json"):
        head, get = client.request("HEAD", path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert client.request("HEAD", "/imagi-process/upload_csv/").status_code == 405


def test_a_dagster_that_hangs_holds_up_only_those_who_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("IMAGI_DAGSTER_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with served_gateway(Settings()) as url, ThreadPoolExecutor(60) as pool:
            client = Client(url)
            status = f"/imagi-process/check_request_status/{uuid.uuid4()}/"
            asked = [pool.submit(requests.get, url + status, timeout=60) for _ in range(60)]
            time.sleep(1)
            files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
            assert client.post("/imagi-process/upload_csv/", files=files).status_code == 202
            assert client.get("/").status_code == 200
            assert not any(answer.done() for answer in asked)  # all that came before the first gave up
            assert {answer.result().status_code for answer in asked} == {503}


def test_a_gateway_on_a_bucket_takes_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"memory://{uuid.uuid4()}"
    monkeypatch.setenv("IMAGI_STORAGE", bucket)
    monkeypatch.setenv("IMAGI_DAGSTER_URL", "http://127.0.0.1:9")
    with served_gateway(Settings()) as url:
        files = {"file": ("a.csv", "Image\nhttps://a.example/a.jpg\n")}
        headers = {"Idempotency-Key": "order-1"}
        ids = {
            requests.post(
                f"{url}/imagi-process/upload_csv/", files=files, headers=headers, timeout=10
            ).json()["request_id"]
            for _ in range(2)
        }
        (landed,), problems = land_requests(Store(bucket), 0.0)
        assert ({landed.request_id}, problems) == (ids, [])
