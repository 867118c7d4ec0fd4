from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reader import READ_HERE, CsvReader, ReadingStoppedError
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.errors import CsvError

ROW = b'"Sch\xc3\xb6ner Schuh",https://a.com/%d.jpg,img/relative.jpg\n'
LARGE = b"name,image,photo\n" + b"".join(ROW % (number // 2) for number in range(2000))
HUGE = b"image\n" + b"".join(b"https://a.com/%d.jpg\n" % number for number in range(400_000))


@pytest.fixture(scope="module")
def reader() -> Iterator[CsvReader]:
    with CsvReader(CsvLimits()) as reader:
        yield reader


def test_a_process_finds_what_reading_it_here_finds(reader: CsvReader) -> None:
    assert len(LARGE) > READ_HERE
    found, here = reader.read(LARGE), read_request(LARGE)
    assert found.references == here.references
    assert found.problems == here.problems
    assert (found.header, found.url_columns, found.data_row_count) == (here.header, here.url_columns, 2000)
    assert (found.reference_count, found.image_count, found.problem_count) == (2000, 1000, 2000)


def test_only_the_first_references_and_problems_are_handed_over_if_no_more_are_wanted(
    reader: CsvReader,
) -> None:
    found = reader.read(LARGE, most=3)
    assert (len(found.references), found.reference_count) == (3, 2000)
    assert (len(found.problems), found.problem_count) == (3, 2000)


def test_an_error_of_the_process_is_the_same_as_here(reader: CsvReader) -> None:
    data = b"id,name\n" + b"1,shoe\n" * 10_000
    with pytest.raises(CsvError) as there:
        reader.read(data, url_columns=("picture",))
    with pytest.raises(CsvError) as here:
        read_request(data, url_columns=("picture",))
    assert (there.value.code, there.value.message) == (here.value.code, here.value.message)
    assert there.value.column == here.value.column == "picture"


def test_a_csv_that_takes_too_long_is_refused_and_the_next_is_read() -> None:
    limits = CsvLimits(timeout=0.01)
    with CsvReader(limits) as reader:
        with pytest.raises(CsvError) as raised:
            reader.read(HUGE)
        assert raised.value.code == "csv_timeout"
        reader._limits = replace(limits, timeout=100)
        assert reader.read(LARGE).reference_count == 2000


def test_a_csv_that_takes_too_much_memory_is_refused_and_the_next_is_read() -> None:
    with CsvReader(CsvLimits(memory_bytes=100_000_000)) as reader:
        with pytest.raises(CsvError) as raised:
            reader.read(HUGE)
        assert raised.value.code in {"csv_too_large", "csv_reader_crashed"}
        assert reader.read(LARGE).reference_count == 2000


def test_the_process_of_a_csv_that_nobody_waits_for_is_ended() -> None:
    stop = threading.Event()
    stop.set()
    with CsvReader(CsvLimits()) as reader:
        with pytest.raises(ReadingStoppedError):
            reader.read(HUGE, stop=stop)
        process = reader._workers[0]._process
        assert process is None or process.poll() is not None
        assert reader.read(LARGE).reference_count == 2000
