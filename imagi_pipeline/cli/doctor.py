"""`imagi doctor` says whether this installation is in order, and if not, how to repair it.

The checks change nothing, except for a probe file that they remove again. Only `remove_leftovers` removes.
"""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from PIL import features
from upath import UPath

from imagi_pipeline.core.errors import ImagiError
from imagi_pipeline.core.images import jpeg_coefficients
from imagi_pipeline.core.images.jpeg_encoding import jpegli_is_available
from imagi_pipeline.core.images.opening import heif_is_available
from imagi_pipeline.core.printable import LONGEST_MESSAGE, printable, without_password
from imagi_pipeline.core.storage.store import Store
from imagi_pipeline.core.upkeep.checks import (
    Finding,
    Level,
    check_callbacks,
    check_clock,
    check_disk,
    check_images,
    check_landing,
    check_storage,
    check_unfinished,
    check_uploads,
    leftovers,
)
from imagi_pipeline.settings import Settings

PARTS_OF_DAGSTER = ("dagster-webserver", "dagster-graphql", "dagster-postgres", "dagster-celery")

Check = Callable[[], list[Finding]]

_PERMISSIONS = "See that the storage is there and that this user may use it."

CODECS = {"jpg": "jpeg", "webp": "webp", "avif": "avif", "littlecms2": "colour profiles"}
"""What Pillow may have been built without, and the output format or the feature that needs it."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings, as they are made, the good ones too. Raises StorageError for an unknown storage."""
    store, now = Store(settings.storage), time.time()
    yield from check_versions(settings)
    storage_checks: dict[str, Check] = {
        "storage": partial(check_storage, store),
        "clock": lambda: check_clock(store, time.time()),  # now, because earlier checks may take long
        "landing": partial(check_landing, store, now),
        "images": partial(check_images, store, now),
        "leftovers": partial(check_unfinished, store, now),
        "callbacks": partial(check_callbacks, store, now, has_secret=settings.webhook_secret is not None),
    }
    if store.is_local and not store.root.exists():
        storage_checks = {"storage": storage_checks["storage"]}  # the others would make it
    for name, check in storage_checks.items():
        yield from _made(name, check)
    yield from _examine_instance(store, time.time())


def check_versions(settings: Settings) -> list[Finding]:
    """Return whether the programs fit together, and Pillow has the codecs that are needed."""
    versions = {name: metadata.version(name) for name in ("imagi_pipeline", "dagster", "pillow")}
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    findings = [Finding("versions", Level.OK, f"Python {platform.python_version()}, {shown}.")]
    findings += check_parts_of_dagster(versions["dagster"])
    if not jpeg_coefficients.is_available():
        lost, cure = jpeg_coefficients.WHAT_IS_LOST, jpeg_coefficients.HOW_TO_GET_IT
        findings.append(Finding("versions", Level.WARNING, lost, cure))
    if not jpegli_is_available():
        message = "jpegli is not installed: JPEGs that are drawn again need an eighth more bytes."
        findings.append(Finding("versions", Level.WARNING, message, "pip install pyjpegli"))
    if not heif_is_available():
        message = "pi-heif is not installed: HEIC photos, as phones take them, are refused."
        findings.append(Finding("versions", Level.WARNING, message, "pip install pi-heif"))
    for codec, needed_for in CODECS.items():
        if not features.check(codec):
            level = (
                Level.ERROR
                if needed_for in ("jpeg", settings.output_format.removeprefix("auto-"))
                else Level.WARNING
            )
            repair = "Install a wheel of Pillow from PyPI, which has it: pip install --force-reinstall pillow"
            findings.append(
                Finding("versions", level, f"This Pillow was built without {needed_for}.", repair)
            )
    return findings


def check_parts_of_dagster(version: str) -> list[Finding]:
    """Return which installed parts of Dagster belong to another version than this one of Dagster itself."""
    wanted = {name: found for name in PARTS_OF_DAGSTER if (found := _dagster_of(name))}
    strange = {name: found for name, found in wanted.items() if found != version}
    if not strange:
        return []
    message = f"dagster is {version}, but "
    message += ", ".join(f"{name} is for dagster {found}" for name, found in strange.items()) + "."
    # The parts that come out last decide: all parts of one version are there only when they are.
    oldest = min(wanted.values(), key=lambda found: [int(part) for part in found.split(".")])
    names = [f"{name}=={metadata.version(name)}" if wanted[name] == oldest else name for name in wanted]
    repair = " ".join(["pip install", f"dagster=={oldest}", *names])
    return [Finding("versions", Level.ERROR, message, repair)]


def _dagster_of(name: str) -> str | None:
    """Return the version of Dagster that an installed part of it belongs to; None if it is not installed."""
    try:
        needed = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return None
    exact = (found for line in needed if (found := re.fullmatch(r"dagster==([\d.]+)", line)))
    return next((found[1] for found in exact), None)


def remove_leftovers(store: Store) -> list[UPath]:
    """Remove the unfinished files of a day ago or older; what they were. Raises StorageError."""
    found = leftovers(store, time.time())
    for path in found:
        if store.root not in path.parents:
            raise ValueError(f"{path} is not below {store.root}")
        store.remove_folder(path)
    return found


def _examine_instance(store: Store, now: float) -> Iterator[Finding]:
    from imagi_pipeline.orchestration import instance_checks as checks

    home = checks.dagster_home()
    places = {"DAGSTER_HOME": home} | ({"the storage": Path(store.root.path)} if store.is_local else {})
    yield from _made("disk", partial(check_disk, places))
    at_home = checks.check_home(home)
    yield from at_home
    if any(finding.level == Level.ERROR for finding in at_home):
        return
    try:
        with checks.existing_instance(home) as instance:
            from imagi_pipeline.definitions import defs

            instance_checks: dict[str, Check] = {
                "instance": partial(checks.check_instance, instance),
                "database": partial(checks.check_event_storage, instance, home),
                "daemon": partial(checks.check_daemon, instance, now),
                "instigators": partial(checks.check_instigators, instance, defs),
                "runs": partial(checks.check_runs, instance, now),
                "uploads": lambda: check_uploads(store, checks.requests_with_runs(instance), now),
            }
            for name, check in instance_checks.items():
                yield from _made(name, check)
    except Exception as error:  # noqa: BLE001 - Dagster raises errors of many kinds over its settings
        repair = f"Repair {home / 'dagster.yaml'}, or see that its database runs."
        yield Finding("instance", Level.ERROR, f"Dagster cannot open the instance: {_line(error)}", repair)


def _made(name: str, check: Check) -> list[Finding]:
    """Return the findings of a check; if it cannot be made, that is a finding too."""
    try:
        return check()
    except (ImagiError, OSError) as error:
        return [Finding(name, Level.ERROR, f"This cannot be checked: {_line(error)}", _PERMISSIONS)]


def _line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return printable(without_password(line), LONGEST_MESSAGE)
