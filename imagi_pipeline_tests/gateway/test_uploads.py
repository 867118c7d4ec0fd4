"""How a CSV comes in: its limits, and what a gateway that dies leaves behind."""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY, land_requests
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.gateway.uploads import remove_old_keys
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.running_service import free_port, served_gateway, wait_for

UPLOAD = "/imagi-process/upload_csv/"
INSPECT = "/imagi-process/inspect_csv/"
LIMIT = 20_000


def csv_of_size(size: int) -> bytes:
    line = b"https://images.example/a.jpg\n"
    return (b"Image\n" + line * (size // len(line) + 1))[: size - 1] + b"\n"


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("IMAGI_MAX_UPLOAD_BYTES", str(LIMIT))
    with served_gateway(Settings()) as url:
        yield url


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield a body whose length is not told beforehand."""
    for start in range(0, len(data), 4096):
        yield data[start : start + 4096]


def test_a_csv_of_the_largest_size_is_taken_and_one_byte_more_is_not(limited: str, store: Store) -> None:
    headers = {"Content-Type": "text/csv"}
    fits, too_large = csv_of_size(LIMIT), csv_of_size(LIMIT + 1)
    assert requests.post(limited + UPLOAD, data=fits, headers=headers, timeout=10).status_code == 202
    for body in (too_large, pieces(too_large)):
        answer = requests.post(limited + UPLOAD, data=body, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert "20,000 bytes" in answer.json()["error"]["message"]
    assert len(list(store.landing.iterdir())) == 1


def test_a_form_whose_file_is_too_large_is_refused(limited: str) -> None:
    answer = requests.post(limited + UPLOAD, files={"file": ("a.csv", csv_of_size(LIMIT))}, timeout=10)
    assert answer.status_code == 202
    for size in (LIMIT + 1, LIMIT * 5):
        answer = requests.post(limited + UPLOAD, files={"file": ("a.csv", csv_of_size(size))}, timeout=10)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.csv", "passwd.csv"),
        ("..\\..\\boot.csv", "boot.csv"),
        ("商品目录.csv", "商品目录.csv"),
        ("request.json", "upload.csv"),
        ("a:b?.csv", "a_b_.csv"),
    ],
)
def test_a_file_name_cannot_escape_and_is_kept_in_any_script(
    limited: str, store: Store, name: str, kept: str
) -> None:
    answer = requests.post(limited + UPLOAD, files={"file": (name, csv_of_size(100))}, timeout=10)
    assert answer.status_code == 202
    request_id = answer.json()["request_id"]
    assert {path.name for path in (store.landing / request_id).iterdir()} == {"request.json", kept}


CSV = csv_of_size(100)
CHOSEN = {"preset": "small", "quality": "60", "format": "webp", "longest_side": "1200", "png": "lossless"}


def test_options_come_as_fields_of_the_form_or_as_parameters_of_the_address(
    limited: str, store: Store
) -> None:
    raw = {"headers": {"Content-Type": "text/csv"}, "data": CSV}
    form = {"files": {"file": ("a.csv", CSV)}}
    for given in (raw | {"params": CHOSEN}, form | {"data": CHOSEN}, form | {"params": CHOSEN}):
        answer = requests.post(limited + UPLOAD, timeout=10, **given)
        assert answer.status_code == 202, answer.text
        manifest = json.loads((store.landing / answer.json()["request_id"] / "request.json").read_text())
        assert manifest["settings"] == "small-q60-webp-1200px-losslesspng"


def test_what_is_not_chosen_is_settled_when_the_request_is_accepted(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "900")
    with served_gateway(Settings()) as url:
        files = {"file": ("a.csv", CSV)}
        answer = requests.post(url + UPLOAD, files=files, data={"quality": "60"}, timeout=10)
        looked = requests.post(url + INSPECT, files=files, data={"preset": "small"}, timeout=10).json()
    manifest = json.loads((store.landing / answer.json()["request_id"] / "request.json").read_text())
    assert (manifest["options"], manifest["settings"]) == ({"quality": 60}, "balanced-q60-same-900px")
    assert looked["options"]["preset"] == "small"
    assert (looked["options"]["quality"], looked["options"]["longest_side"]) == (70, 900)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("qualty", "60", "There is no option 'qualty'. Did you mean quality?"),
        ("url_colum", "Image", "Did you mean url_column?"),
        ("x", "", "There are: url_column, base_url,"),
        ("quality", "101", "quality is a whole number from 1 to 100, not '101'."),
        ("format", "gif", "format is one of same, auto, auto-webp, jpeg"),
    ],
)
def test_an_option_that_cannot_be_is_refused_and_nothing_is_kept(
    limited: str, store: Store, field: str, value: str, words: str
) -> None:
    raw = {"headers": {"Content-Type": "text/csv"}, "data": CSV, "params": {field: value}}
    form = {"files": {"file": ("a.csv", CSV)}, "data": {field: value}}
    for given in (raw, form):
        answer = requests.post(limited + UPLOAD, timeout=10, **given)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["column"]) == (422, "invalid_option", field)
        assert words in error["message"]
    assert not store.landing.exists()


def test_every_option_is_documented_for_form_and_address(limited: str) -> None:
    document = requests.get(f"{limited}/openapi.json", timeout=10).json()
    call = document["paths"][UPLOAD]["post"]
    in_form = call["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    in_query = {each["name"]: each["schema"] for each in call["parameters"] if each["in"] == "query"}
    assert {*CHOSEN, "in_place", "url_column"} < set(in_form)
    assert {*in_form, "filename"} == {*in_query, "file"}
    assert in_query["quality"]["maximum"] == 100
    assert in_form["preset"]["enum"] == ["fast", "balanced", "small", "lossless"]


def test_a_connection_that_breaks_in_the_middle_leaves_nothing(limited: str, store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield csv_of_size(5000)
        raise ConnectionAbortedError("the client is gone")

    with pytest.raises(requests.ConnectionError):
        requests.post(limited + UPLOAD, data=broken(), headers={"Content-Type": "text/csv"}, timeout=10)
    assert requests.get(f"{limited}/healthz", timeout=10).status_code == 200
    assert not list(store.landing.iterdir()) if store.landing.exists() else True


def test_an_idempotency_key_is_forgotten_after_a_day(limited: str, store: Store) -> None:
    def upload() -> str:
        headers = {"Content-Type": "text/csv", "Idempotency-Key": "order-1"}
        answer = requests.post(limited + UPLOAD, data=csv_of_size(100), headers=headers, timeout=10)
        return str(answer.json()["request_id"])

    first = upload()
    assert upload() == first
    (record,) = store.idempotency_keys.iterdir()
    remove_old_keys(store)
    assert upload() == first
    yesterday = {"created": time.time() - SECONDS_OF_A_DAY - 1}
    record.write_text(json.dumps(json.loads(record.read_text()) | yesterday))
    remove_old_keys(store)
    assert upload() != first


def test_a_key_whose_gateway_died_before_the_request_was_there_is_taken_up_again(
    limited: str, store: Store
) -> None:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "order-1"}

    def upload() -> str:
        answer = requests.post(limited + UPLOAD, data=csv_of_size(100), headers=headers, timeout=10)
        return str(answer.json()["request_id"])

    first = upload()
    store.remove_folder(store.landing / first)  # as if it had been killed between key and request
    assert upload() == first
    assert (store.landing / first / "upload.csv").exists()


@contextmanager
def gateway_process(largest_file: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """`imagi gateway` and its URL; it can write no file beyond `largest_file` bytes, as on a full disk."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    port = free_port()
    command = [sys.executable, "-m", "imagi_pipeline", "gateway", "--port", str(port)]
    # What it prints may go into a file, which the limit would end.
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=limit) as process:  # noqa: PLW1509
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: answers(url))
            yield process, url
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_where_nothing_can_be_written_the_gateway_says_that_and_where(tmp_path: Path) -> None:
    csv, headers = csv_of_size(3_000_000), {"Content-Type": "text/csv"}
    with gateway_process(largest_file=0) as (_, url):
        raw = requests.post(url + UPLOAD, data=csv, headers=headers, timeout=30)
        form = requests.post(url + UPLOAD, files={"file": ("a.csv", csv)}, timeout=30)
        small = requests.post(url + UPLOAD, data=csv_of_size(100), headers=headers, timeout=30)
        ready = requests.get(f"{url}/readyz", timeout=30)
    for answer, place in ((raw, "TMPDIR"), (form, "TMPDIR"), (small, "landing")):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "storage_failure")
        assert place in error["message"]
        assert "Retry-After" in answer.headers
    assert ready.status_code == 503
    assert "landing" in ready.json()["problems"][0]


