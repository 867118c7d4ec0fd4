"""Several programs run as one: all are started, watched, and stopped together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

SECONDS_TO_STOP = 15.0
PR_SET_PDEATHSIG = 1
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Program:
    """A program to run; the next one is started once `is_ready` says so."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True


class ProgramDiedError(Exception):
    """A program ended although nobody asked it to."""


class Supervisor:
    """Runs programs until it is told to stop; each is the head of a process group, which is stopped whole."""

    def __init__(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self._programs = programs
        self._environment = dict(environment)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start all programs in order, call `on_ready`, and watch until SIGINT, SIGTERM or SIGHUP.

        Raises ProgramDiedError when one ends by itself; the others are stopped before that.
        """
        # A handler of our own, also where SIGINT is ignored, as under a shell's `&`: an ignored signal would
        # be inherited, and Dagster's programs, which turn SIGTERM into SIGINT, would survive both.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish
                signal.signal(number, lambda *_: self._stopping.set())
        try:
            for program in self._programs:
                self._start(program)
            if not self._stopping.is_set():
                on_ready()
            while not self._stopping.wait(SECONDS_BETWEEN_LOOKS):
                self._check()
        finally:
            self._stop()

    def _start(self, program: Program) -> None:
        if self._stopping.is_set():
            return
        self._processes[program.name] = subprocess.Popen(
            program.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # standard output is for what the supervisor itself says
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - the supervisor has no other thread
        )
        while not program.is_ready() and not self._stopping.wait(SECONDS_BETWEEN_LOOKS):
            self._check()

    def _check(self) -> None:
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise ProgramDiedError(f"{name} ended with status {process.returncode}.")

    def _stop(self) -> None:
        """Ask every group to stop, last started first; after a while, end what is left of it."""
        for process in reversed(self._processes.values()):
            _signal_group(process, signal.SIGTERM)
        patience = time.monotonic() + SECONDS_TO_STOP
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, patience - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
            process.wait()


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send a signal when the parent dies, also by SIGKILL: prctl(2), Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
