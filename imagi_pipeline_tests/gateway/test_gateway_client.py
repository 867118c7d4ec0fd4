"""`imagi submit` against the real service."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.running_service import Service, served_gateway, wait_for


def submit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imagi_pipeline", "submit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


@pytest.fixture
def products(tmp_path: Path, image_host: ImageHost) -> Path:
    urls = [*image_host.add("submit-1.jpg", "submit-2.jpg"), f"{image_host.base}/gone.jpg"]
    path = tmp_path / "Produkte ä.csv"
    path.write_text("id,Image\n" + "".join(f"{number},{url}\n" for number, url in enumerate(urls)))
    return path


def test_submit_waits_and_brings_back_the_enriched_csv(
    service: Service, products: Path, tmp_path: Path
) -> None:
    done = submit(
        products, "--wait", "--paths", "--output", tmp_path / "out", "--url", service.gateway, "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = document(done)
    assert (answer["status"], answer["file"]) == ("completed", "Produkte ä.csv")
    assert (answer["images_total"], answer["images_failed"]) == (3, 1)
    enriched, report, folder = (Path(copy) for copy in answer["copies"])
    assert (enriched.name, report.name) == ("Produkte ä_enriched.csv", "Produkte ä_report.csv")
    assert (folder.name, folder.is_dir()) == ("Produkte ä_images", True)
    rows = list(csv.DictReader(enriched.read_text().splitlines()))
    images = [row["Output Image Urls"] for row in rows]
    assert images == ["Produkte ä_images/submit-1.jpg", "Produkte ä_images/submit-2.jpg", ""]
    assert sum((tmp_path / "out" / image).stat().st_size for image in images[:2]) == answer["bytes_after"]
    assert len(report.read_text().splitlines()) == 4


def test_ctrl_c_while_waiting_says_where_to_ask(
    service: Service, image_host: ImageHost, products: Path
) -> None:
    image_host.delay = 3.0
    command = [sys.executable, "-m", "imagi_pipeline", "submit", str(products), "--wait", "--json"]
    with subprocess.Popen(
        [*command, "--url", service.gateway],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        request_id = process.stderr.readline().split()[-1]
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["error_code"]) == (130, "interrupted")
    assert f"{service.gateway}/imagi-process/check_request_status/{request_id}/" in err


def test_submit_alone_says_which_request_it_became(service: Service, products: Path) -> None:
    done = submit(products, "--url", service.gateway)
    assert (done.returncode, "In queue" in done.stdout) == (0, True)
    (request_id,) = [word for word in done.stdout.split() if word.count("-") == 4]
    assert wait_for(lambda: service.status(request_id))


def test_a_refused_file_is_told_as_the_gateway_tells_it(service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,Image\n1,pic.jpg\n")
    done = submit(bad, "--url", service.gateway, "--json")
    assert (done.returncode, document(done)["error_code"]) == (1, "no_image_references")
    assert "row 2" in done.stderr
    missing = submit(tmp_path / "nothing.csv", "--url", service.gateway)
    assert (missing.returncode, "Traceback" in missing.stderr) == (1, False)


def test_a_gateway_that_is_not_there_is_one_line(products: Path) -> None:
    started = time.monotonic()
    done = submit(products, "--url", "http://127.0.0.1:9", "--json")
    assert (done.returncode, document(done)["error_code"]) == (1, "gateway_unreachable")
    assert "imagi serve" in done.stderr
    assert time.monotonic() - started < 60


def test_a_token_is_sent(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_API_TOKENS", "shop:0123456789abcdef")
    with served_gateway(Settings()) as url:
        refused = submit(products, "--url", url, "--json")
        assert document(refused)["error_code"] == "unauthorized"
        taken = submit(products, "--url", url, "--token", "0123456789abcdef", "--json")
    assert (taken.returncode, document(taken)["status"]) == (0, "In queue")
