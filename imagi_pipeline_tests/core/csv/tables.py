"""What the tests of CSVs share."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st

from imagi_pipeline.core.csv.dialect import Dialect, open_csv
from imagi_pipeline.core.csv.enriching import enrich
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.csv.table import CsvTable
from imagi_pipeline.core.errors import CsvError

ONE = "https://a.com/1.jpg"
TWO = "https://a.com/2.jpg"
CDN = "https://picsum.photos/id/1/200"
CLOUDINARY = "https://res.cloudinary.com/demo/image/upload/w_300,h_200/sample.jpg"
IMDB = "https://m.media-amazon.com/images/M/abc@._V1_UX67_CR0,0,67,98_AL_.jpg"
OWN = ["Output Image Urls", "Image Errors"]

CODE_PAGES = [
    ("cp1251", "Фото", "Красная обувь для детей и взрослых"),
    ("cp1250", "Zdjęcie", "Żółta łódź, zażółć gęślą jaźń"),
    ("cp1253", "Εικόνα", "Κόκκινα παπούτσια για παιδιά"),
    ("cp932", "画像", "赤い靴とかわいい帽子です"),
    ("gb18030", "图片", "红色的鞋子和漂亮的帽子"),
    ("cp949", "이미지", "빨간 신발과 예쁜 모자"),
]
"""A header and a text in each of some Windows code pages."""


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


url_names = st.text(alphabet="abcXYZ019_.~%20,()é", min_size=1, max_size=12).map(
    lambda name: name.replace("%", "%25")
)


image_urls = st.builds("https://{}.example.com/{}x.jpg".format, st.sampled_from(["a", "b"]), url_names)


def read_records(data: bytes) -> tuple[Dialect, list[list[str]]]:
    file = open_csv(data)
    return file.dialect, list(file.content.records())
