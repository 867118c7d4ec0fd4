"""The storage in a bucket of a real S3 server; its log tells what each step costs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
import requests

from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.buckets import SECRET, S3Server, methods
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.records import image_key, image_keys

IMAGES = "/compressed/"


def compress(store: Store, urls: list[str]) -> list[str]:
    settings = Settings()
    return [
        result.status
        for result in compress_images(image_keys(urls), store, settings.compression, settings.engine_limits)
    ]


def test_a_new_image_costs_one_look_and_two_puts_and_a_known_one_a_look(
    bucket: Store, s3: S3Server, image_host: ImageHost
) -> None:
    urls = image_host.add("a.jpg", "b.jpg", "c.jpg")
    s3.calls()
    assert compress(bucket, urls) == ["ok"] * 3
    assert methods(s3.calls(), IMAGES) == Counter(GET=3, PUT=6)
    assert compress(bucket, urls) == ["reused"] * 3
    assert methods(s3.calls(), IMAGES) == Counter(GET=3)


def test_an_image_tells_browsers_and_caches_what_it_is(bucket: Store, image_host: ImageHost) -> None:
    urls = image_host.add("a.jpg")
    compress(bucket, urls)
    record = bucket.read_record(image_key(urls[0]))
    assert record
    image = bucket.image(image_key(urls[0]), record)
    url = bucket.signed_url(image, 60)
    assert url
    answer = requests.get(url, timeout=10)
    assert len(answer.content) == record.bytes
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "public, max-age=86400"
    assert "X-Amz-Expires=60" in url
    table = bucket.root / "results" / "a.csv"
    bucket.write_pieces(table, [b"x"])
    kept = requests.get(bucket.signed_url(table, 60) or "", timeout=10)
    assert kept.headers["Content-Type"] == "text/csv"
    assert kept.headers["Cache-Control"] == "private, no-cache"


def test_of_several_that_create_a_file_at_once_one_succeeds(bucket: Store, store: Store) -> None:
    for storage in (bucket, store):
        path = storage.idempotency_keys / "a.json"
        with ThreadPoolExecutor(8) as pool:
            done = list(pool.map(lambda number: storage.create(path, b"%d" % number), range(8)))  # noqa: B023
        assert done.count(True) == 1
        assert storage.read(path) == b"%d" % done.index(True)
        assert [file.name for file in storage.files(storage.idempotency_keys)] == ["a.json"]


def test_a_large_file_goes_in_parts(bucket: Store, s3: S3Server) -> None:
    s3.calls()
    bucket.write(bucket.root / "large.zip", bytes(101 << 20))
    parts = [path for method, path in s3.calls() if method == "PUT" and "partNumber=" in path]
    assert len(parts) == 3
    (file,) = bucket.files(bucket.root)
    assert file.size == 101 << 20


def test_files_are_removed_by_one_call_for_a_thousand(bucket: Store, s3: S3Server) -> None:
    paths = [bucket.root / f"{number}.txt" for number in range(3)]
    for path in paths:
        bucket.write(path, b"x")
    s3.calls()
    bucket.remove_files([path.path for path in paths] + [(bucket.root / "gone.txt").path])
    assert [method for method, _ in s3.calls()] == ["POST"]
    assert bucket.files(bucket.root) == []


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "Could not connect"),
        ("IMAGI_STORAGE", "s3://no-such-bucket/imagi", "does not exist"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_named_with_the_reason_and_no_secret(
    bucket: Store, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    store = Store(Settings().storage)
    with pytest.raises(StorageError, match=words) as error:
        store.write(store.root / "a.csv", b"x")
    assert str(store.root / "a.csv") in str(error.value)
    assert SECRET not in str(error.value)


def test_a_login_in_the_url_of_a_storage_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_STORAGE", f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@bucket/imagi")
    with pytest.raises(ValueError, match="no login") as error:
        Settings()
    assert SECRET not in str(error.value)
