import codecs

import pytest

from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline_tests.core.csv.tables import ONE, OWN, TWO, csv_error, enriched, records, references


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


def test_missing_and_repeated_headers_get_a_name_from_their_number() -> None:
    table = read_csv(f"image, image,,column 2\n{ONE},{TWO},x,y\n".encode())
    assert table.header == ["image", "column 2", "column 3", "column 4"]


@pytest.mark.parametrize(
    "data", [b"", b" \r\n\n", codecs.BOM_UTF8, b"id,image\n", b"id,image\n,\n", b"# x\n"]
)
def test_a_file_without_rows_is_refused(data: bytes) -> None:
    assert csv_error(data).code == "empty_csv"


def test_of_several_header_rows_the_last_names_the_columns_and_all_are_kept() -> None:
    """As Amazon's flat files: settings, the names for people, the names for programs."""
    data = (
        "TemplateType=fptcustom,Version=2024.0101,The top three rows are for Amazon,,,\n"
        "Seller SKU,Product Name,Brand,Price,Main Image URL,Other Image URL1\n"
        "item_sku,item_name,brand_name,standard_price,main_image_url,other_image_url1\n"
        f"B-7,Boot,Acme,19.90,{ONE},{TWO}\n"
    ).encode()
    table = read_csv(data)
    assert (table.header[0], table.first_data_row) == ("item_sku", 4)
    assert references(table) == [(4, "main_image_url", 1, ONE), (4, "other_image_url1", 1, TWO)]
    assert enriched(data).startswith(data[: data.index(b"\nB-7")] + b",Output Image Urls,Image Errors\nB-7")


@pytest.mark.parametrize(
    "above",
    [
        "Pflichtfeld,Pflichtfeld,Pflichtfeld",
        "TemplateType=fptcustom,Version=2021,Die oberen 3 Zeilen\nSKU,Produktname,URL Hauptbild",
        "settings=attributeRow=4,,\nBilder,,\nSKU,Name,URL Hauptbild",
        "Preisliste,,\nStand Mai,,",
    ],
)
def test_the_header_is_the_row_that_names_the_images_right_above_them(above: str) -> None:
    data = f"{above}\nitem_sku,item_name,main_image_url\nA,Boot,{ONE}\n".encode()
    table = read_csv(data)
    assert table.header == ["item_sku", "item_name", "main_image_url"]
    assert [url for *_, url in references(table)] == [ONE]


def test_titles_above_a_header_that_does_not_say_image_are_no_header() -> None:
    table = read_csv(f"Price list\nAs of May\nsku,name,file\nA,Boot,{ONE}\n".encode())
    assert table.header == ["sku", "name", "file"]
