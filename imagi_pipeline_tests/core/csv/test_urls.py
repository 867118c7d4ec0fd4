import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.cell_urls import (
    find_items,
)
from imagi_pipeline.core.csv.urls import MAX_URL_BYTES, has_image_extension, is_plain_url, normalise
from imagi_pipeline.core.errors import UrlError
from imagi_pipeline_tests.core.csv.tables import CLOUDINARY, IMDB, ONE, image_urls


@pytest.mark.parametrize(
    ("item", "url"),
    [
        ("HTTPS://Example.COM/A.jpg", "https://example.com/A.jpg"),
        ("https://a.com", "https://a.com/"),
        ("https://a.com:443/x", "https://a.com/x"),
        ("http://a.com:80/x", "http://a.com/x"),
        ("http://a.com:8080/x", "http://a.com:8080/x"),
        ("https://a.com/x#top", "https://a.com/x"),
        ("//a.com/x.jpg", "https://a.com/x.jpg"),
        ("  https://a.com/x\u00a0", "https://a.com/x"),
        ("https://bücher.de/ü.jpg", "https://xn--bcher-kva.de/%C3%BC.jpg"),
        ("https://a.com/my photo.jpg?t=a b", "https://a.com/my%20photo.jpg?t=a%20b"),
        ("https://a.com/my%20photo.jpg", "https://a.com/my%20photo.jpg"),
        ("https://a.com/%c3%bc.jpg", "https://a.com/%c3%bc.jpg"),
        ("https://a.com/100%.jpg", "https://a.com/100%25.jpg"),
        ("https://a.com/x?b=2&amp;a=1&#38;b=3", "https://a.com/x?b=2&a=1&b=3"),
        ("https:\\/\\/a.com\\/x.jpg", "https://a.com/x.jpg"),
        ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://a.com\\img\\x.jpg?a=\\", "https://a.com/img/x.jpg?a=%5C"),
        ("https:\\\\a.com\\x.jpg", "https://a.com/x.jpg"),
        ("\x00https://a.com/\x01x\t\n.jpg\x1f", "https://a.com/%01x.jpg"),
        (CLOUDINARY, CLOUDINARY),
        (IMDB, IMDB),
    ],
)
def test_a_url_is_written_as_it_is_requested(item: str, url: str) -> None:
    assert normalise(item) == url


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("img/a.jpg", "relative_url"),
        ("a.jpg", "relative_url"),
        ("www.a.com/b.jpg", "relative_url"),
        ("example.com:8080/a.jpg", "relative_url"),
        ("ftp://a.com/x.jpg", "unsupported_scheme"),
        ("file:///home/x.jpg", "unsupported_scheme"),
        ("s3://bucket/x.jpg", "unsupported_scheme"),
        ("C:\\images\\x.jpg", "unsupported_scheme"),
        ("data:image/png;base64,AAAA", "data_uri"),
        ("/9j/4AAQSkZJRgABAQAAAQABAAD", "bare_base64"),
        ("QUJD" * 64, "bare_base64"),
        ("https://user:secret@a.com/x.jpg", "credentials_in_url"),
        ("https://a.com/" + "x" * MAX_URL_BYTES, "url_too_long"),
        ("https://a.com/" + "é" * 400, "url_too_long"),
        ("https:///x.jpg", "invalid_url"),
        ("https:x.jpg", "invalid_url"),
        ("https://a.com:0/x", "invalid_url"),
        ("https://a.com:99999/x", "invalid_url"),
        ("https://a.com:port/x", "invalid_url"),
        ("https://a..com/x", "invalid_url"),
        (f"https://{'a' * 64}.com/x", "invalid_url"),
        ("https://[::g]/x", "invalid_url"),
        ("https://a\x00.com/x.jpg", "invalid_url"),
        ("https://a.com/\ud800.jpg", "invalid_url"),
        ("broken", "invalid_url"),
        ("see the catalogue", "invalid_url"),
    ],
)
def test_what_cannot_be_requested_says_why(item: str, code: str) -> None:
    with pytest.raises(UrlError) as raised:
        normalise(item)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("folder", "path", "url"),
    [
        ("https://a.com", "img/x.jpg", "https://a.com/img/x.jpg"),
        ("https://a.com/media", "x y.jpg", "https://a.com/media/x%20y.jpg"),
        ("https://a.com/media/", "/x.jpg", "https://a.com/x.jpg"),
        ("https://a.com/media/", "../x.jpg", "https://a.com/x.jpg"),
        ("https://a.com/media/", "12345", "https://a.com/media/12345"),
        ("https://a.com/media/", ONE, ONE),
    ],
)
def test_relative_paths_are_joined_to_the_folder(folder: str, path: str, url: str) -> None:
    assert normalise(path, folder) == url


def test_prose_is_not_joined_to_the_folder() -> None:
    with pytest.raises(UrlError):
        normalise("see the catalogue", "https://a.com/")


def test_only_the_path_of_a_url_tells_an_image() -> None:
    assert has_image_extension("https://a.com/x.JPG?v=1")
    assert has_image_extension("https://a.com/x.jpg/v1/fill")
    assert not has_image_extension("https://a.com/x?file=x.jpg")
    assert not has_image_extension("https://a.jpg/x")


@given(url=image_urls | st.text().map("https://a.com/{}".format))
def test_normalising_twice_changes_nothing(url: str) -> None:
    try:
        once = normalise(url)
    except UrlError:
        return
    assert normalise(once) == once
    assert once.isascii()
    assert len(once.split()) == 1


@given(image_urls)
def test_a_plain_url_is_one_item_and_stays_as_it_is(url: str) -> None:
    if is_plain_url(url):
        assert find_items(url) == [url]
        assert normalise(url) == url
