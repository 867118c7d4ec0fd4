"""The page in a real browser, on the real service."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

from imagi_pipeline.gateway.app import build_app
from imagi_pipeline.settings import Settings
from imagi_pipeline_tests.browsers import chromium, needs_browser
from imagi_pipeline_tests.image_host import ImageHost, jpeg
from imagi_pipeline_tests.running_service import Service, free_port, wait_for

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, FilePayload, Locator, Page, expect
except ImportError:
    pass  # the tests are skipped

pytestmark = needs_browser

TOKEN = "page-token-of-sixteen"

REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`))
"""

DROP = """
([name, text]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([text], name, { type: "text/csv" }));
  return transfer;
}
"""

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def host() -> Iterator[ImageHost]:
    with ImageHost() as running:
        yield running


@pytest.fixture
def open_page(
    browser: Browser, service: Service, host: ImageHost, image_host: ImageHost
) -> Iterator[OpenPage]:
    """Opens the page; at the end nothing may have gone wrong in it but with the `answers` that were expected.

    The hosts are there longer than the page, which asks for their images until it is closed.
    """
    wrong: list[str] = []
    expected: set[str] = set()
    contexts = []

    def open_at(path: str = "", gateway: str = service.gateway, answers: Any = (), **options: Any) -> Page:
        expected.update(map(str, answers))
        context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US", **options)
        contexts.append(context)
        context.add_init_script(REPORT_VIOLATIONS)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{error}\n{error.stack}"))
        page.on("console", lambda message: note(message.type, message.text))
        page.goto(f"{gateway}/{path}")
        return page

    def note(kind: str, text: str) -> None:
        refused = re.match(r"Failed to load resource: .*?(?:status of (\d+)|net::(\w+))", text)
        if kind in ("error", "warning") and not (refused and expected & set(refused.groups())):
            wrong.append(text)

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def finished(service: Service, host: ImageHost) -> str:
    """The id of a request of three good images and a missing one."""
    return handed_in(
        service, "shoes.csv", [*host.add("red.jpg", "blue.jpg", "green.jpg"), f"{host.base}/gone.jpg"]
    )


def handed_in(service: Service, name: str, urls: list[str]) -> str:
    answer = requests.post(
        f"{service.gateway}/imagi-process/upload_csv/", files={"file": (name, table(urls))}, timeout=30
    )
    request_id = str(answer.json()["request_id"])
    assert service.finished(request_id).status == "completed"
    return request_id


def table(urls: list[str]) -> str:
    return "id,Image,Page\n" + "".join(f"{n},{url},https://shop.example/{n}\n" for n, url in enumerate(urls))


def choose(page: Page, name: str, text: str) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": text.encode()})


def drop(page: Page, name: str, text: str) -> None:
    transfer = page.evaluate_handle(DROP, [name, text])
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def assert_no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def first_slider(page: Page) -> Locator:
    """That of the first image, which has been brought into sight: the source is not fetched before."""
    page.locator(".image").first.scroll_into_view_if_needed()
    return page.locator(".image").first.get_by_role("slider")


def downloaded(page: Page, selector: str, folder: Path) -> tuple[str, str]:
    """Return the name and the text of what a link downloads."""
    with page.expect_download() as started:
        page.click(selector)
    started.value.save_as(folder / "download.csv")
    return started.value.suggested_filename, (folder / "download.csv").read_text(encoding="utf-8")


# --- from drop to download


