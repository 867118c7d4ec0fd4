"""An image host on loopback that behaves as the test says, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

from PIL import Image

from imagi_pipeline_tests.threaded_server import ThreadedServer


def jpeg(seed: int = 0, size: tuple[int, int] = (320, 240), quality: int = 95) -> bytes:
    """Return a JPEG that differs for each seed and that compression makes clearly smaller."""
    noise = Image.effect_noise(size, 40)
    shade = Image.new("L", size, seed * 37 % 200)
    image = Image.merge("RGB", (noise, shade, Image.linear_gradient("L").resize(size)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


class ImageHost(ThreadedServer):
    """Serves `files` by path; a path in `failures` answers with its statuses first, one for each request."""

    def __init__(self, port: int = 0) -> None:
        self.files: dict[str, bytes] = {}
        self.failures: dict[str, list[int]] = {}
        self.delay = 0.0
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        super().__init__(self._handler(), port)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, *names: str) -> list[str]:
        """Serve a JPEG of its own for each name; their URLs."""
        for name in names:
            self.files[f"/{name}"] = jpeg(len(self.files))
        return [f"{self.base}/{name}" for name in names]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                with host._lock:
                    host.asked[self.path] += 1
                    host._at_once += 1
                    host.most_at_once = max(host.most_at_once, host._at_once)
                time.sleep(host.delay)
                with host._lock:  # before the answer: who has it may ask again at once
                    host._at_once -= 1
                try:
                    self._answer()
                except OSError:
                    self.close_connection = True

            def _answer(self) -> None:
                body = host.files.get(self.path, b"")
                etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
                if host.failures.get(self.path):
                    self._send(host.failures[self.path].pop(0), b"no")
                elif self.path not in host.files:
                    self._send(404, b"not found")
                elif self.headers["If-None-Match"] == etag:
                    self._send(304, b"", etag)
                else:
                    host.sent[self.path] += 1
                    self._send(200, body, etag)

            def _send(self, status: int, body: bytes, etag: str | None = None) -> None:
                self.send_response(status)
                if etag:
                    self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Keep the test's output clean."""

        return Handler
