"""The `imagi` command. Every command takes --json: one JSON document on stdout, and nothing else there."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imagi_pipeline.cli import local
from imagi_pipeline.cli.files import check_names, for_each
from imagi_pipeline.cli.printing import (
    EXIT_CODE_OF_INTERRUPT,
    fail_unless_useful,
    inspection,
    print_inspection,
    print_processed,
    print_recent,
    print_status,
    print_submitted,
    shown,
)
from imagi_pipeline.cli.terminal import (
    MOST_SHOWN,
    err,
    fail,
    plain_errors,
    print_facts,
    print_finding,
    print_json,
    print_lines,
    progress_bar,
    upload_bar,
)
from imagi_pipeline.core.images.options import OPTION_NAMES, CompressionOptions
from imagi_pipeline.core.request_status import COMPLETED, IN_QUEUE, INTERRUPTED, RequestStatus
from imagi_pipeline.core.storage.manifests import RequestManifest
from imagi_pipeline.settings import TOKEN_VARIABLE, Settings

if TYPE_CHECKING:
    from imagi_pipeline.gateway.gateway_client import GatewayClient

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A CSV of image URLs in, the same CSV with the URLs of compressed copies out.",
)

SECONDS_BETWEEN_STATUSES = 1.0

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--url-column", help="Search only this column (name or number); may be repeated."),
]
BaseOption = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="The folder that relative URLs are in; `*` in it says where paths are put, also those that "
        "begin with a slash: https://shop.example/media/*",
    ),
]
InPlaceOption = Annotated[
    bool,
    typer.Option(
        "--in-place",
        help="Write the new URLs in the place of the old ones, add no column; a failed image keeps its URL.",
    ),
]
ImagesOption = Annotated[
    bool, typer.Option("--images/--no-images", help="Write the compressed images beside the CSV as well.")
]
PathsOption = Annotated[
    bool,
    typer.Option(
        "--paths", help="In the copy of the CSV, the paths of the images beside it, not their public URLs."
    ),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="fast, balanced, small or lossless.", metavar="NAME")
]
QualityOption = Annotated[str | None, typer.Option("--quality", help="Encoder quality.", metavar="1-100")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="same, auto, auto-webp, jpeg, webp or avif.", metavar="NAME")
]
LongestSideOption = Annotated[
    str | None, typer.Option("--longest-side", help="Scale larger images down to it.", metavar="PIXELS")
]
PngOption = Annotated[str | None, typer.Option("--png", help="auto or lossless.", metavar="NAME")]
GatewayPort = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of the gateway: uploads, status, images, page.")
]
CsvArgument = Annotated[Path, typer.Argument(help="The CSV.")]
CsvArguments = Annotated[list[Path], typer.Argument(help="The CSVs; - is standard input.")]


@app.command()
def process(
    files: CsvArguments,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the enriched CSV, the images and the report here too."),
    ] = None,
    images: ImagesOption = True,
    paths: PathsOption = False,
    url_column: ColumnOption = None,
    base_url: BaseOption = None,
    in_place: InPlaceOption = False,
    preset: PresetOption = None,
    quality: QualityOption = None,
    output_format: FormatOption = None,
    longest_side: LongestSideOption = None,
    png: PngOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Process a CSV here and now: the whole Dagster job runs in this process, without a daemon."""
    with plain_errors(as_json):
        check_names(files, output)

    def process_one(file: Path, _: Path) -> None:
        with plain_errors(as_json):
            given = _given_options(preset, quality, output_format, longest_side, png)
            manifest = RequestManifest(
                file.name,
                tuple(url_column or ()),
                base_url,
                in_place=in_place,
                options=CompressionOptions.parse(given),
            )
            if output:  # before the work: it may be impossible
                output.mkdir(parents=True, exist_ok=True)
            document = local.process_file(file, manifest, verbose=verbose)
            if output and document["status"] == COMPLETED:
                document["copies"] = local.copies(document, output, images=images, paths=paths)
            print_processed(document, as_json)

    for_each(files, process_one)


