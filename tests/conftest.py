"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

_INSTALLED = Path("/usr/lib/postgresql")
_MISSING = (
    "the tests of the PostgreSQL store need the server's programs (15 or later): apt-get install postgresql, "
    "or put initdb and postgres on PATH"
)
_schemas = itertools.count(1)


def _program(name: str) -> str:
    newest = sorted(_INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(newest[-1]) if newest else shutil.which(name)
    if found is None:
        pytest.fail(_MISSING, pytrace=False)
    return found


class Cluster:
    """A server on a socket in a new folder, with no port. Root hands it to another user, as the server demands."""

    def __init__(self) -> None:
        # Not below pytest's folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="chatbot-pg-"))
        self.data = self.folder / "data"
        self._as_user: list[str] = []
        self.user = pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            account = next((a for a in pwd.getpwall() if a.pw_name == "postgres"), pwd.getpwnam("nobody"))
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self._as_user = [
                "setpriv",
                f"--reuid={account.pw_uid}",
                f"--regid={account.pw_gid}",
                "--clear-groups",
            ]
            self.user = account.pw_name
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(
            [*self._as_user, _program("initdb"), "-D", str(self.data), "-U", self.user, "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
        )  # fmt: skip
        hba = self.data / "pg_hba.conf"
        hba.write_text("local all guarded scram-sha-256\n" + hba.read_text())

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, _program("postgres"), "-D", str(self.data), "-k", str(self.folder),
                 "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "autovacuum=off",
                 "-c", "shared_buffers=64MB"],
                stdout=log,
                stderr=log,
                cwd="/",
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError((self.folder / "server.log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def execute(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, schema: str = "public", user: str | None = None, password: str | None = None) -> str:
        secret = "" if password is None else f":{quote(password, safe='')}"
        options = quote(f"-csearch_path={schema}")
        return f"postgresql://{user or self.user}{secret}@/postgres?host={quote(str(self.folder))}&options={options}"

    def new_schema(self) -> str:
        """Returns the address of a schema with nothing in it: to the store, a database of its own."""
        name = f"s{next(_schemas)}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(name)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server. SIGQUIT is an immediate shutdown; SIGKILL ends the first process alone."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A server that all tests of a run share."""
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def postgres_url(postgres: Cluster) -> str:
    """The address of an empty database."""
    return postgres.new_schema()


@pytest.fixture
def new_cluster() -> Iterator[Callable[[], Cluster]]:
    """Makes servers of a test's own, which it may crash."""
    made: list[Cluster] = []

    def make() -> Cluster:
        made.append(Cluster())
        made[-1].start()
        return made[-1]

    yield make
    for cluster in made:
        cluster.remove()
