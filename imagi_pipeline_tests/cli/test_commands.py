"""The commands as a user runs them: each in a process of its own."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagi_pipeline.core.storage.store import Store
from imagi_pipeline_tests.core.images.pictures import photo, saved
from imagi_pipeline_tests.disks import small_disk
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.processes import alive, descendants
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.storages import DAGSTERS_OWN

IMAGI = [sys.executable, "-m", "imagi_pipeline"]


def imagi(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*IMAGI, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON document on stdout."""
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


@pytest.fixture
def products(tmp_path: Path, image_host: ImageHost) -> Path:
    urls = [*image_host.add("a.jpg", "b.jpg"), f"{image_host.base}/gone.jpg"]
    path = tmp_path / "products.csv"
    path.write_text("id,Image Src\n" + "".join(f"{n},{url}\n" for n, url in enumerate(urls)))
    return path


def test_process_makes_an_empty_machine_ready_and_returns_the_enriched_csv(
    products: Path, tmp_path: Path
) -> None:
    done = imagi("process", products, "--output", tmp_path / "out", "--paths", "--json")
    assert done.returncode == 0, done.stderr
    answer = document(done)
    assert (answer["status"], answer["images_total"], answer["images_failed"]) == ("completed", 3, 1)
    assert answer["bytes_after"] < answer["bytes_before"]
    enriched = Path(answer["result"]).read_text()
    assert enriched.startswith("id,Image Src,Output Image Urls,Image Errors\n")
    with (tmp_path / "out" / "products_enriched.csv").open() as copy:
        images = [row["Output Image Urls"] for row in csv.DictReader(copy)]
    assert images == ["products_images/a.jpg", "products_images/b.jpg", ""]
    assert all((tmp_path / "out" / image).stat().st_size for image in images)
    assert sum((tmp_path / "out" / image).stat().st_size for image in images[:2]) == answer["bytes_after"]
    assert (tmp_path / "out" / "products_report.csv").read_bytes() == Path(answer["report"]).read_bytes()
    assert (tmp_path / "dagster_home" / "dagster.yaml").exists()

    told = document(imagi("status", answer["request_id"], "--json"))
    assert (told["status"], told["result"]) == ("completed", answer["result"])
    (listed,) = json.loads(imagi("status", "--json").stdout)
    assert listed["request_id"] == answer["request_id"]


@pytest.mark.parametrize(
    ("options", "has_images"),
    [([], True), (["--no-images"], False), (["--no-images", "--paths"], False)],
)
def test_the_copy_of_the_csv_has_public_urls_unless_paths_of_images_beside_it_are_wanted(
    products: Path, tmp_path: Path, options: list[str], has_images: bool
) -> None:
    answer = document(imagi("process", products, "--output", tmp_path / "out", "--json", *options))
    copy, report, *images = map(Path, answer["copies"])
    assert copy.read_bytes() == Path(answer["result"]).read_bytes()
    assert report.read_bytes() == Path(answer["report"]).read_bytes()
    folder = tmp_path / "out" / "products_images"
    assert (folder.exists(), images) == (has_images, [folder] if has_images else [])


def test_process_replaces_urls_in_place_when_told_to(products: Path) -> None:
    answer = document(imagi("process", products, "--in-place", "--json"))
    result = Path(answer["result"]).read_text().splitlines()
    before = products.read_text().splitlines()
    assert (result[0], result[3]) == (before[0], before[3])
    assert result[1].startswith("0,http://127.0.0.1:8000/media/")


