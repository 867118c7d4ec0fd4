from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

import pytest

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.core.storage.landing import (
    FileSnapshot,
    LandedRequest,
    complete_names,
    is_ignored,
    land_requests,
    publish,
    remove_landed,
    status_without_run,
    waiting_requests,
)
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store

NOW = 1000.0


def test_only_files_that_both_looks_agree_on_are_complete() -> None:
    first = {
        "same": FileSnapshot(5, 10.0),
        "grew": FileSnapshot(5, 10.0),
        "touched": FileSnapshot(5, 10.0),
        "gone": FileSnapshot(5, 10.0),
    }
    second = {
        "same": FileSnapshot(5, 10.0),
        "grew": FileSnapshot(6, 10.0),
        "touched": FileSnapshot(5, 11.0),
        "new": FileSnapshot(5, 10.0),
    }
    assert complete_names(first, second, NOW, 1.0) == ["same"]


@pytest.mark.parametrize(
    ("changed_at", "is_complete"),
    [(NOW - 1.5, True), (NOW - 1.0, True), (NOW - 0.5, False), (NOW, False), (NOW + 3600, True)],
)
def test_a_file_must_have_been_quiet_unless_its_clock_is_ahead(changed_at: float, is_complete: bool) -> None:
    looks = {"a.csv": FileSnapshot(5, changed_at)}
    assert bool(complete_names(looks, looks, NOW, 1.0)) == is_complete


def test_the_oldest_file_comes_first() -> None:
    looks = {"b": FileSnapshot(1, 30.0), "a": FileSnapshot(1, 20.0), "c": FileSnapshot(1, 20.0)}
    assert complete_names(looks, looks, NOW, 1.0) == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("name", "ignored"),
    [("a.csv", False), (".a.csv", True), ("~a.csv", True), ("a.csv~", True), ("a.csv.PART", True)],
)
def test_names_tell_what_is_not_finished(name: str, ignored: bool) -> None:
    assert is_ignored(name) == ignored


def test_a_published_request_lies_there_whole_and_once(store: Store) -> None:
    request_id = str(uuid.uuid4())
    manifest = RequestManifest(
        "a.csv", ("Image",), owner="shop", created=12.5, callback_url="https://x.example"
    )
    publish(store, request_id, manifest, b"first")
    publish(store, request_id, manifest, b"second")
    (landed,), problems = land_requests(store, 0.0)
    assert (landed.request_id, landed.file.read_bytes(), landed.manifest) == (request_id, b"first", manifest)
    assert not problems
    assert [path.name for path in store.landing.iterdir()] == [request_id]


def test_a_request_that_cannot_be_written_leaves_nothing(store: Store) -> None:
    store.landing.mkdir(parents=True)
    (store.landing / "in the way").write_bytes(b"")
    broken = Store(str(store.landing / "in the way"))
    with pytest.raises(StorageError, match="Cannot write"):
        publish(broken, str(uuid.uuid4()), RequestManifest("a.csv"), b"data")
    assert [path.name for path in store.landing.iterdir()] == ["in the way"]


def test_the_status_without_a_run_is_that_of_the_landing_folder(store: Store) -> None:
    waiting, lost = str(uuid.uuid4()), str(uuid.uuid4())
    manifest = RequestManifest("a.csv", owner="shop", created=12.5)
    publish(store, waiting, manifest, b"data")
    store.write_upload(lost, manifest, b"data")
    found = status_without_run(store, waiting)
    assert found == RequestStatus(waiting, "In queue", "a.csv", owner="shop", created=12.5)
    interrupted = status_without_run(store, lost)
    assert interrupted
    assert (interrupted.status, interrupted.error_code) == ("failed", "interrupted")
    assert status_without_run(store, str(uuid.uuid4())) is None
    assert status_without_run(store, "../uploads") is None


def test_a_broken_manifest_is_waiting_too(store: Store) -> None:
    request_id = str(uuid.uuid4())
    publish(store, request_id, RequestManifest("a.csv"), b"data")
    (store.landing / request_id / "request.json").write_text("{")
    assert status_without_run(store, request_id) == RequestStatus(request_id, "In queue")
    assert [found.request_id for found in waiting_requests(store)] == [request_id]