@app.command()
def inspect(
    file: CsvArgument,
    url_column: ColumnOption = None,
    base_url: BaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be done with a CSV, without any network."""
    from imagi_pipeline.core.csv.reading import read_csv

    with plain_errors(as_json):
        table = read_csv(
            file.read_bytes(),
            url_columns=tuple(url_column or ()),
            base_url=base_url,
            limits=Settings().csv_limits,
        )
    if as_json:
        print_json(inspection(table))
    else:
        print_inspection(table)


@app.command()
def status(
    request_id: Annotated[str | None, typer.Argument(help="The id that the request got.")] = None,
    url: Annotated[
        str | None,
        typer.Option("--url", help="Ask this Dagster over GraphQL, such as http://127.0.0.1:3000."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how far a request is; without an id, how far the newest requests are."""
    with plain_errors(as_json):
        Settings()  # a variable that is misspelt is told by every command
        if request_id is None:
            print_recent(_recent(url), as_json)
            return
        found = _status_over_graphql(url, request_id) if url else local.status_here(request_id)
        if found is None:
            fail(f"There is no request {request_id}.", as_json)
        places = {} if url or found.status != COMPLETED else local.places(local.store(), found)
    if as_json:
        print_json(asdict(found) | places)
    else:
        print_status(found)
        print_lines([f"{name:15}{path}" for name, path in places.items()])
    fail_unless_useful(found)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address of the Dagster UI.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    gateway_host: Annotated[str, typer.Option(help="Address of the gateway.")] = "127.0.0.1",
    gateway_port: GatewayPort = 8000,
    as_json: JsonOption = False,
) -> None:
    """Run everything until Ctrl-C: CSVs that are uploaded or dropped are processed."""
    from imagi_pipeline.gateway.access import check_address, check_ui_address
    from imagi_pipeline.orchestration.instance import furnish_home
    from imagi_pipeline.service.serve import Address, sole_service
    from imagi_pipeline.service.serve import serve as run_service
    from imagi_pipeline.service.supervisor import ProgramDiedError

    with plain_errors(as_json):
        settings = Settings()
        check_address(gateway_host, settings)
        check_ui_address(host, settings)
        ui, gateway = Address(host, port), Address(gateway_host, gateway_port)
        home, store = furnish_home(), local.store()
        if store.is_local:
            store.landing.mkdir(parents=True, exist_ok=True)
        facts = {
            "ui": ui.url,
            "gateway": gateway.url,
            "landing": str(store.landing),
            "outbox": str(store.outbox),
            "dagster_home": str(home),
        }

        def on_ready() -> None:
            if as_json:
                print_json(facts)
            else:
                print_lines(
                    [
                        f"Dagster UI      {facts['ui']}",
                        f"upload          {facts['gateway']}",
                        f"drop CSVs into  {facts['landing']}",
                        f"results go to   {facts['outbox']}",
                    ]
                )

        with sole_service(home, {"gateway": gateway.url, "Dagster UI": ui.url}):
            ui.check_free()
            gateway.check_free()
            err.print("Starting Dagster ...")
            try:
                run_service(ui, gateway, on_ready)
            except ProgramDiedError as error:
                fail(str(error), as_json)


@app.command()
def gateway(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: GatewayPort = 8000,
    as_json: JsonOption = False,
) -> None:
    """Run the HTTP side alone, beside a Dagster: uploads, status, images and page."""
    from imagi_pipeline.gateway.access import check_address
    from imagi_pipeline.gateway.app import build_app
    from imagi_pipeline.service.http_server import run_http_server
    from imagi_pipeline.service.serve import Address

    with plain_errors(as_json):
        address, settings = Address(host, port), Settings()
        check_address(host, settings)
        address.check_free()
        if "gateway_url" not in settings.model_fields_set:
            settings = settings.model_copy(update={"gateway_url": address.url})
        gateway_app = build_app(settings)
        if as_json:
            print_json({"gateway": address.url})
        else:
            print_lines([f"gateway         {address.url}"])
        run_http_server(gateway_app, host, port)


@app.command()
def submit(
    files: CsvArguments,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait for the end, and download the enriched CSV, the images and the report."
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --wait: the folder of the downloads.")
    ] = None,
    images: ImagesOption = True,
    paths: PathsOption = False,
    url: Annotated[str | None, typer.Option("--url", help="The gateway; else IMAGI_GATEWAY_URL.")] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar=TOKEN_VARIABLE, help="Your token, if it wants one.")
    ] = None,
    url_column: ColumnOption = None,
    base_url: BaseOption = None,
    callback_url: Annotated[
        str | None, typer.Option("--callback-url", help="Where the service tells the end of the request.")
    ] = None,
    in_place: InPlaceOption = False,
    preset: PresetOption = None,
    quality: QualityOption = None,
    output_format: FormatOption = None,
    longest_side: LongestSideOption = None,
    png: PngOption = None,
    as_json: JsonOption = False,
) -> None:
    """Upload CSVs to a running gateway."""
    from imagi_pipeline.gateway.gateway_client import GatewayClient

    options = {
        "url_column": url_column or [],
        "base_url": base_url,
        "callback_url": callback_url,
        "in_place": "true" if in_place else None,
        **_given_options(preset, quality, output_format, longest_side, png),
    }
    with plain_errors(as_json):
        check_names(files, output)
        client = GatewayClient(url or Settings().gateway_url, token)

    def submit_one(file: Path, beside: Path) -> None:
        with plain_errors(as_json):
            with upload_bar(file.stat().st_size) as advance:
                request_id = client.upload(file, options, advance)
            found, copies = RequestStatus(request_id, IN_QUEUE, file.name), []
            try:
                if wait:
                    found = _awaited(client, request_id)
                    folder = output or beside
                    copies = _downloads(client, found, folder, images=images, paths=paths)
            except KeyboardInterrupt:
                message = f"It goes on without you. Its status: {client.status_url(request_id)}"
                fail(message, as_json, INTERRUPTED, EXIT_CODE_OF_INTERRUPT)
            print_submitted(found, copies, as_json)

    for_each(files, submit_one)


