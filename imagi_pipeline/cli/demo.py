"""Provide a sample CSV and an image host for its images, on loopback, for `imagi demo`."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import math
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw, ImageFilter

from imagi_pipeline.settings import variable

EXIF_ORIENTATION = 0x0112


@contextmanager
def sample() -> Iterator[Path]:
    """Make a sample CSV whose images are served while the context lasts, and give its path.

    Loopback is allowed to the fetcher meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="imagi-demo-") as name:
        folder = Path(name)
        images = folder / "images"
        images.mkdir()
        for file, data in sample_images().items():
            (images / file).write_bytes(data)
        (images / "broken.jpg").write_text("<html>This product is no longer for sale.</html>")
        with _image_host(images) as base, _loopback_allowed():
            path = folder / "products.csv"
            path.write_text(_csv_text(base), encoding="utf-8")
            yield path


def sample_images() -> dict[str, bytes]:
    """Return fourteen images, one of each kind that a catalogue is made of, by file name."""
    photo = _photo(1600, 1200, 1)
    return {
        "mug-blue.jpg": _saved(photo, "JPEG", quality=95),
        "mug-portrait.jpg": _saved(photo.rotate(90, expand=True), "JPEG", quality=93, exif=_orientation(6)),
        "lamp.jpg": _saved(_photo(2400, 1800, 2), "JPEG", quality=92),
        "lamp-detail.jpg": _saved(_photo(900, 900, 3), "JPEG", quality=90, progressive=True),
        "chair-grey.jpg": _saved(_photo(1200, 900, 4).convert("L"), "JPEG", quality=95),
        "poster-print.jpg": _saved(_photo(1000, 1400, 5).convert("CMYK"), "JPEG", quality=95),
        "sofa-tagged.jpg": _saved(_photo(1200, 800, 6), "JPEG", quality=94, icc_profile=_profile()),
        "logo.png": _saved(_logo(800), "PNG"),
        "icon-palette.png": _saved(_logo(256).convert("RGB").quantize(32), "PNG"),
        "screenshot.png": _saved(_chart(1280, 720), "PNG", compress_level=1),
        "vase.webp": _saved(_photo(1400, 1000, 7), "WEBP", quality=95),
        "scan.tiff": _saved(_photo(1000, 800, 8), "TIFF"),
        "spinner.gif": _spinner(120, 8),
        "tiny.jpg": _saved(_photo(64, 64, 9), "JPEG", quality=60),
    }


def _csv_text(base: str) -> str:
    def cell(*names: str) -> str:
        return ",".join(f"{base}/{name}" for name in names)

    rows = [
        ("Mug", cell("mug-blue.jpg", "mug-portrait.jpg", "logo.png")),
        ("Lamp", cell("lamp.jpg", "lamp-detail.jpg")),
        ("Chair", cell("chair-grey.jpg")),
        ("Poster", cell("poster-print.jpg", "sofa-tagged.jpg")),
        ("Mug, second choice", cell("mug-blue.jpg")),
        ("Icons", cell("icon-palette.png", "spinner.gif")),
        ("Vase", cell("vase.webp", "scan.tiff", "screenshot.png")),
        ("Sticker", cell("tiny.jpg")),
        ("Sold out", cell("gone.jpg")),
        ("Wrong link", cell("broken.jpg")),
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["S. No.", "Product Name", "Input Image Urls"])
    writer.writerows((f"{number:03}", *row) for number, row in enumerate(rows, start=1))
    return text.getvalue()


def _photo(width: int, height: int, seed: int) -> Image.Image:
    """Draw soft light, some shapes and a camera's noise; this compresses about as a photograph does."""
    light = Image.radial_gradient("L").resize((width, height))
    channels = [
        light.point(lambda value, shift=shift: (value * (seed + 2) // 3 + shift) % 256)
        for shift in (seed * 31 % 256, seed * 57 % 256, seed * 83 % 256)
    ]
    image = Image.merge("RGB", channels).filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(image)
    for number in range(12):
        angle = number * math.pi / 6 + seed
        x, y = width / 2 * (1 + math.cos(angle) * 0.6), height / 2 * (1 + math.sin(angle) * 0.6)
        size = min(width, height) * (0.05 + 0.01 * (number % 5))
        colour = ((number * 40 + seed * 20) % 256, (number * 70) % 256, (number * 20 + 90) % 256)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)
    noise = Image.effect_noise((width, height), 24)
    return Image.blend(image, Image.merge("RGB", [noise] * 3), 0.12)


def _logo(size: int) -> Image.Image:
    image = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size * 0.1, size * 0.1, size * 0.9, size * 0.9), fill=(20, 90, 160, 255))
    draw.polygon(
        [(size * 0.4, size * 0.3), (size * 0.4, size * 0.7), (size * 0.72, size * 0.5)],
        fill=(255, 255, 255, 200),
    )
    return image


def _chart(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for number in range(24):
        top = height - 40 - (number * 97) % (height - 120)
        draw.rectangle(
            (40 + number * 50, top, 75 + number * 50, height - 40), fill=(60, 120 + number * 5, 200)
        )
    return image


def _spinner(size: int, frames: int) -> bytes:
    images = []
    for number in range(frames):
        frame = Image.new("P", (size, size), 0)
        frame.putpalette([255, 255, 255, 30, 120, 200])
        start = number * 360 // frames
        ImageDraw.Draw(frame).pieslice((10, 10, size - 10, size - 10), start, start + 270, fill=1)
        images.append(frame)
    return _saved(images[0], "GIF", save_all=True, append_images=images[1:], duration=80, loop=0)


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = value
    return exif


def _profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _saved(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing: the progress bar has the terminal."""


@contextmanager
def _image_host(folder: Path) -> Iterator[str]:
    handler: Callable[..., _QuietHandler] = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def _loopback_allowed() -> Iterator[None]:
    name = variable("allowed_networks")
    before = os.environ.get(name)
    os.environ[name] = ",".join(filter(None, (before, "127.0.0.0/8")))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
