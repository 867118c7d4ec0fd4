from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagi_pipeline.core.storage.local_files import read_whole, write_whole


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_what_is_written_is_read_and_nothing_is_left_beside_it(tmp_path: Path, size: int) -> None:
    path = tmp_path / "new" / "folder" / "image.jpg"
    data = os.urandom(size)
    write_whole(str(path), [b"what was there before"])
    write_whole(str(path), [data[:7], data[7:]])
    assert read_whole(str(path)) == data
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "image.jpg")
    write_whole(path, [b"old"])

    def full(*_: object) -> int:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, [b"new"])
    monkeypatch.undo()
    assert read_whole(path) == b"old"
    assert list(tmp_path.iterdir()) == [Path(path)]


def test_a_write_that_takes_only_a_part_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
    path = str(tmp_path / "image.jpg")
    write_whole(path, [bytes(range(100))])
    assert read_whole(path) == bytes(range(100))
