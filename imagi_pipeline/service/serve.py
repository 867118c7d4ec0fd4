"""Run the whole service on one machine: Dagster's code server, daemon and web server, and our gateway."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagi_pipeline.gateway.media import MEDIA
from imagi_pipeline.service.supervisor import Program, Supervisor
from imagi_pipeline.settings import variable

MODULE = "imagi_pipeline.definitions"
LOCATION = "imagi_pipeline"
CODE_SERVER = "imagi_pipeline.service.code_server"
DAEMON = "imagi_pipeline.service.daemon"
WEB_SERVER = "imagi_pipeline.service.web_server"
SERVE_CODE = ("api", "grpc", "-m", MODULE, "--location-name", LOCATION)
"""`code-server start` is not used: it stays up, and serves nothing, when the process behind it is killed."""
LOOPBACK_FOR = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only compared
QUIET = ("--log-level", "warning")


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return a URL that this machine can open."""
        reachable = LOOPBACK_FOR.get(self.host, self.host)
        name = f"[{reachable}]" if ":" in reachable else reachable
        return f"http://{name}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        """Return the family of sockets: IP version 4 or 6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def check_free(self) -> None:
        """Raise OSError with a plain message when it cannot be listened on."""
        try:
            socket.create_server((self.host, self.port), family=self.family).close()
        except OSError as error:
            raise OSError(f"Cannot listen on {self.host}, port {self.port}: {error.strerror}.") from error

    def answers(self) -> bool:
        """Return whether somebody listens there."""
        with socket.socket(self.family) as client:
            client.settimeout(1)
            return client.connect_ex((self.host, self.port)) == 0


@contextmanager
def sole_service(home: Path, facts: Mapping[str, str]) -> Iterator[None]:
    """Let one service at a time work on a DAGSTER_HOME; `facts` tell the next one where this one is found.

    Raises OSError with these facts when another one works on it. The kernel frees the lock however it ends.
    """
    with (home / ".imagi_serve").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise OSError(
                f"Another `imagi serve` works on {home} already ({file.read() or 'it is starting'}). Use "
                "that one or stop it first; a service of its own needs a DAGSTER_HOME and ports of its own."
            ) from error
        file.truncate(0)
        file.write(", ".join(f"{name}: {fact}" for name, fact in facts.items()))
        file.flush()
        yield


def serve(ui: Address, gateway: Address, on_ready: Callable[[], None]) -> None:
    """Run the Dagster UI and the gateway, with all that they need, until SIGINT or SIGTERM.

    A part that dies is started again. Raises ProgramDiedError when that does not help.
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
                _module(CODE_SERVER, *SERVE_CODE, "-s", str(code_socket), *QUIET),
                lambda: _listens(code_socket),
            ),
            Program("daemon", _module(DAEMON, "run", "-w", str(workspace), *QUIET)),
            Program(
                "web server",
                _module(WEB_SERVER, "-w", str(workspace), *_options("-h", "-p", ui), *QUIET),
                ui.answers,
            ),
            Program(
                "gateway",
                _module("imagi_pipeline", "gateway", *_options("--host", "--port", gateway)),
                gateway.answers,
            ),
        ]
        given = {name: value for name, value in os.environ.items() if value}
        Supervisor(programs, _urls(ui, gateway, secrets.token_urlsafe()) | given).run(on_ready)


def _listens(path: Path) -> bool:
    """Return whether somebody listens at a socket; its file outlives a listener that was killed."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


def _options(host: str, port: str, address: Address) -> list[str]:
    return [host, address.host, port, str(address.port)]


def _urls(ui: Address, gateway: Address, password: str) -> dict[str, str]:
    """Return the URLs by which the parts find each other, unless the user has set them.

    Where the web server asks for a login, the gateway has one of its own.
    """
    return {
        variable("dagster_url"): ui.url.replace("://", f"://gateway:{password}@"),
        variable("gateway_url"): gateway.url,
        variable("public_url"): gateway.url + MEDIA,
    }
