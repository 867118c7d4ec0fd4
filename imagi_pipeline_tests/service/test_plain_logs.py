from __future__ import annotations

import os
import subprocess
import sys

import pytest

ONE_LINE = """
import logging
from dagster._utils.log import configure_loggers
from imagi_pipeline.service.plain_logs import use_plain_logs
use_plain_logs()
configure_loggers()
logging.getLogger("dagster").error("The daemon is late.")
"""
ESCAPE = b"\x1b"


def test_lines_in_a_file_have_no_colours() -> None:
    written = subprocess.run([sys.executable, "-c", ONE_LINE], check=True, capture_output=True).stdout
    assert b"ERROR - The daemon is late." in written
    assert ESCAPE not in written


def test_lines_on_a_terminal_keep_their_colours() -> None:
    shown, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", ONE_LINE], check=True, stdout=terminal)
    os.close(terminal)
    assert ESCAPE in os.read(shown, 1000)


@pytest.mark.parametrize("program", ["daemon", "code_server", "web_server"])
def test_the_programs_of_the_service_use_plain_logs(program: str) -> None:
    """Each tells by such a line that its workspace, or its module, does not exist."""
    arguments = {
        "daemon": ["run", "-w", "missing.yaml"],
        "code_server": ["api", "grpc", "-m", "no_such_module", "-p", "1"],
        "web_server": ["-w", "missing.yaml"],
    }[program]
    module = f"imagi_pipeline.service.{program}"
    code = (
        f"import sys, coloredlogs, {module} as program\n"
        f"sys.argv[1:] = {arguments}\n"
        "try: program.main()\n"
        "finally: print(coloredlogs.ColoredFormatter.__name__)"
    )
    written = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stdout
    assert written.splitlines()[-1] == "PlainFormatter"