def test_several_files_and_standard_input_are_processed_one_after_the_other(
    products: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text("Image\n")
    options = ["--output", str(tmp_path / "out"), "--json"]
    done = subprocess.run(
        [*IMAGI, "process", str(broken), str(products), "-", *options],
        input=products.read_text(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    failed, *others = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, failed["error_code"]) == (1, "empty_csv")
    assert [(each["file"], each["status"]) for each in others] == [
        ("products.csv", "completed"),
        ("stdin.csv", "completed"),
    ]
    names = {path.name for path in (tmp_path / "out").glob("*.csv")}
    assert {"products_enriched.csv", "stdin_enriched.csv"} <= names

    recent = imagi("status").stdout
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d  completed .*stdin\.csv", recent)
    assert re.search(r"handed in +\d{4}-\d\d-\d\d \d\d:\d\d", imagi("status", others[0]["request_id"]).stdout)


def test_files_of_one_name_are_refused_where_one_would_be_written_over_the_other(
    products: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin" / products.name
    twin.parent.mkdir()
    twin.write_bytes(products.read_bytes())
    done = imagi("process", products, twin, "--output", tmp_path / "out")
    assert (done.returncode, "Two of the files are called products.csv" in done.stderr) == (1, True)


def test_a_shell_can_complete_commands() -> None:
    asked = {"_IMAGI_COMPLETE": "complete_bash", "COMP_WORDS": "imagi pro", "COMP_CWORD": "1"}
    done = subprocess.run(
        [Path(sys.executable).with_name("imagi")],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["process"]


def test_process_tells_a_person_what_was_saved_and_where(products: Path) -> None:
    done = imagi("process", products)
    assert done.returncode == 0, done.stderr
    for words in ("3 of 3", "% saved", "gone.jpg: 127.0.0.1 answered 404", "enriched CSV", "Next:"):
        assert words in done.stdout
    assert "DEBUG" not in done.stderr


def test_another_size_leaves_the_image_that_was_delivered_as_it_is(
    tmp_path: Path, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ok.csv"
    path.write_text("Image\n" + image_host.add("shoe.jpg")[0] + "\n")
    first = document(imagi("process", path, "--json"))
    monkeypatch.setenv("IMAGI_LONGEST_SIDE", "100")
    document(imagi("process", path, "--json"))
    document(imagi("process", path, "--longest-side", "50", "--preset", "small", "--json"))

    store = Store(str(tmp_path / "storage"))
    records = [json.loads(file.read_text()) for file in Path(str(store.compressed)).rglob("shoe-*.json")]
    assert {record["width"] for record in records} == {320, 100, 50}
    delivered = Path(first["result"]).read_text().split("/")[-1].split(",")[0]
    (file,) = Path(str(store.compressed)).rglob(delivered)
    assert store.read_record(file.stem).width == 320  # type: ignore[union-attr]


def test_a_photograph_in_a_png_is_made_what_the_options_allow(tmp_path: Path, image_host: ImageHost) -> None:
    image_host.files["/shoe.png"] = saved(photo(), "PNG")
    path = tmp_path / "photograph.csv"
    path.write_text(f"Image\n{image_host.base}/shoe.png\n")
    suffixes = []
    for options in (["--png", "lossless"], ["--format", "auto"], ["--format", "auto-webp"]):
        done = document(imagi("process", path, *options, "--json"))
        (row,) = csv.DictReader(io.StringIO(Path(done["result"]).read_text()))
        suffixes.append(Path(row["Output Image Urls"]).suffix)
    assert suffixes == [".png", ".jpg", ".webp"]


@pytest.mark.parametrize("arguments", [("process", "products.csv"), ("status",), ("home",)])
def test_a_variable_that_is_no_setting_is_refused_in_one_plain_line(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_LONGEST_SIZE", "100")
    done = imagi(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    told = "imagi: There is no setting IMAGI_LONGEST_SIZE. Did you mean IMAGI_LONGEST_SIDE?"
    assert " ".join(done.stderr.split()) == told


def test_an_option_that_cannot_be_is_refused_before_anything_is_kept(products: Path, tmp_path: Path) -> None:
    done = imagi("process", products, "--quality", "0", "--json")
    assert (done.returncode, document(done)["error_code"]) == (1, "invalid_option")
    assert "quality is a whole number from 1 to 100, not '0'" in document(done)["error"]
    assert not (tmp_path / "storage" / "uploads").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "200k") as disk:
        yield disk


def test_a_full_disk_fails_the_request_with_the_reason_and_leaves_no_half_file(
    disk: Path, tmp_path: Path, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGI_STORAGE", str(disk / "storage"))
    path = tmp_path / "many.csv"
    path.write_text("Image\n" + "\n".join(image_host.add(*(f"{number}.jpg" for number in range(30)))))
    done = imagi("process", path, "--json")
    answer = document(done)
    assert (done.returncode, answer["status"], answer["error_code"]) == (1, "failed", "storage_failure")
    assert "No space left on device" in answer["error"]
    store = Store(str(disk / "storage"))
    stored = [file for file in (disk / "storage" / "compressed").rglob("*") if file.is_file()]
    assert not [file for file in stored if file.name.startswith(".")]
    assert all(store.read_record(file.stem) for file in stored if file.suffix == ".json")

    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    again = document(imagi("process", path, "--json"))
    assert (again["status"], again["images_failed"]) == ("completed", 0)


def test_the_output_folder_may_be_that_of_the_input(products: Path) -> None:
    before = products.read_bytes()
    assert imagi("process", products, "--output", products.parent).returncode == 0
    assert products.read_bytes() == before


def test_a_csv_without_images_fails_with_one_plain_line(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("name,age\nAnna,30\n")
    done = imagi("process", path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert "names no image" in line
    assert "Traceback" not in done.stderr

    answer = imagi("process", path, "--json")
    assert answer.returncode == 1
    assert document(answer)["error_code"] == "no_image_references"
    assert not (tmp_path / "dagster_home").exists()


def test_inspect_shows_every_reference_and_problem_without_any_network(
    products: Path, image_host: ImageHost
) -> None:
    products.write_text(products.read_text() + "9,img/relative.jpg\n")
    done = imagi("inspect", products, "--json")
    assert done.returncode == 0
    answer = document(done)
    assert list(answer) == [
        *("encoding", "delimiter", "has_header", "url_columns", "rows", "references", "warnings", "problems")
    ]
    assert (answer["encoding"], answer["delimiter"], answer["has_header"]) == ("utf-8", ",", True)
    assert (answer["url_columns"], answer["rows"]) == (["Image Src"], 4)
    assert answer["references"][1] == {
        "row": 3,
        "column": "Image Src",
        "position": 1,
        "url": f"{image_host.base}/b.jpg",
    }
    (problem,) = answer["problems"]
    assert list(problem) == ["row", "column", "value", "code", "message"]
    assert (problem["row"], problem["value"], problem["code"]) == (5, "img/relative.jpg", "relative_url")
    assert not image_host.asked


def test_inspect_resolves_relative_urls_against_a_base(products: Path, image_host: ImageHost) -> None:
    products.write_text("Images\nimg/relative.jpg\n")
    answer = document(imagi("inspect", products, "--base-url", "https://shop.example/", "--json"))
    assert answer["references"][0]["url"] == "https://shop.example/img/relative.jpg"
    shown = imagi("inspect", products)
    assert "relative" in shown.stdout


def test_inspect_of_a_workbook_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(b"PK\x03\x04 [Content_Types].xml")
    done = imagi("inspect", path)
    assert done.returncode == 1
    assert "Excel" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unknown_request_is_an_error() -> None:
    done = imagi("status", "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77", "--json")
    assert done.returncode == 1
    assert document(done)["error"] == "There is no request 0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77."
    assert "no request 0b8e7a54" in done.stderr
    assert imagi("status", "../landing").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["process", "missing.csv"], "No such file"),
        (["process", "."], "Is a directory"),
        (["inspect", "missing.csv"], "No such file"),
        (["serve", "--host", "256.1.1.1"], "256.1.1.1"),
    ],
)
def test_a_wrong_argument_is_one_plain_line_and_one_document(arguments: list[str], words: str) -> None:
    done = imagi(*arguments, "--json")
    assert done.returncode == 1
    assert words in document(done)["error"]
    (line,) = done.stderr.strip().splitlines()
    assert words in line


@pytest.mark.parametrize("storage", ["bogus://x", "s3://bucket/x"])
def test_a_storage_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, storage: str) -> None:
    if storage.startswith("s3") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    monkeypatch.setenv("IMAGI_STORAGE", storage)
    done = imagi("status", "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77")
    assert done.returncode == 1
    assert storage in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_folder_that_cannot_be_made_is_told_before_the_work(
    products: Path, image_host: ImageHost
) -> None:
    done = imagi("process", products, "--output", products)
    assert done.returncode == 1
    assert "File exists" in done.stderr
    assert not image_host.asked


def test_two_commands_at_once_on_an_empty_machine_both_work() -> None:
    arguments = [*IMAGI, "status", "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77"]
    both = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert ["no request" in process.communicate(timeout=60)[1] for process in both] == [True, True]


def test_a_dagster_that_is_down_is_an_error() -> None:
    done = imagi("status", "0b8e7a54-1a3c-4d3f-9a59-5b3a6a1f2c77", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "Dagster does not answer at http://127.0.0.1:9:" in done.stderr


def test_a_bad_setting_is_named(products: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGI_QUALITY", "best")
    done = imagi("process", products)
    assert done.returncode == 1
    assert "IMAGI_QUALITY" in done.stderr
    assert "'best'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("IMAGI_API_TOKENS", "a:0123456789abcdef:root"), ("IMAGI_WEBHOOK_SECRET", "whsec_no base64")],
)
def test_a_bad_secret_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    done = imagi("gateway")
    assert done.returncode == 1
    assert name in done.stderr
    assert value not in done.stderr + done.stdout


def test_a_private_address_is_refused_and_the_setting_named(
    products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGI_ALLOWED_NETWORKS")
    answer = document(imagi("process", products, "--json"))
    assert answer["images_failed"] == 3
    report = Path(answer["report"]).read_text()
    assert report.count("blocked_address") == 3
    assert "IMAGI_ALLOWED_NETWORKS" in report


def test_a_killed_process_leaves_nothing_and_the_next_one_fetches_only_the_rest(
    tmp_path: Path, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_host.delay = 0.1
    urls = image_host.add(*(f"{number}.jpg" for number in range(60)))
    path = tmp_path / "products.csv"
    path.write_text("Images\n" + "\n".join(urls) + "\n")
    monkeypatch.setenv("IMAGI_CONNECTIONS_PER_HOST", "4")
    with subprocess.Popen([*IMAGI, "process", path], stderr=subprocess.DEVNULL) as process:
        store = Store(os.environ["IMAGI_STORAGE"])
        wait_for(lambda: sum(store.read_record(image_key(url)) is not None for url in urls) >= 15)
        started = descendants(process.pid)
        process.kill()
    wait_for(lambda: not alive(started))
    stored = sum(store.read_record(image_key(url)) is not None for url in urls)
    image_host.asked.clear()

    answer = document(imagi("process", path, "--json"))
    assert (answer["status"], answer["images_total"], answer["images_failed"]) == ("completed", 60, 0)
    assert 15 <= stored < 60
    assert sum(image_host.asked.values()) == 60 - stored


def test_the_progress_bar_moves_on_a_terminal(tmp_path: Path, image_host: ImageHost) -> None:
    image_host.delay = 0.3
    urls = image_host.add(*(f"{number}.jpg" for number in range(200)))
    path = tmp_path / "products.csv"
    path.write_text("Images\n" + "\n".join(urls) + "\n")
    terminal, end = pty.openpty()
    with subprocess.Popen([*IMAGI, "process", path], stdout=subprocess.DEVNULL, stderr=end):
        os.close(end)
        shown = read_all(terminal)
    counts = {int(count) for count in re.findall(r"(\d+)/200", shown)}
    assert [count for count in counts if 0 < count < 200]


def read_all(terminal: int) -> str:
    """Return what is written to a terminal until nobody has it open any more."""
    parts = []
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as reader:
        while part := reader.read(65536):
            parts.append(part)
    return b"".join(parts).decode(errors="replace")


def test_an_interrupted_process_says_so_and_leaves_nothing_behind(
    tmp_path: Path, image_host: ImageHost
) -> None:
    image_host.delay = 0.2
    urls = image_host.add(*(f"{number}.jpg" for number in range(100)))
    path = tmp_path / "products.csv"
    path.write_text("Images\n" + "\n".join(urls) + "\n")
    with subprocess.Popen(
        [*IMAGI, "process", path, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: len(image_host.asked) > 10)
        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "Interrupted. Run the same command again" in errors
    answer = json.loads(output)
    assert (answer["status"], answer["error_code"]) == ("failed", "interrupted")
    assert not alive(started)


@pytest.mark.parametrize("storage", [DAGSTERS_OWN], indirect=True)
def test_an_older_home_is_moved_by_a_command_also_after_one_that_found_the_disk_full(
    storage: str, products: Path
) -> None:
    home = Path(os.environ["DAGSTER_HOME"])
    assert imagi("process", products).returncode == 0
    before = imagi("status", "--json").stdout
    assert products.name in before

    full = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash"]  # no file may become larger than 100 KB
    failed = subprocess.run(
        [*full, *IMAGI, "home", "--move-storage"], capture_output=True, text=True, timeout=120, check=False
    )
    assert failed.returncode == 1
    assert "The copy cannot be made: " in failed.stderr
    assert "Nothing has changed." in " ".join(failed.stderr.split())
    assert imagi("status", "--json").stdout == before

    moved = document(imagi("home", "--move-storage", "--json"))
    assert (moved["runs"], Path(moved["kept"])) == (1, home / "before_move")
    assert moved["events"] > 20
    assert (home / "before_move" / "history" / "runs.db").exists()
    assert (home / "database" / "event_log.db").exists()
    assert imagi("status", "--json").stdout == before
    again = imagi("home", "--move-storage")
    assert again.returncode == 1
    assert "nothing is moved" in again.stderr


def wait_for(condition: Any, seconds: float = 60) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.05)


def test_a_csv_of_which_every_image_failed_ends_with_exit_code_1(
    tmp_path: Path, image_host: ImageHost
) -> None:
    gone = tmp_path / "gone.csv"
    gone.write_text(f"Images\n{image_host.base}/gone.jpg\n")
    done = imagi("process", gone)
    assert done.returncode == 1
    assert "EVERY IMAGE FAILED" in done.stdout
    request_id = re.search(r"[0-9a-f-]{36}", done.stdout)
    assert request_id
    assert imagi("status", request_id[0]).returncode == 1
