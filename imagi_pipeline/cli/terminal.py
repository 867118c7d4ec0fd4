"""Print what all commands print: text for people on a terminal, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.request_status import RequestStatus
from imagi_pipeline.settings import SECRET_SETTINGS, Settings, variable

if TYPE_CHECKING:
    from imagi_pipeline.core.upkeep.checks import Finding

MOST_SHOWN = 20
SECONDS_BETWEEN_LOOKS = 0.3
LEVEL_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}

out = Console()
err = Console(stderr=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_lines(lines: Sequence[str]) -> None:
    """Print lines as they are, never wrapped: people copy the paths in them."""
    out.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair per line."""
    table = Table(show_header=False, box=None, padding=(0, 3, 0, 0))
    for name, value in facts:
        table.add_row(name, escape(value))
    out.print(table)


def print_finding(finding: Finding) -> None:
    """Print a finding of the doctor: how bad it is, what was checked, what is wrong, and how to repair it."""
    level = f"{finding.level:8}"
    out.print(
        Text.assemble((level, LEVEL_STYLES[finding.level]), f"{finding.check:12}{finding.message}"),
        soft_wrap=True,
    )
    if finding.remedy:
        out.print(Text(f"{'':20}{finding.remedy}"), soft_wrap=True)


def print_rows(title: str, names: Sequence[str], rows: Sequence[Any]) -> None:
    """Print the first objects of a list as rows of a table, with these attributes as its columns."""
    if not rows:
        return
    table = Table(*names, title=title, title_justify="left")
    for row in rows[:MOST_SHOWN]:
        table.add_row(*(escape(str(getattr(row, name))) for name in names))
    out.print(table)
    if len(rows) > MOST_SHOWN:
        out.print(f"... and {len(rows) - MOST_SHOWN:,} more (--json prints all)")


@contextmanager
def progress_bar(look: Callable[[], RequestStatus | None]) -> Iterator[None]:
    """Show on stderr what `look` finds, several times a second, while the body works."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    done = threading.Event()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("Images", total=None, failed=0)

        def follow() -> None:
            while not done.wait(SECONDS_BETWEEN_LOOKS):
                found = look()
                if found and found.images_total:
                    bar.update(
                        task,
                        total=found.images_total,
                        completed=found.images_done,
                        failed=found.images_failed,
                    )

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@contextmanager
def upload_bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many of `total` bytes are sent; call the yielded function with that number."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("Upload", total=total)
        yield lambda sent: bar.update(task, completed=sent)


@contextmanager
def plain_errors(as_json: bool) -> Iterator[None]:
    """Turn what a user can repair into one line on stderr and exit code 1; with JSON, a document as well."""
    try:
        yield
    except ImagiError as error:
        fail(error.message, as_json, error.code)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        first = error.errors()[0]
        if not first["loc"]:
            fail(first["msg"], as_json)
        name = str(first["loc"][0])
        given = "" if name in SECRET_SETTINGS else f" (given: {first['input']!r})"
        fail(f"{variable(name)}: {first['msg']}{given}", as_json)
    except OSError as error:
        fail(str(error), as_json, getattr(error, "code", None))


def fail(message: str, as_json: bool, code: str | None = None, exit_code: int = 1) -> NoReturn:
    """Say what is wrong and exit."""
    if as_json:
        print_json({"error_code": code, "error": message})
    print_error(message)
    raise typer.Exit(exit_code)


def print_error(message: str) -> None:
    """Print one line on stderr."""
    err.print(f"imagi: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
