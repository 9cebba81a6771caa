"""The files of a job when its folders hold anything: nothing hangs, nothing hides another."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import odd_files
from helpers import page_client as web
from helpers.command_line import Zoo
from helpers.finished_jobs import a_spec, job_of, succeed
from helpers.row_shapes import anything, texts
from hypothesis import HealthCheck, example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from zoo import jobs
from zoo.errors import ArtifactError
from zoo.jobs import Job
from zoo.results import reproducibility
from zoo.storage import artifacts, job_files

GOOD = "extra/good/note.txt"


class Kept(NamedTuple):
    """A job with an artifact and the files of one plugin."""

    zoo: Zoo
    job: Job
    folder: Path
    """Of all its files."""

    def listing(self) -> job_files.Listing:
        """List the files, within ten seconds: what opens a pipe would wait for ever."""
        found: list[Any] = []
        work = threading.Thread(
            target=lambda: found.append(job_files.listing(self.zoo.settings, self.job)), daemon=True
        )
        work.start()
        work.join(10)
        assert found, "it hangs, or has raised"
        listed: job_files.Listing = found[0]
        return listed

    @property
    def extra(self) -> Path:
        return self.folder / "extra" / "odd"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    zoo = Zoo(tmp_path_factory.mktemp("kept") / "home")
    db, url = zoo.database(), zoo.settings.artifacts
    job = succeed(db, [a_spec()], artifacts_url=url, files={"weights_w": b"1"})
    left = zoo.home / "good"
    left.mkdir()
    (left / "note.txt").write_text("good")
    job_files.keep(zoo.settings, job, left)
    yield Kept(zoo, job_of(db, job), Path(url) / job)
    db.close()
    zoo.close()


@pytest.fixture
def odd(kept: Kept) -> Iterator[Path]:
    """The folder of another plugin, empty."""
    kept.extra.mkdir(parents=True)
    yield kept.extra
    shutil.rmtree(kept.extra)


@pytest.mark.parametrize("make", odd_files.KINDS.values(), ids=odd_files.KINDS.keys())
def test_a_manifest_of_any_kind_of_file_hides_no_other(
    kept: Kept, odd: Path, make: Callable[[Path], None]
) -> None:
    make(odd / artifacts.MANIFEST)
    found, problems = kept.listing()
    assert [each.name for each in found] == ["predictions.npz", "weights/w", GOOD]
    assert "odd" in str(problems[0]) and len(problems) == 1


@pytest.mark.parametrize("make", odd_files.KINDS.values(), ids=odd_files.KINDS.keys())
@pytest.mark.parametrize("name", [artifacts.MANIFEST, "weights/w"])
def test_an_artifact_with_any_kind_of_file_is_read_as_damaged(
    kept: Kept, name: str, make: Callable[[Path], None]
) -> None:
    path = kept.folder / "1" / name
    aside = path.rename(kept.zoo.home / "aside")
    try:
        make(path)
        assert GOOD in [each.name for each in kept.listing().files]
        raised: list[BaseException] = []

        def read() -> None:
            for work in (
                lambda: reproducibility.verify_files(kept.zoo.settings, kept.job),
                lambda: artifacts.get(
                    kept.zoo.settings.artifacts,
                    str(kept.job.artifact),
                    str(kept.job.artifact_sha256),
                    kept.zoo.home / "copy",
                ),
            ):
                with pytest.raises(ArtifactError) as error:
                    work()
                raised.append(error.value)

        work = threading.Thread(target=read, daemon=True)
        work.start()
        work.join(10)
        assert len(raised) == 2, "it hangs, or does not notice"
    finally:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        aside.rename(path)


entries = st.fixed_dictionaries(
    {},
    optional={
        "sha256": st.just("0" * 64) | anything,
        "bytes": st.integers(-9, 9) | anything,
        "text": texts | anything | st.just("\ud800"),
    },
)
names = texts | st.sampled_from(["", ".", "..", "/", "../up", "a/../b", "\ud800", "a\0b", "a//b"])
manifests = st.one_of(
    st.binary(max_size=40),
    anything.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(names, entries | anything, max_size=3).map(
        lambda listed: json.dumps({"v": 2, "files": listed}).encode()
    ),
    st.sampled_from([b"[" * 100_000, b"1" * 5000, b'{"files": 1e999}', b"\xef\xbb\xbf{}"]),
)


@given(manifests)
@example(b'{"files": {"a": {"sha256": 1, "bytes": "x"}}}')
@examples(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_manifest_of_any_content_is_listed_or_left_out_with_a_sentence(
    kept: Kept, odd: Path, content: bytes
) -> None:
    (odd / artifacts.MANIFEST).write_bytes(content)
    found, problems = job_files.listing(kept.zoo.settings, kept.job)
    names = [each.name for each in found]
    assert GOOD in names and "weights/w" in names
    assert all(isinstance(each, ArtifactError) and str(each) for each in problems)
    for each in found:
        # What is listed can be shown, and read or refused in a sentence.
        assert each.name.encode() and type(each.size) is int and each.size >= 0
        if each.name.startswith("extra/odd"):
            with pytest.raises(ArtifactError):
                job_files.read(kept.zoo.settings, each)


def test_the_command_and_the_page_show_the_rest_and_say_what_is_left_out(
    kept: Kept, odd: Path
) -> None:
    odd_files.KINDS["pipe"](odd / artifacts.MANIFEST)
    done = kept.zoo.run("files", kept.job.id, code=1, timeout=30)
    assert GOOD in done.stdout and "weights/w" in done.stdout
    assert "Not listed: The manifest of" in done.stderr and "a pipe" in done.stderr
    assert kept.zoo.run("files", kept.job.id, GOOD, "-o", "-").stdout == "good"
    assert "Traceback" not in kept.zoo.run("files", kept.job.id, "extra/odd", code=1).stderr
    page = web.page(kept.zoo)
    try:
        shown = page.get(f"/jobs/{kept.job.id}").text
        assert GOOD in shown and "a pipe" in shown
        assert page.get(f"/jobs/{kept.job.id}/files/{GOOD}").text == "good"
    finally:
        page.close()


def test_a_damaged_file_is_not_verified(kept: Kept) -> None:
    path = kept.folder / "1" / "weights" / "w"
    path.write_bytes(b"2")
    try:
        done = kept.zoo.run("verify", kept.job.id, code=1)
        assert "weights/w of the artifact" in done.stderr and "damaged" in done.stderr
        db = kept.zoo.database()
        assert jobs.count(db, jobs.ALL_JOBS) == 1, "it was not even run again"
        db.close()
    finally:
        path.write_bytes(b"1")
