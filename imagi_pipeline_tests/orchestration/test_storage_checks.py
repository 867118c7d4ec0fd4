from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from imagi_pipeline.orchestration import instance as instance_module
from imagi_pipeline.orchestration.instance import furnish_home
from imagi_pipeline.orchestration.instance_checks import check_event_storage, check_home, existing_instance
from imagi_pipeline.orchestration.storage_checks import network_file_system, wrong_driver
from imagi_pipeline_tests.storages import DAGSTERS_OWN, EMBEDDED, POSTGRES, PostgresServer, furnish

MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /srv/share rw,relatime shared:1 - nfs4 server:/export rw,vers=4.2
31 22 0:41 / /srv/my\040files rw - cifs //server/files rw
32 30 0:42 / /srv/share/local rw - xfs /dev/vdb rw
33 22 0:43 / /home/a/remote rw - fuse.sshfs a@server: rw
""".strip()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/srv/share/imagi", "nfs4"),
        ("/srv/my files/imagi", "cifs"),
        ("/srv/share/local/imagi", None),
        ("/srv/sharepoint", None),
        ("/home/a/remote", "fuse.sshfs"),
        ("/home/a", None),
    ],
)
def test_a_folder_is_on_the_file_system_that_is_mounted_nearest(
    tmp_path: Path, folder: str, expected: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert network_file_system(Path(folder), mounts) == expected


def test_where_nobody_tells_of_mounts_a_folder_counts_as_local(tmp_path: Path) -> None:
    assert network_file_system(tmp_path, tmp_path / "missing") is None


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    assert network_file_system(tmp_path) is None


def test_a_new_home_on_a_network_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance_module, "network_file_system", lambda _: "nfs4")
    with pytest.raises(OSError, match=r"is on a network share \(nfs4\)"):
        furnish_home()
    assert not (tmp_path / "dagster_home" / "dagster.yaml").exists()


NEW_SQLALCHEMY = tuple(map(int, metadata.version("sqlalchemy").split(".")[:2])) >= (2, 1)
CANNOT_CONNECT = [
    (
        "postgres_url: postgresql://user@host/database",
        "`postgres_url` must begin with `postgresql+psycopg2://`",
    ),
    ("postgres_url: {env: OUR_DATABASE}", "must begin with"),
    ("postgres_db: {username: a, hostname: h, db_name: d}", "`scheme: postgresql+psycopg2`"),
]


@pytest.mark.skipif(not NEW_SQLALCHEMY, reason="Before SQLAlchemy 2.1 such a URL means psycopg2.")
@pytest.mark.parametrize(("block", "what"), CANNOT_CONNECT)
def test_the_start_and_doctor_say_what_to_write_for_the_driver_of_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: str, what: str
) -> None:
    monkeypatch.setenv("OUR_DATABASE", "postgresql://user@host/database")
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("storage:\n  postgres:\n    " + block + "\n")
    with pytest.raises(OSError, match="SQLAlchemy") as raised:
        furnish_home()
    assert what in str(raised.value)
    (home / ".imagi_ready").touch()
    (finding,) = check_home(home)
    assert (finding.level, finding.message) == ("error", str(raised.value))


BY_URL = "postgresql+psycopg2://imagi:geheim@127.0.0.1:{port}/{database}"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "OUR_DATABASE, which is not set"),
        ("127.0.0.1", "is no URL"),
        ("mysql://imagi:geheim@127.0.0.1/x", "begins with `mysql://`"),
        (BY_URL.format(port=1, database="x"), "Connection refused"),
        (BY_URL.format(port="PORT", database="no_such_database"), "does not exist"),
    ],
)
def test_the_start_and_doctor_tell_why_a_database_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer, url: str, what: str
) -> None:
    monkeypatch.setenv("OUR_DATABASE", url.replace("PORT", str(postgres.port)))
    home = tmp_path / "dagster_home"
    furnish(home, POSTGRES)
    text = (home / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(
        text.replace("postgres_url: null", "postgres_url: {env: OUR_DATABASE}")
    )
    (home / ".imagi_ready").touch()
    with pytest.raises(OSError, match=what) as raised:
        furnish_home()
    (finding,) = check_home(home)
    assert (finding.level, finding.message) == ("error", str(raised.value))
    assert "geheim" not in finding.message


def test_a_url_that_names_the_driver_is_good(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: 'postgresql+psycopg2://user@host/database'}}\n"
    )
    assert wrong_driver(tmp_path) is None


def test_doctor_says_which_storage_is_in_use_and_what_moving_gives(tmp_path: Path) -> None:
    for storage, level, words in (
        (EMBEDDED, "ok", "database: SQLite"),
        (DAGSTERS_OWN, "warning", "a run costs five times the CPU"),
    ):
        home = tmp_path / storage
        furnish(home, storage)
        with existing_instance(home) as instance:
            (finding,) = check_event_storage(instance, home)
        assert (finding.check, finding.level) == ("database", level)
        assert words in finding.message
    assert "imagi home --move-storage" in str(finding.remedy)
