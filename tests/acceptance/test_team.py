"""What compose.yaml describes, run for real without containers: its commands, its secrets."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import psutil
import pytest
import yaml
from helpers import servers
from helpers.command_line import FAST, Zoo, share, until

from zoo import jobs
from zoo.job_spec import JobSpec
from zoo.queue import submit
from zoo.storage import artifacts

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("test_team")  # one team serves them all
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@dataclass
class Team:
    """A team's servers and two workers."""

    folder: Path
    env: dict[str, str]
    workers: list[subprocess.Popen[bytes]]
    broker_port: int
    cache: Path

    def terminal(self, name: str) -> Zoo:
        """The command line of another machine: a home of its own, the same team."""
        return Zoo(share(self.cache, self.folder / name), **self.env)

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()

    @property
    def passwords(self) -> list[str]:
        """Every password that the secrets hold."""
        text = "".join(path.read_text() for path in (self.folder / "secrets").iterdir())
        found = set(re.findall(r"[0-9a-f]{48}", text))
        assert len(found) == 4
        return sorted(found)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Team]:
    """The services of compose.yaml in its order: servers, `migrate`, `bucket`, two workers."""
    folder = tmp_path_factory.mktemp("team")
    secrets = folder / "secrets"
    subprocess.run(["sh", str(ROOT / "compose" / "secrets.sh"), str(secrets)], check=True)
    with contextlib.ExitStack() as stack:
        ports = {name: servers.free_port() for name in ("database", "broker", "storage")}
        _start_servers(stack, folder, ports)
        for name in ("database_url", "broker_url"):
            moved = re.sub(
                r"@(\w+):\d+", lambda m: f"@127.0.0.1:{ports[m[1]]}", _read(secrets, name)
            )
            (secrets / name).write_text(moved)
        env = _environment("worker", folder, ports)
        found = Team(folder, env, [], ports["broker"], cache)
        for once in ("migrate", "bucket"):
            subprocess.run(_command(once), env=found.terminal("once").env, check=True)
        for number in (1, 2):
            found.workers.append(stack.enter_context(_worker(found, f"worker{number}")))
        db = found.terminal("a").database()
        until(lambda: len(jobs.workers(db)) == 2)
        yield found


def _start_servers(stack: contextlib.ExitStack, folder: Path, ports: dict[str, int]) -> None:
    secrets, data = folder / "secrets", folder / "valkey"
    data.mkdir()
    password = _read(secrets, "database_password")
    log = folder / "database.log"
    stack.enter_context(servers.postgresql(password, "127.0.0.1", ports["database"], log))
    _make_database(password, ports["database"])
    arguments = [
        text.replace("/run/secrets", str(secrets)).replace("/data", str(data))
        for text in COMPOSE["broker"]["command"][1:]
    ]
    log = folder / "broker.log"
    stack.enter_context(servers.valkey(arguments, "127.0.0.1", ports["broker"], log))
    stack.enter_context(servers.s3("127.0.0.1", ports["storage"], folder / "storage.log"))


def _make_database(password: str, port: int) -> None:
    import psycopg

    place = {"host": "127.0.0.1", "port": port, "dbname": "postgres"}
    with psycopg.connect(user="zoo", password=password, autocommit=True, **place) as connection:
        connection.execute("CREATE DATABASE zoo")


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text()


def _environment(service: str, folder: Path, ports: dict[str, int]) -> dict[str, str]:
    """The service's environment, with this machine's folders and ports; digits and little else."""
    found = {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        .replace("/run/secrets", str(folder / "secrets"))
        .replace("http://storage:8333", f"http://127.0.0.1:{ports['storage']}")
        for name, value in COMPOSE[service]["environment"].items()
        if name != "ZOO_HOME"
    }
    return found | FAST | {"ZOO_SLOTS": "1", "ZOO_PLUGINS": "sklearn"}


def _command(service: str) -> list[str]:
    """The service's command, with this interpreter."""
    program, *arguments = COMPOSE[service]["command"]
    start = {"zoo": [sys.executable, "-m", "zoo"], "python": [sys.executable]}
    return [*start[program], *arguments]


@contextlib.contextmanager
def _worker(team: Team, name: str) -> Iterator[subprocess.Popen[bytes]]:
    log = team.folder / f"{name}.log"
    env = team.terminal(name).env
    with servers.running(
        _command("worker"), log, lambda: b"is ready" in log.read_bytes(), env=env
    ) as worker:
        yield worker


def test_one_terminal_trains_and_another_evaluates_and_ranks(team: Team) -> None:
    first, second = team.terminal("a"), team.terminal("b")
    pair = [
        first.run("train", "logistic", "--dataset", "digits", "-d", "--seed", seed).stdout.strip()
        for seed in ("1", "2")
    ]
    trained = second.json("wait", *pair)
    assert {job["status"] for job in trained} == {"succeeded"}
    judged = second.json("evaluate", pair[0], "--dataset", "digits")
    accuracy = judged["metrics"]["accuracy"]
    assert accuracy == next(j for j in trained if j["id"] == pair[0])["metrics"]["accuracy"] > 0.9
    assert second.json("leaderboard")[0]["model"] == "logistic"
    # Neither terminal has the files: they are in the bucket.
    assert not any((team.folder / home / "artifacts").exists() for home in ("a", "b", "worker1"))


