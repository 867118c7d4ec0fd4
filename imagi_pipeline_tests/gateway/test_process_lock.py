from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from imagi_pipeline.gateway.process_lock import ProcessLock

HOLDER = """
import sys
from pathlib import Path
from imagi_pipeline.gateway.process_lock import ProcessLock
lock = ProcessLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_one_process_has_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    lock = ProcessLock(path)
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert not lock.acquire()
        holder.kill()
        holder.wait()
        assert lock.acquire()
        assert lock.acquire()  # again, by the one that has it
        lock.release()


def test_a_released_lock_is_for_the_next(tmp_path: Path) -> None:
    one, other = ProcessLock(tmp_path / ".lock"), ProcessLock(tmp_path / ".lock")
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()


def test_a_file_system_without_locks_keeps_nobody_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lock = ProcessLock(tmp_path / ".lock")
    assert lock.acquire()
    assert "No locks available" in caplog.text
    lock.release()