def test_a_dropped_csv_comes_back_enriched_its_failed_image_tried_again_once_the_host_is_repaired(
    open_page: OpenPage, image_host: ImageHost, tmp_path: Path
) -> None:
    urls = image_host.add(*(f"{n}.jpg" for n in range(8)))
    missing = image_host.files.pop("/5.jpg")
    image_host.delay = 0.8
    page = open_page()
    drop(page, "Frühling 2026.csv", table(urls))
    expect(page.locator("#send")).to_have_text("Compress 8 images")
    expect(page.locator("#inspection-title")).to_be_focused()
    page.click("#send")

    expect(page).to_have_title(re.compile(r"^\d+% · Frühling 2026.csv"))
    expect(page.locator("#progress-text")).to_have_text(re.compile(r"\d of 8 images"))
    expect(page.locator("#outcome-title")).to_be_focused()
    expect(page.locator("#live")).to_contain_text("saved. 1 image failed")
    expect(page.locator(".failure")).to_contain_text("answered 404 Not Found. Correct the URL")
    expect(page.locator(".failure a")).to_have_attribute("href", urls[5])
    expect(page.locator(".failure")).to_contain_text("Row 7, 5:")
    _, failed = downloaded(page, "#download-failures", tmp_path)
    assert [row["id"] for row in csv.DictReader(io.StringIO(failed))] == ["5"]

    image_host.files["/5.jpg"] = missing
    page.click("#retry")
    expect(page.locator("#progress-title")).to_be_visible()
    expect(page.locator("#request-badge")).to_have_text("Completed")
    expect(page.locator("#failures")).to_be_hidden()
    expect(page.locator(".image .open")).to_have_count(8)
    assert re.fullmatch(r"\d+% saved", page.locator("#outcome-title").inner_text())
    assert page.title() == "Completed · Frühling 2026.csv · imagi"

    name, enriched = downloaded(page, "#download-result", tmp_path)
    assert name == "Frühling 2026_enriched.csv"
    rows = list(csv.DictReader(io.StringIO(enriched)))
    assert [row["Image"] for row in rows] == urls
    for row in rows:
        assert requests.get(row["Output Image Urls"], timeout=10).headers["Content-Type"] == "image/jpeg"
    _, report = downloaded(page, "#download-report", tmp_path)
    assert len(report.splitlines()) == 9


def test_a_lost_connection_costs_nothing_and_a_cancelled_request_can_be_gone_on_with(
    open_page: OpenPage, image_host: ImageHost
) -> None:
    image_host.delay = 0.5
    page = open_page(answers=["ERR_INTERNET_DISCONNECTED", 409])
    keys: list[str | None] = []
    page.on("request", lambda request: keys.append(request.headers.get("idempotency-key")))
    choose(page, "slow.csv", table(image_host.add(*(f"slow-{n}.jpg" for n in range(50)))))
    expect(page.locator("#send")).to_be_enabled()
    page.context.set_offline(True)
    page.click("#send")
    expect(page.locator("#inspection-note")).to_contain_text("Press the button again")
    expect(page.locator("#send")).to_be_focused()
    page.context.set_offline(False)
    page.click("#send")
    expect(page.locator("#progress-text")).to_have_text(re.compile(r"\d+ of 50"))
    first, second = filter(None, keys)
    assert first == second  # so it is one request, also if only the answer was lost

    page.context.set_offline(True)
    expect(page.locator("#trouble")).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    expect(page.locator("#trouble")).to_be_hidden()

    page.click("#cancel")
    expect(page.locator("#outcome-title")).to_have_text("Cancelled")
    image_host.delay = 0
    page.click("#retry-request")
    expect(page.locator("#request-badge")).to_have_text("Completed")
    expect(page.locator(".image")).to_have_count(48)


# --- before sending


def test_a_try_that_came_to_nothing_is_told_beside_the_result_which_stays(
    open_page: OpenPage, service: Service, host: ImageHost
) -> None:
    request_id = handed_in(service, "upkeep.csv", [*host.add("upkeep.jpg"), f"{host.base}/upkeep-gone.jpg"])
    upload = service.storage / "uploads" / request_id / "upkeep.csv"
    data = upload.read_bytes()
    upload.unlink()  # the run of a re-try needs it
    page = open_page(f"#/requests/{request_id}")
    expect(page.locator("#outcome-upkeep")).to_be_hidden()
    page.click("#retry")
    expect(page.locator("#outcome-upkeep")).to_have_text(
        re.compile(r"^Trying the failed images again failed just now: .*upkeep.csv is gone.* as it was.$")
    )
    expect(page.locator("#request-badge")).to_have_text("Completed")
    expect(page.locator("#request-times")).to_contain_text(", after ")
    assert_accessible(page)

    upload.write_bytes(data)
    host.add("upkeep-gone.jpg")
    page.click("#retry")
    expect(page.locator("#failures")).to_be_hidden()
    expect(page.locator("#outcome-upkeep")).to_be_hidden()
    expect(page.locator("#request-times")).to_have_text(re.compile("brought up to date just now$"))


