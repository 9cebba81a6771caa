"""Archives of jobs as files: what is damaged or forged is refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zoo.errors import ArtifactError, UsageError, ZooError
from zoo.storage.archive import Archive, is_plain, new_archive

CONTENT = {"jobs.jsonl": b'{"a":1}\n{"b":2}\n', "files/x/w.npz": bytes(range(256)) * 20}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "jobs.zip"
    with new_archive(made) as writer:
        for name, content in CONTENT.items():
            writer.add(name, [content[:10], content[10:]], len(content))
        writer.finish(jobs=2, schema_version=11)
    return made


def read_all(file: Path) -> dict[str, bytes]:
    with Archive(file, schema_version=11) as archive:
        return {name: b"".join(archive.read(name)) for name in archive.manifest.entries}


def test_an_archive_has_what_was_added_and_is_the_same_each_time(
    file: Path, tmp_path: Path
) -> None:
    assert read_all(file) == CONTENT
    with Archive(file, schema_version=12) as archive:
        assert [*archive.lines("jobs.jsonl", 100)] == [b'{"a":1}\n', b'{"b":2}\n']
        archive.extract("files/x/w.npz", tmp_path / "deep" / "w.npz")
        with pytest.raises(ArtifactError, match="line of more than 5 bytes"):
            list(archive.lines("jobs.jsonl", 5))
    assert (tmp_path / "deep" / "w.npz").read_bytes() == CONTENT["files/x/w.npz"]
    again = tmp_path / "again.zip"
    with new_archive(again) as writer:
        for name, content in CONTENT.items():
            writer.add(name, [content], len(content))
        writer.finish(jobs=2, schema_version=11)
    assert again.read_bytes() == file.read_bytes()


def test_an_interrupted_archive_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_archive(tmp_path / "jobs.zip") as writer:
        writer.add("a", [b"a"], 1)
        raise KeyboardInterrupt
    assert not [*tmp_path.iterdir()]


def test_any_damaged_part_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    step = max(len(whole) // 25, 1)
    for place in [*range(0, len(whole), step), *range(len(whole) - 40, len(whole))]:
        for damaged in (whole[:place], whole[:place] + b"\x55\xaa\x55" + whole[place + 3 :]):
            file.write_bytes(damaged)
            try:
                assert read_all(file) == CONTENT  # a byte that says nothing, such as a date
            except ZooError as error:
                assert "\n" not in error.message


def write(file: Path, parts: list[tuple[zipfile.ZipInfo | str, bytes]], **changes: Any) -> None:
    """Write a ZIP file by hand, with a manifest that fits unless `changes` says otherwise."""
    known = {
        each if isinstance(each, str) else each.filename: {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for each, content in parts
    }
    manifest = {"format": "zoo-jobs", "v": 1, "schema_version": 11, "zoo": "1", "jobs": 0}
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")
        for each, content in parts:
            made.writestr(each, content)
        made.writestr("manifest.json", json.dumps(manifest | {"entries": known} | changes))


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


FORGED: dict[str, Callable[[Path], None]] = {
    "leads out": lambda f: write(f, [("files/../../x", b"")]),
    "leads out of it": lambda f: write(f, [("/etc/passwd", b"")]),
    "leads out of": lambda f: write(f, [("files/a\\b", b"")]),
    "no regular file": lambda f: write(f, [(link("files/x"), b"/etc/passwd")]),
    "regular file": lambda f: write(f, [("files/x/", b"")]),
    "the same one twice": lambda f: write(f, [("a", b"1"), ("a", b"2")]),
    "other entries than": lambda f: write(f, [("a", b"1")], entries={}),
    "another size than": lambda f: write(
        f, [("a", b"1")], entries={"a": {"bytes": 2**40, "sha256": "0" * 64}}
    ),
    "damaged or forged": lambda f: write(
        f, [("a", b"1")], entries={"a": {"bytes": 1, "sha256": "0" * 64}}
    ),
    "refused: entries.a.bytes": lambda f: write(
        f, [("a", b"1")], entries={"a": {"bytes": -1, "sha256": "0" * 64}}
    ),
    "refused: more": lambda f: write(f, [], more=1),
    "is no archive of jobs": lambda f: write(f, [], format="other"),
    "is damaged or no archive": lambda f: f.write_bytes(b"PK\x05\x06 nonsense"),
    "no archive": lambda f: f.write_bytes(b""),
    "cannot be unpacked": lambda f: f.unlink() or f.mkdir(),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_archive_is_refused(what: str, file: Path) -> None:
    FORGED[what](file)
    with pytest.raises(ZooError, match=what):
        read_all(file)


def test_a_newer_archive_asks_for_a_newer_program(file: Path) -> None:
    for changes in ({"v": 2}, {"schema_version": 12}):
        write(file, [], **changes)
        with pytest.raises(UsageError, match="which is newer"):
            read_all(file)


def test_an_entry_with_a_false_size_is_read_no_further(file: Path) -> None:
    """A bomb says that it is small."""
    content = b"\0" * 50_000_000
    small = {"bytes": 9, "sha256": hashlib.sha256(content[:9]).hexdigest()}
    write(file, [("a", content)], entries={"a": small})
    packed, size = file.read_bytes(), len(content).to_bytes(4, "little")
    assert packed.count(size) == 2
    file.write_bytes(packed.replace(size, (9).to_bytes(4, "little")))
    with pytest.raises(ArtifactError):
        read_all(file)


def test_names_stay_below_their_folder() -> None:
    assert is_plain("files/a/b.c")
    for name in ("", "/", "a/", "a//b", "..", "a/../b", "./a", "a\0b", "a\nb", "a" * 256):
        assert not is_plain(name)
