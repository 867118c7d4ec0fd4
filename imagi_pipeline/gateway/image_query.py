"""Which images of a request a caller wants to see: filtered, searched, sorted, and a page of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from imagi_pipeline.core.reports import places_of

Order = Literal["csv", "largest", "least_saved"]

ReportRow = dict[str, str]


@dataclass(frozen=True)
class ImageQuery:
    """What is asked for; `text` is a part of a URL, of what a row is called, or the number of a row."""

    status: str | None = None
    kept: bool | None = None
    text: str = ""
    order: Order = "csv"

    def page(self, report: Iterable[ReportRow], offset: int, limit: int) -> tuple[int, list[ReportRow]]:
        """Return how many images match, and some of them; no more rows than these are in memory."""
        total = 0

        def matching() -> Iterable[ReportRow]:
            nonlocal total
            for row in report:
                if self._matches(row):
                    total += 1
                    yield row

        if self.order == "csv":
            rows = matching()
            found = list(islice(rows, offset, offset + limit))
            for _ in rows:  # to count them
                pass
        else:
            rank = _size if self.order == "largest" else _share_left
            found = heapq.nlargest(offset + limit, matching(), rank)[offset:]
        return total, found

    def _matches(self, row: ReportRow) -> bool:
        if self.status not in (None, row["status"]):
            return False
        if self.kept is not None and self.kept is not (row["kept_source"] == "True"):
            return False
        if not self.text:
            return True
        text, (rows, items) = self.text.casefold(), places_of(row)
        named = text in row["url"].casefold() or any(text in item.casefold() for item in items)
        return named or (text.isdecimal() and int(text) in rows)


def _size(row: ReportRow) -> int:
    return int(row["bytes"] or -1)


def _share_left(row: ReportRow) -> float:
    """Return what is left of the source's bytes, 0 to 1; failed images come last."""
    return int(row["bytes"]) / max(1, int(row["source_bytes"])) if row["bytes"] else -1.0
