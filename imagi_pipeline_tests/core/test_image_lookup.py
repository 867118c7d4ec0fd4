from __future__ import annotations

import uuid

from imagi_pipeline.core import reports
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.image_lookup import Image, images_of_keys, images_of_request
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.storage import keys
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.limits import engine_limits
from imagi_pipeline_tests.records import image_key

SMALL = CompressionSettings("small", 70)
FAST = CompressionSettings("fast", 80)
SHOE = "https://shop.example/shoe.jpg"
OF_AN_OLD_VERSION = RequestManifest("a.csv")


def add_request(store: Store, urls: list[str], settings: CompressionSettings) -> None:
    data = ("Images\n" + "\n".join(urls) + "\n").encode()
    request_id = str(uuid.uuid4())
    store.write_upload(request_id, RequestManifest("a.csv").settled(settings), data)
    store.write(store.references(request_id), reports.references_csv(read_csv(data)))


def compress(store: Store, url: str, key: str, settings: CompressionSettings) -> None:
    list(compress_images({url: key}, store, settings, engine_limits()))


def test_an_image_is_found_by_its_record_with_what_it_was_made_with(
    image_host: ImageHost, store: Store
) -> None:
    (url,) = image_host.add("a.jpg")
    key = image_key(url, SMALL)
    compress(store, url, key, SMALL)
    assert images_of_keys(store, [key]) == [Image(key, url, SMALL)]


def test_an_image_that_never_succeeded_is_found_by_the_requests_that_name_it(store: Store) -> None:
    urls = [f"https://shop.example/{number}.jpg" for number in range(3)]
    add_request(store, urls[:2], SMALL)
    add_request(store, urls[1:], FAST)
    wanted = [
        Image(image_key(urls[1], FAST), urls[1], FAST),
        Image(image_key(urls[1], SMALL), urls[1], SMALL),
        Image(image_key(urls[2], FAST), urls[2], FAST),
    ]
    assert images_of_keys(store, [image.key for image in wanted]) == wanted


def test_a_key_that_nothing_names_is_left_out(store: Store) -> None:
    add_request(store, [SHOE], SMALL)
    assert images_of_keys(store, [image_key(SHOE, FAST), "../../etc/passwd", ""]) == []


def test_without_any_request_nothing_is_found(store: Store) -> None:
    assert images_of_keys(store, ["shoe-0123456789abcdef"]) == []


def test_a_request_of_a_version_without_options_keeps_its_images_as_they_were_made(
    image_host: ImageHost, store: Store
) -> None:
    (url,) = image_host.add("a.jpg")
    old = keys.image_key(url, None)
    compress(store, url, old, SMALL)
    images = [Image(old, url, SMALL), Image(keys.image_key(SHOE, None), SHOE, None)]
    assert images_of_request(store, OF_AN_OLD_VERSION, [url, SHOE]) == images
    assert images_of_keys(store, [old]) == images[:1]
