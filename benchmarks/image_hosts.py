"""Images, and hosts on loopback that serve them: nginx if it is installed, otherwise one written in Python.

A host that waits before each answer is always the one in Python; it takes no CPU while it waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SIDES = [(800, 800)] * 6 + [(1600, 1200)] * 3 + [(2700, 2200)]

_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {run}/nginx.pid;
error_log {run}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    types {{ image/jpeg jpg; }}
    access_log off;
    sendfile on;
    keepalive_requests 1000000;
    open_file_cache max=20000 inactive=600s;
    client_body_temp_path {run}/body;
    proxy_temp_path {run}/proxy;
    fastcgi_temp_path {run}/fastcgi;
    uwsgi_temp_path {run}/uwsgi;
    scgi_temp_path {run}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
}}
"""


@contextlib.contextmanager
def image_host(folder: Path, latency: float = 0.0) -> Iterator[str]:
    """Serve a folder on loopback, each answer after `latency` seconds; the base of the URLs.

    The host has a process of its own, whose CPU time is not counted.
    """
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx and not latency:
        with tempfile.TemporaryDirectory() as run:
            user = f"user {os.environ.get('USER', 'root')};" if os.geteuid() == 0 else ""
            config = Path(run, "nginx.conf")
            config.write_text(_NGINX.format(user=user, run=run, port=port, root=folder.resolve()))
            server = subprocess.Popen([nginx, "-c", str(config), "-e", f"{run}/error.log", "-p", run])
            try:
                _await(port)
                yield f"http://127.0.0.1:{port}"
            finally:
                server.terminate()
                server.wait()
        return
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(folder, port, latency), daemon=True
    )
    process.start()
    try:
        _await(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.join()


def _await(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.1)
    raise TimeoutError("the image host did not start")


def _serve(folder: Path, port: int, latency: float) -> None:
    files = {f"/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}
    asyncio.run(_serve_files(files, port, latency))


async def _serve_files(files: dict[str, bytes], port: int, latency: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(latency)
                body = files.get(head.split(b" ", 2)[1].decode())
                status = "404 Not Found" if body is None else "200 OK"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: image/jpeg\r\n"
                    f"Content-Length: {len(body or b'')}\r\n\r\n".encode()
                )
                writer.write(body or b"")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def make_images(folder: Path, count: int) -> Path:
    """Photograph-like JPEGs of three sizes: noise of many scales, as nature has it."""
    folder.mkdir()
    canvas = Image.merge("RGB", [_noise(3000) for _ in range(3)])
    for number in range(count):
        width, height = SIDES[number % len(SIDES)]
        left, top = random.randint(0, 3000 - width), random.randint(0, 3000 - height)
        crop = canvas.crop((left, top, left + width, top + height))
        crop.save(folder / f"{number:05}.jpg", quality=93, subsampling="4:2:0")
    return folder


def _noise(side: int) -> Image.Image:
    noise = Image.new("L", (side, side), 128)
    for scale in (4, 16, 64, 256):
        octave = Image.effect_noise((side // scale, side // scale), 90)
        noise = Image.blend(noise, octave.resize((side, side), Image.Resampling.BICUBIC), 0.5)
    return noise
