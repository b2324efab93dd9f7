"""What the store promises when it is object storage: the same as a folder, and its cache only makes it quicker."""

from __future__ import annotations

import hashlib
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.model import Sha256
from pipeline.object_store import ObjectStore
from pipeline.store import DamagedFile, StoredFile, StoreUnreachable
from tests.servers import S3

pytestmark = pytest.mark.tool

MEBIBYTE = 1 << 20

OpenStore = Callable[[str], ObjectStore]


@pytest.fixture
def bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setitem(os.environ, name, value)
    return s3.new_bucket()


@pytest.fixture
def open_store(bucket: str, tmp_path: Path) -> OpenStore:
    """Opens the bucket as one machine sees it: each has a cache of its own."""

    def opened(machine: str) -> ObjectStore:
        made = ObjectStore(f"s3://{bucket}/pre/fix", cache=tmp_path / machine, cache_mb=1)
        made.make()
        return made

    return opened


def _content(number: int, size: int = 300_000) -> bytes:
    return hashlib.shake_256(str(number).encode()).digest(size)


def _cached(tmp_path: Path, machine: str) -> list[Path]:
    return sorted((tmp_path / machine).glob("??/*"))


def _listed(store: ObjectStore) -> list[StoredFile]:
    return sorted(store.files(), key=lambda file: file.place)


def _damage(s3: S3, store: ObjectStore, digest: Sha256) -> None:
    s3.ask("PUT", store.place(digest).removeprefix("s3://"), b"something else")


def test_what_one_machine_keeps_another_reads_verified(open_store: OpenStore, tmp_path: Path) -> None:
    source = tmp_path / "scan.tif"
    source.write_bytes(_content(1))
    one, other = open_store("one"), open_store("other")
    digest = one.put_file(source)
    assert digest == hashlib.sha256(_content(1)).hexdigest()
    assert other.read(digest) == _content(1)
    assert other.size_bytes(digest) == 300_000
    assert other.intact(digest)
    other.copy(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 13 * MEBIBYTE])
def test_files_of_every_size_come_back_as_they_went(open_store: OpenStore, size: int) -> None:
    digest = open_store("one").put_bytes(_content(2, size))
    assert open_store("other").read(digest) == _content(2, size)


