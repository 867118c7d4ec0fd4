"""Run several programs as one: start them, watch them, start them again when they die, and stop them."""

from __future__ import annotations

import contextlib
import ctypes
import logging
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
SECONDS_TO_END = 5.0
SECONDS_TO_BE_READY = 180.0
MOST_DEATHS, SECONDS_TO_FORGET_A_DEATH = 5, 600.0
"""Deaths of all programs in a time; with more, something is wrong that a restart does not repair."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Program:
    """A program to run; the next one is started once `is_ready` says so."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool] = lambda: True


class ProgramDiedError(Exception):
    """A program ended although nobody asked it to, and starting it again does not help."""


class Supervisor:
    """Runs programs until it is told to stop; each is the head of a process group, which is stopped whole."""

    def __init__(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self._programs = programs
        self._environment = dict(environment)
        self._processes: dict[Program, subprocess.Popen[bytes]] = {}
        self._deaths: list[float] = []
        self._stopping = threading.Event()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start all programs in order, call `on_ready`, and watch until SIGINT, SIGTERM or SIGHUP.

        A program that dies is started again, after what it had started is ended. Raises ProgramDiedError when
        it dies before it is ready, or programs die again and again; the others are stopped before that.
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
        process = subprocess.Popen(
            program.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,  # standard output is for what the supervisor itself says
            start_new_session=True,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - the supervisor has no other thread
        )
        self._processes[program] = process
        give_up_at = time.monotonic() + SECONDS_TO_BE_READY
        while not program.is_ready() and not self._stopping.wait(SECONDS_BETWEEN_LOOKS):
            if process.poll() is not None:
                raise ProgramDiedError(_how_it_ended(program, process))
            if time.monotonic() > give_up_at:
                raise ProgramDiedError(
                    f"{program.name} is not ready after {SECONDS_TO_BE_READY:.0f} seconds."
                )

    def _check(self) -> None:
        for program, process in list(self._processes.items()):
            if process.poll() is not None:
                self._start_again(program, process)

    def _start_again(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        now = time.monotonic()
        self._deaths = [death for death in self._deaths if now - death < SECONDS_TO_FORGET_A_DEATH] + [now]
        if len(self._deaths) > MOST_DEATHS:
            raise ProgramDiedError(_how_it_ended(program, process))
        _log.warning("%s It is started again.", _how_it_ended(program, process))
        # A run without its code server could not be cancelled. Asked to stop, it would fail at once, and
        # Dagster gives up a retry that finds no code server; killed, it is found dead and done again later.
        _signal_group(process, signal.SIGKILL)
        self._start(program)

    def _stop(self) -> None:
        """Ask every group to stop, last started first; after a while, end what is left of it."""
        for process in reversed(self._processes.values()):
            _signal_group(process, signal.SIGTERM)
        give_up_at = time.monotonic() + SECONDS_TO_STOP
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, give_up_at - time.monotonic()))
        for process in self._processes.values():
            _end_group(process)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Ask the kernel to send a signal when the parent dies, even by SIGKILL: prctl(2), Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a process and what it started; return whether any of that is left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # or its number is somebody else's by now
        return False
    return True


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Wait some time for what a program started, which was asked to stop; then end it."""
    give_up_at = time.monotonic() + SECONDS_TO_END
    while process.poll() is not None and time.monotonic() < give_up_at and _signal_group(process, 0):
        time.sleep(0.05)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _how_it_ended(program: Program, process: subprocess.Popen[bytes]) -> str:
    return f"{program.name} ended with status {process.returncode}."
