import codecs
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.errors import CsvError
from imagi_pipeline_tests.core.csv.tables import (
    CDN,
    ONE,
    OWN,
    TWO,
    compressed,
    enriched,
    problems,
    records,
    references,
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiter_and_line_end_are_kept(delimiter: str, newline: str) -> None:
    rows = [["id", "name", "Image Src"], ["1", "shoe", f"{ONE}"], ["2", "hat", TWO]]
    data = "".join(delimiter.join(row) + newline for row in rows).encode()
    table = read_csv(data)
    assert references(table) == [(2, "Image Src", 1, ONE), (3, "Image Src", 1, TWO)]
    assert enrich(table, {}, {}).startswith(delimiter.join([*rows[0], *OWN]).encode() + newline.encode())


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
        ("cp1252", b""),
    ],
)
def test_encoding_and_byte_order_mark_are_kept(encoding: str, mark: bytes) -> None:
    text = f"Größe;Bild\r\nÜbergroß für Männer;{ONE}\r\n"
    table = read_csv(mark + text.encode(encoding))
    result = enrich(table, {ONE: "http://out/1.jpg"}, {})
    assert result.startswith(mark + "Größe;Bild;Output".encode(encoding))
    assert f"Übergroß für Männer;{ONE};http://out/1.jpg;\r\n".encode(encoding) in result


def test_values_stay_as_they_are() -> None:
    values = ["00123", "1e5", "NA", " x  ", "", '5" pipe', "a\nb", "=1+1", "true"]
    sink = io.StringIO()
    csv.writer(sink).writerows([[*"abcdefghi", "image"], [*values, ONE]])
    data = sink.getvalue().encode()
    assert read_csv(data).rows[1] == [*values, ONE]
    assert records(enriched(data))[1][: len(values)] == values


def test_rows_count_as_in_a_spreadsheet() -> None:
    data = f'# export\n\nid,note,image\n1,"two\nlines",{ONE}\n\n2,x,{TWO}\n'.encode()
    table = read_csv(data)
    assert references(table) == [(4, "image", 1, ONE), (6, "image", 1, TWO)]
    assert table.data_row_count == 2


@pytest.mark.parametrize(
    "row",
    [f"1;{ONE},{TWO}", f"1,{ONE};{TWO}", f"1\t{ONE},{TWO}", f"1|{ONE} {TWO}", f'1,"{ONE},{TWO}"'],
)
@pytest.mark.parametrize("has_header", [True, False])
def test_each_url_of_a_list_in_a_cell_is_a_reference(row: str, has_header: bool) -> None:
    header = f"id{row[1]}images\n" if has_header else ""
    table = read_csv(f"{header}{row}\n{row}\n".encode())
    assert table.has_header == has_header
    assert [(found.position, found.url) for found in table.references] == [(1, ONE), (2, TWO)] * 2


def test_cells_beyond_the_header_belong_to_the_list_before_them() -> None:
    other = "https://picsum.photos/2"
    data = f"id,name,Image Urls\n1,a,{CDN},{other}\n2,b\n\n3,c,{CDN}\n".encode()
    table = read_csv(data)
    assert table.header == ["id", "name", "Image Urls", "column 4"]
    assert references(table)[:2] == [(2, "Image Urls", 1, CDN), (2, "column 4", 1, other)]
    first, *rest = records(enrich(table, {CDN: "u1", other: "u2"}, {}))
    assert first == ["id", "name", "Image Urls", "", *OWN]
    assert rest == [
        ["1", "a", CDN, other, "u1,u2", ""],
        ["2", "b", "", "", "", ""],
        [],
        ["3", "c", CDN, "", "u1", ""],
    ]
    assert enriched(enriched(data)) == enriched(data)


@pytest.mark.parametrize(
    "broken",
    [f'1,"shoe,{ONE}', f'1,"{ONE}', '1,"', '"1,x'],
)
def test_the_row_of_an_unclosed_quote_is_kept_and_the_others_are_searched(broken: str) -> None:
    data = f'id,image\n{broken}\n2,{ONE}\n3,"{TWO},\n{ONE}"\n'.encode()
    table = read_csv(data)
    assert references(table)[-3:] == [(3, "image", 1, ONE), (4, "image", 1, TWO), (4, "image", 2, ONE)]
    assert records(enriched(data))[1][:2] == broken.split(",")[:2]


def test_a_quote_left_open_in_the_last_row_hides_no_image() -> None:
    table = read_csv(f'id,image\n1,{ONE}\n2,"{TWO}'.encode())
    assert references(table)[1] == (3, "image", 1, TWO)


def test_a_lone_nul_is_kept() -> None:
    data = f"id,image\n1\0,{ONE}\n2,{ONE}\n".encode()
    assert records(enriched(data))[1][0] == "1\0"


