"""The store on object storage that speaks S3, with a cache of its files on the local disk."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from pipeline.model import Sha256
from pipeline.store import DamagedFile, Store, StoredFile, StoreUnreachable, file_digest

log = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{2}/[0-9a-f]{62}", re.ASCII)
_MARK = "README.txt"  # never removed: whoever may only add to a bucket can still check it
_MARK_TEXT = b"Files of a Platen bureau, named by their SHA-256. Nothing here may be changed or removed by hand.\n"
_CHUNK_BYTES = 1 << 20
_LISTED_AT_ONCE = 1000  # what S3 gives with one answer
_PARTS_AT_ONCE = 2  # of 5 MiB each, so that a large file takes 10 MiB of memory to upload
# a share of the limit: so much may come in before the cache is looked through again (65,000 files: 0.4 s)
_LOOK_AFTER = 1 / 16
_KEEP = 7 / 8


class ObjectStore(Store):
    """Files under a bucket's prefix, `ab/cdef...` for digest `abcdef...`.

    An upload is visible whole or not at all, and goes directly under its digest: object storage knows no rename.
    Credentials, region and endpoint come from the environment as S3 tools know them (`AWS_*`).
    """

    def __init__(self, url: str, *, cache: Path, cache_mb: int) -> None:
        super().__init__(cache / "incoming")
        self._url = url.rstrip("/")
        self._cache = cache
        self.scratch.mkdir(parents=True, exist_ok=True)  # every machine has a cache of its own, and may lose it
        self._limit_bytes = cache_mb << 20
        self._unseen_bytes = self._limit_bytes  # of the cache nothing is known yet
        self._counting = threading.Lock()
        bucket, _, prefix = self._url.removeprefix("s3://").partition("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        self._bucket = S3Store(
            bucket,
            prefix=prefix or None,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": "5s",
                "read_timeout": "30s",
                "timeout": "1h",  # a whole file; one that stands still ends by the time-out above
            },
            # long enough for a server that restarts its front; beyond it the task itself is tried again
            retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
        )

    def make(self) -> None:
        """Make nothing: the bucket is made by whoever owns it.

        Raises:
            StoreUnreachable: it cannot be written or read.
        """
        self.check()

    def check(self) -> None:
        """Write a small file and read it.

        Raises:
            StoreUnreachable: that cannot be done.
        """
        try:
            with self._asked("write"):
                obstore.put(self._bucket, _MARK, _MARK_TEXT)
            with self._asked("read"):
                found = bytes(obstore.get(self._bucket, _MARK).bytes())
        except FileNotFoundError as error:
            raise StoreUnreachable(f"The store {self._url} cannot be written: there is no such bucket.") from error
        if found != _MARK_TEXT:
            raise StoreUnreachable(f"The store {self._url} does not give back what is written into it.")

    def place(self, digest: Sha256) -> str:
        """Its address."""
        return f"{self._url}/{_key(digest)}"

    @contextmanager
    def local(self, digests: Collection[Sha256]) -> Iterator[dict[Sha256, Path]]:
        """Links to the cached files, so that they stay for this block whatever is dropped from the cache.

        Raises:
            DamagedFile: one has other content than its name says, in the bucket itself.
            FileNotFoundError: one is not in the bucket.
        """
        with self.scratch_folder() as folder:
            yield {digest: self._at_hand(digest, folder) for digest in digests}

    def size_bytes(self, digest: Sha256) -> int:
        """How large the file is."""
        with suppress(FileNotFoundError):
            return self._cached(digest).stat().st_size
        with self._asked("read"):
            return int(obstore.head(self._bucket, _key(digest))["size"])

    def has(self, digest: Sha256) -> bool:
        """Whether there is such a file in the bucket, damaged or not."""
        try:
            with self._asked("read"):
                obstore.head(self._bucket, _key(digest))
        except FileNotFoundError:
            return False
        return True

    def intact(self, digest: Sha256) -> bool:
        """Whether the file is in the bucket and still has its digest; the cache is not asked."""
        hasher = hashlib.sha256()
        try:
            for chunk in self._chunks(digest):
                hasher.update(chunk)
        except FileNotFoundError:
            return False
        return hasher.hexdigest() == digest

    def files(self) -> Iterator[StoredFile]:
        """Every object under the prefix."""
        with self._asked("list"):
            for objects in obstore.list(self._bucket, chunk_size=_LISTED_AT_ONCE):
                for found in objects:
                    if found["path"] == _MARK:
                        continue
                    is_ours = _KEY.fullmatch(found["path"])
                    yield StoredFile(
                        place=f"{self._url}/{found['path']}",
                        digest=Sha256(found["path"].replace("/", "")) if is_ours else None,
                        size_bytes=found["size"],
                        modified_s=found["last_modified"].timestamp(),
                    )

    def remove(self, digest: Sha256, *, older_than_s: float) -> bool:
        """Remove a file that nobody refers to, unless it was kept anew within `older_than_s`; whether it went.

        Between the last look and the removal lies one answer of the server: S3 cannot remove on a condition.
        """
        try:
            with self._asked("remove"):
                if obstore.head(self._bucket, _key(digest))["last_modified"].timestamp() >= time.time() - older_than_s:
                    return False
                obstore.delete(self._bucket, _key(digest))
        except FileNotFoundError:
            return False
        self._cached(digest).unlink(missing_ok=True)
        return True

    def _at_hand(self, digest: Sha256, folder: Path) -> Path:
        link, cached = folder / digest[2:], self._cached(digest)
        with suppress(FileNotFoundError):  # not fetched yet, or dropped by another process
            os.link(cached, link)
            if self._has_content(link, digest):
                os.utime(link, ns=(time.time_ns(), link.stat().st_mtime_ns))  # used now; by this the oldest is found
                return link
            log.warning("a file of the cache is damaged and is fetched again")
            link.unlink()
            cached.unlink(missing_ok=True)
        self._fetch(digest, link)
        return link

    def _fetch(self, digest: Sha256, link: Path) -> None:
        """Bring a file into the cache, and to `link`; one that comes damaged is asked for once more."""
        for _ in range(2):
            with self._scratch_file() as scratch:
                with scratch.open("xb") as stream:
                    for chunk in self._chunks(digest):
                        stream.write(chunk)
                if file_digest(scratch) == digest:
                    os.link(scratch, link)  # before it is in the cache: one larger than that is dropped at once
                    self._keep(scratch, digest)
                    return
                scratch.unlink()
        raise DamagedFile(self.place(digest))

    def _chunks(self, digest: Sha256) -> Iterator[bytes]:
        with self._asked("read"):
            yield from obstore.get(self._bucket, _key(digest)).stream(min_chunk_size=_CHUNK_BYTES)

    def _adopt(self, scratch: Path, digest: Sha256) -> None:
        # uploaded even if it is there: that costs little, mends a damaged one, and tells a sweep that it is wanted
        try:
            with self._asked("write"):
                obstore.put(self._bucket, _key(digest), scratch, max_concurrency=_PARTS_AT_ONCE)
        except FileNotFoundError as error:
            raise StoreUnreachable(f"The store {self._url} cannot be written: there is no such bucket.") from error
        self._keep(scratch, digest)

    def _keep(self, scratch: Path, digest: Sha256) -> None:
        """Move a file into the cache, and drop others that have not been used for longest when there are too many."""
        cached = self._cached(digest)
        cached.parent.mkdir(exist_ok=True)
        scratch.chmod(0o444)
        with self._counting:
            self._unseen_bytes += scratch.stat().st_size
            looks = self._unseen_bytes > self._limit_bytes * _LOOK_AFTER
            if looks:
                self._unseen_bytes = 0
        scratch.replace(cached)
        if looks:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        found = []
        for path in self._cache.glob("??/*"):
            with suppress(FileNotFoundError):  # several processes share the cache
                status = path.stat()
                found.append((status.st_atime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._limit_bytes:
            return
        for _, size, path in sorted(found):
            path.unlink(missing_ok=True)
            total -= size
            if total <= self._limit_bytes * _KEEP:
                return

    def _cached(self, digest: Sha256) -> Path:
        return self._cache / digest[:2] / digest[2:]

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """The server's refusals as one kind of error; that there is no such file is an error of its own."""
        try:
            yield
        except BaseError as error:
            reason = str(error).partition("\n")[0][:300]
            raise StoreUnreachable(f"The store {self._url} could not be asked to {what}: {reason}") from error
        except FileNotFoundError as error:
            reason = "there is no such bucket" if "NoSuchBucket" in str(error) else "it is not there"
            raise FileNotFoundError(f"A file of the store {self._url} cannot be read: {reason}.") from error


def _key(digest: Sha256) -> str:
    return f"{digest[:2]}/{digest[2:]}"
