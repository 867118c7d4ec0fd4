import codecs
import csv
import io
import tracemalloc
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.enriching import enrich, enriched_pieces, stored_records
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline_tests.core.csv.tables import (
    CDN,
    CODE_PAGES,
    ONE,
    TWO,
    compressed,
    enriched,
    records,
    references,
)


@pytest.mark.parametrize(("code_page", "header", "text"), CODE_PAGES)
def test_windows_code_pages_are_written(code_page: str, header: str, text: str) -> None:
    data = f'id,{header},x\n1,{CDN},"{text}"\n'.encode(code_page)
    assert records(enriched(data), code_page)[1][2] == text
    assert enriched(enriched(data)) == enriched(data)


def test_a_message_that_the_code_page_cannot_carry_makes_the_result_utf8_with_byte_order_mark() -> None:
    table = read_csv(f"Größe;Bild\r\nÜbergroß;{ONE}\r\n".encode("cp1252"))
    result = enrich(table, {}, {ONE: "図"})
    assert result.startswith(codecs.BOM_UTF8)
    assert records(result, "utf-8-sig", ";")[1] == ["Übergroß", ONE, "", f"Bild: {ONE}: 図"]


def test_output_urls_keep_their_positions_and_failures_are_explained() -> None:
    table = read_csv(f'id,photo,image\n1,broken/a.jpg,"{ONE},{TWO},{CDN}"\n2,,\n'.encode())
    result = records(enrich(table, {ONE: "u1", CDN: "u3"}, {TWO: "Not there."}))
    assert result[1][3] == ",u1,,u3"
    first, second = result[1][4].split("\n")
    assert first.startswith("photo: broken/a.jpg: ")
    assert second == f"image, position 2: {TWO}: Not there."
    assert result[2] == ["2", "", "", "", ""]


def test_an_image_without_any_result_is_not_passed_over_in_silence() -> None:
    result = records(enrich(read_csv(f"image\n{ONE}\n".encode()), {}, {}))
    assert result[1] == [ONE, "", f"image: {ONE}: The image was not processed."]


def test_an_enriched_csv_fed_in_again_gives_the_same_bytes() -> None:
    data = f"id;image;note\n1;{ONE},{TWO};a, b\n;;\n\n2;img/a.jpg\n".encode()
    assert enriched(enriched(data)) == enriched(data)
    again = read_csv(enriched(data))
    assert again.header == ["id", "image", "note"]
    assert references(again) == references(read_csv(data))


def test_columns_of_these_names_elsewhere_stay_and_are_not_searched() -> None:
    data = f"Output Image Urls,image\nhttps://out.com/1.jpg,{ONE}\n".encode()
    result = enriched(data)
    assert records(result)[0] == ["Output Image Urls", "image", "Output Image Urls 2", "Image Errors 2"]
    assert references(read_csv(data)) == [(2, "image", 1, ONE)]
    assert enriched(result) == result


