"""Check the place and the settings of Dagster's storage before it is opened."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.pool import NullPool

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "smb3",
        "smbfs",
    }
)
"""On these, SQLite's write-ahead log cannot be used: it needs memory that all processes share."""

SECONDS_TO_CONNECT = 5
POSTGRES_URL = "postgresql+psycopg2://"


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Return the type of the network file system that a folder is on; None on a local one, or if unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    folder = folder.resolve()
    found: tuple[int, str] = (0, "")
    for line in lines:
        fields, _, of_system = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4]))
        if folder.is_relative_to(point) and len(point.parts) >= found[0]:  # the last one lies on top
            found = (len(point.parts), of_system.split()[0])
    return found[1] if found[1] in NETWORK_FILE_SYSTEMS else None


def named_storage(home: Path) -> dict[str, Any]:
    """Return what the `dagster.yaml` of a home says of its storage: empty for Dagster's own default.

    Raises OSError when there is none, YAMLError when it cannot be read.
    """
    settings = yaml.safe_load((home / "dagster.yaml").read_text()) or {}
    names = ("storage", "run_storage", "event_log_storage", "schedule_storage")
    return {name: settings[name] for name in names if settings.get(name)}


def wrong_driver(home: Path) -> str | None:
    """Return why the PostgreSQL of a home cannot be connected to, and what to write; None if that is not so.

    `postgresql` alone means the driver psycopg 3 since SQLAlchemy 2.1, while dagster-postgres needs psycopg2.
    """
    if tuple(map(int, metadata.version("sqlalchemy").split(".")[:2])) < (2, 1):
        return None
    try:
        block = named_storage(home).get("storage", {}).get("postgres", {})
    except (OSError, yaml.YAMLError):
        return None
    if "postgres_db" in block and str(block["postgres_db"].get("scheme", "postgresql")) == "postgresql":
        return (
            "dagster.yaml: since SQLAlchemy 2.1, `postgres_db` needs the line `scheme: postgresql+psycopg2`."
        )
    scheme = _text(block.get("postgres_url")).partition("://")[0]
    if scheme in {"postgresql", "postgres"}:
        return (
            f"dagster.yaml: since SQLAlchemy 2.1, `postgres_url` must begin with `{POSTGRES_URL}` "
            f"instead of `{scheme}://`."
        )
    return None


def unusable_database(home: Path) -> str | None:
    """Say why the PostgreSQL of a home cannot be used now, without its password; None if it can.

    Dagster itself tries for 15 seconds, and then tells neither the place nor the reason.
    """
    try:
        if url := _postgres_url(home):
            options = {"connect_timeout": SECONDS_TO_CONNECT}
            sa.create_engine(url, poolclass=NullPool, connect_args=options).connect().close()
    except ValueError as error:
        return f"dagster.yaml: {error}"
    except ImportError:
        return "The driver of PostgreSQL is not installed: pip install 'imagi_pipeline[postgres]'."
    except sa.exc.OperationalError as error:
        reason = " ".join(str(error.orig).split())
        return f"PostgreSQL: {reason} Start it, or correct `postgres_url` of {home / 'dagster.yaml'}."
    return None


def _postgres_url(home: Path) -> sa.URL | None:
    """Find the URL of the database that a home names, if it names one; raises ValueError for no such URL."""
    try:
        storage = named_storage(home).get("storage", {})
    except (OSError, yaml.YAMLError):
        return None
    block = storage.get("postgres") or storage.get("custom", {}).get("config", {})
    said = block.get("postgres_url")
    if not said:
        return None
    if not _text(said):
        raise ValueError(f"`postgres_url` is to come from {said['env']}, which is not set.")
    try:
        url = sa.make_url(_text(said))
    except sa.exc.ArgumentError as error:
        raise ValueError(f"`postgres_url` is no URL. It must begin with `{POSTGRES_URL}`.") from error
    if url.get_backend_name() != "postgresql":
        raise ValueError(f"`postgres_url` begins with `{url.drivername}://` instead of `{POSTGRES_URL}`.")
    return url.set(drivername=POSTGRES_URL.removesuffix("://"))


def _text(value: object) -> str:
    """Return a string of dagster.yaml, which may be the name of an environment variable."""
    if isinstance(value, dict):
        return os.environ.get(str(value.get("env")), "")
    return str(value or "")