@app.command()
def worker(
    processes: Annotated[int, typer.Option("--processes", min=1, help="Tasks at the same time.")] = 1,
    chunks: Annotated[
        bool, typer.Option("--chunks", help="Take chunks of large CSVs in place of runs.")
    ] = False,
) -> None:
    """Execute runs that a Celery launcher in dagster.yaml sends to its workers (docs/operations.md)."""
    from imagi_pipeline.service.worker import work

    with plain_errors(False):
        work(processes, chunks=chunks)


@app.command()
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Remove unfinished files that killed processes left a day ago.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check this installation, and say how to repair what is wrong; exit code 1 on an error."""
    from imagi_pipeline.cli.doctor import examine, remove_leftovers
    from imagi_pipeline.core.upkeep.checks import Level

    with plain_errors(as_json):
        removed = remove_leftovers(local.store()) if fix else []
        findings = []
        for finding in examine(Settings()):
            findings.append(finding)
            if not as_json:
                print_finding(finding)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print_json({"findings": found, "removed": [str(path) for path in removed]})
    elif removed:
        print_lines([f"removed  {path}" for path in removed])
    if any(finding.level == Level.ERROR for finding in findings):
        raise typer.Exit(1)


@app.command()
def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what is past IMAGI_RETENTION_DAYS, as purge_schedule does every day."""
    with plain_errors(as_json):
        days = Settings().retention_days
        if days is None:
            fail("IMAGI_RETENTION_DAYS is not set: everything is kept.", as_json)
        document = local.purged(days, dry_run=dry_run)
    if as_json:
        print_json(document)
    else:
        print_facts([(name, shown(value)) for name, value in document.items()])


@app.command()
def home(
    move_storage: Annotated[
        bool,
        typer.Option(
            "--move-storage",
            help="Move runs and events from Dagster's own SQLite files to ours; stop the service before.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make DAGSTER_HOME ready for Dagster's own commands, and print it."""
    from imagi_pipeline.orchestration.instance import furnish_home

    with plain_errors(as_json):
        Settings()
        folder = furnish_home()
        facts: dict[str, Any] = {"dagster_home": str(folder)}
        if move_storage:
            from imagi_pipeline.orchestration.internals.storage_move import move_storage as move

            facts |= asdict(move(folder))
            facts["kept"] = str(facts["kept"])
    if as_json:
        print_json(facts)
    else:
        print_lines([facts["dagster_home"]])
    if move_storage and not as_json:
        print_lines([f"{name:15}{value}" for name, value in facts.items() if name != "dagster_home"])


@app.command()
def demo(as_json: JsonOption = False) -> None:
    """Process a sample CSV whose images are served on loopback: no internet needed."""
    from imagi_pipeline.cli.demo import sample

    with plain_errors(as_json), sample() as file:
        document = local.process_file(file, RequestManifest(file.name), verbose=False)
        print_processed(document, as_json)


def _given_options(*values: str | None) -> dict[str, str | None]:
    return dict(zip(OPTION_NAMES, values, strict=True))


def _recent(url: str | None) -> list[RequestStatus]:
    if url:
        from imagi_pipeline.gateway.dagster_client import DagsterClient

        return DagsterClient(url).recent_requests(MOST_SHOWN).requests
    return local.recent_requests(MOST_SHOWN)


def _awaited(client: GatewayClient, request_id: str) -> RequestStatus:
    """Return the status of a request at its end, with a progress bar until then."""
    err.print(f"request {request_id}", highlight=False)
    found = client.status(request_id)
    with progress_bar(lambda: found):
        began = time.monotonic()
        while not found.is_finished:
            # A small request takes a second: who asked once a second would wait for half of one in vain.
            time.sleep(min(SECONDS_BETWEEN_STATUSES, 0.1 + (time.monotonic() - began) / 5))
            found = client.status(request_id)
    return found


def _downloads(
    client: GatewayClient, found: RequestStatus, folder: Path, *, images: bool, paths: bool
) -> list[str]:
    from imagi_pipeline.core.archive import copies_in, enriched_name

    if found.status != COMPLETED:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    name = found.file or "upload.csv"
    enriched, report = folder / enriched_name(name), folder / f"{Path(name).stem}_report.csv"
    if images:
        client.download_archive(found.request_id, folder)
    else:
        client.download(found.request_id, "report", report)
    if not (paths and images):
        client.download(found.request_id, "result", enriched)
    return copies_in(folder, name, images=images)


def _status_over_graphql(url: str, request_id: str) -> RequestStatus | None:
    from imagi_pipeline.gateway.dagster_client import DagsterClient

    return DagsterClient(url).request_status(request_id)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options of the command itself."""
    if show:
        print_lines([metadata.version("imagi_pipeline")])
        raise typer.Exit
