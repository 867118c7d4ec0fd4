from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.records import image_key, image_record

SHOE = "http://a/shoe.jpg"
REQUEST = "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"


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


@pytest.mark.parametrize("root", ["local", "memory://imagi-pieces-test"])
def test_pieces_become_a_file_whole_or_not_at_all(root: str, tmp_path: Path) -> None:
    store = Store(tmp_path if root == "local" else root)
    path = store.root / "results" / "id" / "a.csv"

    def breaks() -> Iterator[bytes]:
        yield bytes(10_000_000)
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        store.write_pieces(path, breaks())
    assert store.files(store.root) == []
    store.write_pieces(path, [b"one,", b"two"])
    with pytest.raises(RuntimeError):
        store.write_pieces(path, breaks())
    with store.open(path) as file:
        assert file.read() == b"one,two"
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
