"""Submissions pin name, version and contents of their dataset; jobs run those or are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zoo import jobs, settings
from zoo.data import added, datasets
from zoo.errors import DatasetError, UsageError
from zoo.jobs import Database
from zoo.jobs.cards import Card
from zoo.queue import pinning, submit
from zoo.queue.options import TrainingOptions
from zoo.training.run import run_job

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a dataset of two classes that depends on a number; gives its name as a source."""

    def save(number: int = 0, side: int = 6, n_classes: int = 2) -> str:
        labels = np.arange(40) % n_classes
        images = np.random.default_rng(number).integers(0, 99, (40, side, side)).astype("uint8")
        images[labels == 1] += 100
        file = tmp_path / "Träume 1.npz"
        np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
        return f"npz:{file}"

    return save


def add(db: Database, source: str, name: str = "mine") -> jobs.DatasetVersion:
    return added.add(db, settings.load().artifacts, name, source).version


def test_a_name_is_pinned_to_its_newest_version_and_name_at_n_to_an_older_one(
    here: Database, write: Write
) -> None:
    one, two = add(here, write(1)), add(here, write(2))
    newest = submit.training("logistic", {}, TrainingOptions("mine", seeds=2))
    assert {(s.dataset, s.version, s.contents) for s in newest} == {("mine", 2, two.fingerprint)}
    older = submit.training("logistic", {}, TrainingOptions("mine@1"))[0]
    assert (older.dataset, older.version, older.contents) == ("mine", 1, one.fingerprint)
    with pytest.raises(UsageError, match=r"no version 9\. There is 2, 1"):
        submit.training("logistic", {}, TrainingOptions("mine@9"))
    with pytest.raises(UsageError, match=r"No dataset is called 'min'\. Did you mean 'mine'"):
        submit.training("logistic", {}, TrainingOptions("min"))
    with pytest.raises(UsageError, match="Only added datasets have versions"):
        submit.training("logistic", {}, TrainingOptions("digits@1"))


def test_two_jobs_of_one_name_run_on_what_they_were_submitted_for(
    here: Database, home: Path, write: Write, tmp_path: Path
) -> None:
    found = []
    for number in (1, 2):
        version = add(here, write(number))
        found.append((version, submit.training("logistic", {}, TrainingOptions("mine"))[0]))
    Path(write().removeprefix("npz:")).unlink()
    shutil.rmtree(home / "cache")  # the machine of a worker
    for number, (version, spec) in enumerate(found):
        with pytest.raises(DatasetError, match="'mine' are not on this machine"):
            run_job(spec, tmp_path, lambda *_, **__: None)
        pinning.bring(version.fingerprint, "mine")
        folder = tmp_path / str(number)
        folder.mkdir()
        run_job(spec, folder, lambda *_, **__: None)
        assert version.fingerprint in (folder / "environment.json").read_text()


def test_a_file_is_read_at_submission_and_keeps_its_name_on_one_machine(
    here: Database, write: Write, tmp_path: Path
) -> None:
    source = write(1)
    steps: list[str] = []
    options = TrainingOptions(source, cv=3)
    specs = submit.training("logistic", {}, options, lambda what, *_: steps.append(what))
    assert {spec.dataset for spec in specs} == {source} and specs[0].version is None
    assert specs[0].contents == datasets.raw(source).fingerprint and steps
    write(2)
    now = submit.training("logistic", {}, TrainingOptions(source))[0]
    assert now.contents != specs[0].contents
    # The cache has what the job was submitted for.
    run_job(specs[0], tmp_path, lambda *_, **__: None)
    shutil.rmtree(settings.cache())
    with pytest.raises(DatasetError, match="other contents now than when the job was submitted"):
        run_job(specs[0], tmp_path, lambda *_, **__: None)


