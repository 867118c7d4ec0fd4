from __future__ import annotations

import csv
import io
from dataclasses import replace

from imagi_pipeline.core import reports
from imagi_pipeline.core.engine import ImageResult
from imagi_pipeline.core.storage.keys import image_key
from imagi_pipeline.gateway.documents import image_document
from imagi_pipeline_tests.records import image_record

URL = "https://shop.example/a.jpg"


def test_the_document_of_an_image_tells_all_that_the_report_tells_of_it() -> None:
    record = replace(image_record(URL), encoder="coefficients")
    report = reports.report_frame([reports.report_row(ImageResult(URL, image_key(URL), "ok", record))], [URL])
    (row,) = csv.DictReader(io.StringIO(reports.to_csv(report).decode()))

    document = image_document(row, "https://cdn.example").model_dump()

    told = {name: document.get(name, "missing") for name in reports.RECORD_COLUMNS if name != "file"}
    assert told == {name: getattr(record, name) for name in told}
