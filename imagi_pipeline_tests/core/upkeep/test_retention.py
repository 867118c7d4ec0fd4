from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage import keys
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store, StoredFile
from imagi_pipeline.core.upkeep.retention import (
    ImagesInUse,
    RequestFacts,
    by_folder,
    expired_requests,
    plan_folder,
    remove_landing_leftovers,
    stored_requests,
)
from imagi_pipeline_tests.records import image_key

HOUR, DAY = 3600.0, 24 * 3600.0
NOW = 1_000 * DAY
URLS = [f"http://a/{number}.jpg" for number in range(4)]
KEYS = [image_key(url) for url in URLS]
MANIFEST = RequestManifest("a.csv").settled(CompressionSettings())


def request(days_ago: float | None, **facts: object) -> RequestFacts:
    handed_in = None if days_ago is None else NOW - days_ago * DAY
    return RequestFacts(str(days_ago), handed_in, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "goes"),
    [
        (request(31), True),
        (request(29), False),
        (request(None), False),
        (request(31, is_busy=True), False),
        (request(31, last_ended=NOW - 2 * DAY), True),
        (request(31, last_ended=NOW - HOUR), False),
    ],
)
def test_a_request_expires_with_its_age_when_it_is_idle_and_rested(facts: RequestFacts, goes: bool) -> None:
    assert (expired_requests([facts], NOW, 30 * DAY) == [facts.request_id]) is goes


def test_the_oldest_requests_go_first() -> None:
    requests = [request(40), request(50), request(45)]
    assert expired_requests(requests, NOW, 30 * DAY) == ["50", "45", "40"]


def test_a_request_is_dated_by_the_oldest_of_its_files(store: Store) -> None:
    request_id = str(uuid.uuid4())
    store.write_upload(request_id, RequestManifest("a.csv"), b"x")
    store.write(store.report(request_id), b"url\n")
    store.write(store.callbacks / f"{request_id}.{uuid.uuid4()}.json", b"{}")
    store.write(store.uploads / "notes.txt", b"x")
    oldest = min(path.stat().st_mtime for path in Path(str(store.uploads / request_id)).iterdir())
    assert stored_requests(store) == {request_id: oldest}


def test_an_empty_folder_is_a_request_of_unknown_age(store: Store) -> None:
    request_id = str(uuid.uuid4())
    Path(str(store.work(request_id))).mkdir(parents=True)
    assert stored_requests(store) == {request_id: None}


def file(name: str, age: float | None = DAY) -> StoredFile:
    return StoredFile(f"/s/compressed/ab/{name}", 7, None if age is None else NOW - age)


def test_an_image_without_a_request_goes_with_all_its_files_and_its_record_first() -> None:
    files = [file(f"{KEYS[0]}.jpg"), file(f"{KEYS[0]}.webp"), file(f"{KEYS[0]}.json"), file(f"{KEYS[1]}.jpg")]
    plan = plan_folder(files, [KEYS[0], KEYS[1], KEYS[2]], {KEYS[1]}, NOW)
    assert plan.keys == sorted([KEYS[0], KEYS[2]])
    assert [found.name for found in plan.files] == [
        f"{KEYS[0]}.json",
        f"{KEYS[0]}.jpg",
        f"{KEYS[0]}.webp",
    ]


@pytest.mark.parametrize("age", [0.9 * HOUR, -HOUR, None])
def test_an_image_with_a_young_file_or_one_of_unknown_age_stays_as_a_whole(age: float | None) -> None:
    plan = plan_folder([file(f"{KEYS[0]}.jpg", age), file(f"{KEYS[0]}.json")], [KEYS[0]], set(), NOW)
    assert (plan.keys, plan.files) == ([], [])


def test_strange_files_stay_and_unfinished_ones_go_after_a_day() -> None:
    files = [file("logo.png"), file(".a.tmp", 0.9 * DAY), file(".b.tmp", 1.1 * DAY), file(".b.tmp.jpg")]
    assert plan_folder(files, [], set(), NOW).files == [files[2]]


def test_keys_are_sorted_into_folders_and_what_is_none_is_left_out() -> None:
    assert by_folder([*KEYS, "../x", "typed by hand"]) == {key[-16:-14]: [key] for key in KEYS}


def upload(store: Store, urls: list[str]) -> str:
    request_id = str(uuid.uuid4())
    store.write_upload(request_id, MANIFEST, ("Images\n" + "\n".join(urls)).encode())
    return request_id


def test_images_are_referred_to_by_parsed_and_by_unparsed_requests(store: Store) -> None:
    gone = upload(store, URLS[:1])
    parsed = upload(store, URLS[1:2])
    store.write(store.references(parsed), f"url\n{URLS[1]}\n{URLS[1]}\n".encode())
    upload(store, URLS[2:3])
    upload(store, ["no images at all"])
    in_use = ImagesInUse(store, CsvLimits(), without=[gone])
    assert in_use.keys == {KEYS[1], KEYS[2]}
    upload(store, URLS[3:])
    in_use.update()
    assert in_use.keys == {KEYS[1], KEYS[2], KEYS[3]}


def test_the_images_of_a_report_are_referred_to_whatever_the_next_run_is_to_make(store: Store) -> None:
    request_id = upload(store, URLS[:1])
    store.write(store.report(request_id), f"url,key\n{URLS[0]},{KEYS[1]}\n".encode())
    assert ImagesInUse(store, CsvLimits()).keys == {KEYS[0], KEYS[1]}


def test_the_images_of_a_version_without_options_are_referred_to_by_their_old_keys(store: Store) -> None:
    request_id = str(uuid.uuid4())
    store.write_upload(request_id, RequestManifest("a.csv"), f"Images\n{URLS[0]}\n".encode())
    assert ImagesInUse(store, CsvLimits()).keys == {keys.image_key(URLS[0], None)}


def test_a_csv_beyond_the_usual_limits_refers_to_images_where_the_limits_are_wider(store: Store) -> None:
    upload(store, URLS[:3])
    assert ImagesInUse(store, CsvLimits(max_rows=2)).keys == set()
    assert ImagesInUse(store, CsvLimits(max_rows=10)).keys == set(KEYS[:3])


def test_an_upload_counts_once_it_is_whole(store: Store) -> None:
    request_id = str(uuid.uuid4())
    store.write(store.uploads / request_id / "a.csv", f"Images\n{URLS[0]}\n".encode())
    in_use = ImagesInUse(store, CsvLimits())
    assert in_use.keys == set()
    store.write(store.uploads / request_id / "request.json", MANIFEST.to_json())
    in_use.update()
    assert in_use.keys == {KEYS[0]}


def test_a_request_that_cannot_be_read_is_no_request_without_images(store: Store) -> None:
    store.write(store.references(request_id := str(uuid.uuid4())), b"url\n")
    path = Path(str(store.references(request_id)))
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError):
        ImagesInUse(store, CsvLimits())


def test_what_a_killed_gateway_left_goes_after_a_day(store: Store) -> None:
    for name, age in (("a" * 32, 3600), ("b" * 32, 90_000)):
        folder = Path(store.landing.path) / f".{name}.part"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_bytes(b"half")
        os.utime(folder / "a.csv", (time.time() - age,) * 2)
    remove_landing_leftovers(store)
    assert [path.name for path in store.landing.iterdir()] == [f".{'a' * 32}.part"]
