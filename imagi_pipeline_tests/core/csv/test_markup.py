from __future__ import annotations

import pytest

from imagi_pipeline.core.csv.markup import (
    Span,
    begins_as_html,
    formula_images,
    html_images,
    markdown_images,
    text_outside_tags,
)


def cut(text: str, spans: list[Span]) -> list[str]:
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ('<img src="a.jpg"> <IMG SRC=b.jpg>', ["a.jpg", "b.jpg"]),
        ("<img alt='a > b' src='a.jpg'>", ["a.jpg"]),
        ('<img src="a.jpg" srcset="b.jpg 1x, c,1.jpg 200w">', ["a.jpg", "b.jpg", "c,1.jpg"]),
        ('<img src="data:image/gif;base64,R0" data-src="a.jpg">', ["a.jpg"]),
        ('<a href="page.html">x</a>', []),
        ('<svg><image href="a.jpg"/></svg>', ["a.jpg"]),
        ("a < b", []),
        ('<i style="background: red url(//a.com/1.jpg) 0 0"></i><img src=b.jpg>', ["//a.com/1.jpg", "b.jpg"]),
        ('<i style="background-image:url(&quot;//a.com/1?a&amp;b&quot;)"></i>', ["//a.com/1?a&amp;b"]),
        ('<p style="color:red">background: url</p>', []),
    ],
)
def test_html_shows_images_by_its_tags(text: str, urls: list[str]) -> None:
    assert cut(text, html_images(text)) == urls


def test_html_tells_something_or_only_shows_an_image() -> None:
    assert begins_as_html("<p>A shoe.</p>")
    assert not begins_as_html('<img src="a.jpg">')
    assert text_outside_tags("<p>A <b>red</b> shoe</p>") == "A  red  shoe"


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ('=IMAGE("https://a.com/1.jpg"; 2)', ["https://a.com/1.jpg"]),
        ('=WENN(A1;BILD("https://a.com/1.jpg");"")', ["https://a.com/1.jpg"]),
        ('=HYPERLINK("https://a.com/1.jpg", "photo")', ["https://a.com/1.jpg"]),
        ('=HYPERLINK("https://a.com/", IMAGE("https://a.com/1.jpg"))', ["https://a.com/1.jpg"]),
        ('IMAGE("https://a.com/1.jpg")', []),
    ],
)
def test_formulas_name_images(text: str, urls: list[str]) -> None:
    assert cut(text, formula_images(text)) == urls


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("![a](a.jpg) and ![b](<b_(1).jpg> 'title')", ["a.jpg", "b_(1).jpg"]),
        ("[photo](a.jpg)", ["a.jpg"]),
        ("[![a](a.jpg)](page.html)", ["a.jpg"]),
        ("a [b] (c)", []),
    ],
)
def test_markdown_shows_images(text: str, urls: list[str]) -> None:
    assert cut(text, markdown_images(text)) == urls
