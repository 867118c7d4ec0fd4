from __future__ import annotations

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.image_lookup import image_urls
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.limits import engine_limits


def add_request(store: Store, request_id: str, urls: list[str]) -> None:
    table = read_csv(("Images\n" + "\n".join(urls) + "\n").encode())
    store.write(store.references(request_id), reports.references_csv(table))


def test_an_image_is_found_by_its_record(image_host: ImageHost, store: Store) -> None:
    (url,) = image_host.add("a.jpg")
    list(compress_images([url], store, CompressionSettings(), engine_limits()))
    assert image_urls(store, [image_key(url)]) == {image_key(url): url}


def test_an_image_that_never_succeeded_is_found_by_the_requests_that_name_it(store: Store) -> None:
    urls = [f"https://shop.example/{number}.jpg" for number in range(3)]
    add_request(store, "one", urls[:2])
    add_request(store, "two", urls[2:])
    keys = [image_key(url) for url in reversed(urls)]
    assert list(image_urls(store, keys).items()) == list(zip(keys, reversed(urls), strict=True))


def test_a_key_that_nothing_names_is_left_out(store: Store) -> None:
    add_request(store, "one", ["https://shop.example/1.jpg"])
    assert image_urls(store, [image_key("https://shop.example/2.jpg"), "../../etc/passwd", ""]) == {}


def test_without_any_request_nothing_is_found(store: Store) -> None:
    assert image_urls(store, ["shoe-0123456789abcdef"]) == {}
