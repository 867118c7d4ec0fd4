"""The `imagi` command. Every command takes --json: one JSON document on stdout, and nothing else there."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.request_status import (
    COMPLETED,
    FAILED,
    IN_QUEUE,
    INTERRUPTED,
    RequestStatus,
)
from imagi_pipeline.settings import Settings, variable

if TYPE_CHECKING:
    from imagi_pipeline.core.csv_table import CsvTable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A CSV of image URLs in, the same CSV with the URLs of compressed copies out.",
)
out = Console()
err = Console(stderr=True)

MOST_SHOWN = 20
EXIT_CODE_OF_INTERRUPT = 130
"""128 and the number of SIGINT, as shells have it."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--url-column", help="Search only this column (name or number); may be repeated."),
]
BaseOption = Annotated[str | None, typer.Option("--base-url", help="What relative URLs are relative to.")]
GatewayPort = Annotated[
    int, typer.Option(min=1, max=65535, help="Port of the gateway, which serves the images.")
]
CsvArgument = Annotated[Path, typer.Argument(help="The CSV.")]


@app.command()
def process(
    file: CsvArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Copy the enriched CSV and the report here too.")
    ] = None,
    url_column: ColumnOption = None,
    base_url: BaseOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Dagster's log.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Process a CSV here and now: the whole Dagster job in this process, no daemon needed."""
    with _plain_errors(as_json):
        document = process_file(file, output, tuple(url_column or ()), base_url, verbose=verbose)
        _print_processed(document, as_json)


@app.command()
def inspect(
    file: CsvArgument,
    url_column: ColumnOption = None,
    base_url: BaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what would be done with a CSV, without any network."""
    from imagi_pipeline.core.csv_table import read_csv

    with _plain_errors(as_json):
        table = read_csv(file.read_bytes(), url_columns=tuple(url_column or ()), base_url=base_url)
    if as_json:
        _print_json(_inspection(table))
    else:
        _print_inspection(table)


@app.command()
def status(
    request_id: Annotated[str, typer.Argument(help="The id that the request got.")],
    url: Annotated[
        str | None,
        typer.Option("--url", help="Ask this Dagster over GraphQL, such as http://127.0.0.1:3000."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how far a request is."""
    with _plain_errors(as_json):
        found = _status_over_graphql(url, request_id) if url else _status_here(request_id)
    if found is None:
        _fail(f"There is no request {request_id}.", as_json)
    if as_json:
        _print_json(asdict(found))
    else:
        _print_status(found)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address of the Dagster UI.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Dagster UI.")] = 3000,
    gateway_port: GatewayPort = 8000,
    as_json: JsonOption = False,
) -> None:
    """Run everything until Ctrl-C: CSVs dropped into the landing folder are processed."""
    from imagi_pipeline.core.store import Store
    from imagi_pipeline.orchestration.instance import furnish_home
    from imagi_pipeline.serve import serve as run_service
    from imagi_pipeline.supervisor import ProgramDiedError

    with _plain_errors(as_json):
        home, store = furnish_home(), Store(Settings().storage)
        if store.is_local:
            store.landing.mkdir(parents=True, exist_ok=True)
        facts = {
            "ui": f"http://{host}:{port}",
            "gateway": f"http://{host}:{gateway_port}",
            "landing": str(store.landing),
            "dagster_home": str(home),
        }

        def on_ready() -> None:
            if as_json:
                _print_json(facts)
            else:
                out.print(f"Dagster UI      {facts['ui']}", soft_wrap=True)
                out.print(f"drop CSVs into  {facts['landing']}", soft_wrap=True)

        try:
            run_service(host, port, gateway_port, on_ready)
        except ProgramDiedError as error:
            _fail(str(error), as_json)