@pytest.mark.parametrize("field", ["url_column", "base_url", "callback_url"])
@pytest.mark.parametrize("call", ["upload_csv", "inspect_csv"])
def test_an_option_without_end_is_refused_by_name(limited: str, field: str, call: str) -> None:
    url, value = f"{limited}/imagi-process/{call}/", "1" * 5000
    form = requests.post(url, files={"file": ("a.csv", csv_of_size(100))}, data={field: value}, timeout=10)
    raw = requests.post(
        url,
        data=csv_of_size(100),
        params={field: value},
        headers={"Content-Type": "text/csv"},
        timeout=10,
    )
    for answer in (form, raw):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["column"]) == (422, "invalid_request", field)


@pytest.mark.parametrize("size", [b"-5", b"-1", b"5x", b"f" * 30, b""])
def test_a_malformed_chunk_is_the_fault_of_its_sender(limited: str, store: Store, size: bytes) -> None:
    with socket.create_connection(("127.0.0.1", int(limited.rpartition(":")[2])), timeout=10) as client:
        client.sendall(
            b"POST /imagi-process/upload_csv/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nImage\r\n0\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert not list(store.landing.iterdir()) if store.landing.exists() else True


class Uploader(threading.Thread):
    """Uploads one CSV after the other; remembers what was acknowledged."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self.url = url
        self.acknowledged: dict[str, bytes] = {}
        self.random = random.Random(number)

    def run(self) -> None:
        while True:
            content = csv_of_size(self.random.randint(1_000, 200_000)) + uuid.uuid4().hex.encode() + b"\n"
            files = {"file": ("products.csv", content)}
            try:
                answer = requests.post(self.url + UPLOAD, files=files, timeout=10)
            except requests.RequestException:
                return
            assert answer.status_code == 202
            self.acknowledged[answer.json()["request_id"]] = content


@pytest.mark.parametrize("seed", range(3))
def test_a_gateway_that_is_killed_has_lost_nothing_that_it_acknowledged(
    store: Store, tmp_path: Path, seed: int
) -> None:
    with gateway_process() as (gateway, url):
        uploaders = [Uploader(url, seed * 100 + number) for number in range(6)]
        for uploader in uploaders:
            uploader.start()
        assert wait_for(lambda: sum(len(uploader.acknowledged) for uploader in uploaders) >= 3)
        time.sleep(random.Random(seed).random())
        gateway.send_signal(signal.SIGKILL)
        for uploader in uploaders:
            uploader.join()

    acknowledged = {
        request_id: content for uploader in uploaders for request_id, content in uploader.acknowledged.items()
    }
    assert len(acknowledged) >= 3
    landed, problems = land_requests(store, quiet_period=0)
    assert not problems
    found = {request.request_id: request.file.read_bytes() for request in landed}
    assert acknowledged.items() <= found.items()
    # What was not acknowledged is either not there or whole as well: then it is processed.
    assert all(content.endswith(b"\n") and len(content) > 1_000 for content in found.values())
    assert len(found) <= len(acknowledged) + len(uploaders)
