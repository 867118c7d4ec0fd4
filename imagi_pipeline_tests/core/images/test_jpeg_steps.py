from __future__ import annotations

import pytest

from imagi_pipeline.core.images.jpeg_steps import jpegli_steps


def test_there_are_steps_between_whole_qualities_too() -> None:
    low, between, high = (jpegli_steps(quality) for quality in (70, 70.5, 71))
    assert len(between) == 3 * 64
    assert all(a >= b >= c for a, b, c in zip(low, between, high, strict=True))
    assert sum(low) > sum(between) > sum(high)


@pytest.mark.parametrize("quality", [-5.0, 0.0, 1.0, 100.0, 120.0])
def test_a_quality_beyond_the_ends_has_the_steps_of_the_end(quality: float) -> None:
    assert jpegli_steps(quality) == jpegli_steps(min(max(quality, 1), 100))