@app.command()
def gateway(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: GatewayPort = 8000,
    as_json: JsonOption = False,
) -> None:
    """Serve the compressed images of a local storage over HTTP."""
    import uvicorn

    from imagi_pipeline.core.store import Store
    from imagi_pipeline.gateway.app import build_app

    with _plain_errors(as_json):
        app_of_store = build_app(Store(Settings().storage))
        if as_json:
            _print_json({"gateway": f"http://{host}:{port}"})
        uvicorn.run(app_of_store, host=host, port=port, log_level="warning")


@app.command()
def home(as_json: JsonOption = False) -> None:
    """Make DAGSTER_HOME ready for Dagster's own commands, and print it."""
    from imagi_pipeline.orchestration.instance import furnish_home

    with _plain_errors(as_json):
        folder = str(furnish_home())
    if as_json:
        _print_json({"dagster_home": folder})
    else:
        out.print(folder, soft_wrap=True, highlight=False)


@app.command()
def demo(as_json: JsonOption = False) -> None:
    """Process a sample CSV whose images are served on loopback: no internet needed."""
    from imagi_pipeline.demo import sample

    with _plain_errors(as_json), sample() as file:
        document = process_file(file, None, (), None, verbose=False)
        _print_processed(document, as_json)


def process_file(
    file: Path, output: Path | None, url_columns: tuple[str, ...], base_url: str | None, *, verbose: bool
) -> dict[str, Any]:
    """Run the job on a file; what became of it as one document. Raises ImagiError when the storage fails."""
    from imagi_pipeline.core.store import RequestManifest, Store
    from imagi_pipeline.definitions import defs
    from imagi_pipeline.orchestration.instance import open_instance, request_status
    from imagi_pipeline.orchestration.local_run import run_request

    store, request_id = Store(Settings().storage), str(uuid.uuid4())
    manifest = RequestManifest(file.name, url_columns, base_url)
    data = file.read_bytes()
    if output:
        output.mkdir(parents=True, exist_ok=True)
    store.write_upload(request_id, manifest, data)
    with open_instance() as instance:
        with _progress_bar(lambda: request_status(instance, request_id)):
            run_request(defs, instance, request_id, manifest, verbose=verbose)
        found = request_status(instance, request_id)
    assert found is not None
    document = asdict(found)
    if found.status == COMPLETED:
        document |= _results(store, request_id, manifest.name, output)
    return document


def _results(store: Any, request_id: str, name: str, output: Path | None) -> dict[str, Any]:
    result, report = store.result(request_id, name), store.report(request_id)
    document: dict[str, Any] = {"result": str(result), "report": str(report), "copies": []}
    if output:
        stem = Path(name).stem
        # Never the name of the input, which may lie in the same folder.
        for source, copy in ((result, f"{stem}_enriched.csv"), (report, f"{stem}_report.csv")):
            (output / copy).write_bytes(source.read_bytes())
            document["copies"].append(str(output / copy))
    return document


