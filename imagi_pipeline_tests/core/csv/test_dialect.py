import codecs
import csv
import io

import pytest

from imagi_pipeline.core.csv.dialect import Dialect
from imagi_pipeline.core.csv.encoding import Encoding
from imagi_pipeline.core.errors import CsvError
from imagi_pipeline_tests.core.csv.tables import read_records

ONE = "https://a.com/1.jpg"
TWO = "https://a.com/2.jpg"
CDN = "https://picsum.photos/id/1/200"


def csv_error(data: bytes) -> CsvError:
    with pytest.raises(CsvError) as raised:
        read_records(data)
    return raised.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiter_and_line_end_are_found(delimiter: str, newline: str) -> None:
    rows = [["id", "name", "Image Src"], ["1", "shoe", ONE], ["2", "hat", TWO]]
    data = "".join(delimiter.join(row) + newline for row in rows).encode()
    assert read_records(data) == (Dialect(Encoding("utf-8"), delimiter, newline), rows)


@pytest.mark.parametrize("header", ["", "url\n"])
def test_commas_inside_the_urls_of_a_plain_list_do_not_make_columns(header: str) -> None:
    urls = [f"https://res.cloudinary.com/demo/w_300,h_200/{name}.jpg" for name in "ab"]
    _, rows = read_records((header + "\n".join(urls)).encode())
    assert rows[-2:] == [[url] for url in urls]


@pytest.mark.parametrize(
    "row",
    [f"1;{ONE},{TWO}", f"1,{ONE};{TWO}", f"1\t{ONE},{TWO}", f"1|{ONE} {TWO}", f'1,"{ONE},{TWO}"'],
)
@pytest.mark.parametrize("has_header", [True, False])
def test_a_list_in_a_cell_is_not_taken_for_columns(row: str, has_header: bool) -> None:
    header = f"id{row[1]}images\n" if has_header else ""
    dialect, rows = read_records(f"{header}{row}\n{row}\n".encode())
    assert dialect.delimiter == row[1]
    assert [len(row) for row in rows] == [2] * (2 + has_header)


@pytest.mark.parametrize(
    "broken",
    [f'1,"shoe,{ONE}', f'1,"{ONE}', '1,"', '"1,x'],
)
def test_an_unclosed_quote_does_not_swallow_the_rows_after_it(broken: str) -> None:
    data = f'id,image\n{broken}\n2,{ONE}\n3,"{TWO},\n{ONE}"\n'.encode()
    _, rows = read_records(data)
    assert rows == [["id", "image"], broken.split(","), ["2", ONE], ["3", f"{TWO},\n{ONE}"]]


def test_a_quote_left_open_in_the_last_row_keeps_its_value() -> None:
    _, rows = read_records(f'id,image\n1,{ONE}\n2,"{TWO}'.encode())
    assert rows[2] == ["2", f'"{TWO}']


@pytest.mark.parametrize("line", ['a "quoted", long\nline ', "a; b\n"])
def test_cells_of_several_megabytes_are_read(line: str) -> None:
    text = line * 50_000
    sink = io.StringIO()
    csv.writer(sink).writerows([["text", "image"], [text, ONE]])
    _, rows = read_records(sink.getvalue().encode())
    assert rows[1] == [text, ONE]


def test_a_lone_nul_is_a_character_like_others() -> None:
    data = f"id,image\n1\0,{ONE}\n2,{ONE}\n".encode()
    _, rows = read_records(data)
    assert rows[1] == ["1\0", ONE]


def test_a_record_of_several_lines_does_not_hide_that_backslashes_are_escapes() -> None:
    data = f'id,note,image\n0,"two\n",{ONE}\n1,"5\\",; long",{TWO}\n'.encode()
    _, rows = read_records(data)
    assert [row[1] for row in rows] == ["note", "two\n", '5\\",; long']


@pytest.mark.parametrize("data", [b"", b" \r\n\n", codecs.BOM_UTF8])
def test_a_file_without_values_is_refused(data: bytes) -> None:
    assert csv_error(data).code == "empty_csv"


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"PK\x03\x04...[Content_Types].xml", "xlsx"),
        (b"PK\x03\x04...", "ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1...", "xls"),
        (b"%PDF-1.7", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF1234WEBPVP8 ", "WebP"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        ("<html>ü</html>".encode("utf-16"), "HTML"),
        (b"id,image\n\0\0\0\0\0\0", "binary"),
    ],
)
def test_other_kinds_of_files_are_refused_by_name(data: bytes, looks_like: str) -> None:
    error = csv_error(data)
    assert error.code == "not_a_csv"
    assert looks_like in error.message
