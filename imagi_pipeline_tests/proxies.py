"""A real nginx on loopback with the site of deploy/nginx.conf, in front of two gateways."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagi_pipeline_tests.deployments import DEPLOY, is_answered
from imagi_pipeline_tests.running_service import free_port, wait_for

_MAIN = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {site}
}}
"""


@contextmanager
def nginx(folder: Path, one: str, other: str) -> Iterator[str]:
    """The URL of a proxy for two gateways. Skips the test where there is no nginx, but fails it in CI."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed.")
        pytest.skip("nginx is not installed.")
    port = free_port()
    site = (DEPLOY / "nginx.conf").read_text().replace("8080", str(port))
    for gateway, written in ((one, "127.0.0.1:8000"), (other, "127.0.0.1:8001")):
        site = site.replace(written, gateway.removeprefix("http://"))
    folder.mkdir()
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, site=site))
    process = subprocess.Popen([program, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: is_answered(f"{url}/healthz"))
        yield url
    finally:
        process.terminate()
        process.wait()
