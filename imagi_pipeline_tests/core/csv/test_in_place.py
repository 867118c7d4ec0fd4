"""The new URLs in the place of the old ones, and everything else as it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv

HOST, OUT = "https://a.com", "http://cdn/x"


def replaced(text: str, *columns: str, encoding: str = "utf-8") -> str:
    """Return the CSV with the URLs of HOST replaced; an image whose name says `gone` failed."""
    table = read_csv(text.encode(encoding), url_columns=columns)
    outputs = {
        found.url: found.url.replace(HOST, OUT).partition("?")[0]
        for found in table.references
        if "gone" not in found.url
    }
    errors = {found.url: "It is gone →" for found in table.references if "gone" in found.url}
    return enrich(table, outputs, errors, in_place=True).decode(encoding)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1;https://a.com/1.jpg;x", "1;http://cdn/x/1.jpg;x"),
        ("1;https://a.com/gone.jpg;x", "1;https://a.com/gone.jpg;x"),
        (
            '1;"https://a.com/1.jpg, https://a.com/gone.jpg,https://a.com/2.jpg";x',
            '1;"http://cdn/x/1.jpg, https://a.com/gone.jpg,http://cdn/x/2.jpg";x',
        ),
        (
            '1;"[""https:\\/\\/a.com\\/1.jpg"", ""https://a.com/2.jpg""]";x',
            '1;"[""http://cdn/x/1.jpg"", ""http://cdn/x/2.jpg""]";x',
        ),
        ("1;https://a.com/1.jpg|https://a.com/1.jpg;x", "1;http://cdn/x/1.jpg|http://cdn/x/1.jpg;x"),
        ("1; n/a ;x", "1; n/a ;x"),
        ("1;./rel.jpg;x", "1;./rel.jpg;x"),
        ('1;https://a.com/1.jpg;"quoted ""x"""', '1;http://cdn/x/1.jpg;"quoted ""x"""'),
        ("1;https://a.com/1.jpg", "1;http://cdn/x/1.jpg"),
        ("1;https://a.com/1.jpg;x;more;cells", "1;http://cdn/x/1.jpg;x;more;cells"),
    ],
)
def test_only_the_url_of_an_image_that_is_there_changes(before: str, after: str) -> None:
    head, tail = "id;Image;name\r\n0;https://a.com/0.jpg;x\r\n", "\r\n9;https://a.com/9.jpg;x\r\n"
    expected = f"{head}{after}{tail}".replace(f"{HOST}/0", f"{OUT}/0").replace(f"{HOST}/9", f"{OUT}/9")
    assert replaced(f"{head}{before}{tail}") == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>Nice</p><img src='https://a.com/1.jpg'>", "<p>Nice</p><img src='http://cdn/x/1.jpg'>"),
        ("<img src=https://a.com/1.jpg?v=2&amp;w=3 alt=x>", "<img src=http://cdn/x/1.jpg alt=x>"),
        (
            "<img src='https://a.com/1.jpg' srcset='https://a.com/1.jpg 1x, https://a.com/2.jpg 2x'>",
            "<img src='http://cdn/x/1.jpg' srcset='http://cdn/x/1.jpg 1x, http://cdn/x/2.jpg 2x'>",
        ),
        (
            "<img src='https://a.com/gone.jpg'><img src='//a.com/2.jpg'>",
            "<img src='https://a.com/gone.jpg'><img src='http://cdn/x/2.jpg'>",
        ),
        (
            "<p>Of <a href='https://a.com/1.jpg'>this</a></p><img src='https://a.com/1.jpg'>",
            "<p>Of <a href='https://a.com/1.jpg'>this</a></p><img src='http://cdn/x/1.jpg'>",
        ),
        ("<p>No image, 3/4 wool</p>", "<p>No image, 3/4 wool</p>"),
        ("<p>See <a href='https://a.com/care.html'>care</a></p>", None),
    ],
)
def test_images_are_replaced_inside_the_html_of_a_chosen_column(html: str, expected: str | None) -> None:
    text = "Handle,Body (HTML),Image Src\nshoe,{},https://a.com/9.jpg\n<b>,<img src='https://a.com/8.jpg'>,\n"
    result = replaced(text.format(f'"{html}"'), "Body (HTML)")
    assert result == text.format(f'"{expected or html}"').replace(f"{HOST}/8", f"{OUT}/8")


def test_html_without_an_image_is_no_problem() -> None:
    data = b"id,Body (HTML)\n1,<p>Wool and/or silk</p>\n2,<img src='https://a.com/1.jpg'>\n"
    assert read_csv(data, url_columns=["2"]).problems == []


def test_a_code_page_stays_although_the_reasons_do_not_fit_into_it() -> None:
    text = "Größe;Bild\r\n5;https://a.com/gone.jpg\r\n6;https://a.com/1.jpg\r\n"
    assert replaced(text, encoding="cp1252") == text.replace(f"{HOST}/1", f"{OUT}/1")


@given(
    st.lists(
        st.tuples(st.text(alphabet='ab ,;"\n\\', max_size=6), st.lists(st.integers(1, 9), max_size=3)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_of_any_table_the_other_cells_stay_and_the_new_urls_are_found_again(
    rows: list[tuple[str, list[int]]], delimiter: str
) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    head = delimiter.join(["name", "Image", "id"]) + "\n" + delimiter.join(["n", f"{HOST}/0.jpg", "x"]) + "\n"
    data = head + "".join(
        delimiter.join([quoted(name), quoted(" ".join(f"{HOST}/{n}.jpg" for n in numbers)), "x"]) + "\n"
        for name, numbers in rows
    )
    before, after = read_csv(data.encode()), read_csv(replaced(data, "Image").encode())
    assert [row[::2] for row in after.rows] == [row[::2] for row in before.rows]
    assert [found.url for found in after.references] == [
        found.url.replace(HOST, OUT) for found in read_csv(data.encode(), url_columns=["Image"]).references
    ]
