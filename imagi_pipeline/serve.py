"""The whole service on one machine: Dagster's code server, daemon and web server, and our gateway, as one."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagi_pipeline.gateway.app import MEDIA
from imagi_pipeline.settings import variable
from imagi_pipeline.supervisor import Program, Supervisor

MODULE = "imagi_pipeline.definitions"
LOCATION = "imagi_pipeline"
CODE_SERVER = ("code-server", "start", "-m", MODULE)
LOOPBACK_FOR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only compared
QUIET = ("--log-level", "warning")


def serve(host: str, port: int, gateway_port: int, on_ready: Callable[[], None]) -> None:
    """Run the Dagster UI on `host`:`port` and the gateway beside it, until SIGINT or SIGTERM.

    Raises ProgramDiedError when a part ends by itself.
    """
    # A socket in a folder of our own: who can connect to a code server can run code.
    with tempfile.TemporaryDirectory(prefix="imagi-") as folder:
        code_socket = Path(folder, "code.sock")
        workspace = Path(folder, "workspace.yaml")
        location = {"grpc_server": {"socket": str(code_socket), "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [location]}))
        programs = [
            Program(
                "code server",
                _module("dagster", *CODE_SERVER, "-s", str(code_socket), "--location-name", LOCATION, *QUIET),
                code_socket.exists,
            ),
            Program("daemon", _module("dagster._daemon", "run", "-w", str(workspace), *QUIET)),
            Program(
                "web server",
                _module("dagster_webserver", "-w", str(workspace), "-h", host, "-p", str(port), *QUIET),
                lambda: _answers(host, port),
            ),
            Program(
                "gateway",
                _module("imagi_pipeline", "gateway", "--host", host, "--port", str(gateway_port)),
                lambda: _answers(host, gateway_port),
            ),
        ]
        environment = dict(os.environ)
        if not environment.get(variable("public_url")):
            environment[variable("public_url")] = f"http://{_public(host)}:{gateway_port}{MEDIA}"
        Supervisor(programs, environment).run(on_ready)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def check_free(host: str, port: int) -> None:
    """Raise OSError with a plain message when a port cannot be listened on."""
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError as error:
        raise OSError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error


def _answers(host: str, port: int) -> bool:
    with socket.socket(_family(host)) as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0


def _public(host: str) -> str:
    """The host in a URL that this machine can open."""
    reachable = LOOPBACK_FOR.get(host, host)
    return f"[{reachable}]" if ":" in reachable else reachable


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
