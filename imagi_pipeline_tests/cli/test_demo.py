from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import requests
from PIL import Image

from imagi_pipeline.cli.demo import sample, sample_images
from imagi_pipeline.core.csv.reading import read_csv
from imagi_pipeline.core.http.fetching import Fetcher
from imagi_pipeline.settings import Settings


def test_the_sample_is_as_varied_as_a_catalogue() -> None:
    images = {name: Image.open(io.BytesIO(data)) for name, data in sample_images().items()}
    assert len(images) >= 12
    assert {"JPEG", "PNG", "WEBP", "GIF", "TIFF"} <= {str(image.format) for image in images.values()}
    assert {"RGB", "RGBA", "CMYK", "P", "L"} <= {image.mode for image in images.values()}
    assert any(image.getexif().get(0x0112) == 6 for image in images.values())
    assert any(getattr(image, "is_animated", False) for image in images.values())


def test_the_sample_has_shared_several_missing_and_wrong_images() -> None:
    with sample() as path:
        table = read_csv(path.read_bytes())
        urls = [reference.url for reference in table.references]
        assert len(set(urls)) < len(urls)
        assert max(reference.position for reference in table.references) >= 3
        statuses = [requests.get(url, timeout=10).status_code for url in sorted(set(urls))]
        assert statuses.count(404) == 1


def test_loopback_is_allowed_only_while_the_sample_is_there() -> None:
    before = Settings().allowed_networks
    with sample() as path, Fetcher(Settings().fetch_limits) as fetcher:
        url = read_csv(path.read_bytes()).references[0].url
        assert fetcher.fetch(url)
    assert Settings().allowed_networks == before


def test_the_demo_processes_the_sample_with_its_two_failures() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imagi_pipeline", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["images_total"], answer["images_failed"]) == ("completed", 16, 2)
    report = Path(answer["report"]).read_text()
    assert "http_404" in report
    assert "not_an_image" in report
