from __future__ import annotations

import io
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imagi_pipeline.core.errors import CodecError
from imagi_pipeline.core.images.codec_pool import IMAGES_FOR_A_PROCESS, MEMORY, MEMORY_PER_PIXEL, CodecPool
from imagi_pipeline.core.images.codec_process import LARGE_IMAGE
from imagi_pipeline.core.images.compression_settings import CompressionSettings
from imagi_pipeline_tests.image_host import jpeg
from imagi_pipeline_tests.processes import codec_processes


@pytest.fixture
def pool() -> Iterator[CodecPool]:
    with CodecPool(CompressionSettings(), processes=1, timeout=30) as pool:
        yield pool


def test_an_image_goes_through_a_process_of_its_own(pool: CodecPool) -> None:
    source = jpeg()
    image, thumbnails = pool.compress(source)
    assert (image.format, image.width, image.height) == ("JPEG", 320, 240)
    assert len(image.data) < len(source)
    assert thumbnails is None
    assert len(codec_processes()) == 1


def test_thumbnails_come_along_when_asked_for(pool: CodecPool) -> None:
    _, thumbnails = pool.compress(jpeg(), thumbnail_side=64)
    assert thumbnails is not None
    for data in (thumbnails.before, thumbnails.after):
        assert Image.open(io.BytesIO(data)).size == (64, 48)


def test_a_failure_comes_back_with_its_code_and_the_process_lives_on(pool: CodecPool) -> None:
    with pytest.raises(CodecError) as error:
        pool.compress(b"<html>no image</html>")
    assert error.value.code == "not_an_image"
    (process,) = codec_processes()
    pool.compress(jpeg())
    assert codec_processes() == [process]


def test_a_process_that_hangs_costs_only_its_image() -> None:
    with CodecPool(CompressionSettings(), processes=1, timeout=0.3) as pool:
        pool.compress(jpeg())
        os.kill(codec_processes()[0], signal.SIGSTOP)
        with pytest.raises(CodecError, match=r"more than 0\.3 s") as error:
            pool.compress(jpeg())
        assert error.value.code == "decoder_timeout"


def test_a_process_that_is_killed_costs_only_its_image(pool: CodecPool) -> None:
    pool.compress(jpeg())
    (process,) = codec_processes()
    os.kill(process, signal.SIGSTOP)
    failures: list[str] = []

    def compress() -> None:
        try:
            pool.compress(jpeg())
        except CodecError as error:
            failures.append(f"{error.code}: {error.detail}")

    thread = threading.Thread(target=compress)
    thread.start()
    time.sleep(0.2)
    os.kill(process, signal.SIGKILL)
    thread.join(10)

    assert failures == ["decoder_crashed: The process that decoded the image was ended by SIGKILL."]
    assert pool.compress(jpeg())[0].format == "JPEG"


def test_a_process_that_died_while_idle_is_replaced_without_a_failure(pool: CodecPool) -> None:
    pool.compress(jpeg())
    (process,) = codec_processes()
    os.kill(process, signal.SIGKILL)
    time.sleep(0.1)
    assert pool.compress(jpeg())[0].format == "JPEG"


def test_a_large_image_waits_for_its_memory_and_gives_it_back() -> None:
    claimed: list[int] = []
    released: list[int] = []
    source = io.BytesIO()
    Image.new("L", (2500, 2000)).save(source, "PNG")
    settings = CompressionSettings(preset="fast")
    with CodecPool(settings, 1, 60, claimed.append, released.append) as pool:
        pool.compress(jpeg())
        assert claimed == []
        pool.compress(source.getvalue())
    assert claimed == released == [10_000_000]
    assert claimed[0] > LARGE_IMAGE


def test_no_process_is_left_after_close() -> None:
    with CodecPool(CompressionSettings(), processes=2, timeout=30) as pool:
        pool.compress(jpeg())
        assert codec_processes()
    assert not codec_processes()
    with pytest.raises(CodecError):
        pool.compress(jpeg())


def test_one_process_is_started_for_a_few_images_and_more_in_proportion_to_their_number() -> None:
    with CodecPool(CompressionSettings(), processes=3, timeout=30) as pool:
        for _ in range(IMAGES_FOR_A_PROCESS):
            pool.expect_image()
        for _ in range(3):
            pool.compress(jpeg())
        assert len(codec_processes()) == 1
        pool.expect_image()
        assert len(codec_processes()) == 2
        for _ in range(10 * IMAGES_FOR_A_PROCESS):
            pool.expect_image()
        assert len(codec_processes()) == 3


def test_an_image_that_bloats_the_decoder_costs_only_itself() -> None:
    source = io.BytesIO()
    Image.new("RGB", (12_000, 4_000)).save(source, "PNG")
    memory = 200_000_000
    with CodecPool(CompressionSettings(), processes=1, timeout=60, memory=memory) as pool:
        pool.compress(jpeg())
        with pytest.raises(CodecError) as error:
            pool.compress(source.getvalue())
        assert error.value.code == "too_many_pixels"
        assert pool.compress(jpeg())[0].format == "JPEG"


def test_the_memory_of_a_codec_process_is_limited_by_the_pixels_that_an_image_may_have() -> None:
    with CodecPool(CompressionSettings(max_pixels=1_000_000), processes=1, timeout=60) as pool:
        pool.compress(jpeg())
        (process,) = codec_processes()
        limits = Path(f"/proc/{process}/limits").read_text()
    assert re.search(rf"Max data size +{MEMORY + MEMORY_PER_PIXEL * 1_000_000} ", limits)


def test_a_codec_process_learns_no_secrets(pool: CodecPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_API_TOKENS", "shop:a-token-of-the-shop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-key-of-the-bucket")
    pool.compress(jpeg())
    (process,) = codec_processes()
    environment = Path(f"/proc/{process}/environ").read_text()
    assert "a-token" not in environment
    assert "a-key" not in environment
    assert "MALLOC_TRIM_THRESHOLD_" in environment
