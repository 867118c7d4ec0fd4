from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.storage.keys import folder_of, image_key, image_url, is_image_key, is_request_id


@pytest.mark.parametrize(
    ("url", "slug"),
    [
        ("https://cdn.example/p/Shoe%20Red.JPG?v=2", "shoe-red"),
        ("https://cdn.example/p/schöner-schuh.png", "schoner-schuh"),
        ("https://cdn.example/", "image"),
        ("https://cdn.example/商品.jpg", "image"),
        ("https://cdn.example/a...b,c*[d].jpg", "a.b-c-d"),
        ("https://cdn.example/" + "x" * 100 + ".jpg", "x" * 48),
    ],
)
def test_a_key_is_a_readable_slug_and_a_hash(url: str, slug: str) -> None:
    assert re.fullmatch(re.escape(slug) + "-[0-9a-f]{16}", image_key(url, "balanced-q80-same"))


@given(st.text())
def test_a_key_is_safe_as_partition_key_and_file_name(path: str) -> None:
    key = image_key("https://host/" + path.replace("[", "").replace("]", ""), "balanced-q80-same")
    assert re.fullmatch(r"[a-z0-9_][a-z0-9._-]*-[0-9a-f]{16}", key)
    assert ".." not in key


def test_different_urls_with_one_file_name_are_different_images() -> None:
    assert image_key("https://a/x.jpg", "s") != image_key("https://b/x.jpg", "s")


def test_one_url_made_with_different_settings_is_different_images() -> None:
    keys = {image_key("https://a/x.jpg", settings) for settings in ("balanced-q80-same", "small-q70-same")}
    assert len(keys) == 2


def test_an_image_of_a_version_without_options_keeps_its_key() -> None:
    assert image_key("https://a/x.jpg", None) == "x-bdf119d7722e77f0"


@given(st.text())
def test_a_key_has_the_form_of_a_key(path: str) -> None:
    assert is_image_key(image_key("https://host/" + path.replace("[", "").replace("]", ""), "s"))


@pytest.mark.parametrize(
    "text", ["", "shoe", "../shoe-0123456789abcdef", "a/b-0123456789abcdef", "shoe-0123"]
)
def test_what_is_no_key_is_no_part_of_a_path(text: str) -> None:
    assert not is_image_key(text)


def test_the_folder_of_an_image_is_the_beginning_of_its_hash() -> None:
    assert folder_of("red-shoe-3f2a9c1b7d2e4f60") == "3f"


def test_the_url_of_an_image_is_below_the_public_url() -> None:
    url = image_url("https://cdn.example/media", "shoe-3f2a9c1b7d2e4f60", "shoe-3f2a9c1b7d2e4f60.jpg")
    assert url == "https://cdn.example/media/3f/shoe-3f2a9c1b7d2e4f60.jpg"


def test_a_request_id_is_a_uuid_in_its_usual_spelling() -> None:
    text = str(uuid.uuid4())
    assert is_request_id(text)
    assert not any(map(is_request_id, (text.upper() + "x", text.replace("-", ""), f"{{{text}}}", "", "..")))