@contextmanager
def _progress_bar(look: Callable[[], RequestStatus | None]) -> Iterator[None]:
    """Show on stderr what `look` finds, some times a second, while the body works."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    done = threading.Event()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Images", total=None, failed=0)

        def follow() -> None:
            while not done.wait(0.3):
                found = look()
                if found and found.images_total:
                    bar.update(
                        task,
                        total=found.images_total,
                        completed=found.images_done,
                        failed=found.images_failed,
                    )

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _status_here(request_id: str) -> RequestStatus | None:
    from imagi_pipeline.core.store import Store, is_request_id
    from imagi_pipeline.orchestration.instance import open_instance, request_status

    with open_instance() as instance:
        found = request_status(instance, request_id)
    if found:
        return found
    store = Store(Settings().storage)
    if is_request_id(request_id) and (store.landing / request_id).exists():
        return RequestStatus(request_id, IN_QUEUE)
    if manifest := store.read_manifest(request_id):
        lost = "It was interrupted before its run began: hand the file in again."
        return RequestStatus(request_id, FAILED, manifest.name, error_code=INTERRUPTED, error=lost)
    return None


def _status_over_graphql(url: str, request_id: str) -> RequestStatus | None:
    from imagi_pipeline.gateway.dagster_client import DagsterClient

    return DagsterClient(url).request_status(request_id)


def _inspection(table: CsvTable) -> dict[str, Any]:
    return {
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "has_header": table.has_header,
        "url_columns": table.url_columns,
        "rows": table.data_row_count,
        "references": [asdict(reference) for reference in table.references],
        "problems": [
            {name: getattr(problem, name) for name in ("row", "column", "value", "code", "message")}
            for problem in table.problems
        ],
    }


def _print_inspection(table: CsvTable) -> None:
    facts = Table(show_header=False, box=None)
    facts.add_row("encoding", table.encoding)
    facts.add_row("delimiter", repr(table.delimiter))
    facts.add_row("header", "yes" if table.has_header else "no")
    facts.add_row("columns with images", escape(", ".join(table.url_columns)) or "none")
    facts.add_row("rows", f"{table.data_row_count:,}")
    facts.add_row("image references", f"{len(table.references):,}")
    facts.add_row("problems", f"{len(table.problems):,}")
    out.print(facts)
    _print_rows("References", ("row", "column", "position", "url"), table.references)
    _print_rows("Problems", ("row", "column", "value", "message"), table.problems)


def _print_rows(title: str, names: tuple[str, ...], rows: list[Any]) -> None:
    if not rows:
        return
    shown = Table(*names, title=title, title_justify="left")
    for row in rows[:MOST_SHOWN]:
        shown.add_row(*(escape(str(getattr(row, name))) for name in names))
    out.print(shown)
    if len(rows) > MOST_SHOWN:
        out.print(f"... and {len(rows) - MOST_SHOWN:,} more (--json prints all)")


def _print_processed(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(document)
    if document["status"] != COMPLETED:
        interrupted = document["error_code"] == INTERRUPTED
        err.print(f"imagi: {document['error']}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_CODE_OF_INTERRUPT if interrupted else 1)
    if as_json:
        return
    _print_status(RequestStatus(**{name: document[name] for name in RequestStatus.__dataclass_fields__}))
    lines = [f"enriched CSV   {document['result']}", f"report         {document['report']}"]
    lines += [f"copied to      {copy}" for copy in document["copies"]]
    command = sys.argv[0] if Path(sys.argv[0]).name == "imagi" else "imagi"
    lines += ["", f"Next: {command} serve    shows this run in the Dagster UI and watches the landing folder"]
    out.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def _print_status(found: RequestStatus) -> None:
    facts = Table(show_header=False, box=None, padding=(0, 3, 0, 0))
    facts.add_row("request", found.request_id)
    facts.add_row("file", escape(found.file or ""))
    facts.add_row("status", found.status)
    if found.rows is not None:
        facts.add_row("rows", f"{found.rows:,}")
    if found.images_total is not None:
        facts.add_row("images", f"{found.images_done:,} of {found.images_total:,}")
        facts.add_row("failed", f"{found.images_failed:,}")
    if found.bytes_before and found.bytes_after is not None:
        saved = 1 - found.bytes_after / found.bytes_before
        facts.add_row("bytes", f"{found.bytes_before:,} -> {found.bytes_after:,} ({saved:.0%} saved)")
    if found.error:
        facts.add_row("error", escape(found.error))
    out.print(facts)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def _plain_errors(as_json: bool) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and exit code 1."""
    try:
        yield
    except ImagiError as error:
        _fail(error.message, as_json)
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        first = error.errors()[0]
        _fail(f"{variable(str(first['loc'][0]))}: {first['msg']} (given: {first['input']!r})", as_json)
    except OSError as error:
        _fail(str(error), as_json)


def _fail(message: str, as_json: bool, exit_code: int = 1) -> NoReturn:
    if as_json:
        _print_json({"error": message})
    err.print(f"imagi: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)
