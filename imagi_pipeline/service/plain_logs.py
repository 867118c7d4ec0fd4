"""Write Dagster's log lines without colour codes if they go into a file or a journal.

Dagster always colours them. This relies on internals of Dagster (1.13.27); `test_plain_logs.py` fails
when they change: its formatter is `coloredlogs.ColoredFormatter`, looked up when the
logging is configured.
"""

from __future__ import annotations

import sys
from typing import Any

from dagster._utils.log import coloredlogs  # type: ignore[attr-defined]


class PlainFormatter(coloredlogs.ColoredFormatter):  # type: ignore[misc]
    """Formats as Dagster asks for, with no colours."""

    def __init__(self, fmt: str, datefmt: str, **_: Any) -> None:
        super().__init__(fmt, datefmt, level_styles={}, field_styles={})


def use_plain_logs() -> None:
    """Use no colours in this process, unless its standard output is a terminal."""
    if not sys.stdout.isatty():
        coloredlogs.ColoredFormatter = PlainFormatter