def test_what_cannot_be_used_is_shown_before_sending(open_page: OpenPage, host: ImageHost) -> None:
    page = open_page()
    choose(page, "mixed.csv", table([f"{host.base}/red.jpg", f"{host.base}/red.jpg", "img/<7>.jpg"]))
    expect(page.locator("#found-problems-title")).to_have_text("1 entry cannot be used and will be left out")
    expect(page.locator("#found-problems-list")).to_contain_text("Row 4, Image: img/<7>.jpg")
    expect(page.locator("#live")).to_contain_text("1 image found in 3 rows. 1 entry cannot be used.")
    assert "Image references\n2" in page.locator("#found-figures").inner_text()
    assert page.locator("#columns-list input:checked").input_value() == "Image"


def test_columns_and_a_base_url_can_be_chosen_when_none_were_found(
    open_page: OpenPage, host: ImageHost
) -> None:
    page = open_page(answers=[422])
    choose(page, "paths.csv", "Export of today;;\nsku;Titel;Datei\n1;Rot;red\n2;Blau;blue\n")
    expect(page.locator("#inspection-note")).to_contain_text("Name the column")
    expect(page.locator("#send")).to_be_disabled()
    page.get_by_label("Datei").check()
    page.get_by_label("Base URL").fill(f"{host.base}/")
    page.get_by_label("Base URL").press("Enter")
    expect(page.locator("#send")).to_have_text("Compress 2 images")
    page.get_by_text("The first image references").click()
    expect(page.locator("#found-first-rows")).to_contain_text(f"{host.base}/blue")


def test_urls_are_replaced_in_their_own_column_when_that_is_ticked(
    open_page: OpenPage, host: ImageHost, tmp_path: Path
) -> None:
    (red,) = host.add("place.jpg")
    page = open_page()
    choose(page, "place.csv", table([red, f"{host.base}/gone.jpg"]))
    page.get_by_label("Replace the URLs in their own columns").check()
    page.click("#send")
    expect(page.locator("#request-badge")).to_have_text("Completed")
    _, enriched = downloaded(page, "#download-result", tmp_path)
    (first, second) = csv.DictReader(io.StringIO(enriched))
    assert list(first) == ["id", "Image", "Page"]
    assert first["Image"].startswith(f"{page.url.partition('#')[0]}media/")
    assert second["Image"] == f"{host.base}/gone.jpg"


def test_options_are_chosen_beside_the_defaults_and_told_in_result_and_list(
    open_page: OpenPage, host: ImageHost
) -> None:
    page = open_page(answers=[422])
    choose(page, "chosen.csv", table(host.add("chosen.jpg")))
    expect(page.locator("#options-made")).to_have_text("balanced, quality 80")
    page.locator("#options summary").click()
    assert page.get_by_label("Preset").locator("option").first.inner_text() == "balanced (default)"
    assert page.get_by_label("Longest side").get_attribute("placeholder") == "as large as it is (default)"
    page.get_by_label("Preset").select_option("small")
    expect(page.get_by_label("Quality")).to_have_attribute("placeholder", "70 (default)")
    page.get_by_label("Longest side").fill("0")
    page.get_by_label("Longest side").press("Tab")
    expect(page.locator("#inspection-note")).to_contain_text("longest_side is a whole number from 1")
    expect(page.locator("#send")).to_be_disabled()
    page.get_by_label("Longest side").fill("100")
    page.get_by_label("Format").select_option("webp")
    made = "small, quality 70, webp, at most 100 px"
    expect(page.locator("#options-made")).to_have_text(made)
    page.click("#send")
    expect(page.locator("#request-badge")).to_have_text("Completed")
    expect(page.locator("#outcome-figures")).to_contain_text(made)
    page.get_by_role("link", name="All requests").click()
    expect(page.locator(".request-row", has_text="chosen.csv")).to_contain_text(made)


@pytest.mark.parametrize(
    ("text", "message"), [("", "The file is empty"), ("only a header\n", "no rows below its header")]
)
def test_a_file_that_is_no_csv_with_rows_is_refused_with_the_reason(
    open_page: OpenPage, text: str, message: str
) -> None:
    page = open_page(answers=[422])
    choose(page, "empty.csv", text)
    expect(page.locator("#inspection-note")).to_contain_text(message)
    expect(page.locator("#send")).to_be_disabled()


# --- a finished request


