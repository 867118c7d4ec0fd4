from __future__ import annotations

import io
import threading

from PIL import Image

from imagi_pipeline.core.images.saving import saved


def test_the_bytes_are_a_file_of_the_format_with_its_options() -> None:
    image = Image.new("RGB", (64, 48), "red")
    small, large = (saved(image, "JPEG", quality=quality) for quality in (10, 95))
    assert len(small) < len(large)
    with Image.open(io.BytesIO(large)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (64, 48))


def test_the_encoder_lets_other_threads_run() -> None:
    """A thread that only counts is not held up while a large JPEG is written."""
    image = Image.effect_noise((3000, 3000), 80)
    counted, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    before = counted[0]
    saved(image, "JPEG", quality=95)
    after = counted[0]
    done.set()
    counter.join()
    assert after - before > 1000
