"""The files that a command is given: several of them, and standard input among them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from imagi_pipeline.cli.printing import EXIT_CODE_OF_INTERRUPT

STANDARD_INPUT, NAME_OF_STANDARD_INPUT = Path("-"), "stdin.csv"


def check_names(files: Sequence[Path], output: Path | None) -> None:
    """Raise OSError when what becomes of one file would be written over by that of another."""
    names = [file.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None and (output or twice == str(STANDARD_INPUT)):
        raise OSError(f"Two of the files are called {twice}: give each a call and an --output of its own.")


def for_each(files: Sequence[Path], work: Callable[[Path, Path], None]) -> None:
    """Do the work for each file, also after it failed for another; then exit with the highest exit code.

    The work gets the file and the folder beside it; standard input becomes a file meanwhile, and its folder
    is the current one. Ctrl-C ends all.
    """
    worst = 0
    for file in files:
        try:
            with _on_disk(file) as path:
                work(path, Path() if file == STANDARD_INPUT else file.parent)
        except typer.Exit as end:
            if end.exit_code == EXIT_CODE_OF_INTERRUPT:
                raise
            worst = max(worst, end.exit_code)
    if worst:
        raise typer.Exit(worst)


@contextmanager
def _on_disk(file: Path) -> Iterator[Path]:
    if file != STANDARD_INPUT:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, NAME_OF_STANDARD_INPUT)
        copy.write_bytes(sys.stdin.buffer.read())
        yield copy
