from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.cell_urls import (
    CellKind,
    classify,
    find_items,
    replaced,
)
from imagi_pipeline.core.csv.placeholders import is_placeholder
from imagi_pipeline.core.csv.urls import is_plain_url, normalise
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


BOOT = "https://shop.example/p/boot-7.jpg"
LACE = "https://shop.example/p/lace-8.webp"
BARE = "https://cdn.example/id/77"


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        (f'=IMAGE("{BOOT}")', [BOOT]),
        (f'=IMAGE("{BOOT}", "a boot, red", 3, 40, 60)', [BOOT]),
        (f'=BILD("{BOOT}";"Stiefel";0)', [BOOT]),
        (f'=IFERROR(IMAGE("{BOOT}"),"none")', [BOOT]),
        (f'=HYPERLINK("{BOOT}", "show")', [BOOT]),
        (f'=HYPERLINK("{BOOT}";"{BOOT}")', [BOOT]),
        (f'=HYPERLINK("https://shop.example/boot", IMAGE("{BOOT}"))', [BOOT]),
        (f"<img src='{BOOT}' alt=\"a > b\">", [BOOT]),
        (f'<p><img width=3 src={BOOT}><br/><IMG SRC="{LACE}"></p>', [BOOT, LACE]),
        (f'<a href="https://shop.example/boot.html"><img src="{BOOT}"/></a>', [BOOT]),
        (f"&lt;img src=&quot;{BOOT}&quot;&gt;", [BOOT]),
        (f"<images><image>{BOOT}</image><image>{LACE}</image></images>", [BOOT, LACE]),
        (f'<img srcset="{BOOT} 1x, {LACE} 2x">', [BOOT, LACE]),
        (f"{BOOT} 480w, {LACE} 960w", [BOOT, LACE]),
        (f'![boot]({BOOT}) ![lace]({LACE} "title")', [BOOT, LACE]),
        (f"[![boot]({BOOT})](https://shop.example/boot)", [BOOT]),
        (f"[boot]({BOOT})", [BOOT]),
        (f"[img]{BOOT}[/img][img]{LACE}[/img]", [BOOT, LACE]),
        (f'a:2:{{i:0;s:33:"{BOOT}";i:1;s:34:"{LACE}";}}', [BOOT, LACE]),
        (f"{{'main': '{BOOT}', 'width': 3}}", [BOOT]),
    ],
)
def test_markup_around_urls_is_taken_off(cell: str, items: list[str]) -> None:
    assert find_items(cell) == items


@pytest.mark.parametrize(
    "separator",
    [
        *(
            "<br>",
            "<BR />",
            "</p><p>",
            "，",
            "； ",
            "、",
            "｜",
            "، ",
            "؛",
            "&&",
            " && ",
            "%0A",
            "::",
            "_x000D_\n",
            "|||",
            ";;",
            " / ",
            " + ",
        ),
        *(
            " -> ",
            " · ",
            " and ",
            "\n• ",
            "\n2. ",
            "#",
            "~",
            "^",
            "*",
            "\u200b",
            "",
            "&#44;",
            "&nbsp;",
            "\\n",
            "\\r\\n",
        ),
    ],
)
def test_whatever_people_type_between_two_urls_ends_the_first(separator: str) -> None:
    assert find_items(BOOT + separator + LACE) == [BOOT, LACE]
    assert not is_plain_url(BOOT + separator + LACE)


@pytest.mark.parametrize(
    "cell",
    [
        rf"[\"{ONE}\",\"{TWO}\"]",
        rf'"[{{\"src\":\"{ONE}\",\"alt\":\"x\"}},{{\"src\":\"{TWO}\"}}]"',
        rf"<img src=\"{ONE}\"><img src=\"{TWO}\">",
        f"&quot;{ONE}&quot;,&quot;{TWO}&quot;",
    ],
)
def test_quotes_that_were_escaped_once_too_often_are_read_as_quotes(cell: str) -> None:
    assert find_items(cell) == [ONE, TWO]
    assert replaced(cell, {1: "new", 2: "newer"}) == cell.replace(ONE, "new").replace(TWO, "newer")


def test_a_quote_in_a_text_beside_a_url_stays_one() -> None:
    assert find_items(rf'[{{"url":"{ONE}","alt":"5\" pipe"}}]') == [ONE]


@pytest.mark.parametrize("separator", ["<br>", "，", "&&", " && ", "、", "\\n", "&#44;", "|"])
def test_a_url_without_an_extension_ends_there_too(separator: str) -> None:
    assert find_items(BARE + separator + BOOT) == [BARE, BOOT]


@pytest.mark.parametrize(
    "quotes",
    [
        "«»",
        "»«",
        "„“",
        "“”",
        "‚‘",
        "‘’",
        "‹›",
        "「」",
        "『』",
        "《》",
        "【】",
        "＂＂",
        "❝❞",
        "``",
        "''",
        '""',
        "<>",
        "()",
        "[]",
    ],
)
def test_quotes_of_every_language_are_no_part_of_a_url(quotes: str) -> None:
    opening, closing = quotes[0], quotes[1]
    assert find_items(f"{opening}{BOOT}{closing}, {opening}{LACE}{closing}") == [BOOT, LACE]
    assert find_items(f"{opening}{BARE}{closing}") == [BARE]


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy.example/fetch/https://shop.example/boot.jpg",
        "https://proxy.example/?url=https://shop.example/boot.jpg&w=3",
        "https://web.example/2024/https://shop.example/boot.jpg",
        "https://shop.example//p//boot.jpg",
    ],
)
def test_a_url_inside_a_url_is_a_part_of_it(url: str) -> None:
    assert find_items(url) == [url]
    assert find_items(f"{url},{BOOT}") == [url, BOOT]


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        (f"Front: {BOOT}; Back: {LACE}", [BOOT, LACE]),
        (f"main={BOOT};other={LACE}", [BOOT, LACE]),
        (f"Front|{BOOT}", [BOOT]),
        (f"{BOOT} ! alt : Boot ! title : X ! desc : ! caption : | {LACE} ! alt :", [BOOT, LACE]),
    ],
)
def test_labels_and_texts_beside_urls_are_left_out(cell: str, items: list[str]) -> None:
    assert find_items(cell) == items


@pytest.mark.parametrize(
    "word",
    [
        *(
            "no_selection",
            "NO SELECTION",
            "\\N",
            "(none)",
            "<null>",
            "[empty]",
            "None.",
            "n / a",
            "??",
            "Loading...",
        ),
        *("#VALUE!", "#REF!", "#NAME?", "#WERT!", "#BEZUG!", "#NV", "#¡REF!", "#¿NOMBRE?", "#REF !", "#ИМЯ?"),
        *("#GETTING_DATA", "#SPILL!", "#FIELD!", "no image available", "Image coming soon", "kein Bild"),
        *(
            "sans image",
            "sin imagen",
            "sem imagem",
            "nessuna immagine",
            "geen afbeelding",
            "нет фото",
            "画像なし",
        ),
        *("暂无图片", "이미지 없음", "yok", "bez zdjęcia", "tidak ada"),
    ],
)
def test_words_for_no_image_are_no_items(word: str) -> None:
    assert find_items(word) == []
    assert find_items(f"{BOOT}, {word}") == [BOOT]


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
