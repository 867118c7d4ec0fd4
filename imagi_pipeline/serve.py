"""The whole service on one machine: code server, daemon and web server of Dagster under one supervisor."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagi_pipeline.supervisor import Program, Supervisor

MODULE = "imagi_pipeline.definitions"
LOCATION = "imagi_pipeline"


def serve(host: str, port: int, on_ready: Callable[[], None]) -> None:
    """Run the Dagster UI on `host`:`port` with all that it needs, until SIGINT or SIGTERM.

    Raises ProgramDied when a part ends by itself, OSError when the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
    # A socket in a folder of our own: who can connect to a code server can run code.
    with tempfile.TemporaryDirectory(prefix="imagi-") as folder:
        code_socket = Path(folder, "code.sock")
        workspace = Path(folder, "workspace.yaml")
        location = {"grpc_server": {"socket": str(code_socket), "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [location]}))
        programs = [
            Program(
                "code server",
                _dagster("code-server", "start", "-m", MODULE, "-s", str(code_socket), "--location-name", LOCATION),
                code_socket.exists,
            ),
            Program("daemon", _dagster_part("dagster._daemon", "run", "-w", str(workspace))),
            Program(
                "web server",
                _dagster_part("dagster_webserver", "-w", str(workspace), "-h", host, "-p", str(port)),
                lambda: _answers(host, port),
            ),
        ]
        Supervisor(programs, os.environ).run(on_ready)


def _dagster(*arguments: str) -> list[str]:
    return _dagster_part("dagster", *arguments)


def _dagster_part(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _answers(host: str, port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0
