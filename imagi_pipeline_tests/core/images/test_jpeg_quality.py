from __future__ import annotations

from itertools import pairwise

from imagi_pipeline.core.images.jpeg_quality import COARSER_CHROMA, jpegli_quality, steps_of, webp_quality

QUALITIES = range(1, 101)


def test_a_higher_quality_never_has_coarser_steps() -> None:
    tables = [steps_of(quality) for quality in QUALITIES]
    assert all(len(table) == 6 * 64 for table in tables)
    assert all(min(table) >= 1 for table in tables)
    for lower, higher in pairwise(tables):
        assert all(step >= finer for step, finer in zip(lower, higher, strict=True))


def test_chroma_with_as_many_samples_as_luma_has_coarser_steps_than_jpegli_gives_it() -> None:
    subsampled, full = steps_of(75)[64 : 3 * 64], steps_of(75)[4 * 64 :]
    assert sum(full) > sum(subsampled)
    assert COARSER_CHROMA > 1


def test_jpegli_is_told_whole_numbers_that_rise_with_the_quality() -> None:
    told = [jpegli_quality(quality) for quality in QUALITIES]
    assert told == sorted(told)
    assert (told[0], told[74], told[-1]) == (1, 76, 100)


def test_libwebp_is_told_more_than_the_quality_where_it_would_look_worse() -> None:
    told = [webp_quality(quality) for quality in QUALITIES]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (1, 100)
    assert told[79] > 80