def test_what_cannot_be_used_is_a_problem_in_its_place() -> None:
    long = "https://a.com/" + "x" * 3000
    cells = [
        f"{ONE}\nimg/a.jpg\nftp://a.com/x",
        "data:image/png;base64,AAAA",
        "N/A",
        long,
        "https://u:p@a.com/",
    ]
    data = "".join(["image\n", *(f'"{cell}"\n' for cell in cells)]).encode()
    table = read_csv(data)
    assert references(table) == [(2, "image", 1, ONE)]
    assert problems(table) == [
        (2, "image", 2, "img/a.jpg", "relative_url"),
        (2, "image", 3, "ftp://a.com/x", "unsupported_scheme"),
        (3, "image", 1, "data:image/png;base64,AAAA", "data_uri"),
        (5, "image", 1, long[:97] + "...", "url_too_long"),
        (6, "image", 1, "https://u:p@a.com/", "credentials_in_url"),
    ]
    assert all(problem.message for problem in table.problems)


def test_relative_paths_are_joined_to_the_base_url() -> None:
    table = read_csv(b"id,file\n1,img/a.jpg\n2,/media/b.jpg\n", base_url="https://shop.com/static")
    assert [found.url for found in table.references] == [
        "https://shop.com/static/img/a.jpg",
        "https://shop.com/media/b.jpg",
    ]
    with pytest.raises(CsvError, match="base URL"):
        read_csv(b"id,file\n1,img/a.jpg\n", base_url="shop.com/static")


def test_a_json_array_in_a_cell_is_read() -> None:
    sink = io.StringIO()
    csv.writer(sink).writerows([["images"], [json.dumps([ONE, {"url": TWO}])]])
    assert [found.url for found in read_csv(sink.getvalue().encode()).references] == [ONE, TWO]


def test_references_are_in_order_of_row_column_and_position() -> None:
    table = read_csv(f'image,x,photo\n"{TWO},{ONE}",,{CDN}\n{CDN},,{ONE}\n'.encode())
    assert references(table) == [
        (2, "image", 1, TWO),
        (2, "image", 2, ONE),
        (2, "photo", 1, CDN),
        (3, "image", 1, CDN),
        (3, "photo", 1, ONE),
    ]


@given(st.binary(max_size=200) | st.text(alphabet='ab1,;"\n\r\t#/:.jpghts', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        table = read_csv(data)
    except CsvError:
        return
    enrich(table, compressed(table), {})


def test_an_export_of_mysql_is_read_and_written_with_its_escapes() -> None:
    data = (
        f"id\tnote\timage\n1\ttwo\\\nlines and a \\\ttab\t{ONE}\n2\t\\N\t\\N\n3\tC:\\\\boots\t{TWO}\n"
    ).encode()
    table = read_csv(data)
    assert [row[1] for row in table.rows] == ["note", "two\nlines and a \ttab", "\\N", "C:\\boots"]
    assert references(table) == [(2, "image", 1, ONE), (4, "image", 1, TWO)]
    assert problems(table) == []
    result = enrich(table, {ONE: "u1"}, {TWO: "a\tb"}).decode()
    assert f"1\ttwo\\\nlines and a \\\ttab\t{ONE}\tu1\t\n" in result
    assert f"3\tC:\\\\boots\t{TWO}\t\timage: {TWO}: a b\n" in result


def test_control_characters_in_a_url_are_taken_as_a_browser_takes_them() -> None:
    data = b'id,image\n1,"\x01 https://a.com/1\t.jpg\x1f"\n2,https://a.com/\x02.jpg\n'
    found = [reference.url for reference in read_csv(data).references]
    assert found == ["https://a.com/1.jpg", "https://a.com/%02.jpg"]


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        # Magento's files, in folders named by their first two letters, are below the folder.
        (
            "https://shop.example/media/catalog/product/",
            "/b/o/boot.jpg",
            "media/catalog/product/b/o/boot.jpg",
        ),
        ("https://shop.example/media/catalog/product", "/7/_/7-b.jpg", "media/catalog/product/7/_/7-b.jpg"),
        # Other paths that begin with a slash are below the host, unless a `*` says where paths are put.
        ("https://shop.example/media/", "/files/boot.jpg", "files/boot.jpg"),
        ("https://shop.example/media/*", "/files/boot.jpg", "media/files/boot.jpg"),
        ("https://shop.example/media/*?w=800", "/files/boot.jpg", "media/files/boot.jpg?w=800"),
        ("https://shop.example/media/*", "b/o/boot.jpg", "media/b/o/boot.jpg"),
    ],
)
def test_where_a_path_is_put_below_the_base_url(base: str, path: str, url: str) -> None:
    (found,) = read_csv(f"sku,base_image\n7,{path}\n".encode(), base_url=base).references
    assert found.url == f"https://shop.example/{url}"
