"""What the store promises: a file is named by its content, appears whole or not at all, and damage is seen."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.model import Sha256
from pipeline.store import DamagedFile, FolderStore, StoreUnreachable

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "store")
    made.make()
    return made


def _files(store: FolderStore) -> list[Path]:
    """What can be seen in the store, apart from what is still being written."""
    return [path for path in store.folder.rglob("*") if path.is_file() and store.scratch not in path.parents]


def _damage(store: FolderStore, digest: Sha256) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    with path.open("r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))


def _age(path: Path, age_s: float) -> None:
    os.utime(path, (time.time() - age_s, time.time() - age_s))


def test_a_file_is_found_again_by_its_sha256(store: FolderStore, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(b"a scan")
    digest = store.put_file(source)
    assert digest == hashlib.sha256(b"a scan").hexdigest()
    assert store.read(digest) == b"a scan"
    assert store.intact(digest)
    assert source.read_bytes() == b"a scan"


def test_the_same_content_is_kept_once_whichever_way_it_comes(store: FolderStore, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(b"twice")
    scratch = store.scratch / "made-here"
    scratch.write_bytes(b"twice")
    assert store.put_file(source) == store.put_bytes(b"twice") == store.take_file(scratch)
    assert len(_files(store)) == 1
    assert list(store.scratch.iterdir()) == []


def test_a_kept_file_is_not_writable(store: FolderStore) -> None:
    assert store.path(store.put_bytes(b"x")).stat().st_mode & 0o222 == 0


def test_a_damaged_file_is_told_and_never_handed_out(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"precious")
    _damage(store, digest)
    assert not store.intact(digest)
    with pytest.raises(DamagedFile):
        store.read(digest)
    with pytest.raises(DamagedFile, match="no longer has the content"), store.local([digest]):
        pass
    with pytest.raises(DamagedFile):
        store.copy(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_large_file_is_not_hashed_again_for_each_of_its_pages_but_is_when_it_has_changed(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put_bytes(bytes(17 << 20))
    hashed = []
    digest_of = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda stream, kind: hashed.append(1) or digest_of(stream, kind))
    for _ in range(5):
        with store.local([digest]) as files:
            assert files[digest].stat().st_size == 17 << 20
    assert len(hashed) == 1
    _damage(store, digest)
    with pytest.raises(DamagedFile), store.local([digest]):
        pass


def test_the_same_content_coming_again_mends_a_damaged_file(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"precious")
    _damage(store, digest)
    (tmp_path / "scan").write_bytes(b"precious")
    assert store.put_file(tmp_path / "scan") == digest
    assert store.read(digest) == b"precious"


def test_a_missing_file_is_not_intact(store: FolderStore) -> None:
    digest = Sha256("0" * 64)
    assert not store.has(digest)
    assert not store.intact(digest)


def test_many_writers_of_the_same_content_leave_one_whole_file(store: FolderStore) -> None:
    data = b"page" * 50_000
    begin = threading.Barrier(8)
    digests: list[Sha256] = []

    def put() -> None:
        begin.wait()
        digests.append(store.put_bytes(data))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 8
    assert len(set(digests)) == 1
    assert store.intact(digests[0])
    assert len(_files(store)) == 1


def test_what_is_half_written_is_never_seen(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(b"long" * 1000)

    def power_cut(_stream: object) -> None:
        assert _files(store) == []
        raise OSError("power cut")

    monkeypatch.setattr("pipeline.store._flush", power_cut)
    with pytest.raises(OSError, match="power cut"):
        store.put_file(source)
    with pytest.raises(OSError, match="power cut"):
        store.put_bytes(b"long" * 1000)
    assert _files(store) == []
    monkeypatch.undo()
    assert store.intact(store.put_file(source))


# --- a store on a share -------------------------------------------------------------------------------------------


def test_a_rename_that_a_share_reports_as_failed_although_it_succeeded_counts(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def asked_twice(source: Path, target: Path) -> None:
        rename(source, target)
        rename(source, target)  # the answer to the first was lost on the way; this finds nothing to rename

    monkeypatch.setattr("os.replace", asked_twice)
    digest = store.put_bytes(b"a scan")
    assert store.read(digest) == b"a scan"
    assert list(store.scratch.iterdir()) == []


def test_a_rename_that_did_fail_is_told(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(source: Path, _target: Path) -> None:
        source.unlink()
        raise FileNotFoundError(source)

    monkeypatch.setattr("os.replace", lost)
    with pytest.raises(FileNotFoundError):
        store.put_bytes(b"a scan")
    assert _files(store) == []


def test_a_file_that_another_machine_has_just_written_is_waited_for(store: FolderStore, tmp_path: Path) -> None:
    digest = store.put_bytes(b"a scan")
    hidden = tmp_path / "hidden"
    store.path(digest).rename(hidden)
    appear = threading.Timer(0.3, lambda: hidden.rename(store.path(digest)))
    appear.start()
    assert store.read(digest) == b"a scan"
    appear.join()


def test_a_file_that_does_not_appear_is_told_as_missing(store: FolderStore) -> None:
    with pytest.raises(FileNotFoundError, match="is missing"):
        store.read(Sha256("0" * 64))


def test_a_share_that_is_not_mounted_is_not_taken_for_an_empty_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "mount point")
    store.folder.mkdir()
    with pytest.raises(StoreUnreachable, match="mount it"):
        store.check()
    with pytest.raises(FileNotFoundError):
        store.put_bytes(b"a scan")
    assert list(store.folder.iterdir()) == []


# --- what nobody refers to ----------------------------------------------------------------------------------------


def test_everything_in_the_folder_is_listed_and_what_is_not_ours_has_no_digest(store: FolderStore) -> None:
    digest = store.put_bytes(b"x")
    (store.folder / "notes.txt").write_text("by hand")
    (store.folder / "ab").mkdir(exist_ok=True)
    (store.folder / "ab" / "cd.tif").touch()
    (store.folder / "ab" / ("0" * 62)).symlink_to("/etc/hostname")
    (store.scratch / "on-its-way").touch()
    listed = {Path(file.place).relative_to(store.folder).as_posix(): file.digest for file in store.files()}
    assert listed == {
        f"{digest[:2]}/{digest[2:]}": digest,
        "notes.txt": None,
        "ab/cd.tif": None,
        f"ab/{'0' * 62}": None,
    }


def test_only_what_is_old_enough_is_removed_and_keeping_it_again_makes_it_new(store: FolderStore) -> None:
    digest = store.put_bytes(b"x")
    _age(store.path(digest), 3 * DAY_S)
    assert store.put_bytes(b"x") == digest  # a writer that is about to refer to it
    assert not store.remove(digest, older_than_s=DAY_S)
    assert store.read(digest) == b"x"
    _age(store.path(digest), 3 * DAY_S)
    assert store.remove(digest, older_than_s=DAY_S)
    assert _files(store) == list(store.scratch.iterdir()) == []
    assert not store.remove(digest, older_than_s=DAY_S)


def test_a_file_that_is_kept_again_while_it_is_removed_is_there_afterwards(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put_bytes(b"x")
    _age(store.path(digest), 3 * DAY_S)
    touch = os.utime

    def after_a_sweep(path: Path) -> None:
        assert store.remove(digest, older_than_s=DAY_S)
        touch(path)

    monkeypatch.setattr("os.utime", after_a_sweep)
    assert store.put_bytes(b"x") == digest
    assert store.read(digest) == b"x"


def test_leftovers_of_killed_writers_are_told_and_removed_when_they_are_old(store: FolderStore) -> None:
    (store.scratch / "old").write_bytes(b"1234")
    (store.scratch / "folder").mkdir()
    (store.scratch / "folder" / "inner").write_bytes(b"12345")
    (store.scratch / "young").mkdir()
    for path in (store.scratch / "old", store.scratch / "folder" / "inner", store.scratch / "folder"):
        _age(path, 3 * DAY_S)
    found = list(store.leftovers(older_than_s=DAY_S))
    assert [(Path(one.place).name, one.size_bytes) for one in found] == [("folder", 5), ("old", 4)]
    for one in found:
        store.remove_leftover(one)
    assert [path.name for path in store.scratch.iterdir()] == ["young"]
