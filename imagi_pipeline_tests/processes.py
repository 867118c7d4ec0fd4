"""Which processes there are, as Linux tells in /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SIGINT_IGNORED = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
"""In front of a command: start it as a shell script does with `&`, with SIGINT ignored."""


def codec_processes() -> list[int]:
    """Return the process ids of the codec processes of this process."""
    return [pid for pid in children(os.getpid()) if b"codec_process" in _proc(pid, "cmdline")]


def children(pid: int) -> list[int]:
    """Return the process ids of the living children of a process."""
    return [child for child in _pids() if parent(child) == pid]


def descendants(pid: int) -> list[int]:
    """Return the process ids of all that a process started, at any depth."""
    found = children(pid)
    return found + [other for child in found for other in descendants(child)]


def parent(pid: int) -> int | None:
    """Return the process that started one; None when that has ended, also when nobody has waited for it."""
    fields = _proc(pid, "stat").rpartition(b") ")[2].split()
    return int(fields[1]) if len(fields) > 1 and fields[0] != b"Z" else None


def alive(pids: Iterable[int]) -> list[int]:
    """Return those of some processes that have not ended; one that nobody has waited for has."""
    return [pid for pid in pids if parent(pid) is not None]


def command(pid: int) -> list[str]:
    """Return the command line of a process; nothing when it is gone."""
    return _proc(pid, "cmdline").decode().split("\0")[:-1]


def _pids() -> Iterable[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
