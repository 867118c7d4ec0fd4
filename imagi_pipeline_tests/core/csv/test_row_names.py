from __future__ import annotations

import pytest

from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.csv.row_names import row_names

A, B = "https://a.com/1.jpg", "https://a.com/2.jpg"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"sku,Image,name\nS-1,{A},x\nS-2,{B},x\n", {2: "S-1", 3: "S-2"}),
        (f"kind,Image,name\nshoe,{A},red\nshoe,{B},blue\n", {2: "red", 3: "blue"}),
        (f"Image,kind\n{A},shoe\n{B},shoe\n", {}),
        (f"note,sku,Image\n,1,{A}\nnew,2,{B}\n", {2: "1", 3: "2"}),
        (f"sku,Image\n1,{A}\n,{A}\n3,{B}\n", {2: "1", 4: "3"}),
        (f"{A}\n{B}\n", {}),
        (f"Image,Image 2,name\n{A},,x\n{B},{A},y\n", {2: "x", 3: "y"}),
    ],
)
def test_a_row_is_called_by_the_first_column_that_tells_rows_apart(text: str, names: dict[int, str]) -> None:
    assert row_names(read_csv(text.encode())) == names
