from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.cell_urls import (
    CellKind,
    classify,
    find_items,
)
from imagi_pipeline.core.csv.placeholders import is_placeholder
from imagi_pipeline.core.csv.urls import MAX_URL_BYTES, has_image_extension, is_plain_url, normalise
from imagi_pipeline.core.errors import UrlError

CLOUDINARY = "https://res.cloudinary.com/demo/image/upload/w_300,h_200/sample.jpg"
IMDB = "https://m.media-amazon.com/images/M/abc@._V1_UX67_CR0,0,67,98_AL_.jpg"
ONE = "https://a.com/1.jpg"
TWO = "https://b.com/2.png"

# Without "-", which means "no image" when it stands alone between commas.
url_names = st.text(alphabet="abcXYZ019_.~%20,()é", min_size=1, max_size=12).map(
    lambda name: name.replace("%", "%25")
)
image_urls = st.builds("https://{}.example.com/{}x.jpg".format, st.sampled_from(["a", "b"]), url_names)


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        (f"{ONE},{TWO}", [ONE, TWO]),
        (f"{ONE}; {TWO} ;", [ONE, TWO]),
        (f"{ONE}|{TWO}", [ONE, TWO]),
        (f"{ONE} {TWO}", [ONE, TWO]),
        (f"\n{ONE}\r\n\r\n{TWO}\n", [ONE, TWO]),
        (f'["{ONE}", "{TWO}"]', [ONE, TWO]),
        (f"['{ONE}', '{TWO}']", [ONE, TWO]),
        (f"{{{ONE},{TWO}}}", [ONE, TWO]),
        (f'[{{"url": "{ONE}", "alt": "front"}}, {{"src": "{TWO}"}}]', [ONE, TWO]),
        (f"[{{'src': '{ONE}', 'alt': \"it's\"}}, {{'src': '{TWO}'}}]", [ONE, TWO]),
        (f"['{ONE}', 'it's', '{TWO}']", [ONE, TWO]),
        (f"['{ONE}', '{TWO}", [ONE, TWO]),
        (f"shoe.jpg ({ONE}), hat (1), red.png ({TWO})", [ONE, TWO]),
        (f"<{ONE}>", [ONE]),
        (f'"{ONE}', [ONE]),
        (f"front: {ONE}", [ONE]),
        (f"\u200b{ONE}\ufeff", [ONE]),
        ("img/a.jpg; img/b.jpg", ["img/a.jpg", "img/b.jpg"]),
        ("a.jpg b.jpg", ["a.jpg", "b.jpg"]),
    ],
)
def test_the_usual_ways_to_list_urls_in_a_cell_are_understood(cell: str, items: list[str]) -> None:
    assert find_items(cell) == items


@pytest.mark.parametrize(
    "url",
    [
        CLOUDINARY,
        IMDB,
        "https://a.com/my photo.jpg",
        "https://a.com/photo_(1).jpg",
        "https://a.com/x.jpg?resize=300,200",
        "https://a.com/x.jpg?w=1&amp;h=2",
        "https://a.com/R&amp;D.jpg",
        "https://placehold.co/600x400?text=Hello World",
        "https://t.com/filters:watermark(https://a.com/w.png)/x.jpg",
        "https://a.com/größe.jpg",
        "//a.com/x.jpg",
    ],
)
def test_a_separator_inside_a_url_does_not_end_it(url: str) -> None:
    assert find_items(url) == [url]
    assert find_items(f"{url}, {ONE}\n{url}") == [url, ONE, url]


@pytest.mark.parametrize(
    "cell", ["", "  ", "N/A", "n/a", "-", "–", "none", "NULL", "nan", "[]", "[null]", " \u200b "]
)
def test_blank_and_placeholder_cells_hold_nothing(cell: str) -> None:
    assert find_items(cell) == []


def test_placeholders_and_text_beside_urls_take_no_place_and_unusable_paths_keep_theirs() -> None:
    assert find_items(f"N/A, {ONE}, -, img/x.jpg, {TWO}, none") == [ONE, "img/x.jpg", TWO]
    assert find_items(f"front, {ONE}, back, {TWO}") == [ONE, TWO]
    assert find_items("https://picsum.photos/1, N/A") == ["https://picsum.photos/1"]


def test_a_json_object_without_a_url_is_an_item_that_cannot_be_used() -> None:
    (item,) = find_items('[{"alt": "front"}]')
    with pytest.raises(UrlError):
        normalise(item)


def test_a_data_url_is_one_item_despite_its_comma() -> None:
    data_url = "data:image/png;base64,iVBORw0KGgo//AAA+BBB=="
    assert find_items(f"{data_url},{ONE}") == [data_url, ONE]


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


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (f"{ONE}, {TWO}", CellKind.IMAGE_URL),
        (f"shoe ({ONE})", CellKind.IMAGE_URL),
        ("https://picsum.photos/id/1/200", CellKind.OTHER_URL),
        ("https://shop.com/shoe.html?colour=red", CellKind.PAGE_URL),
        ("https://shop.com/", CellKind.PAGE_URL),
        ("https://my.png.com/shoe", CellKind.OTHER_URL),
        ("img/a.jpg", CellKind.UNUSABLE),
        ("data:image/png;base64,AAAA", CellKind.UNUSABLE),
        ("red shoe", CellKind.TEXT),
        (f"<p>see <img src='{ONE}'></p>", CellKind.TEXT),
        (f"see {ONE} for more", CellKind.TEXT),
    ],
)
def test_a_cell_is_judged_by_what_it_holds_as_a_whole(cell: str, kind: CellKind) -> None:
    assert classify(cell) == kind


def test_only_the_path_of_a_url_tells_an_image() -> None:
    assert has_image_extension("https://a.com/x.JPG?v=1")
    assert has_image_extension("https://a.com/x.jpg/v1/fill")
    assert not has_image_extension("https://a.com/x?file=x.jpg")
    assert not has_image_extension("https://a.jpg/x")


@given(
    urls=st.lists(image_urls, min_size=1, max_size=5),
    separator=st.sampled_from([", ", ",", ";", "|", "\n", " "]),
)
def test_listed_urls_are_found_in_order(urls: list[str], separator: str) -> None:
    assert find_items(separator.join(urls)) == urls


@given(url=image_urls | st.text().map("https://a.com/{}".format))
def test_normalising_twice_changes_nothing(url: str) -> None:
    try:
        once = normalise(url)
    except UrlError:
        return
    assert normalise(once) == once
    assert once.isascii()
    assert len(once.split()) == 1


@given(st.text() | st.text(alphabet="htps:/.,;|()[]{}\"'<> \n\\@#?%&a1"))
def test_any_text_is_taken_apart_without_another_error_than_a_url_error(cell: str) -> None:
    classify(cell)
    for item in find_items(cell):
        assert not is_placeholder(item)
        with suppress(UrlError):
            assert normalise(item, "https://a.com/").startswith(("http://", "https://"))


@given(image_urls)
def test_a_plain_url_is_one_item_and_stays_as_it_is(url: str) -> None:
    if is_plain_url(url):
        assert find_items(url) == [url]
        assert normalise(url) == url
