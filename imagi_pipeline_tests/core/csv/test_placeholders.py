from __future__ import annotations

import pytest

from imagi_pipeline.core.csv.placeholders import is_no_part_of_a_url, is_placeholder


@pytest.mark.parametrize(
    "text",
    [
        *("", "  \u200b", "-", "———", "-" * 200, "\\N"),
        *("#REF!", "#N/A", "#¡VALOR!"),
        *("N/A", "None", "no_selection", "[null]", "kein Bild", "画像なし"),
        *("#YOK", "#Н/Д", "########", "[object Object]", "\\0"),
        *(
            "Pas d’image",
            "ΧΩΡΊΣ ΕΙΚΌΝΑ",
            "geen foto",
            "отсутствует",
            "没有",
            "사진 없음",
            "ללא תמונה",
            "N\\A",
        ),
    ],
)
def test_words_for_no_image_are_known_in_many_languages(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["a.jpg", "none.jpg", "https://a.com/none", "(see catalogue)", "x" * 200])
def test_what_may_name_an_image_is_no_placeholder(text: str) -> None:
    assert not is_placeholder(text)


def test_behind_a_url_only_an_unmistakable_word_says_that_there_is_no_other_image() -> None:
    assert all(map(is_no_part_of_a_url, ["", "N/A", "null", "-", "(none)"]))
    assert not any(map(is_no_part_of_a_url, ["empty", "0", "false", "missing"]))  # may end a URL with a comma
