"""Added datasets: contents in the artifact store, versions, and machines that fetch them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from zoo import jobs
from zoo.data import added, contents, datasets
from zoo.data.added import Added
from zoo.errors import ArtifactError, DatasetError, UsageError
from zoo.jobs import Database

Write = Callable[[int], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a small dataset that depends on a number; gives its name as a source."""

    def save(number: int) -> str:
        images = np.full((6, 4, 4), number, "uint8")
        labels = np.array([0, 1, 0, 1, 0, 1])
        file = tmp_path / "a.npz"
        np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
        return f"npz:{file}"

    return save


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def elsewhere(home: Path) -> None:
    """Empty the cache: another machine has not got what this one has added."""
    shutil.rmtree(home / "cache")


def stored(url: str, found: Added, name: str = "train-images.npy") -> Path:
    return Path(url) / found.version.artifact / name


def test_contents_are_stored_by_their_fingerprint_and_read_by_another_machine(
    here: Database, home: Path, write: Write, url: str
) -> None:
    source = write(7)
    found = added.add(here, url, "mine", source)
    print_of = datasets.raw(source).fingerprint
    assert (found.version.label, found.is_new) == ("mine@1", True)
    assert found.version.fingerprint == found.meta.fingerprint == print_of
    assert found.version.recipe == {"source": source}
    assert found.version.artifact == f"datasets/{print_of}"
    (Path(source.removeprefix("npz:"))).unlink()
    elsewhere(home)
    assert not added.is_here(print_of)
    steps: list[tuple[int, int]] = []
    added.ensure(here, url, print_of, "mine", lambda _, done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == found.version.bytes
    raw = datasets.raw("mine", contents=print_of)
    assert (raw.name, raw.meta.name, raw.fingerprint) == ("mine", "mine", print_of)
    assert (raw.splits["train"].inputs == 7).all()
    assert list(raw.splits["test"].labels) == [0, 1, 0, 1, 0, 1]


def test_the_same_contents_are_the_same_version_and_others_the_next(
    here: Database, write: Write, url: str
) -> None:
    first = added.add(here, url, "mine", write(1))
    assert added.add(here, url, "mine", write(1)) == Added(first.version, False, first.meta)
    second = added.add(here, url, "mine", write(2))
    assert (second.version.version, second.is_new) == (2, True)
    other = added.add(here, url, "other", write(1))
    assert other.version.artifact == first.version.artifact
    assert (other.version.version, other.meta.name) == (1, "other")


def test_concurrent_adds_store_the_contents_once(here: Database, write: Write, url: str) -> None:
    source = write(3)
    names = ["one", "two"] * 3
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda name: added.add(here, url, name, source), names))
    assert {each.version.version for each in found} == {1}
    assert [p.name for p in (Path(url) / "datasets").iterdir()] == [found[0].meta.fingerprint]


@pytest.mark.parametrize("name", ["train-images.npy", "test-labels.npy", "meta.json"])
def test_a_changed_byte_is_refused_and_adding_again_mends_it(
    here: Database, home: Path, write: Write, url: str, name: str
) -> None:
    found = added.add(here, url, "mine", write(1))
    elsewhere(home)
    content = bytearray(stored(url, found, name).read_bytes())
    content[-1] ^= 1
    stored(url, found, name).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"not the one that was stored.*Add it again"):
        added.ensure(here, url, found.version.fingerprint, "mine")
    assert not added.is_here(found.version.fingerprint)
    again = added.add(here, url, "mine", write(1))
    assert not again.is_new
    elsewhere(home)
    added.ensure(here, url, found.version.fingerprint, "mine")


def test_files_of_another_size_are_refused_before_they_are_read(
    here: Database, home: Path, write: Write, url: str
) -> None:
    found = added.add(here, url, "mine", write(1))
    elsewhere(home)
    with stored(url, found).open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(ArtifactError, match="'mine@1' is not whole in the store"):
        added.ensure(here, url, found.version.fingerprint, "mine")


