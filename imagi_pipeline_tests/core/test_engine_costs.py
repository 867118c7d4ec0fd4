"""What the engine does for an image beside downloading and compressing, counted: a guard for its CPU time.

A count that grows here is work that every image of every request pays for; benchmarks/ has the figures.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from imagi_pipeline.core.engine import compress_images
from imagi_pipeline.core.images.codec_channel import Channel
from imagi_pipeline.core.images.codec_pool import IMAGES_FOR_A_PROCESS
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline.core.images.shared_buffer import SharedBuffer
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.limits import engine_limits
from imagi_pipeline_tests.records import image_keys

IMAGES = 6

_counts: Counter[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _counts is None or event not in ("open", "os.rename", "os.scandir"):
        return
    if "/compressed" in str(arguments[0]):
        _counts[event] += 1


sys.addaudithook(_note)  # none can be removed again


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often and with how many bytes the real functions are called."""
    global _counts  # noqa: PLW0603 - the hook knows nothing else
    counts = _counts = Counter()

    def counted(owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = function(*arguments, **options)
            counts[f"{owner.__name__}.{name}"] += 1
            parts = {"write": arguments[-1], "read": result}.get(name, ())
            counts[f"bytes {name}"] += sum(len(part) for part in parts)
            return result

        monkeypatch.setattr(owner, name, call)

    counted(SharedBuffer, "write")
    counted(SharedBuffer, "read")
    counted(Channel, "send")
    counted(Channel, "receive")
    counted(subprocess, "Popen")
    yield counts
    _counts = None


def run(urls: Sequence[str], store: Store, processes: int = 1) -> tuple[int, int]:
    """Compress all; the bytes of the sources, and those of the compressed images."""
    limits = engine_limits(codec_processes=processes)
    results = list(compress_images(image_keys(urls), store, CompressionSettings(), limits))
    records = [result.record for result in results if result.record]
    assert len(records) == len(urls)
    return sum(record.source_bytes for record in records), sum(record.bytes for record in records)


def test_an_image_is_copied_once_to_its_codec_and_once_back(
    image_host: ImageHost, store: Store, counts: Counter[str]
) -> None:
    sources, images = run(image_host.add(*(f"{number}.jpg" for number in range(IMAGES))), store)
    assert counts["bytes write"] == sources
    assert counts["bytes read"] == images


def test_an_image_takes_one_message_and_one_answer(
    image_host: ImageHost, store: Store, counts: Counter[str]
) -> None:
    run(image_host.add(*(f"{number}.jpg" for number in range(IMAGES))), store)
    assert counts["Channel.send"] == IMAGES
    assert counts["Channel.receive"] == IMAGES + 1  # the process says when it is ready


def test_an_image_takes_one_look_at_its_record_and_two_files(
    image_host: ImageHost, store: Store, counts: Counter[str]
) -> None:
    run(image_host.add(*(f"{number}.jpg" for number in range(IMAGES))), store)
    looks, files, in_new_folders = IMAGES, 2 * IMAGES, len(list(store.compressed.iterdir()))
    assert counts["open"] == looks + files + in_new_folders
    assert counts["os.rename"] == files
    assert counts["os.scandir"] == 0


def test_an_image_that_is_reused_takes_no_process_and_one_look(
    image_host: ImageHost, store: Store, counts: Counter[str]
) -> None:
    urls = image_host.add("a.jpg", "b.jpg")
    run(urls, store)
    counts.clear()
    run(urls, store)
    assert counts["open"] == len(urls)
    assert counts["subprocess.Popen"] == counts["os.rename"] == counts["Channel.send"] == 0


@pytest.mark.parametrize(
    ("images", "processes"),
    [(1, 1), (3, 1), (IMAGES_FOR_A_PROCESS + 1, 2), (2 * IMAGES_FOR_A_PROCESS + 1, 3)],
)
def test_codec_processes_are_started_in_proportion_to_the_work(
    image_host: ImageHost, store: Store, counts: Counter[str], images: int, processes: int
) -> None:
    run(image_host.add(*(f"{number}.jpg" for number in range(images))), store, processes=3)
    assert counts["subprocess.Popen"] == processes
