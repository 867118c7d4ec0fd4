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
from imagi_pipeline.core.csv.urls import normalise
from imagi_pipeline.core.errors import UrlError
from imagi_pipeline_tests.core.csv.tables import CLOUDINARY, IMDB, image_urls

ONE = "https://a.com/1.jpg"
TWO = "https://b.com/2.png"

# Without "-", which means "no image" when it stands alone between commas.


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


@given(
    urls=st.lists(image_urls, min_size=1, max_size=5),
    separator=st.sampled_from([", ", ",", ";", "|", "\n", " "]),
)
def test_listed_urls_are_found_in_order(urls: list[str], separator: str) -> None:
    assert find_items(separator.join(urls)) == urls


@given(st.text() | st.text(alphabet="htps:/.,;|()[]{}\"'<> \n\\@#?%&a1"))
def test_any_text_is_taken_apart_without_another_error_than_a_url_error(cell: str) -> None:
    classify(cell)
    for item in find_items(cell):
        assert not is_placeholder(item)
        with suppress(UrlError):
            assert normalise(item, "https://a.com/").startswith(("http://", "https://"))