def test_a_request_has_an_address_and_the_way_back_works(open_page: OpenPage, finished: str) -> None:
    page = open_page()
    row = page.locator(f"#row-{finished}")
    expect(row).to_contain_text("4 images, 1 failed")
    row.get_by_role("link").click()
    expect(page.locator("#request-title")).to_have_text("shoes.csv")
    assert page.url.endswith(f"#/requests/{finished}")
    page.reload()
    expect(page.locator(".image")).to_have_count(4)
    page.go_back()
    expect(page.locator("#home-title")).to_be_visible()
    expect(page.locator("#request")).to_be_hidden()


def test_an_unknown_address_is_told_as_such(open_page: OpenPage) -> None:
    page = open_page("#/requests/00000000-0000-4000-8000-000000000000", answers=[404])
    expect(page.locator("#request-note")).to_contain_text("There is no request")


def test_the_source_is_compared_under_a_slider_and_side_by_side(
    open_page: OpenPage, finished: str, host: ImageHost
) -> None:
    page = open_page(f"#/requests/{finished}")
    slider = first_slider(page)
    expect(slider).to_be_enabled()
    card = page.locator(".image").first
    assert card.locator(".before img").evaluate("image => image.naturalWidth") == 320
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "51% before")
    page.get_by_label("Side by side").check()
    boxes = [card.locator(f".{name} img").bounding_box() for name in ("before", "after")]
    before, after = filter(None, boxes)
    assert before["x"] + before["width"] <= after["x"]

    page.get_by_role("button", name="Enlarge red.jpg").click()
    expect(page.locator("#large .before img")).to_be_visible()
    page.click("#large-next")
    expect(page.locator("#large-title")).to_have_text("blue.jpg")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Enlarge blue.jpg")).to_be_focused()


def test_a_source_that_is_gone_leaves_a_message(open_page: OpenPage, finished: str, host: ImageHost) -> None:
    body = host.files.pop("/green.jpg")
    try:
        page = open_page(f"#/requests/{finished}", answers=[502])
        expect(page.locator("#images-list > li")).to_have_count(4)
        card = page.locator(".image", has_text="green.jpg")
        note = card.locator(".image-note")
        # What is above may still grow and push it out of sight again.
        expect(page.locator("#histogram-hint")).to_be_visible()
        card.scroll_into_view_if_needed()
        expect(note).to_contain_text("No source image to compare: 127.0.0.1 answered 404")
    finally:
        host.files["/green.jpg"] = body


def test_a_hundred_thousand_images_are_paged(open_page: OpenPage, finished: str, service: Service) -> None:
    report = service.storage / "reports" / f"{finished}.csv"
    kept = report.read_text()
    header, first, *_ = kept.splitlines(keepends=True)
    report.write_text(header + first * 100_000)
    try:
        page = open_page(f"#/requests/{finished}")
        expect(page.locator("#images-list > li")).to_have_count(48)
        expect(page.locator("#histogram-hint")).to_contain_text("of the first 1,000 images")
        # Not `click`, which scrolls there first: then more come by themselves, and nobody has asked for them.
        page.get_by_role("button", name="Show 48 more of 99,952").evaluate("button => button.click()")
        expect(page.locator("#images-list > li")).to_have_count(96)
        expect(page.locator("#images-list > li").nth(48)).to_be_focused()
    finally:
        report.write_text(kept)


# --- everybody


def test_axe_finds_no_violation(open_page: OpenPage, finished: str, host: ImageHost) -> None:
    page = open_page()
    expect(page.locator("#recent-list > li").first).to_be_visible()
    assert_accessible(page)
    choose(page, "mixed.csv", table([f"{host.base}/red.jpg", "img/7.jpg"]))
    expect(page.locator("#found-problems")).to_be_visible()
    page.get_by_text("The first image references").click()
    assert_accessible(page)
    page.goto(page.url.split("#")[0] + f"#/requests/{finished}")
    expect(first_slider(page)).to_be_enabled()
    assert_accessible(page)
    page.get_by_label("Side by side").check()
    page.get_by_role("button", name="Enlarge red.jpg").click()
    expect(page.locator("#large .before img")).to_be_visible()
    assert_accessible(page)


def test_dark_mode_is_dark_and_axe_finds_no_violation(
    open_page: OpenPage, finished: str, host: ImageHost
) -> None:
    page = open_page(f"#/requests/{finished}", color_scheme="dark")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60
    expect(first_slider(page)).to_be_enabled()
    assert_accessible(page)
    page.goto(page.url.split("#")[0] + "#/")
    choose(page, "mixed.csv", table([f"{host.base}/red.jpg", "img/7.jpg"]))
    expect(page.locator("#found-problems")).to_be_visible()
    assert_accessible(page)