def test_a_file_gets_a_name_on_the_database_of_a_team(
    db: Database, home: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATABASE_URL", db.url)
    spec = submit.training("logistic", {}, TrainingOptions(write(1)))[0]
    name = f"tr-ume-1-{str(spec.contents)[:8]}"
    assert (spec.dataset, spec.version) == (name, 1)
    again = submit.training("logistic", {}, TrainingOptions(write(1)))[0]
    assert (again.dataset, again.version, again.contents) == (name, 1, spec.contents)
    assert [each.label for each in jobs.list_datasets(db)] == [f"{name}@1"]
    assert (home / "artifacts" / "datasets" / str(spec.contents) / "manifest.json").is_file()


def test_a_registered_dataset_is_pinned_once_it_is_known_here(home: Path, cache: Path) -> None:
    assert pinning.pin("digits").contents is None
    (home / "cache").parent.mkdir(exist_ok=True)
    (home / "cache").symlink_to(cache)
    known = datasets.raw("digits").fingerprint
    assert pinning.pin("digits").contents == known
    assert submit.training("logistic", {}, TrainingOptions("digits"))[0].contents == known


def test_a_dataset_that_the_model_cannot_take_is_refused_at_submission(
    here: Database, write: Write
) -> None:
    add(here, write(1, side=6))
    found = pinning.pin("mine")
    card = Card("old", "p 1", min_side=12)
    with pytest.raises(UsageError, match="'old' takes images of 12 pixels and more, but 'mine'"):
        pinning.check_model(card, found, TrainingOptions())
    pinning.check_model(replace(card, min_side=None), found, TrainingOptions())
    with pytest.raises(UsageError, match="'old' takes tables"):
        pinning.check_model(replace(card, takes=["table"]), found, TrainingOptions())


def test_a_dataset_of_one_class_is_refused_at_submission(here: Database, write: Write) -> None:
    add(here, write(1, n_classes=1))
    with pytest.raises(UsageError, match="No model can be trained on the dataset 'mine'"):
        submit.training("logistic", {}, TrainingOptions("mine"))


def test_an_evaluation_is_of_the_contents_of_its_training_unless_it_names_others(
    here: Database, write: Write
) -> None:
    one, two = add(here, write(1)), add(here, write(2))
    (spec,) = submit.training("logistic", {}, TrainingOptions("mine@1"))
    (job_id,), _ = jobs.add(here, [spec])
    taken = jobs.claim(
        here, pool="default", models={"logistic": "p"}, datasets=[], worker="w", lease=60
    )
    assert taken is not None
    outcome = jobs.Outcome("succeeded", {"accuracy": 0.5}, "a/1", "0" * 64)
    assert jobs.finish(here, taken[0], outcome)
    trained = jobs.get(here, job_id)
    own, other = (submit.evaluation(trained, name, "test") for name in (None, "mine"))
    assert (own.version, own.contents) == (1, one.fingerprint)
    assert (other.version, other.contents) == (2, two.fingerprint)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("npz:/data/Wine Quality.npz", "wine-quality-12345678"),
        ("csv:/data/wine.csv?target=class", "wine-12345678"),
        ("folder:/data/..pets/", "data-12345678"),
        ("idx:/데이터", "data-12345678"),
    ],
)
def test_an_automatic_name_has_the_files_name_and_a_part_of_the_fingerprint(
    source: str, name: str
) -> None:
    assert pinning.automatic_name(source, "12345678" + "0" * 56) == name


TABLE = "size,weight,name,kind\n" + "".join(
    f"{n},{n * n % 7},row{n % 4},{'cat' if n % 2 else 'dog'}\n" for n in range(40)
)


@pytest.mark.parametrize("is_added", [False, True], ids=["a file", "added"])
def test_all_rows_of_a_file_are_judged_with_the_columns_of_the_training(
    here: Database, tmp_path: Path, is_added: bool
) -> None:
    (tmp_path / "first.csv").write_text(TABLE)
    (tmp_path / "new.csv").write_text(TABLE.replace("weight,name", "weight,name", 1))
    trained_on = f"csv:{tmp_path}/first.csv?target=kind&drop=name"
    if is_added:
        add(here, trained_on)
        trained_on = "mine"
    spec = submit.training("logistic", {}, TrainingOptions(trained_on))[0]
    judged = pinning.pin_to_judge(str(tmp_path / "new.csv"), spec)
    assert judged.name == f"csv:{tmp_path}/new.csv?drop=name&target=kind&test=1.0"
    assert judged.meta and judged.meta.counts == {"test": 40}
    assert [column.name for column in judged.meta.columns] == ["size", "weight"]
    # What is spelled out stays.
    spelled = f"csv:{tmp_path}/new.csv?target=name&test=0.5"
    other = pinning.pin_to_judge(spelled, spec)
    assert other.meta and set(other.meta.counts) == {"train", "test"}
    assert pinning.pin_to_judge("digits", spec).name == "digits"