def test_an_enriched_csv_is_written_and_read_back_without_its_whole_in_memory(tmp_path: Path) -> None:
    """Each row is filled up to the width of the table: of 40 KB come 8 MB."""
    table = read_csv(b"image" + b"," * 2000 + b"\n" + f"{ONE}\n".encode() * 2000)
    path = tmp_path / "enriched.csv"
    tracemalloc.start()
    with path.open("wb") as file:
        file.writelines(enriched_pieces(table, {ONE: "u"}, {}))
    with path.open("rb") as file:
        count = sum(1 for _ in stored_records(table, file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, path.stat().st_size > 4_000_000) == (2001, True)
    assert peak < 2_500_000


class Sample(NamedTuple):
    rows: list[list[str]]
    references: list[tuple[int, str, int, str]]
    data: bytes
    encoding: str
    delimiter: str


values = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\r\t,;|" '), max_size=12)


urls = st.builds("https://cdn.example.com/{}/w_1,h_2/{}.jpg".format, st.integers(0, 99), st.integers(0, 99))


marks = st.sampled_from(
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
    ]
)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    delimiter = draw(st.sampled_from(",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding, mark = draw(marks)
    rows = [["id", 'Name; of, it | "x"', "Image Src", "note"]]
    expected: list[tuple[int, str, int, str]] = []
    for number, found in enumerate(
        draw(st.lists(st.lists(urls, max_size=3), min_size=1, max_size=6)), start=2
    ):
        cell = draw(st.sampled_from([",", ", ", "\n", " ; ", "|"])).join(found)
        rows.append([str(number), draw(values), cell, draw(values)])
        expected += [(number, "Image Src", place, url) for place, url in enumerate(found, start=1)]
    lines: list[str] = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue()[:-2] + newline)
    return Sample(rows, expected, mark + "".join(lines).encode(encoding), encoding, delimiter)


@given(samples())
def test_every_value_and_every_reference_of_any_table_is_kept_in_place(sample: Sample) -> None:
    table = read_csv(sample.data)
    assert table.rows == sample.rows
    assert [found for found in references(table) if found[1] == "Image Src"] == sample.references
    result = enrich(table, compressed(table), {})
    text_encoding = "utf-8-sig" if result.startswith(codecs.BOM_UTF8) else sample.encoding
    text = result.decode(text_encoding).removeprefix("\ufeff")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sample.delimiter))
    assert [row[:4] for row in rows] == sample.rows
    assert list(stored_records(table, io.BytesIO(result))) == rows
    for number, row in enumerate(rows[1:], start=2):
        outputs = [compressed(table)[url] for in_row, _, _, url in sample.references if in_row == number]
        assert row[4] == ",".join(outputs)
        assert len(row) == 6


@given(samples())
def test_any_enriched_table_fed_in_again_gives_the_same_bytes(sample: Sample) -> None:
    once = enriched(sample.data)
    assert enriched(once) == once


@given(
    st.lists(
        st.lists(st.sampled_from(["x", "", "7", ONE, CDN, "a b"]), max_size=5),
        min_size=1,
        max_size=6,
    )
)
def test_rows_of_any_length_keep_their_values(ragged: list[list[str]]) -> None:
    rows = [["id", "image", "name"], ["1", ONE, "x"], *ragged]
    data = "".join(",".join(row) + "\n" for row in rows).encode()
    result = enriched(data)
    originals, copies = records(data), records(result)
    assert len(originals) == len(copies)
    for original, copy in zip(originals, copies, strict=True):
        assert copy[: len(original)] == original
        assert original == [] or len(copy) == len(copies[0])
    assert enriched(result) == result


@pytest.mark.parametrize("header", ["=cmd|' /C calc'!image", "@image", "+image", "-image", "\timage"])
def test_our_cells_begin_no_formula_whatever_the_header_says(header: str) -> None:
    data = f'sku,"{header}"\n1,http://shop.example/a.jpg\n'.encode()
    table = read_csv(data, url_columns=["2"])
    enriched = enrich(table, {}, {"http://shop.example/a.jpg": "=1+1"}).decode()
    (_, row) = csv.reader(io.StringIO(enriched, newline=""))
    assert not row[2].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not row[3].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "a.jpg: =1+1" in row[3]


def test_our_cells_hold_nothing_that_a_terminal_obeys() -> None:
    table = read_csv(b"sku,image\n1,http://shop.example/a.jpg\n2,\x1b[2J\x08\n")
    errors = {"http://shop.example/a.jpg": "It said \x1b]0;owned\x07 and \x00."}
    enriched = enrich(table, {}, errors).decode()
    cells = [row[3] for row in csv.reader(io.StringIO(enriched, newline=""))]
    assert all(cell.isprintable() for cell in cells)


def test_the_errors_of_a_row_fit_into_a_cell_of_a_spreadsheet() -> None:
    urls = [f"https://a.com/{number}.jpg" for number in range(500)]
    table = read_csv(f'id,image\n1,"{" ".join(urls)}"\n'.encode())
    result = enrich(table, {}, dict.fromkeys(urls, "x" * 590))
    row = records(result)[1]
    assert len(row[3]) < 32_767
    assert "more images failed" in row[3].splitlines()[-1]
    assert row[2] == "," * 499