def test_contents_under_the_manifest_of_others_are_refused(
    here: Database, home: Path, write: Write, url: str
) -> None:
    """A store whose files and manifest were both replaced, and its row, too."""
    one, two = (added.add(here, url, "mine", write(n)) for n in (1, 2))
    elsewhere(home)
    shutil.rmtree(Path(url) / one.version.artifact)
    shutil.copytree(Path(url) / two.version.artifact, Path(url) / one.version.artifact)
    with here.write() as rows:
        seals = {"a": two.version.artifact_sha256, "b": one.version.artifact_sha256}
        rows.run("UPDATE dataset SET artifact_sha256 = :a WHERE artifact_sha256 = :b", seals)
    with pytest.raises(ArtifactError, match="damaged in the store"):
        added.ensure(here, url, one.version.fingerprint, "mine")
    # And where its description claims the right fingerprint.
    place = Path(url) / "datasets" / "forged"
    shutil.copytree(Path(url) / two.version.artifact, place)
    meta = contents.read_meta(place)
    assert meta is not None
    (place / "manifest.json").unlink()
    forged = meta.model_copy(update={"fingerprint": one.version.fingerprint})
    (place / "meta.json").write_text(forged.model_dump_json())
    from zoo.storage import artifacts

    shutil.rmtree(Path(url) / one.version.artifact)
    sha256 = artifacts.put(place, url, one.version.artifact, {})
    with here.write() as rows:
        values = {"sha256": sha256, "place": one.version.artifact}
        rows.run("UPDATE dataset SET artifact_sha256 = :sha256 WHERE artifact = :place", values)
    with pytest.raises(ArtifactError, match="other contents in the store than its fingerprint"):
        added.ensure(here, url, one.version.fingerprint, "mine")


def test_a_removed_dataset_is_refused_but_what_is_cached_still_runs(
    here: Database, home: Path, write: Write, url: str
) -> None:
    from zoo.storage import artifacts

    found = added.add(here, url, "mine", write(1))
    jobs.remove_datasets(here, "mine", [1], lambda where: artifacts.remove(url, where))
    assert not stored(url, found).exists()
    added.ensure(here, url, found.version.fingerprint, "mine")
    elsewhere(home)
    with pytest.raises(DatasetError, match="'mine' was removed"):
        added.ensure(here, url, found.version.fingerprint, "mine")


def test_a_damaged_cache_is_fetched_again(
    here: Database, home: Path, write: Write, url: str
) -> None:
    found = added.add(here, url, "mine", write(1))
    elsewhere(home)
    added.ensure(here, url, found.version.fingerprint, "mine")
    file = datasets.added_folder(found.version.fingerprint) / "train-images.npy"
    file.unlink()
    file.write_bytes(b"")
    assert not added.is_here(found.version.fingerprint)
    added.ensure(here, url, found.version.fingerprint, "mine")
    assert added.is_here(found.version.fingerprint)


@pytest.mark.parametrize(
    ("name", "why"),
    [("mnist", "dataset of Zoo"), ("digits", "dataset of a plugin"), ("My wine", "no name")],
)
def test_names_of_others_cannot_be_taken(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        added.check_name(name)
    added.check_name("wine")
    with pytest.raises(UsageError, match="dataset of a plugin"):
        added.check_name("wine", {"wine": "of a worker"})


def test_contents_that_were_read_already_are_added_without_their_file(
    here: Database, write: Write, url: str
) -> None:
    source = write(5)
    raw = datasets.raw(source)
    found = added.add_cached(here, url, "a-12345678", source, raw)
    assert found.meta.fingerprint == raw.fingerprint
    # The cache of the file is untouched.
    assert datasets.raw(source).name == source


@pytest.mark.parametrize("moment", ["put", "seal", "add_dataset"])
def test_what_an_interrupted_add_has_stored_is_removed_later(
    here: Database, home: Path, write: Write, url: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.storage import artifacts

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    kept = added.add(here, url, "kept", write(1))
    source = write(2)
    with monkeypatch.context() as patched:
        patched.setattr(jobs if moment == "add_dataset" else artifacts, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            added.add(here, url, "mine", source)
    assert jobs.find_dataset(here, "mine") is None
    assert [each.name for each in (home / "cache" / "added").glob(".*.tmp")] == []
    left = set((Path(url) / "datasets").iterdir())
    added.remove_leftovers(here, url)
    assert set((Path(url) / "datasets").iterdir()) == left
    added.remove_leftovers(here, url, age=-1)
    assert [each.name for each in (Path(url) / "datasets").iterdir()] == [kept.version.fingerprint]
    # The number of the first version is not used up.
    assert added.add(here, url, "mine", source).version.label == "mine@1"


def test_contents_of_a_version_survive_an_interrupted_add_of_the_same(
    here: Database, home: Path, write: Write, url: str
) -> None:
    found = added.add(here, url, "mine", write(1)).version
    jobs.begin_upload(here, "other", found.fingerprint, found.artifact)
    killed = home / "cache" / "added" / ".0123.tmp"
    killed.mkdir()
    added.remove_leftovers(here, url)
    assert killed.is_dir()
    added.remove_leftovers(here, url, age=-1)
    assert not killed.exists()
    assert (Path(url) / found.artifact).is_dir()
    assert added.is_here(found.fingerprint)
