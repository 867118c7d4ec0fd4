from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.core.storage.manifests import RequestManifest, safe_file_name
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.records import image_record

SHOE = "http://a/shoe.jpg"
REQUEST = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"


@pytest.mark.parametrize(
    ("url", "slug"),
    [
        ("https://cdn.example/p/Shoe%20Red.JPG?v=2", "shoe-red"),
        ("https://cdn.example/p/schöner-schuh.png", "schoner-schuh"),
        ("https://cdn.example/", "image"),
        ("https://cdn.example/商品.jpg", "image"),
        ("https://cdn.example/a...b,c*[d].jpg", "a.b-c-d"),
        ("https://cdn.example/" + "x" * 100 + ".jpg", "x" * 48),
    ],
)
def test_a_key_is_a_readable_slug_and_a_hash(url: str, slug: str) -> None:
    assert re.fullmatch(re.escape(slug) + "-[0-9a-f]{16}", image_key(url))


@given(st.text())
def test_a_key_is_safe_as_partition_key_and_file_name(path: str) -> None:
    key = image_key("https://host/" + path.replace("[", "").replace("]", ""))
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*-[0-9a-f]{16}", key)
    assert ".." not in key


def test_different_urls_with_one_file_name_are_different_images() -> None:
    assert image_key("https://a/x.jpg") != image_key("https://b/x.jpg")


@given(st.text())
def test_a_file_name_stays_in_its_folder(name: str) -> None:
    safe = safe_file_name(name)
    assert Path("/folder", safe).parent == Path("/folder")
    assert safe not in ("", ".", "..", "request.json")
    assert len(safe.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("products.csv", "products.csv"),
        ("товары 2026.csv", "товары 2026.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\shop\\list.csv", "list.csv"),
        ("..", "upload.csv"),
        ("a\x00b.csv", "a_b.csv"),
        ("caf\udce9.csv", "caf_.csv"),
    ],
)
def test_a_file_name_is_kept_as_far_as_is_safe(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


def test_a_record_is_found_only_while_its_image_is_whole(store: Store) -> None:
    key = image_key(SHOE)
    store.write_image(key, image_record(SHOE), b"abc")
    assert store.read_record(key) == image_record(SHOE)

    store.image(key, image_record(SHOE)).write_bytes(b"ab")
    assert store.read_record(key) is None

    store.image(key, image_record(SHOE)).unlink()
    assert store.read_record(key) is None


def test_a_record_of_another_version_counts_as_none(store: Store) -> None:
    key = image_key(SHOE)
    store.write_image(key, image_record(SHOE), b"abc")
    path = store.image_folder(key) / f"{key}.json"
    path.write_text(json.dumps({"url": "http://a/shoe.jpg"}))
    assert store.read_record(key) is None
    path.write_text("{")
    assert store.read_record(key) is None


def test_a_write_leaves_nothing_but_the_file(store: Store) -> None:
    path = store.root / "results" / "id" / "a.csv"
    store.write(path, b"one")
    store.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.csv"]


def test_a_storage_that_refuses_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = Store(tmp_path / "file")
    with pytest.raises(StorageError, match=r"Cannot write .*a\.csv: Not a directory") as error:
        store.write(store.root / "a.csv", b"x")
    assert error.value.code == "storage_failure"


def test_an_upload_comes_back_as_it_was(store: Store) -> None:
    manifest = RequestManifest("a.csv", ("Images",), "https://host/")
    store.write_upload(REQUEST, manifest, b"\xff\x00raw")
    assert store.read_manifest(REQUEST) == manifest
    assert store.read_upload(REQUEST, manifest) == b"\xff\x00raw"
    assert store.read_manifest("../" + REQUEST) is None


def test_a_manifest_cannot_name_a_file_elsewhere() -> None:
    assert RequestManifest.from_json(b'{"name": "../../../escaped.txt"}').name == "escaped.txt"


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"name": 1}',
        b'{"name": "a", "url_columns": 5}',
        b'{"name": "a", "url_columns": "abc"}',
        b'{"name": "a", "url_columns": [1]}',
        b'{"name": "a", "base_url": 5}',
        b"\xff",
    ],
)
def test_a_broken_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        RequestManifest.from_json(text)


def test_a_manifest_of_a_newer_version_is_read() -> None:
    text = b'{"name": "a.csv", "url_columns": ["x"], "base_url": null, "from_the_future": "http://b"}'
    assert RequestManifest.from_json(text) == RequestManifest("a.csv", ("x",))


def test_the_storage_may_be_any_fsspec_url() -> None:
    store = Store("memory://imagi-store-test")
    key = image_key(SHOE)
    store.write_image(key, image_record(SHOE), b"abc")
    store.write_upload(REQUEST, RequestManifest("a.csv"), b"x")
    assert store.read_record(key) == image_record(SHOE)
    assert store.read_manifest(REQUEST) == RequestManifest("a.csv")
    store.remove_folder(store.uploads / REQUEST)
    assert store.read_manifest(REQUEST) is None
    store.remove_folder(store.uploads / REQUEST)
