import codecs
import csv
import io
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagi_pipeline.core.csv.enriching import enrich, enriched_pieces, stored_records
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.errors import CsvError

ONE = "https://a.com/1.jpg"
TWO = "https://a.com/2.jpg"
CDN = "https://picsum.photos/id/1/200"
OWN = ["Output Image Urls", "Image Errors"]


def references(table: CsvTable) -> list[tuple[int, str, int, str]]:
    return [(found.row, found.column, found.position, found.url) for found in table.references]


def problems(table: CsvTable) -> list[tuple[int, str, int, str, str]]:
    return [(p.row, p.column, p.position, p.value, p.code) for p in table.problems]


def compressed(table: CsvTable) -> dict[str, str]:
    return {found.url: found.url.replace("https://", "http://out/") for found in table.references}


def enriched(data: bytes) -> bytes:
    table = read_csv(data)
    return enrich(table, compressed(table), {})


def records(data: bytes, encoding: str = "utf-8", delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(encoding), newline=""), delimiter=delimiter))


def csv_error(data: bytes, url_columns: Sequence[str] = ()) -> CsvError:
    with pytest.raises(CsvError) as raised:
        read_csv(data, url_columns=url_columns)
    return raised.value


# --- reading


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


@pytest.mark.parametrize(
    ("code_page", "header", "text"),
    [
        ("cp1251", "Фото", "Красная обувь для детей и взрослых"),
        ("cp1250", "Zdjęcie", "Żółta łódź, zażółć gęślą jaźń"),
        ("cp1253", "Εικόνα", "Κόκκινα παπούτσια για παιδιά"),
        ("cp932", "画像", "赤い靴とかわいい帽子です"),
        ("gb18030", "图片", "红色的鞋子和漂亮的帽子"),
        ("cp949", "이미지", "빨간 신발과 예쁜 모자"),
    ],
)
def test_windows_code_pages_are_written(code_page: str, header: str, text: str) -> None:
    data = f'id,{header},x\n1,{CDN},"{text}"\n'.encode(code_page)
    assert records(enriched(data), code_page)[1][2] == text
    assert enriched(enriched(data)) == enriched(data)


def test_a_message_that_the_code_page_cannot_carry_makes_the_result_utf8_with_byte_order_mark() -> None:
    table = read_csv(f"Größe;Bild\r\nÜbergroß;{ONE}\r\n".encode("cp1252"))
    result = enrich(table, {}, {ONE: "図"})
    assert result.startswith(codecs.BOM_UTF8)
    assert records(result, "utf-8-sig", ";")[1] == ["Übergroß", ONE, "", f"Bild: {ONE}: 図"]


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
    "preamble",
    ["\n\n", "# exported today\n", "# a, b, c\n#d\n", "My products\n", "My products,,\n\n", "sep=,\n"],
)
def test_what_stands_before_the_header_is_kept_and_gets_no_columns(preamble: str) -> None:
    data = f"{preamble}id,name,image\n1,shoe,{ONE}\n".encode()
    table = read_csv(data)
    assert table.has_header
    assert table.header == ["id", "name", "image"]
    before = records(preamble.encode())
    assert records(enriched(data))[: len(before) + 1] == [*before, ["id", "name", "image", *OWN]]
    assert enriched(enriched(data)) == enriched(data)


def test_a_plain_list_of_urls_needs_no_header_and_gets_none() -> None:
    table = read_csv(f"{ONE}\n\n{TWO}".encode())
    assert not table.has_header
    assert references(table) == [(1, "column 1", 1, ONE), (3, "column 1", 1, TWO)]
    assert enrich(table, {ONE: "u1", TWO: "u2"}, {}) == f"{ONE},u1,\n\n{TWO},u2,\n".encode()


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


def test_missing_and_repeated_headers_get_a_name_from_their_number() -> None:
    table = read_csv(f"image, image,,column 2\n{ONE},{TWO},x,y\n".encode())
    assert table.header == ["image", "column 2", "column 3", "column 4"]


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


@pytest.mark.parametrize(
    "data", [b"", b" \r\n\n", codecs.BOM_UTF8, b"id,image\n", b"id,image\n,\n", b"# x\n"]
)
def test_a_file_without_rows_is_refused(data: bytes) -> None:
    assert csv_error(data).code == "empty_csv"


# --- the columns that hold image URLs


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Input Image Urls",
            "Image Src",
            "Images",
            "image_link",
            "image10",
            "imageUrl",
            "Main Photo",
            "img",
            "PIC_2",
        ),
        *("Bild", "Bild-URL", "Foto", "imagen", "immagine", "afbeelding", "zdjęcie", "bilde", "kép"),
        *("画像", "图片", "изображение"),
    ],
)
def test_a_header_that_says_image_is_enough(name: str) -> None:
    table = read_csv(f"id,link,{name}\n1,https://shop.com/1,{CDN}\n".encode())
    assert table.url_columns == [name]


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        (f"id,link\n1,{ONE}\n", ["link"]),
        (f"id,url\n1,{CDN}\n", ["url"]),
        (f"id,product_url\n1,{CDN}\n", []),
        (f"id,permalink,url\n1,https://shop.com/1,{ONE}\n", ["url"]),
        ("id,url\n1,https://shop.com/shoe.html\n", []),
        (f"id,image\n1,{ONE}\n2,N/A\n3,-\n", ["image"]),
        (f"id,image,image alt text\n1,{ONE},see {TWO}\n", ["image"]),
        (f"id,text,image\n1,<img src='{ONE}'>,{CDN}\n", ["image"]),
        ("id,file\n1,a.jpg\n2,b.jpg\n", ["file"]),
        (f"image1,image2\n{CDN},\n,{CDN}\n", ["image1", "image2"]),
        ("id,name\n1,shoe\n", []),
    ],
)
def test_other_columns_are_judged_by_their_values(data: str, columns: list[str]) -> None:
    assert read_csv(data.encode()).url_columns == columns


@pytest.mark.parametrize("wanted", ["Link", "link", " LINK ", "2"])
def test_a_column_may_be_named_by_header_or_number(wanted: str) -> None:
    table = read_csv(f"image,Link\n{ONE},{CDN}\n".encode(), url_columns=[wanted])
    assert references(table) == [(2, "Link", 1, CDN)]


@pytest.mark.parametrize("wanted", ["photo", "0", "3", ""])
def test_an_unknown_column_is_refused_and_the_known_ones_are_named(wanted: str) -> None:
    error = csv_error(f"image,Link\n{ONE},{CDN}\n".encode(), url_columns=[wanted])
    assert error.code == "unknown_column"
    assert "image, Link" in error.message


# --- references and problems


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


# --- the enriched CSV


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


# --- any table


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


@given(st.binary(max_size=200) | st.text(alphabet='ab1,;"\n\r\t#/:.jpghts', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        table = read_csv(data)
    except CsvError:
        return
    enrich(table, compressed(table), {})


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
