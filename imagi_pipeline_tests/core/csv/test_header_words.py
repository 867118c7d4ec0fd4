from __future__ import annotations

import pytest

from imagi_pipeline.core.csv.header_words import (
    SAYS_ABOUT_IMAGE,
    SAYS_IMAGE,
    SAYS_ONLY_URL,
    SAYS_PAGE,
    SAYS_URL,
    words,
)


def test_a_hump_begins_a_word_and_case_does_not_matter() -> None:
    assert words("imageUrl") == "image url"
    assert words("BILD-URL") == "bild-url"


@pytest.mark.parametrize("name", ["Main Photo", "img_2", "画像", "zdjęcie", "Logo"])
def test_a_name_says_image_in_many_languages(name: str) -> None:
    assert SAYS_IMAGE.search(words(name))


@pytest.mark.parametrize("name", ["discover", "typical", "imgur user", "silicon"])
def test_a_short_word_inside_another_says_nothing(name: str) -> None:
    assert not SAYS_IMAGE.search(words(name))


def test_other_words_tell_what_else_a_column_may_hold() -> None:
    assert SAYS_ABOUT_IMAGE.search(words("imageAltText"))
    assert SAYS_URL.search(words("Source Link"))
    assert SAYS_PAGE.search(words("product_url"))
    assert SAYS_ONLY_URL.search(words("photoUrl"))
    assert not SAYS_ONLY_URL.search(words("url of photo"))