def test_on_a_phone_nothing_scrolls_sideways(open_page: OpenPage, finished: str, host: ImageHost) -> None:
    page = open_page(has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": 360, "height": 740})
    expect(page.locator("#recent-list > li").first).to_be_visible()
    assert_no_sideways_scroll(page)
    long = f"{'very-long-name-' * 9}.csv"
    choose(page, long, table([f"{host.base}/{'a' * 300}.jpg", "img/" + "7" * 90]))
    expect(page.locator("#found-problems")).to_be_visible()
    page.get_by_text("The first image references").click()
    assert_no_sideways_scroll(page)
    page.goto(page.url.split("#")[0] + f"#/requests/{finished}")
    expect(page.locator(".image")).to_have_count(4)
    for view in ("Slider", "Side by side"):
        page.get_by_label(view).check()
        assert_no_sideways_scroll(page)


def test_the_keyboard_alone_leads_from_the_file_to_the_result(
    open_page: OpenPage, host: ImageHost, finished: str
) -> None:
    page = open_page()
    page.on("filechooser", lambda _: None)  # or playwright begins to listen too late for the key
    reach(page, "#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    text = table([f"{host.base}/red.jpg", f"{host.base}/blue.jpg"])
    chooser.value.set_files({"name": "keys.csv", "mimeType": "text/csv", "buffer": text.encode()})
    expect(page.locator("#send")).to_be_enabled()
    reach(page, "#send")
    page.keyboard.press("Enter")
    expect(page.locator("#request-title")).to_be_focused()
    expect(page.locator("#outcome-title")).to_be_focused()
    reach(page, "#download-result")
    with page.expect_download():
        page.keyboard.press("Enter")
    reach(page, "input[aria-label='Before and after of red.jpg']")


def reach(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(f"{selector}:focus").count():
            return
    raise AssertionError(f"{selector} cannot be reached by Tab")


def test_motion_is_reduced_for_who_wants_it(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    page.evaluate("document.getElementById('inspection').hidden = false")
    page.evaluate("document.getElementById('inspection-busy').hidden = false")
    style = "getComputedStyle(document.getElementById('inspection-progress')).animationName"
    assert page.evaluate(style) == "none"


# --- with access tokens


@contextlib.contextmanager
def gateway_with_token(service: Service) -> Iterator[str]:
    """Another gateway on the same installation, which wants a token."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = Settings.model_validate(
        {
            "storage": str(service.storage),
            "dagster_url": service.ui,
            "gateway_url": url,
            "public_url": f"{service.gateway}/media",
            "api_tokens": f"shop:{TOKEN}:admin",
        }
    )
    server = uvicorn.Server(uvicorn.Config(build_app(settings), port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, 20)
        yield url
    finally:
        server.should_exit = True
        thread.join()


def test_the_token_is_asked_for_once_and_used_for_everything(
    open_page: OpenPage, finished: str, service: Service, tmp_path: Path
) -> None:
    with gateway_with_token(service) as gateway:
        page = open_page(f"#/requests/{finished}", gateway=gateway, answers=[401])
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        assert_accessible(page)
        field.fill("not the token")
        field.press("Enter")
        expect(page.locator("#token-wrong")).to_contain_text("no spaces")
        field.fill("not-the-token-either")
        field.press("Enter")
        expect(page.locator("#token-wrong")).to_contain_text("not accepted")
        field.fill(TOKEN)
        field.press("Enter")

        expect(page.locator("#token")).to_be_hidden()
        expect(first_slider(page)).to_be_enabled()
        name, enriched = downloaded(page, "#download-result", tmp_path)
        assert (name, len(enriched.splitlines())) == ("shoes_enriched.csv", 5)
        assert TOKEN not in page.url

        page.get_by_role("link", name="New request").click()
        choose(page, "again.csv", table(["https://shop.example/1.jpg"]))
        expect(page.locator("#send")).to_be_enabled()
        page.close()  # it would go on asking a gateway that is gone


def test_without_the_token_the_page_says_so_and_asks_again(
    open_page: OpenPage, finished: str, service: Service
) -> None:
    with gateway_with_token(service) as gateway:
        page = open_page(f"#/requests/{finished}", gateway=gateway, answers=[401])
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Enter the token").click()
        page.get_by_label("Token", exact=True).fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#request-title")).to_have_text("shoes.csv")
        page.close()


def test_several_files_become_several_requests(open_page: OpenPage, host: ImageHost) -> None:
    page = open_page(answers=[422])
    files = {
        "one.csv": table(host.add("batch-1.jpg")),
        "two.csv": "only\n",
        "three.csv": table(host.add("batch-3.jpg")),
    }
    given: list[FilePayload] = [
        {"name": name, "mimeType": "text/csv", "buffer": text.encode()} for name, text in files.items()
    ]
    page.set_input_files("#file", given)
    expect(page.locator("#batch-title")).to_have_text("3 files")
    expect(page.locator("#batch-title")).to_be_focused()
    page.click("#batch-send")
    expect(page.locator("#batch-list a")).to_have_count(2)
    expect(page.locator("#batch-list .refused")).to_contain_text("no rows below its header")
    expect(page.locator("#batch-send")).to_be_hidden()
    for name in ("one.csv", "three.csv"):
        expect(page.locator("#recent-list")).to_contain_text(name)
    assert_accessible(page)
    page.locator("#batch-list a").first.click()
    expect(page.locator("#request-title")).to_have_text("one.csv")


def test_requests_are_searched_by_file_name_and_status(
    open_page: OpenPage, service: Service, host: ImageHost, finished: str
) -> None:
    handed_in(service, "Needle.csv", host.add("needle.jpg"))
    page = open_page()
    page.get_by_label("File name", exact=True).fill("needle")
    expect(page.locator("#recent-list .request-name")).to_have_text(["Needle.csv"])
    page.get_by_label("Status", exact=True).select_option("failed")
    expect(page.locator("#recent-empty")).to_have_text("None that fits.")
    page.get_by_label("File name", exact=True).fill("")
    page.get_by_label("Status", exact=True).select_option("completed")
    expect(page.locator("#recent-list")).to_contain_text("Needle.csv")


def test_images_are_searched_filtered_and_sorted_and_all_come_by_scrolling(
    open_page: OpenPage, service: Service, host: ImageHost
) -> None:
    urls = host.add(*(f"many-{n}.jpg" for n in range(110)))
    host.files["/many-7.jpg"] = jpeg(7, (900, 700))
    del host.files["/many-9.jpg"]
    request_id = handed_in(service, "many.csv", urls)
    page = open_page(f"#/requests/{request_id}")
    cards = page.locator(".image")
    expect(cards).to_have_count(48)
    for _ in range(3):
        page.mouse.wheel(0, 100_000)
        page.wait_for_timeout(300)
    expect(cards).to_have_count(110)

    page.get_by_label("Order").select_option("largest")
    expect(cards.first).to_contain_text("many-7.jpg")
    expect(cards.first).to_contain_text("JPEG 900 × 700")
    page.get_by_label("Which images").select_option("failed")
    expect(page.locator("#images-count")).to_have_text("1 image")
    expect(cards).to_contain_text(["many-9.jpg"])
    page.get_by_label("Which images").select_option("")
    page.get_by_label("Order").select_option("csv")
    page.get_by_label("Name, row or SKU").fill("57")
    expect(cards.locator(".image-name")).to_have_text(["many-55.jpg", "many-57.jpg"])

    page.get_by_label("Name, row or SKU").fill("many-7.jpg")
    expect(cards).to_have_count(1)
    cards.first.locator(".enlarge").click()
    comparison = page.locator("#large-place .comparison")
    for label, width in (("100%", 900), ("200%", 1800)):
        page.get_by_label(label, exact=True).check()
        assert comparison.evaluate("found => found.offsetWidth") == width
    assert_accessible(page)


def test_the_api_is_shown_with_nothing_from_elsewhere(open_page: OpenPage, service: Service) -> None:
    page = open_page("docs")
    upload = page.locator(".operation", has_text="/imagi-process/upload_csv/")
    upload.locator("summary").click()
    expect(upload).to_contain_text("callback_url")
    expect(upload).to_contain_text(f"curl '{service.gateway}/imagi-process/upload_csv/' --form")
    assert_no_sideways_scroll(page)
    assert_accessible(page)
