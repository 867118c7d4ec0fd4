"""What `deploy/` describes, started as systemd would: the commands of its units, with its environment."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import requests

from imagi_pipeline_tests.running_service import Service, free_port, wait_for

DEPLOY = Path(__file__).parents[1] / "deploy"
WEB_PORT, CODE_SOCKET, WORKSPACE = "3000", "/run/imagi/code.sock", "/etc/imagi/workspace.yaml"
PROGRAMS = {
    "/opt/imagi/bin/python": [sys.executable],
    "/opt/imagi/bin/imagi": [sys.executable, "-m", "imagi_pipeline"],
}


def environment_file() -> dict[str, str]:
    """The variables of deploy/imagi.env."""
    lines = (DEPLOY / "imagi.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@dataclass
class Deployment:
    """Processes of several machines, each with a folder of its own in place of /etc, /run and /var."""

    folder: Path
    settings: dict[str, str]
    web_port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_service(self) -> Service:
        """The machine with code server, daemon, web server and a gateway."""
        machine = self._machine("service")
        workspace = (DEPLOY / "workspace.yaml").read_text()
        (machine / "workspace.yaml").write_text(workspace.replace(CODE_SOCKET, str(machine / "code.sock")))
        code = self._start("imagi-code.service", machine)
        wait_for((machine / "code.sock").exists)
        self.daemon = self._start("imagi-daemon.service", machine)
        self._start("imagi-web.service", machine)
        ui = f"http://127.0.0.1:{self.web_port}"
        return Service(code, ui, self.start_gateway(), machine)  # type: ignore[arg-type]

    def restart_daemon(self) -> None:
        """Kill the daemon and start it again, as systemd does."""
        self.kill_machine(self.daemon)
        self.daemon = self._start("imagi-daemon.service", self.folder / "service")

    def start_gateway(self) -> str:
        """A gateway, as on another machine; its URL."""
        port = free_port()
        self._start("imagi-gateway@.service", self._machine(f"gateway{port}"), instance=str(port))
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: is_answered(f"{url}/readyz"))
        return url

    def start_worker(self, unit: str = "imagi-worker.service") -> subprocess.Popen[bytes]:
        """A worker, as on another machine."""
        return self._start(unit, self._machine(f"worker{len(self.processes)}"))

    def workers_of_runs(self) -> list[subprocess.Popen[bytes]]:
        """The processes of `imagi-worker.service` that are not stopped."""
        commands = [(process, str(process.args)) for process in self.processes if process.poll() is None]
        return [process for process, text in commands if "worker" in text and "--chunks" not in text]

    def kill_machine(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and all that it started at once."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop everything as systemd does, the newest first."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                process.wait(60)

    def _machine(self, name: str) -> Path:
        machine = self.folder / name
        machine.mkdir()
        (machine / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
        return machine

    def _start(self, unit: str, machine: Path, *, instance: str = "") -> subprocess.Popen[bytes]:
        environment = os.environ | environment_file() | self.settings | {"DAGSTER_HOME": str(machine)}
        environment["IMAGI_DAGSTER_URL"] = f"http://127.0.0.1:{self.web_port}"
        lines = (DEPLOY / "systemd" / unit).read_text().splitlines()
        for line in lines:
            if line.startswith("ExecStartPre="):
                subprocess.run(
                    self._command(line, machine, instance), env=environment, check=True, timeout=120
                )
        (start,) = (line for line in lines if line.startswith("ExecStart="))
        process = subprocess.Popen(
            self._command(start, machine, instance), env=environment, start_new_session=True
        )
        self.processes.append(process)
        return process

    def _command(self, line: str, machine: Path, instance: str) -> list[str]:
        program, *arguments = shlex.split(line.partition("=")[2])
        places = {
            "%i": instance,
            CODE_SOCKET: str(machine / "code.sock"),
            WORKSPACE: str(machine / "workspace.yaml"),
            WEB_PORT: str(self.web_port),
        }
        return PROGRAMS[program] + [places.get(argument, argument) for argument in arguments]


def is_answered(url: str) -> bool:
    """Whether a server answers with success."""
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False
