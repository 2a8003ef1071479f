"""The embedded PostgreSQL: starts anywhere, keeps its data, belongs to one owner, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from gateway.store.embedded import EmbeddedPostgres, EmbeddedPostgresError


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gateway-embedded-") as parent:
        yield Path(parent) / "postgres"


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(directory, durable=False)
    yield server
    server.stop()


def one(url: str, sql: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
        return row and row[0]


def run_sql(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def test_a_second_start_finds_the_data_of_the_first(server: EmbeddedPostgres) -> None:
    run_sql(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert one(server.start(), "SELECT answer FROM kept") == 42


def test_nothing_listens_on_the_network(server: EmbeddedPostgres) -> None:
    url = server.start()
    assert one(url, "SHOW listen_addresses") == ""
    assert ((server.directory / "socket").stat().st_mode & 0o777) == 0o700


def test_its_log_quotes_no_rows(server: EmbeddedPostgres) -> None:
    url = server.start()
    run_sql(url, "CREATE TABLE secrets (key text UNIQUE)")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("INSERT INTO secrets VALUES (%s)", ["mine"])
        with pytest.raises(psycopg.errors.UniqueViolation, match="mine"):
            connection.execute("INSERT INTO secrets VALUES (%s)", ["mine"])
    log = (server.directory / "postgres.log").read_text()
    assert "duplicate key value" in log
    assert "mine" not in log


def test_what_is_committed_is_on_disk_unless_asked_otherwise(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    try:
        url = server.start()
        assert one(url, "SHOW fsync") == "on"
        assert one(url, "SHOW full_page_writes") == "on"
        assert one(url, "SHOW synchronous_commit") == "on"
    finally:
        server.stop()


def test_the_server_is_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(
    server: EmbeddedPostgres,
) -> None:
    pid = one(server.start(), "SELECT pg_backend_pid()")
    assert isinstance(pid, int)
    assert os.getsid(postmaster(server).pid) != os.getsid(0)


def test_stop_leaves_no_process(server: EmbeddedPostgres) -> None:
    server.start()
    processes = [postmaster(server), *postmaster(server).children(recursive=True)]
    server.stop()
    assert not server.is_running
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_second_owner_is_refused_in_one_line(server: EmbeddedPostgres) -> None:
    server.start()
    with pytest.raises(EmbeddedPostgresError, match=rf"in use by .*process {os.getpid()}") as error:
        EmbeddedPostgres(server.directory).start()
    assert "\n" not in str(error.value)
    assert server.is_running


def test_a_server_left_behind_by_a_killed_run_is_ended_and_its_data_found(
    server: EmbeddedPostgres,
) -> None:
    killed_run = f"""
import os, pathlib, psycopg
from gateway.store.embedded import EmbeddedPostgres
url = EmbeddedPostgres(pathlib.Path({str(server.directory)!r})).start()
psycopg.connect(url, autocommit=True).execute("CREATE TABLE kept AS SELECT 42 AS answer")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", killed_run], check=False).returncode == -9
    left_behind = postmaster(server)
    assert one(server.start(), "SELECT answer FROM kept") == 42
    assert not left_behind.is_running()


def test_a_stale_pid_file_that_names_another_process_does_not_matter(
    server: EmbeddedPostgres,
) -> None:
    server.start()
    server.stop()
    pid_file = server.directory / "pgdata" / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"]) as other:
        pid_file.write_text(f"{other.pid}\n{pid_file.parent}\n0\n5432\n\n\n")
        server.start()
        assert other.poll() is None
        other.kill()


def test_data_half_made_by_a_killed_first_run_is_made_anew(server: EmbeddedPostgres) -> None:
    unfinished = server.directory / "pgdata.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    assert one(server.start(), "SELECT 1") == 1


def test_data_of_another_major_version_is_refused_by_name(server: EmbeddedPostgres) -> None:
    data = server.directory / "pgdata"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 16"):
        server.start()


def test_a_directory_too_deep_for_a_socket_still_works(directory: Path) -> None:
    server = EmbeddedPostgres(directory / ("deep" * 25), durable=False)
    try:
        url = server.start()
        assert one(url, "SELECT 1") == 1
        sockets = Path(str(one(url, "SHOW unix_socket_directories")))
    finally:
        server.stop()
    assert not sockets.exists()


def test_a_server_that_cannot_start_says_what_postgres_said(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (server.directory / "pgdata" / "postgresql.auto.conf").write_text("shared_buffers = 'lots'\n")
    with pytest.raises(EmbeddedPostgresError, match=r"did not start: .*postgresql.auto.conf"):
        server.start()


def test_a_path_that_is_no_directory_is_one_line(directory: Path) -> None:
    directory.write_text("a file")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot run PostgreSQL in .*postgres"):
        EmbeddedPostgres(directory).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_an_ordinary_user_too(directory: Path) -> None:
    nobody = 65534
    os.chown(directory.parent, nobody, nobody)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(nobody)
        os.setuid(nobody)
        server = EmbeddedPostgres(directory)
        try:
            server.start()
        finally:
            server.stop()
            os._exit(0 if (directory / "pgdata").exists() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (directory / "pgdata").stat().st_uid == nobody


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")
def test_what_root_writes_does_not_follow_links(server: EmbeddedPostgres, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("lock", "postgres.log"):
        server.directory.mkdir(exist_ok=True)
        (server.directory / name).unlink(missing_ok=True)
        (server.directory / name).symlink_to(victim)
        with pytest.raises(EmbeddedPostgresError, match="symbolic link"):
            server.start()
        (server.directory / name).unlink()
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets this")
def test_as_root_it_works_below_a_folder_closed_to_others(directory: Path) -> None:
    directory.parent.chmod(0o700)
    server = EmbeddedPostgres(directory / "further" / "down", durable=False)
    try:
        assert one(server.start(), "SELECT 1") == 1
    finally:
        server.stop()
    assert (directory.parent.stat().st_mode & 0o777) == 0o701


def postmaster(server: EmbeddedPostgres) -> psutil.Process:
    pid_file = server.directory / "pgdata" / "postmaster.pid"
    return psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))


def test_an_interrupted_start_leaves_nothing_running(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("gateway.store.embedded.psycopg.connect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert not server.is_running
    monkeypatch.undo()
    assert one(server.start(), "SELECT 1") == 1
