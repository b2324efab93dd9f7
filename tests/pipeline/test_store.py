"""What the store promises: a file is named by its content, appears whole or not at all, and damage is seen."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from pipeline.model import Sha256
from pipeline.store import DamagedFile, Store, copy_checked


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.make()
    return made


def _files(store: Store) -> list[Path]:
    """What can be seen in the store, apart from what is still being written."""
    return [path for path in store.folder.rglob("*") if path.is_file() and store.scratch not in path.parents]


def _damage(store: Store, digest: Sha256) -> None:
    path = store.path(digest)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def test_a_file_is_found_again_by_its_sha256(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(b"a scan")
    digest = store.put_file(source)
    assert digest == hashlib.sha256(b"a scan").hexdigest()
    assert store.read(digest) == b"a scan"
    assert store.intact(digest)
    assert source.read_bytes() == b"a scan"


def test_the_same_content_is_kept_once_whichever_way_it_comes(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(b"twice")
    scratch = store.scratch / "made-here"
    scratch.write_bytes(b"twice")
    assert store.put_file(source) == store.put_bytes(b"twice") == store.take_file(scratch)
    assert len(_files(store)) == 1
    assert list(store.scratch.iterdir()) == []


def test_a_kept_file_is_not_writable(store: Store) -> None:
    assert store.path(store.put_bytes(b"x")).stat().st_mode & 0o222 == 0


def test_a_damaged_file_is_told_and_never_handed_out(store: Store, tmp_path: Path) -> None:
    digest = store.put_bytes(b"precious")
    _damage(store, digest)
    assert not store.intact(digest)
    with pytest.raises(DamagedFile):
        store.read(digest)
    with pytest.raises(DamagedFile):
        copy_checked(store.path(digest), digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_missing_file_is_not_intact(store: Store) -> None:
    digest = Sha256("0" * 64)
    assert not store.has(digest)
    assert not store.intact(digest)


def test_many_writers_of_the_same_content_leave_one_whole_file(store: Store) -> None:
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


def test_what_is_half_written_is_never_seen(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
