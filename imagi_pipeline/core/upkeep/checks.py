"""Check the storage for `imagi doctor`: each function makes one check, and returns a list of findings."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath

from upath import UPath

from imagi_pipeline.core.errors import StorageError
from imagi_pipeline.core.storage.keys import is_image_key, is_request_id
from imagi_pipeline.core.storage.landing import SECONDS_OF_A_DAY, is_ignored
from imagi_pipeline.core.storage.manifests import MANIFEST
from imagi_pipeline.core.storage.store import Store, StoredFile
from imagi_pipeline.core.upkeep.retention import (
    IMAGE_AGE,
    is_older,
    landing_leftovers,
    landing_requests,
    request_folders,
    unfinished_files,
)

LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.05
FULL_BYTES = 100_000_000

SECONDS_IN_LANDING = 600.0
"""The sensor takes a file within seconds."""

CLOCK_TOLERANCE, CLOCK_LIMIT = 5.0, 60.0
"""Seconds that two clocks may differ without harm, and with which they do harm."""

_NAMES_SHOWN = 3
_HAND_IN_AGAIN = "Hand the file in again and remove its folder below uploads/; a purge removes it in time."


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """What a check found, and how to repair it, unless all is well."""

    check: str
    level: Level
    message: str
    remedy: str | None = None


def check_storage(store: Store) -> list[Finding]:
    """Return whether files can be written, read and removed in each folder that is there."""
    if store.is_local and not store.root.exists():
        message = f"{store.root} does not exist."
        repair = "If it is new, `imagi serve` makes it; else mount its disk, or correct IMAGI_STORAGE."
        return [Finding("storage", Level.WARNING, message, repair)]
    folders = [store.root, store.landing, *request_folders(store), store.compressed]
    if store.is_local:
        shards = [store.compressed / name for name in store.names(store.compressed)]
        folders = [folder for folder in (*folders, *shards) if folder.exists()] or [store.root]
    else:
        folders = [store.root]  # a bucket has no folders, and no permissions of folders
    refusals = [refusal for folder in folders if (refusal := _refusal(store, folder))]
    if not refusals:
        return [Finding("storage", Level.OK, f"{store.root} can be written and read.")]
    repair = f"Give {_user()} the right to write there"
    repair += f": chown -R {_user()} {store.root}" if store.is_local else "."
    return [Finding("storage", Level.ERROR, refusal, repair) for refusal in refusals[:_NAMES_SHOWN]]


def check_clock(store: Store, now: float) -> list[Finding]:
    """Return whether the clock of the storage, which dates its files, is that of this machine."""
    probe = _probe(store.root)
    store.write(probe, b"")
    try:
        (file,) = store.files(probe)
    finally:
        store.remove_files([probe.path])
    if file.changed_at is None:
        return [Finding("clock", Level.OK, "The storage does not tell when its files were changed.")]
    ahead = file.changed_at - now
    if abs(ahead) <= CLOCK_TOLERANCE:
        return [Finding("clock", Level.OK, "The storage and this machine have the same time.")]
    level = Level.ERROR if abs(ahead) > CLOCK_LIMIT else Level.WARNING
    word = "ahead of" if ahead > 0 else "behind"
    message = f"The clock of the storage is {abs(ahead):,.0f} s {word} the clock of this machine."
    return [Finding("clock", level, message, "Let a time service (chrony, systemd-timesyncd) set both.")]


def check_disk(places: Mapping[str, Path]) -> list[Finding]:
    """Return whether there is room for what is to come; `places` are folders, by what lies there."""
    findings = []
    for name, place in places.items():
        usage = shutil.disk_usage(_existing(place))
        free = f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB are free for {name} ({place})."
        if usage.free >= max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * usage.total):
            findings.append(Finding("disk", Level.OK, free))
            continue
        level = Level.ERROR if usage.free < FULL_BYTES else Level.WARNING
        repair = "Make room, or have old requests purged: IMAGI_RETENTION_DAYS (docs/operations.md, Purge)."
        findings.append(Finding("disk", level, f"Only {free}", repair))
    return findings


def check_landing(store: Store, now: float) -> list[Finding]:
    """Return whether something waits in the landing folder that nobody takes."""
    files = store.files(store.landing)
    ours = tuple(f"{folder.path}" for folder in landing_leftovers(store, now))
    files = [file for file in files if not file.path.startswith(ours)] if ours else files
    left_alone = [file for file in files if _is_left_alone(file)]
    ignored = [file for file in left_alone if is_older(file, SECONDS_OF_A_DAY, now)]
    waiting = [file for file in files if file not in left_alone and is_older(file, SECONDS_IN_LANDING, now)]
    findings = []
    if waiting:
        message = f"{_count(waiting, 'file')} not taken for more than 10 minutes: {_names(waiting)}."
        repair = "See that the daemon runs; the ticks of landing_folder_sensor say what keeps a file there."
        findings.append(Finding("landing", Level.WARNING, message, repair))
    if ignored:
        message = (
            f"{_count(ignored, 'file')} with the name of an unfinished one, a day old: {_names(ignored)}."
        )
        repair = "Rename them if they are whole, else remove them."
        findings.append(Finding("landing", Level.WARNING, message, repair))
    return findings or [Finding("landing", Level.OK, "Nothing is stuck in the landing folder.")]


def _is_left_alone(file: StoredFile) -> bool:
    """Return whether the sensor takes a file or its folder for unfinished; in a request's folder it takes
    any.
    """
    folder = PurePath(file.path).parent.name
    return is_ignored(folder) or (is_ignored(file.name) and not is_request_id(folder))


def check_uploads(store: Store, requests_with_runs: Collection[str], now: float) -> list[Finding]:
    """Return whether each upload is whole, and has a run or still waits for one."""
    in_landing = landing_requests(store)
    halves, lost = [], []
    for name in store.names(store.uploads):
        files = store.files(store.uploads / name)
        if not is_request_id(name) or not all(is_older(file, SECONDS_IN_LANDING, now) for file in files):
            continue
        is_whole = len(files) > 1 and any(file.name == MANIFEST for file in files)
        if not is_whole and name not in in_landing:
            halves.append(name)
        elif name not in requests_with_runs and name not in in_landing:
            lost.append(name)
    findings = []
    if halves:
        message = f"{_count(halves, 'upload')} not whole: {_names(halves)}."
        findings.append(Finding("uploads", Level.WARNING, message, _HAND_IN_AGAIN))
    if lost:
        message = f"{_count(lost, 'upload')} without a run: {_names(lost)}."
        findings.append(Finding("uploads", Level.WARNING, message, _HAND_IN_AGAIN))
    return findings or [Finding("uploads", Level.OK, "Every upload is whole and has a run.")]


def check_images(store: Store, now: float) -> list[Finding]:
    """Return whether each image has its record, and each record its image."""
    without_image, without_record = [], []
    count = 0
    for name in store.names(store.compressed):
        files = [file for file in store.files(store.compressed / name) if is_image_key(_stem(file))]
        old = [file for file in files if is_older(file, IMAGE_AGE, now)]
        records = {_stem(file) for file in files if file.is_record}
        images = {_stem(file) for file in files if not file.is_record}
        count += len(records & images)
        without_image += [_stem(file) for file in old if file.is_record and _stem(file) not in images]
        without_record += [_stem(file) for file in old if not file.is_record and _stem(file) not in records]
    findings = []
    if without_image:
        message = f"{_count(without_image, 'record')} without its image: {_names(without_image)}."
        repair = "Materialize these partitions of compressed_image: what is gone is fetched again."
        findings.append(Finding("images", Level.ERROR, message, repair))
    if without_record:
        message = f"{_count(without_record, 'image')} without a record: {_names(without_record)}."
        repair = (
            "Materialize these partitions of compressed_image, or leave them to the purge: such an image is "
            "never reused."
        )
        findings.append(Finding("images", Level.WARNING, message, repair))
    return findings or [Finding("images", Level.OK, f"{count:,} images are there with their records.")]


def check_unfinished(store: Store, now: float) -> list[Finding]:
    """Return whether processes that were killed left unfinished files behind."""
    left = leftovers(store, now)
    if not left:
        return [Finding("leftovers", Level.OK, "No unfinished file is left behind.")]
    message = f"{_count(left, 'unfinished file')} left by killed processes: {_names(left)}."
    return [Finding("leftovers", Level.WARNING, message, "Run `imagi doctor --fix`.")]


def check_callbacks(store: Store, now: float, *, has_secret: bool) -> list[Finding]:
    """Return whether callbacks wait for longer than a receiver may be down, or for ever."""
    files = [file for file in store.files(store.callbacks) if is_request_id(file.name[:36])]
    findings = []
    if files and not has_secret:
        message = f"{_count(files, 'callback')} waiting, and there is no key to sign them with."
        findings.append(Finding("callbacks", Level.WARNING, message, "Set IMAGI_WEBHOOK_SECRET again."))
    late = [file for file in files if now - _created(store, file, now) > SECONDS_OF_A_DAY]
    if late:
        errors = {error for file in late if (error := _last_error(store, file))}
        why = f" Last error: {min(errors)}." if errors else ""
        message = f"{_count(late, 'callback')} not accepted for more than a day: {_names(late)}.{why}"
        repair = "See that the gateway runs and the receiver answers; to give one up, remove its file."
        findings.append(Finding("callbacks", Level.WARNING, message, repair))
    return findings or [Finding("callbacks", Level.OK, f"{len(files)} callbacks wait, none for long.")]


def leftovers(store: Store, now: float) -> list[UPath]:
    """Return the unfinished files of a day ago or older, of all folders."""
    images = [
        file
        for file in store.files(store.compressed)
        if file.is_temporary and is_older(file, SECONDS_OF_A_DAY, now)
    ]
    files = [
        store.root.joinpath(_below_root(store, file)) for file in (*unfinished_files(store, now), *images)
    ]
    return [*files, *landing_leftovers(store, now)]


def _refusal(store: Store, folder: UPath) -> str | None:
    probe = _probe(folder)
    try:
        store.write(probe, b"probe")
        read = store.read(probe)
        store.remove_files([probe.path])
    except StorageError as error:
        return str(error)
    return None if read == b"probe" else f"What is written to {folder} does not come back."


def _probe(folder: UPath) -> UPath:
    return folder / f".{uuid.uuid4().hex}.tmp"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _existing(place: Path) -> Path:
    return next(folder for folder in (place, *place.parents) if folder.exists())


def _stem(file: StoredFile) -> str:
    return file.name.rpartition(".")[0]


def _below_root(store: Store, file: StoredFile) -> str:
    # The path of a whole bucket ends with a slash, that of a folder does not.
    return file.path.removeprefix(store.root.path).lstrip("/")


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things):,} {word}{'' if len(things) == 1 else 's'}"


def _names(things: Iterable[StoredFile | UPath | str]) -> str:
    names = [thing if isinstance(thing, str) else thing.name for thing in things]
    more = [f"and {len(names) - _NAMES_SHOWN:,} more"] if len(names) > _NAMES_SHOWN else []
    return ", ".join([*sorted(names)[:_NAMES_SHOWN], *more])


def _document(store: Store, file: StoredFile) -> dict[str, object]:
    data = store.read(store.callbacks / file.name)
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _created(store: Store, file: StoredFile, now: float) -> float:
    created = _document(store, file).get("created")
    return float(created) if isinstance(created, int | float) else file.changed_at or now


def _last_error(store: Store, file: StoredFile) -> str | None:
    error = _document(store, file).get("last_error")
    return str(error) if error else None