def _train(zoo: Zoo) -> jobs.Job:
    """A trained model, without the time that a command takes to start."""
    spec = JobSpec(kind="train", model="logistic", params={}, dataset="digits")
    db = zoo.database()
    (ref,) = submit.submit(db, zoo.settings, [spec]).ids
    until(lambda: jobs.get(db, ref).status == "succeeded")
    return jobs.get(db, ref)


def test_the_artifacts_are_in_the_bucket_and_whole(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = team.terminal("a")
    job = _train(zoo)
    for name in ("AWS_ENDPOINT_URL", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, team.env[name])
    fsspec.filesystem("s3").clear_instance_cache()
    found = artifacts.files("s3://zoo", str(job.artifact), str(job.artifact_sha256))
    assert {"metrics.json", "model.json", "predictions.npz"} < set(found)


def test_runners_have_no_secret_and_no_way_to_one_in_their_environment(team: Team) -> None:
    _train(team.terminal("a"))
    seen = 0
    for worker in team.workers:
        assert "AWS_SHARED_CREDENTIALS_FILE" in psutil.Process(worker.pid).environ()
        for runner in psutil.Process(worker.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it may be replaced just now
                names = set(runner.environ())
                assert not [n for n in names if n.startswith("AWS_") or "_URL" in n]
                seen += 1
    assert seen >= 2


def test_no_password_is_in_logs_rows_arguments_or_what_doctor_says(team: Team) -> None:
    zoo = team.terminal("a")
    zoo.run("train", "logistic", "--dataset", "digits")
    told = [zoo.run("doctor").stdout]
    told += [path.read_text(errors="replace") for path in team.folder.glob("*.log")]
    told += [zoo.run("show", "@last").stdout, zoo.run("logs", "@last").stdout, _rows(zoo)]
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            told.append(" ".join(process.cmdline()))
    text = "\n".join(told)
    assert "valkey-server" in text and "logistic" in text  # it looked where they would be
    assert not [password for password in team.passwords if password in text]


def _rows(zoo: Zoo) -> str:
    with zoo.database().read() as rows:
        tables = rows.all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        names = [table["tablename"] for table in tables]
        assert "job" in names
        return str([rows.all(f"SELECT * FROM {name}") for name in names])


def test_a_wrong_password_is_told_without_showing_it(team: Team) -> None:
    zoo = team.terminal("a")
    wrong: dict[str, Any] = {
        "ZOO_DATABASE_URL": "postgresql://zoo:hush@127.0.0.1:1/zoo",
        "ZOO_BROKER_URL": f"redis://:hush@127.0.0.1:{team.broker_port}/0",
    }
    done = Zoo(zoo.home, **team.env, **wrong).run("doctor", code=1)
    assert done.stdout.count("bad") >= 2 and "hush" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_database_password_is_read_from_its_file(team: Team) -> None:
    import psycopg

    zoo = team.terminal("a")
    submitted = _train(zoo)
    db, old = zoo.database(), team.secret("database_password")
    place = re.sub(r"zoo$", "postgres", team.secret("database_url"))
    with psycopg.connect(place, autocommit=True) as server:
        for name in ("database_password", "database_url"):
            file = team.folder / "secrets" / name
            file.write_text(file.read_text().replace(old, old[::-1]))
        server.execute(f"ALTER ROLE zoo PASSWORD '{old[::-1]}'")
        server.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE usename = 'zoo' AND pid <> pg_backend_pid()"
        )
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(place)
    db.close()  # as the server has done
    assert jobs.get(db, submitted.id).status == "succeeded"
    assert _train(zoo).worker and all(each.poll() is None for each in team.workers)


def test_the_broker_wants_its_password_and_keeps_a_file(team: Team) -> None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    port = team.broker_port
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)).ping()
    password = team.secret("broker.conf").split()[1]
    client: Any = redis.Redis(port=port, password=password)
    assert client.config_get("appendonly", "maxmemory-policy") == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
    }
    assert list((team.folder / "valkey" / "appendonlydir").iterdir())


def test_secrets_are_made_once_and_differ(team: Team) -> None:
    script = str(ROOT / "compose" / "secrets.sh")
    done = subprocess.run(["sh", script, str(team.folder / "secrets")], capture_output=True)
    assert done.returncode == 1 and b"is there already" in done.stderr
    subprocess.run(["sh", script, str(team.folder / "others")], check=True)
    other = (team.folder / "others" / "database_password").read_text()
    assert other != team.secret("database_password")
    assert (team.folder / "others").stat().st_mode & 0o777 == 0o700
