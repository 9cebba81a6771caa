"""A team's dataset: added on a terminal, fetched from the store by two worker machines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import servers
from helpers.command_line import Zoo, until

from zoo import jobs


@pytest.fixture
def machines(postgresql: str, tmp_path: Path) -> Iterator[dict[str, Zoo]]:
    """A terminal and two machines for workers: a home each, the same rows, broker and store."""
    servers.empty(postgresql)
    port = servers.free_port()
    conf = tmp_path / "broker.conf"
    conf.write_text(f"dir {tmp_path}\n")
    env = {
        "ZOO_DATABASE_URL": postgresql,
        "ZOO_BROKER_URL": f"redis://127.0.0.1:{port}/0",
        "ZOO_ARTIFACTS_URL": f"file://{tmp_path / 'store'}",
        "ZOO_PLUGINS": "sklearn",
        "ZOO_SLOTS": "1",
    }
    with contextlib.ExitStack() as stack:
        log = tmp_path / "broker.log"
        stack.enter_context(servers.valkey([str(conf)], "127.0.0.1", port, log))
        found = {name: Zoo(tmp_path / name, **env) for name in ("terminal", "one", "two")}
        for zoo in found.values():
            stack.callback(zoo.close)
        yield found


def write(file: Path, number: int) -> None:
    """Write images of two classes that depend on a number."""
    labels = np.arange(60) % 2
    images = np.random.default_rng(number).integers(0, 99, (60, 6, 6)).astype("uint8")
    images[labels == 1] += 100
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)


@pytest.mark.slow
def test_jobs_run_on_every_machine_on_what_they_were_submitted_for(
    machines: dict[str, Zoo], tmp_path: Path
) -> None:
    terminal, file = machines["terminal"], tmp_path / "blobs.npz"
    db = terminal.database()

    def train(dataset: str, pool: str) -> str:
        words = "train", "logistic", "--dataset", dataset, "--pool", pool, "-d", "-q"
        return terminal.run(*words).stdout.strip()

    write(file, 1)
    terminal.run("data", "add", "blobs", str(file))
    before = train("blobs", "one")
    write(file, 2)
    assert "blobs@2" in terminal.run("data", "refresh", "blobs").stdout
    after = [train("blobs", pool) for pool in ("one", "two")]
    older = train("blobs@1", "two")
    write(file, 3)
    plain = train(str(file), "two")
    # The laptop is gone: its file, and what it has read.
    file.unlink()
    versions = {each.label: each.fingerprint for each in jobs.list_datasets(db)}
    automatic = jobs.get(db, plain).dataset_label
    assert versions.keys() == {"blobs@1", "blobs@2", automatic}
    for pool in ("one", "two"):
        machines[pool].start("worker", "start", "--pool", pool)
    refs = [before, *after, older, plain]

    def have_ended() -> bool:
        return all(jobs.get(db, ref).is_terminal for ref in refs)

    until(have_ended)
    found = [jobs.get(db, ref) for ref in refs]
    assert [job.error for job in found] == [None] * 5
    one, two, three = (versions[each] for each in ("blobs@1", "blobs@2", automatic))
    assert [job.contents for job in found] == [one, two, two, one, three]
    for pool, contents in (("one", {one, two}), ("two", {one, two, three})):
        cached = machines[pool].settings.cache / "added"
        assert {each.name for each in cached.iterdir() if each.is_dir()} == contents
    # An evaluation, where its dataset was never before.
    terminal.run("evaluate", before[:8], "--dataset", automatic, "--pool", "one", "-q")
    assert (machines["one"].settings.cache / "added" / three).is_dir()
