from __future__ import annotations

from pathlib import Path

import pytest
import typer

from imagi_pipeline.cli.files import check_names, for_each
from imagi_pipeline.cli.printing import EXIT_CODE_OF_INTERRUPT

ONE, TWO, THREE = Path("a/one.csv"), Path("two.csv"), Path("b/one.csv")


def test_every_file_has_its_turn_and_the_highest_exit_code_is_that_of_all() -> None:
    done: list[tuple[Path, Path]] = []

    def work(file: Path, beside: Path) -> None:
        done.append((file, beside))
        raise typer.Exit({ONE: 1, TWO: 2, THREE: 0}[file])

    with pytest.raises(typer.Exit) as raised:
        for_each([ONE, TWO, THREE], work)
    assert raised.value.exit_code == 2
    assert done == [(ONE, Path("a")), (TWO, Path()), (THREE, Path("b"))]


def test_ctrl_c_ends_all() -> None:
    done: list[Path] = []

    def work(file: Path, _: Path) -> None:
        done.append(file)
        raise typer.Exit(EXIT_CODE_OF_INTERRUPT)

    with pytest.raises(typer.Exit):
        for_each([ONE, TWO], work)
    assert done == [ONE]


@pytest.mark.parametrize(
    ("files", "output", "is_refused"),
    [
        ([ONE, THREE], Path("out"), True),
        ([ONE, THREE], None, False),
        ([ONE, TWO], Path("out"), False),
        ([Path("-"), Path("-")], None, True),
    ],
)
def test_files_whose_results_would_be_written_over_one_another_are_refused(
    files: list[Path], output: Path | None, is_refused: bool
) -> None:
    if is_refused:
        with pytest.raises(OSError, match="Two of the files are called"):
            check_names(files, output)
    else:
        check_names(files, output)
