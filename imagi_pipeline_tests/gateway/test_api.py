"""The HTTP API as programs use it: the real service, with curl where the contract says curl."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests

from imagi_pipeline.core.images.compression_settings import ALGORITHM
from imagi_pipeline_tests.core.images.pictures import photo, saved
from imagi_pipeline_tests.image_host import ImageHost
from imagi_pipeline_tests.records import image_key
from imagi_pipeline_tests.running_service import Service, wait_for

API = "/imagi-process"
CHECKS = """
query ($asset: AssetKeyInput!) {
  assetCheckExecutions(assetKey: $asset, checkName: "has_the_rows_of_the_upload", limit: 1) {
    evaluation { success }
  }
}
"""


def csv_of(*urls: str) -> str:
    return "id,Image\n" + "".join(f"{number},{url}\n" for number, url in enumerate(urls, start=1))


def curl(*arguments: str) -> Any:
    done = subprocess.run(["curl", "--silent", *arguments], capture_output=True, check=True)
    return json.loads(done.stdout)


def upload(service: Service, text: str, name: str = "products.csv", **options: Any) -> requests.Response:
    files = {"file": (name, text.encode(), "text/csv")}
    return requests.post(f"{service.gateway}{API}/upload_csv/", files=files, timeout=30, **options)


def accepted(service: Service, text: str, name: str = "products.csv", **options: Any) -> str:
    answer = upload(service, text, name, **options)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["request_id"])


def get(service: Service, path: str, **options: Any) -> requests.Response:
    return requests.get(f"{service.gateway}{API}{path}", timeout=30, **options)


def post(service: Service, path: str) -> requests.Response:
    return requests.post(f"{service.gateway}{API}{path}", timeout=30)


def status(service: Service, request_id: str) -> dict[str, Any]:
    document: dict[str, Any] = get(service, f"/check_request_status/{request_id}/").json()
    return document


def finished(service: Service, request_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        document = status(service, request_id)
        ends, upkeep = ("completed", "failed", "cancelled"), document["upkeep"] or document
        return document if document["status"] in ends and upkeep["status"] in ends else None

    document: dict[str, Any] = wait_for(look)
    return document


def error_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_original_two_calls_work_with_curl_as_they_always_did(
    service: Service, image_host: ImageHost, tmp_path: Path
) -> None:
    good, bad = image_host.add("curl-1.jpg", "curl-2.jpg")
    del image_host.files["/curl-2.jpg"]
    file = tmp_path / "file.csv"
    file.write_text(csv_of(good, bad, "not-a-url.jpg"))

    answer = curl("--location", f"{service.gateway}/imagi-process/upload_csv/", "--form", f'file=@"{file}"')
    request_id = answer["request_id"]
    assert answer == {"request_id": str(uuid.UUID(request_id)), "status": "In queue"}

    def look() -> Any:
        url = f"{service.gateway}/imagi-process/check_request_status/{request_id}/"
        document = curl("--location", url)
        return document if document["status"] == "completed" else None

    done = wait_for(look)
    assert done["request_id"] == request_id
    assert done["progress"] == {"total": 2, "done": 2, "failed": 1, "percent": 100.0}
    assert 0 < done["bytes_after"] < done["bytes_before"]
    assert (done["rows"], done["error"], len(done["warnings"])) == (3, None, 2)
    assert done["created"] < done["finished"]
    assert done["run_url"].startswith(f"{service.ui}/runs/")

    result = Path(done["result"]).read_bytes()
    assert requests.get(done["result_url"], timeout=10).content == result
    rows = list(csv.DictReader(io.StringIO(result.decode())))
    image = requests.get(rows[0]["Output Image Urls"], timeout=10)
    assert (image.status_code, image.headers["Content-Type"]) == (200, "image/jpeg")
    assert "404" in rows[1]["Image Errors"]
    report = requests.get(done["report_url"], timeout=10)
    assert [row["status"] for row in csv.DictReader(io.StringIO(report.text))] == ["ok", "failed"]


def test_a_request_is_done_with_its_own_options_and_tells_them(
    service: Service, image_host: ImageHost
) -> None:
    text = f"id,Image\n1,{image_host.add('own-options.jpg')[0]}\n"
    usual = accepted(service, text)
    chosen = accepted(service, text, data={"longest_side": "100", "format": "webp"})
    sizes = {}
    for request_id in (usual, chosen):
        finished(service, request_id)
        (image,) = get(service, f"/requests/{request_id}/images/").json()["images"]
        sizes[request_id] = (image["width"], image["format"], image["settings"].partition("-")[2])
        assert requests.get(image["output_url"], timeout=10).status_code == 200
    assert sizes == {
        usual: (320, "JPEG", "balanced-q80-same"),
        chosen: (100, "WEBP", "balanced-q80-webp-100px"),
    }
    told = get(service, f"/check_request_status/{chosen}/").json()
    listed = {each["request_id"]: each["options"] for each in get(service, "/requests/").json()["requests"]}
    options = {"preset": "balanced", "quality": 80, "format": "webp", "longest_side": 100, "png": "auto"}
    assert told["options"] == listed[chosen] == options


def test_png_and_format_are_chosen_by_fields_of_the_form_and_in_the_query(
    service: Service, image_host: ImageHost
) -> None:
    image_host.files["/chosen.png"] = saved(photo(), "PNG")
    text = f"id,Image\n1,{image_host.base}/chosen.png\n"
    lossless = accepted(service, text, "chosen.csv", data={"png": "lossless", "format": "auto"})
    by_field = accepted(service, text, "chosen.csv", data={"format": "auto"})
    query = "filename=chosen.csv&format=auto-webp&png=auto&quality=70"
    by_query = requests.post(
        f"{service.gateway}{API}/upload_csv/?{query}",
        data=text,
        headers={"Content-Type": "text/csv"},
        timeout=30,
    ).json()["request_id"]
    made = {}
    for request_id in (lossless, by_field, by_query):
        finished(service, request_id)
        (image,) = get(service, f"/requests/{request_id}/images/").json()["images"]
        made[request_id] = (image["encoder"], image["format"], image["settings"].partition("-")[2])
        assert requests.head(image["output_url"], timeout=10).headers["Content-Type"] == (
            f"image/{image['format'].lower()}"
        )
    assert made == {
        lossless: ("oxipng", "PNG", "balanced-q80-auto-losslesspng"),
        by_field: ("jpegli", "JPEG", "balanced-q80-auto"),
        by_query: ("pillow", "WEBP", "balanced-q70-auto-webp"),
    }
    assert "format is one of" in upload(service, text, data={"format": "webp-auto"}).text


def test_the_new_urls_stand_in_the_place_of_the_old_ones_when_that_is_asked_for(
    service: Service, image_host: ImageHost
) -> None:
    good, bad = image_host.add("here.jpg")[0], f"{image_host.base}/nowhere.jpg"
    text = f"id,Body\n1,<p>A</p><img src='{good}'>\n2,<img src='{bad}'>\n3,<p>None</p>\n"
    request_id = accepted(service, text, data={"in_place": "true", "url_column": "Body"})
    finished(service, request_id)
    row = get(service, f"/requests/{request_id}/images/").json()["images"][0]
    answer = get(service, f"/requests/{request_id}/result/")
    assert answer.text == text.replace(good, row["output_url"])
    assert 'filename="products_enriched.csv"' in answer.headers["Content-Disposition"]
    checks = service.query(CHECKS, asset={"path": ["enriched_csv"]})["assetCheckExecutions"]
    assert [found["evaluation"]["success"] for found in checks] == [True]

    refused = upload(service, text, data={"in_place": "perhaps"})
    assert error_of(refused) == (422, "invalid_request")
    assert "in_place is true or false" in refused.json()["error"]["message"]


def test_failures_say_which_rows_to_correct_and_come_back_as_a_csv_to_hand_in_again(
    service: Service, image_host: ImageHost
) -> None:
    (good,) = image_host.add("row-good.jpg")
    lost = [f"{image_host.base}/row-{number}.jpg" for number in range(30)]
    image_host.failures = {"/row-29.jpg": [403]}
    lines = [f"shoe,S-{number},{url}" for number, url in enumerate([good, *lost, lost[0]])]
    text = "\n".join(["kind,sku,Image", *lines, "shoe,S-x,rel.jpg"]) + "\n"
    request_id = accepted(service, text)
    done = finished(service, request_id)

    failures = get(service, f"/requests/{request_id}/failures/").json()
    assert failures["total"] == 30
    codes = [(group["host"], group["error"]["code"], group["count"]) for group in failures["groups"]]
    assert codes == [("127.0.0.1", "http_404", 29), ("127.0.0.1", "http_status", 1)]
    first = failures["groups"][0]["first"]
    assert (len(first), first[0]["rows"], first[0]["items"]) == (20, [3, 33], ["S-1", "S-31"])

    answer = requests.get(done["failures_url"], timeout=10)
    assert 'filename="products_failures.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["sku"] for row in rows] == [f"S-{number}" for number in range(1, 32)] + ["S-x"]
    assert all(row["Image Errors"] for row in rows)

    image_host.add(*(f"row-{number}.jpg" for number in range(30)))
    again = finished(service, accepted(service, answer.text.replace("rel.jpg", good)))
    assert (again["progress"]["failed"], again["failures_url"]) == (0, None)
    nothing = get(service, f"/requests/{again['request_id']}/failures.csv")
    assert error_of(nothing) == (404, "nothing_failed")


def test_everything_can_be_taken_away_as_one_zip(service: Service, image_host: ImageHost) -> None:
    urls = image_host.add("zip/shoe.jpg", "zip/hat.jpg", "other/shoe.jpg")
    request_id = accepted(service, csv_of(*urls, f"{image_host.base}/gone.jpg"), "Schuhe ß.csv")
    early = get(service, f"/requests/{request_id}/archive/")
    assert early.status_code in (200, 409)
    done = finished(service, request_id)
    answer = requests.get(done["archive_url"], timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/zip")
    assert "Schuhe%20%C3%9F.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        text = archive.read("Schuhe ß_enriched.csv").decode()
        rows = list(csv.DictReader(io.StringIO(text)))
        shoe, hat, other, gone = (row["Output Image Urls"] for row in rows)
        assert (hat, gone) == ("Schuhe ß_images/hat.jpg", "")
        assert {shoe, other} == {f"Schuhe ß_images/{image_key(url)}.jpg" for url in (urls[0], urls[2])}
        assert "404" in rows[3]["Image Errors"]
        for page_row, path in zip(
            get(service, f"/requests/{request_id}/images/").json()["images"], [shoe, hat], strict=False
        ):
            assert archive.read(path) == requests.get(page_row["output_url"], timeout=10).content
        assert archive.read("Schuhe ß_report.csv") == requests.get(done["report_url"], timeout=10).content

    (stored,) = (service.storage / "compressed").glob(f"*/{image_key(urls[1])}.jpg")
    stored.unlink()
    with zipfile.ZipFile(io.BytesIO(requests.get(done["archive_url"], timeout=30).content)) as archive:
        (row,) = list(csv.DictReader(io.StringIO(archive.read("Schuhe ß_enriched.csv").decode())))[1:2]
        assert "gone from the storage" in row["Image Errors"]
        assert "Schuhe ß_images/hat.jpg" not in archive.namelist()


def test_every_path_works_without_its_trailing_slash(service: Service, image_host: ImageHost) -> None:
    text = csv_of(*image_host.add("slash.jpg"))
    files = {"file": ("a.csv", text)}
    answer = requests.post(
        f"{service.gateway}{API}/upload_csv", files=files, timeout=10, allow_redirects=False
    )
    assert answer.status_code == 202
    found = get(service, f"/check_request_status/{answer.json()['request_id']}", allow_redirects=False)
    assert found.status_code == 200


def test_a_raw_csv_body_is_taken_as_well(service: Service, image_host: ImageHost) -> None:
    (url,) = image_host.add("raw.jpg")
    answer = requests.post(
        f"{service.gateway}{API}/upload_csv/",
        params={"filename": "предметы.csv", "url_column": "pic", "base_url": url.rsplit("/", 1)[0] + "/"},
        data="note,pic\nx,raw.jpg\n",
        headers={"Content-Type": "text/csv; charset=utf-8"},
        timeout=10,
    )
    done = finished(service, answer.json()["request_id"])
    assert (done["status"], done["file"], done["progress"]["failed"]) == ("completed", "предметы.csv", 0)
    download = requests.get(done["result_url"], timeout=10)
    assert "filename*=utf-8''%D0%BF%D1%80" in download.headers["Content-Disposition"]
    assert download.headers["Content-Type"] == "text/csv"


@pytest.mark.parametrize(
    ("content", "code", "row"),
    [
        (b"", "empty_csv", None),
        (b"id,Image\n", "empty_csv", None),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x00", "not_a_csv", None),
        (b"<html><body>Login</body></html>", "not_a_csv", None),
        (b"id,Image\n1,\n2,img/a.jpg\n", "no_image_references", 3),
    ],
)
def test_a_file_that_cannot_be_processed_is_refused_before_anything_is_queued(
    service: Service, content: bytes, code: str, row: int | None
) -> None:
    before = set((service.storage / "landing").iterdir())
    files = {"file": ("bad.csv", content)}
    answer = requests.post(f"{service.gateway}{API}/upload_csv/", files=files, timeout=10)
    assert error_of(answer) == (422, code)
    assert answer.json()["error"]["row"] == row
    assert answer.json()["error"]["message"]
    assert set((service.storage / "landing").iterdir()) <= before


def test_a_call_that_makes_no_sense_says_what_is_wrong(service: Service) -> None:
    url = f"{service.gateway}{API}/upload_csv/"
    no_file = requests.post(url, files={"other": ("a.csv", "x")}, timeout=10)
    assert error_of(no_file) == (422, "missing_file")
    assert error_of(requests.post(url, data=b"", headers={"Content-Type": "text/csv"}, timeout=10)) == (
        422,
        "missing_file",
    )
    assert error_of(requests.post(url, json={}, timeout=10)) == (415, "unsupported_media_type")
    broken = {"Content-Type": "multipart/form-data"}
    assert error_of(requests.post(url, data=b"x", headers=broken, timeout=10)) == (422, "invalid_request")
    column = upload(service, csv_of("https://a.example/a.jpg"), data={"url_column": "Bild"})
    assert (error_of(column), column.json()["error"]["column"]) == ((422, "unknown_column"), "Bild")
    base = upload(service, csv_of("https://a.example/a.jpg"), data={"base_url": "ftp://x"})
    assert error_of(base) == (422, "invalid_url")
    callback = upload(service, csv_of("https://a.example/a.jpg"), data={"callback_url": "gopher://x"})
    assert callback.status_code == 422
    assert error_of(requests.get(url, timeout=10)) == (405, "method_not_allowed")
    assert error_of(requests.get(f"{service.gateway}/nothing", timeout=10)) == (404, "not_found")


def test_unknown_and_impossible_request_ids_are_told_apart(service: Service) -> None:
    unknown = get(service, f"/check_request_status/{uuid.uuid4()}/")
    assert error_of(unknown) == (404, "unknown_request")
    assert error_of(get(service, "/check_request_status/17/")) == (422, "invalid_request")


def test_an_idempotency_key_makes_a_repeated_upload_one_request(
    service: Service, image_host: ImageHost
) -> None:
    text = csv_of(*image_host.add("idem.jpg"))
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = accepted(service, text, headers=headers)
    assert accepted(service, text, headers=headers) == first
    assert accepted(service, text) != first
    finished(service, first)
    assert accepted(service, text, headers=headers) == first
    other = upload(service, text + "2,https://a.example/b.jpg\n", headers=headers)
    assert error_of(other) == (422, "idempotency_key_reused")


def test_an_inspection_tells_what_would_be_done_and_keeps_nothing(service: Service) -> None:
    files = {"file": ("look.csv", csv_of("https://a.example/a.jpg", "https://a.example/a.jpg", "b.jpg"))}
    answer = requests.post(f"{service.gateway}{API}/inspect_csv/", files=files, timeout=10).json()
    assert (answer["columns"], answer["url_columns"], answer["rows"]) == (["id", "Image"], ["Image"], 3)
    assert (answer["references"]["total"], answer["references"]["distinct"]) == (2, 1)
    assert answer["problems"]["first"][0]["row"] == 4
    assert answer["problems"]["first"][0]["code"] == "relative_url"
    assert not list((service.storage / "landing").glob("*/look.csv"))


def test_the_list_has_the_newest_requests_first_and_pages(service: Service, image_host: ImageHost) -> None:
    text = csv_of(*image_host.add("list.jpg"))
    ids = [accepted(service, text, f"list-{number}.csv") for number in range(3)]
    for request_id in ids:
        finished(service, request_id)
    waiting = accepted(service, text, "list-waiting.csv")
    first = get(service, "/requests/", params={"limit": 100}).json()["requests"]
    shown = [document["request_id"] for document in first]
    assert shown[0] == waiting
    assert set(ids) <= set(shown)
    assert len(shown) == len(set(shown))
    finished(service, waiting)

    page = get(service, "/requests/", params={"limit": 2}).json()
    following = get(service, "/requests/", params={"limit": 2, "cursor": page["next"]}).json()
    seen = [document["request_id"] for part in (page, following) for document in part["requests"]]
    assert len(set(seen)) == 4
    assert error_of(get(service, "/requests/", params={"limit": 0})) == (422, "invalid_request")


TAGS = """
query($request: String!) { runsOrError(filter: {tags: [{key: "dagster/partition", value: $request}]}) {
  ... on Runs { results { tags { key value } } }
} }
"""


def tags_of_runs(service: Service, request_id: str) -> list[dict[str, str]]:
    """Return the tags of the runs of a request, newest first."""
    runs = service.query(TAGS, request=request_id)["runsOrError"]["results"]
    return [{tag["key"]: tag["value"] for tag in run["tags"]} for run in runs]


def test_the_list_of_runs_shows_few_tags_which_people_can_read(
    service: Service, image_host: ImageHost
) -> None:
    request_id = accepted(service, csv_of(*image_host.add("few-tags.jpg")), "few-tags.csv")
    done = finished(service, request_id)
    (tags,) = tags_of_runs(service, request_id)
    # The UI shows of Dagster's own tags only the partition.
    shown = {name: value for name, value in tags.items() if not name.startswith("dagster/")}
    assert shown == {
        "imagi/created": done["created"],
        "imagi/file": "few-tags.csv",
        "imagi/progress": "1 of 1 images, 0 failed; rows 1, problems 0; "
        f"bytes {done['bytes_before']} to {done['bytes_after']}",
        "imagi/settings": f"{ALGORITHM}-{done['settings']}",
    }
    assert tags["dagster/partition"] == request_id


OUTCOMES_OF_CHECKS = """
query($asset: String!) { assetNodeOrError(assetKey: {path: [$asset]}) {
  ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks { partitionStatuses {
    ... on AssetCheckDefaultPartitionStatuses { succeededPartitions failedPartitions }
  } } } } }
} }
"""


def test_the_checks_have_an_outcome_for_each_request(service: Service, image_host: ImageHost) -> None:
    """As the UI asks for it: an outcome that is not that of the newest materialization does not count."""
    good = accepted(service, csv_of(*image_host.add("checked.jpg")), "checked-good.csv")
    partly = accepted(service, csv_of(f"{image_host.base}/unchecked.jpg"), "checked-bad.csv")
    finished(service, good), finished(service, partly)

    def outcomes(asset: str) -> tuple[set[str], set[str]]:
        node = service.query(OUTCOMES_OF_CHECKS, asset=asset)["assetNodeOrError"]
        (check,) = node["assetChecksOrError"]["checks"]
        found = check["partitionStatuses"]
        passed, failed = set(found["succeededPartitions"]), set(found["failedPartitions"])
        return passed & {good, partly}, failed & {good, partly}

    assert outcomes("compression_report") == ({good}, {partly})
    assert outcomes("enriched_csv") == ({good, partly}, set())


def test_failed_images_are_tried_again_alone_and_the_result_is_brought_up_to_date(
    service: Service, image_host: ImageHost
) -> None:
    good, bad = image_host.add("retry-good.jpg", "retry-bad.jpg")
    body = image_host.files.pop("/retry-bad.jpg")
    request_id = accepted(service, csv_of(good, bad))
    first = finished(service, request_id)
    assert first["progress"]["failed"] == 1
    failed = get(service, f"/requests/{request_id}/images/", params={"status": "failed"}).json()
    assert (failed["total"], failed["images"][0]["url"]) == (1, bad)
    assert failed["images"][0]["error"]["code"] == "http_404"

    image_host.files["/retry-bad.jpg"] = body
    # As old as it may be, what succeeded is not asked for again.
    record = service.storage / "compressed" / image_key(good)[-16:-14] / f"{image_key(good)}.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"checked_at": 0.0}))
    again = post(service, f"/requests/{request_id}/retry/")
    assert (again.status_code, again.json()["request_id"]) == (202, request_id)
    assert again.json()["status"] in ("In queue", "processing")  # a run starts at once when there is room
    assert error_of(post(service, f"/requests/{request_id}/retry/")) == (409, "not_finished")
    during = status(service, request_id)
    assert (during["status"], during["result_url"]) == ("completed", first["result_url"])
    assert during["upkeep"]["what"] == "retry"
    if during["upkeep"]["status"] != "completed":
        assert during["progress"] == first["progress"]
    assert get(service, f"/requests/{request_id}/result/").status_code == 200
    (tags, *_) = tags_of_runs(service, request_id)
    assert (tags["dagster/priority"], tags["imagi/size"]) == ("0", "")  # somebody waits for it

    done = finished(service, request_id)
    assert (done["status"], done["progress"]["failed"]) == ("completed", 0)
    assert (done["upkeep"]["status"], done["upkeep"]["finished"]) == ("completed", done["finished"])
    assert (done["created"], done["run_url"] != first["run_url"]) == (first["created"], True)
    assert image_host.asked["/retry-good.jpg"] == 1
    rows = csv.DictReader(io.StringIO(requests.get(done["result_url"], timeout=10).text))
    assert all(row["Output Image Urls"] for row in rows)
    assert error_of(post(service, f"/requests/{request_id}/retry/")) == (409, "nothing_to_retry")


def test_a_request_can_be_cancelled_and_gone_on_with(service: Service, image_host: ImageHost) -> None:
    image_host.delay = 0.3
    urls = image_host.add(*(f"cancel-{number}.jpg" for number in range(80)))
    request_id = accepted(service, csv_of(*urls))
    early = post(service, f"/requests/{request_id}/cancel/")
    if early.status_code == 409:
        assert early.json()["error"]["code"] == "not_started"
        assert "Retry-After" in early.headers

    wait_for(lambda: status(service, request_id)["progress"]["done"] >= 8)
    assert error_of(get(service, f"/requests/{request_id}/result/")) == (409, "not_ready")
    assert post(service, f"/requests/{request_id}/cancel/").status_code == 202
    done = finished(service, request_id)
    assert (done["status"], done["result"], done["result_url"]) == ("cancelled", None, None)
    assert error_of(post(service, f"/requests/{request_id}/cancel/")) == (409, "already_finished")
    assert error_of(get(service, f"/requests/{request_id}/result/")) == (404, "no_result")

    image_host.delay = 0.0
    assert post(service, f"/requests/{request_id}/retry/").status_code == 202
    assert finished(service, request_id)["status"] == "completed"
    assert max(image_host.sent[f"/cancel-{number}.jpg"] for number in range(80)) <= 2
    once = sum(image_host.sent[f"/cancel-{number}.jpg"] == 1 for number in range(80))
    assert once >= 70


def test_a_source_image_can_be_looked_at_beside_its_compressed_copy(
    service: Service, image_host: ImageHost
) -> None:
    (url,) = image_host.add("preview.jpg")
    image_host.files["/page.jpg"] = b"<script>alert(1)</script>"
    request_id = accepted(service, csv_of(url, f"{image_host.base}/page.jpg"))
    finished(service, request_id)
    path = f"/requests/{request_id}/images/{image_key(url)}/source/"
    source = get(service, path)
    assert (source.status_code, source.headers["Content-Type"]) == (200, "image/jpeg")
    assert source.content == image_host.files["/preview.jpg"]
    assert "sandbox" in source.headers["Content-Security-Policy"]
    page = image_key(f"{image_host.base}/page.jpg")
    assert error_of(get(service, f"/requests/{request_id}/images/{page}/source/")) == (
        415,
        "unsupported_format",
    )
    assert error_of(get(service, f"/requests/{request_id}/images/other-0000/source/")) == (
        404,
        "unknown_image",
    )
    del image_host.files["/preview.jpg"]
    assert error_of(get(service, path)) == (502, "http_404")


def test_the_service_says_that_it_is_ready(service: Service) -> None:
    assert requests.get(f"{service.gateway}/healthz", timeout=10).json() == {"status": "ok", "problems": []}
    ready = wait_for(lambda: requests.get(f"{service.gateway}/readyz", timeout=10).status_code == 200)
    assert ready


def test_the_metrics_count_answers_uploads_and_requests(service: Service, image_host: ImageHost) -> None:
    request_id = accepted(service, csv_of(*image_host.add("metrics.jpg")))
    finished(service, request_id)
    text = requests.get(f"{service.gateway}/metrics", timeout=10).text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['imagi_uploads_total{outcome="accepted"}']) >= 1
    assert float(figures['imagi_requests{status="completed"}']) >= 1
    route = f"{API}/check_request_status/{{request_id}}/"
    assert float(figures[f'imagi_http_requests_total{{method="GET",route="{route}",status="200"}}']) >= 1
    assert figures["imagi_dagster_up"] == "1.0"


def test_every_answer_has_the_security_headers(service: Service) -> None:
    for path in ("/", "/healthz", f"{API}/requests/", "/nothing"):
        headers = requests.get(f"{service.gateway}{path}", timeout=10).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "server" not in headers


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_web_site_cannot_make_a_browser_upload(service: Service, site: str) -> None:
    answer = upload(service, csv_of("https://a.example/a.jpg"), headers={"Sec-Fetch-Site": site})
    assert error_of(answer) == (403, "cross_site")


def test_a_name_that_was_rebound_to_this_machine_is_refused(service: Service) -> None:
    answer = get(service, "/requests/", headers={"Host": "evil.example:8000"})
    assert error_of(answer) == (403, "unknown_host")


def test_the_status_changes_within_seconds_of_the_run(service: Service, image_host: ImageHost) -> None:
    image_host.delay = 0.2
    urls = image_host.add(*(f"live-{number}.jpg" for number in range(40)))
    request_id = accepted(service, csv_of(*urls))
    seen: list[dict[str, Any]] = []
    end = time.monotonic() + 120
    while not seen or seen[-1]["status"] not in ("completed", "failed"):
        assert time.monotonic() < end
        seen.append(status(service, request_id))
        time.sleep(0.3)
    assert [*dict.fromkeys(document["status"] for document in seen)] == [
        "In queue",
        "processing",
        "completed",
    ]
    counts = [document["progress"]["done"] for document in seen]
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3