def test_keeping_the_same_content_again_is_harmless(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store("one")
    scratch = store.scratch / "made-here"
    scratch.write_bytes(_content(1))
    assert store.put_bytes(_content(1)) == store.take_file(scratch) == store.put_bytes(_content(1))
    assert [file.digest for file in store.files()] == [hashlib.sha256(_content(1)).hexdigest()]
    assert list(store.scratch.iterdir()) == []


def test_a_file_in_use_stays_although_it_is_dropped_from_the_cache(open_store: OpenStore, tmp_path: Path) -> None:
    one, other = open_store("one"), open_store("other")
    used = one.put_bytes(_content(0))
    with other.local([used]) as files:
        for number in range(1, 8):  # two mebibytes through a cache of one
            digest = one.put_bytes(_content(number))
            with other.local([digest]) as more:
                assert more[digest].stat().st_size == 300_000
        assert not any(path.name == used[2:] for path in _cached(tmp_path, "other"))
        assert files[used].read_bytes() == _content(0)
    assert list(other.scratch.iterdir()) == []
    assert sum(path.stat().st_size for path in _cached(tmp_path, "other")) <= MEBIBYTE


def test_two_processes_share_a_cache_and_neither_takes_from_the_other_what_it_uses(open_store: OpenStore) -> None:
    digest = open_store("elsewhere").put_bytes(_content(0))
    one, other = open_store("shared"), open_store("shared")
    with one.local([digest]) as files:
        for number in range(1, 8):
            other.put_bytes(_content(number))
        with other.local([digest]) as same:
            assert same[digest].read_bytes() == files[digest].read_bytes() == _content(0)


def test_what_was_used_last_is_dropped_last(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store("one")
    first, second, third = (store.put_bytes(_content(number)) for number in range(3))
    for path, age_s in ((path, 100) for path in _cached(tmp_path, "one")):
        os.utime(path, (path.stat().st_atime - age_s, path.stat().st_mtime))
    store.read(first)
    store.put_bytes(_content(3))
    names = {path.name for path in _cached(tmp_path, "one")}
    assert first[2:] in names
    assert not {second[2:], third[2:]} <= names


def test_a_file_larger_than_the_cache_can_be_used_all_the_same(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store("one")
    digest = store.put_bytes(_content(1, 3 * MEBIBYTE))
    with store.local([digest]) as files:
        assert files[digest].read_bytes() == _content(1, 3 * MEBIBYTE)
    assert _cached(tmp_path, "one") == []


def test_a_damaged_copy_in_the_cache_is_fetched_again(open_store: OpenStore, tmp_path: Path) -> None:
    store = open_store("one")
    digest = store.put_bytes(_content(1))
    [cached] = _cached(tmp_path, "one")
    cached.chmod(0o644)
    cached.write_bytes(b"x" + _content(1)[1:])
    with store.local([digest]) as files:
        assert files[digest].read_bytes() == _content(1)
    assert store.read(digest) == _content(1)


def test_a_damaged_object_is_told_and_never_handed_out(open_store: OpenStore, s3: S3, tmp_path: Path) -> None:
    digest = open_store("one").put_bytes(_content(1))
    other = open_store("other")
    _damage(s3, other, digest)
    assert not other.intact(digest)
    assert other.has(digest)
    with pytest.raises(DamagedFile, match="no longer has the content"), other.local([digest]):
        pass
    with pytest.raises(DamagedFile):
        other.copy(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert list(other.scratch.iterdir()) == []
    assert _cached(tmp_path, "other") == []


def test_keeping_the_same_content_again_mends_a_damaged_object(open_store: OpenStore, s3: S3) -> None:
    store = open_store("one")
    digest = store.put_bytes(_content(1))
    _damage(s3, store, digest)
    assert store.put_bytes(_content(1)) == digest
    assert store.intact(digest)


def test_a_missing_object_is_told_as_missing(open_store: OpenStore, s3: S3) -> None:
    store = open_store("one")
    digest = Sha256("0" * 64)
    assert not store.has(digest)
    assert not store.intact(digest)
    with pytest.raises(FileNotFoundError, match="is not there"):
        store.read(digest)


def test_what_does_not_belong_is_listed_without_a_digest(open_store: OpenStore, s3: S3, bucket: str) -> None:
    store = open_store("one")
    digest = store.put_bytes(_content(1))
    s3.ask("PUT", f"{bucket}/pre/fix/notes.txt", b"by hand")
    s3.ask("PUT", f"{bucket}/elsewhere", b"not ours")
    assert [(file.place.rpartition("/fix/")[2], file.digest) for file in _listed(store)] == [
        (f"{digest[:2]}/{digest[2:]}", digest),
        ("notes.txt", None),
    ]


def test_only_what_is_old_enough_is_removed(open_store: OpenStore) -> None:
    store = open_store("one")
    digest = store.put_bytes(_content(1))
    assert not store.remove(digest, older_than_s=3600)
    assert store.has(digest)
    assert store.remove(digest, older_than_s=-3600)
    assert not store.has(digest)
    assert not store.remove(digest, older_than_s=-3600)


def test_many_threads_can_fetch_the_same_file(open_store: OpenStore) -> None:
    digest = open_store("one").put_bytes(_content(1))
    other = open_store("other")
    begin, found = threading.Barrier(4), []

    def read() -> None:
        begin.wait()
        found.append(other.read(digest))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [_content(1)] * 4


def test_a_store_that_does_not_answer_is_told_in_a_sentence_without_its_keys(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ObjectStore("s3://no-such-bucket", cache=tmp_path / "cache", cache_mb=64)
    with pytest.raises(StoreUnreachable, match="there is no such bucket"):
        gone.make()
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    silent = ObjectStore(f"s3://{bucket}", cache=tmp_path / "cache", cache_mb=64)
    for ask in (silent.check, lambda: silent.put_bytes(b"x"), lambda: silent.intact(Sha256("0" * 64)),
                lambda: list(silent.files())):  # fmt: skip
        with pytest.raises(StoreUnreachable) as told:
            ask()
        assert f"s3://{bucket}" in str(told.value)
        assert "platen" not in str(told.value)
    assert list(silent.scratch.iterdir()) == []


@contextmanager
def _server_that_says(answer: bytes) -> Iterator[str]:
    """A server that gives one answer to everything and hangs up; gives its address."""

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 9000\r\nETag: "x"\r\nLast-Modified: Sun, 1 Feb 2026 00:00:00 GMT\r\n\r\nx',
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["refused", "wrong key", "overloaded", "cut off", "no S3"],
)
def test_a_server_that_refuses_or_breaks_off_is_asked_again_later_and_no_file_is_taken_for_missing_or_damaged(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with _server_that_says(answer) as endpoint:
        monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", endpoint)
        store = ObjectStore(f"s3://{bucket}", cache=tmp_path / "cache", cache_mb=64)
        with pytest.raises(StoreUnreachable):
            store.read(Sha256("0" * 64))
        with pytest.raises(StoreUnreachable):
            store.intact(Sha256("0" * 64))
    assert list(store.scratch.iterdir()) == []


def test_a_server_that_speaks_plainly_is_asked_only_where_the_endpoint_says_so(
    tmp_path: Path, s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", s3.endpoint.replace("http://", "https://"))
    with pytest.raises(StoreUnreachable):
        ObjectStore(f"s3://{bucket}", cache=tmp_path / "cache", cache_mb=64).make()
