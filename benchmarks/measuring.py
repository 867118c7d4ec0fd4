"""Seconds, CPU time and memory of a piece of work with all its processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figures:
    """What a run took: seconds, CPU seconds (user and system) and megabytes of memory (PSS) at the peak."""

    seconds: float
    cpu: float
    memory: float = 0.0


def in_a_process(work: Callable[..., Figures], *arguments: Any) -> Figures:
    """The figures that `work` returns, made in a fresh process, with the peak of memory of its tree."""
    context = multiprocessing.get_context("spawn")
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(outbox, work, arguments))
    process.start()
    outbox.close()
    with _memory_of(process.pid or 0) as memory:
        figures = inbox.recv()
        process.join()
    return Figures(figures.seconds, figures.cpu, memory[0])


def own_figures(work: Callable[[], object]) -> Figures:
    """The figures of a call, its ended child processes included."""
    cpu, start = _cpu_of_self(), time.perf_counter()
    work()
    return Figures(time.perf_counter() - start, _cpu_of_self() - cpu)


def of_a_command(command: Sequence[str], environment: dict[str, str]) -> Figures:
    """The figures of a whole command, from its start to its end; CalledProcessError when it fails."""
    before, start = _cpu_of_children(), time.perf_counter()
    with (
        subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        _memory_of(process.pid) as memory,
    ):
        _, errors = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors[-2000:])
    return Figures(time.perf_counter() - start, _cpu_of_children() - before, memory[0])


def _answer(outbox: Any, work: Callable[..., Figures], arguments: tuple[Any, ...]) -> None:
    outbox.send(work(*arguments))


def _cpu_of_self() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime + _cpu_of_children()


def _cpu_of_children() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


@contextlib.contextmanager
def _memory_of(pid: int) -> Iterator[list[float]]:
    """The peak of a tree's memory so far in megabytes, looked at twice a second."""
    peak = [0.0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.5):
            peak[0] = max(peak[0], sum(map(_proportional_megabytes, _tree(pid))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else ():
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, ())
    return found


def _proportional_megabytes(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
