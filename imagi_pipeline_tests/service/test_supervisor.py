from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest

from imagi_pipeline_tests.processes import SIGINT_IGNORED, alive, children, descendants
from imagi_pipeline_tests.running_service import wait_for

# Turns SIGTERM into SIGINT as Dagster's programs do, and has a child that knows of neither.
PROGRAM = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
time.sleep(600)
"""

SUPERVISOR = """
import os, sys
from imagi_pipeline.service.supervisor import Program, ProgramDiedError, Supervisor
program = [sys.executable, "-c", sys.argv[1]]
try:
    supervisor = Supervisor([Program("one", program), Program("two", program)], os.environ)
    supervisor.run(lambda: print("ready", flush=True))
except ProgramDiedError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[str]]:
    """A supervisor with two programs, started the way a shell script starts it with `&`."""
    with subprocess.Popen(
        [*SIGINT_IGNORED, sys.executable, "-c", SUPERVISOR, PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        while len(descendants(process.pid)) < 4:
            time.sleep(0.05)
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_every_process_although_sigint_was_ignored(
    supervisor: subprocess.Popen[str], number: signal.Signals
) -> None:
    started = descendants(supervisor.pid)
    supervisor.send_signal(number)
    assert supervisor.wait(30) == 0
    assert not alive(started)


def test_a_program_that_dies_is_started_again_and_what_it_had_started_is_ended(
    supervisor: subprocess.Popen[str],
) -> None:
    first, second = children(supervisor.pid)
    (orphan,) = children(first)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(descendants(supervisor.pid)) == 4 and first not in children(supervisor.pid))
    assert second in children(supervisor.pid)
    assert not alive([orphan])
    started = descendants(supervisor.pid)
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert not alive(started)
    assert supervisor.stderr
    assert "ended with status -9. It is started again." in supervisor.stderr.read()


def new_children(supervisor: subprocess.Popen[str], known: set[int]) -> set[int]:
    return set(children(supervisor.pid)) - known


def test_when_programs_die_again_and_again_all_stop_and_the_status_says_so(
    supervisor: subprocess.Popen[str],
) -> None:
    victim, other = children(supervisor.pid)
    for _ in range(5):
        os.kill(victim, signal.SIGKILL)
        (victim,) = wait_for(partial(new_children, supervisor, {victim, other}))
    os.kill(victim, signal.SIGKILL)
    assert supervisor.wait(30) == 1
    assert not alive([victim, other])
    assert supervisor.stderr
    assert supervisor.stderr.read().endswith("ended with status -9.\n")


def test_a_program_that_dies_before_it_is_ready_ends_all() -> None:
    never_ready = SUPERVISOR.replace('Program("two", program)', 'Program("two", ["false"], lambda: False)')
    done = subprocess.run(
        [sys.executable, "-c", never_ready, PROGRAM], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("two ended with status 1.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_the_programs_end_with_a_supervisor_that_is_killed(supervisor: subprocess.Popen[str]) -> None:
    programs = children(supervisor.pid)
    supervisor.kill()
    supervisor.wait()
    give_up_at = time.monotonic() + 30
    while alive(programs):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    for program in programs:  # what they started themselves is theirs to end
        os.killpg(program, signal.SIGKILL)