def test_waiting_requests_are_listed_newest_first(store: Store) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    for number, request_id in enumerate(ids):
        publish(store, request_id, RequestManifest("a.csv", created=float(number)), b"data")
    (store.landing / "dropped.csv").write_bytes(b"data")
    assert [found.request_id for found in waiting_requests(store)] == ids[::-1]


@pytest.mark.parametrize("name", ["~a.csv", "a.csv~", "a.part", "a.tmp", "a.crdownload"])
def test_what_was_published_whole_is_taken_whatever_its_name_says(store: Store, name: str) -> None:
    request_id = str(uuid.uuid4())
    publish(store, request_id, RequestManifest(name), b"data")
    (landed,), problems = land_requests(store, 0.0)
    assert (landed.request_id, landed.manifest.name, problems) == (request_id, name, [])


def test_a_request_that_is_just_leaving_the_landing_folder_keeps_its_owner_or_is_gone(store: Store) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            publish(store, str(uuid.uuid4()), RequestManifest("a.csv", owner="shop"), b"data")
            for landed in land_requests(store, 0.0)[0]:
                store.write_upload(landed.request_id, landed.manifest, landed.file.read_bytes())
                remove_landed(store, landed)

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert {found.owner for found in waiting_requests(store)} <= {"shop"}
    finally:
        stop.set()
        thread.join()


def test_what_is_never_taken_is_told(store: Store, tmp_path: Path) -> None:
    store.landing.mkdir(parents=True)
    (tmp_path / "elsewhere.csv").write_bytes(b"data")
    landing = Path(store.landing.path)
    for name in ("link.csv", str(uuid.uuid4()), "dangling.csv", ".hidden.csv"):
        (landing / name).symlink_to(tmp_path / ("nowhere" if name == "dangling.csv" else "elsewhere.csv"))
    (landing / "march").mkdir()
    (landing / "march" / "inner.csv").write_bytes(b"data")
    (landing / ".upload.part").mkdir()
    landed, problems = land_requests(store, 0.0)
    assert landed == []
    assert len(problems) == 4
    assert sum("it is a link" in problem for problem in problems) == 3
    assert any("march cannot be taken: it is a folder" in problem for problem in problems)


def accepted(store: Store, request_id: str) -> LandedRequest:
    """Return a request that lies in the landing folder and in the uploads."""
    publish(store, request_id, RequestManifest("a.csv"), b"data")
    ((landed,), _) = land_requests(store, 0.0)
    store.write_upload(request_id, landed.manifest, landed.file.read_bytes())
    return landed


def test_a_second_file_in_the_folder_of_a_request_is_told_and_nothing_is_removed(store: Store) -> None:
    request_id = str(uuid.uuid4())
    accepted(store, request_id)
    (store.landing / request_id / "b.csv").write_bytes(b"other")
    landed, (problem,) = land_requests(store, 0.0)
    assert landed == []
    assert "there are 2: a.csv, b.csv" in problem
    assert [found.request_id for found in waiting_requests(store)] == [request_id]
    (store.landing / request_id / "b.csv").unlink()
    assert len(land_requests(store, 0.0)[0]) == 1


@pytest.mark.parametrize("name", ["a.csv", "b.csv"])
def test_a_file_that_took_the_place_of_an_accepted_one_is_not_removed(store: Store, name: str) -> None:
    request_id = str(uuid.uuid4())
    landed = accepted(store, request_id)
    remove_landed(store, landed)
    publish(store, request_id, RequestManifest(name), b"other")
    ((other,), _) = land_requests(store, 0.0)
    with pytest.raises((ValueError, StorageError)):
        remove_landed(store, other)
    assert other.file.read_bytes() == b"other"


@pytest.mark.parametrize("created", ["-1e308", "1e308", "NaN", "-Infinity", "true", "-1", "1e12"])
def test_a_manifest_with_an_impossible_time_is_told(store: Store, created: str) -> None:
    request_id = str(uuid.uuid4())
    publish(store, request_id, RequestManifest("a.csv"), b"data")
    (store.landing / request_id / "request.json").write_text(f'{{"name": "a.csv", "created": {created}}}')
    landed, (problem,) = land_requests(store, 0.0)
    assert landed == []
    assert "seconds since 1970 as created" in problem
    assert waiting_requests(store)[0].created is None
