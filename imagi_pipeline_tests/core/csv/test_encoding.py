import codecs

import pytest

from imagi_pipeline.core.csv.dialect import Dialect
from imagi_pipeline.core.csv.encoding import Encoding
from imagi_pipeline_tests.core.csv.tables import CDN, CODE_PAGES, ONE, csv_error, read_records


@pytest.mark.parametrize(
    ("encoding", "mark", "shown"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "utf-16-le"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "utf-16-be"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
        ("cp1252", b"", "cp1252"),
    ],
)
def test_encoding_and_byte_order_mark_are_found(encoding: str, mark: bytes, shown: str) -> None:
    text = f"Größe;Bild\r\nÜbergroß für Männer;{ONE}\r\n"
    dialect, rows = read_records(mark + text.encode(encoding))
    assert dialect == Dialect(Encoding(shown, mark), ";", "\r\n")
    assert rows == [["Größe", "Bild"], ["Übergroß für Männer", ONE]]


@pytest.mark.parametrize(("code_page", "header", "text"), CODE_PAGES)
def test_windows_code_pages_are_read(code_page: str, header: str, text: str) -> None:
    data = f'id,{header},x\n1,{CDN},"{text}"\n'.encode(code_page)
    dialect, rows = read_records(data)
    assert rows == [["id", header, "x"], ["1", CDN, text]]
    assert text.encode(dialect.encoding.name) == text.encode(code_page)


def test_a_file_that_breaks_its_encoding_is_refused() -> None:
    assert csv_error(codecs.BOM_UTF16_LE + b"i\0d\0,").code == "unreadable_text"
