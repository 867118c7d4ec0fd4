from __future__ import annotations

import pytest

from imagi_pipeline.gateway.image_query import ImageQuery


def row(
    name: str, status: str = "ok", before: str = "1000", after: str = "500", **fields: str
) -> dict[str, str]:
    url = f"https://shop.example/{name}.jpg"
    given = {"kept_source": "False", "rows": "", "items": "", **fields}
    return {"url": url, "status": status, "source_bytes": before, "bytes": after, **given}


REPORT = [
    row("red", rows="2, 12", items="S-1\nS-11"),
    row("blue", "reused", "9000", "8000", kept_source="True", rows="3", items="S-2"),
    row("gone", "failed", "", "", kept_source="", rows="4", items="Blaue Mütze"),
    row("green", "ok", "700", "690", rows="5", items="S-4"),
]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (ImageQuery(), ["red", "blue", "gone", "green"]),
        (ImageQuery(status="failed"), ["gone"]),
        (ImageQuery(kept=True), ["blue"]),
        (ImageQuery(text="BLUE"), ["blue"]),
        (ImageQuery(text="mütze"), ["gone"]),
        (ImageQuery(text="S-1"), ["red"]),
        (ImageQuery(text="12"), ["red"]),
        (ImageQuery(text="3"), ["blue"]),
        (ImageQuery(order="largest"), ["blue", "green", "red", "gone"]),
        (ImageQuery(order="least_saved"), ["green", "blue", "red", "gone"]),
        (ImageQuery(status="ok", order="least_saved"), ["green", "red"]),
    ],
)
def test_images_are_chosen_and_sorted(query: ImageQuery, names: list[str]) -> None:
    total, found = query.page(REPORT, 0, 10)
    assert [each["url"].rsplit("/")[-1].removesuffix(".jpg") for each in found] == names
    assert total == len(names)


@pytest.mark.parametrize("order", ["csv", "largest"])
def test_pages_follow_one_another_and_tell_how_many_there_are(order: str) -> None:
    query = ImageQuery(order=order)  # type: ignore[arg-type]
    whole = query.page(REPORT, 0, 4)
    pages = [query.page(REPORT, offset, 3) for offset in (0, 3)]
    assert [total for total, _ in pages] == [4, 4]
    assert pages[0][1] + pages[1][1] == whole[1]
