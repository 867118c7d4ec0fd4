"""The process that reads CSVs, one at a time, until its input ends.

It runs apart so that a CSV that takes too much time or memory costs only itself. What it is sent and what it
answers is JSON and raw bytes, never pickle: it is the process that reads hostile files.

    in   {"url_columns": [...], "base_url": str | null, "most": int | null, "limits": {...}}, the CSV
    out  {"found": {...}}, see `findings_to_json`
    out  {"code": str, "detail": str, "row": int | null, "column": str | null} when it cannot be read
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from multiprocessing.connection import Connection
from typing import Any

from imagi_pipeline.core.csv.limits import CsvLimits
from imagi_pipeline.core.csv.reading import read_request
from imagi_pipeline.core.csv.table import findings_to_json
from imagi_pipeline.core.errors import CsvError, ErrorCode


def main() -> None:
    """Serve orders on standard input and output; the one argument is the limit of memory in bytes."""
    most = int(sys.argv[1])
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    inbox = Connection(os.dup(0), writable=False)
    outbox = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    while True:
        try:
            order = json.loads(inbox.recv_bytes())
            outbox.send_bytes(_answer(order, inbox.recv_bytes()))
        except (EOFError, BrokenPipeError):  # the parent is gone
            return


def _answer(order: dict[str, Any], data: bytes) -> bytes:
    try:
        table = read_request(
            data,
            url_columns=order["url_columns"],
            base_url=order["base_url"],
            limits=CsvLimits(**order["limits"]),
        )
        return json.dumps({"found": findings_to_json(table, order["most"])}).encode()
    except CsvError as error:
        return _refusal(error.kind, error.detail, error.row, error.column)
    except MemoryError:
        return _refusal(ErrorCode.CSV_TOO_LARGE, "Reading the file takes more memory than is allowed.")


def _refusal(kind: ErrorCode, detail: str, row: int | None = None, column: str | None = None) -> bytes:
    return json.dumps({"code": kind.code, "detail": detail, "row": row, "column": column}).encode()


if __name__ == "__main__":
    main()
