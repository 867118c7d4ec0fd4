from __future__ import annotations

import os
import sys

import pytest

from imagi_pipeline.core.images.shared_buffer import SharedBuffer


def test_what_one_end_writes_the_other_end_reads() -> None:
    ours = SharedBuffer()
    theirs = SharedBuffer(os.dup(ours.descriptor))
    for parts in ([b"source"], [b"image", b"", b"thumbnail"], [os.urandom(3_000_000)], [b"small again"]):
        lengths = ours.write(parts)
        assert theirs.read(lengths) == parts
        answer = [part[::-1] for part in parts] + [b"more than came" * 100_000]
        assert ours.read(theirs.write(answer)) == answer
    ours.close()
    theirs.close()


@pytest.mark.parametrize("lengths", [[-1], [10**9], [5, -5], ["5"], [None]])
def test_lengths_that_cannot_be_true_are_refused(lengths: list[int]) -> None:
    buffer = SharedBuffer()
    buffer.write([b"five!"])
    with pytest.raises(ValueError, match=r"lengths|bytes"):
        buffer.read(lengths)
    buffer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can seal a file")
def test_no_end_can_make_it_smaller_under_the_feet_of_the_other() -> None:
    buffer = SharedBuffer()
    buffer.write([b"five!"])
    with pytest.raises(PermissionError):
        os.ftruncate(buffer.descriptor, 0)
    buffer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives the memory back")
def test_the_memory_of_a_large_image_is_given_back() -> None:
    buffer = SharedBuffer()
    buffer.write([os.urandom(20_000_000)])
    before = os.fstat(buffer.descriptor).st_blocks * 512
    buffer.trim()
    after = os.fstat(buffer.descriptor).st_blocks * 512
    buffer.close()
    assert before >= 20_000_000
    assert after <= 5_000_000
