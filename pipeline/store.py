"""The files of the bureau: written once, named by their SHA-256, never changed."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from pipeline.model import Sha256
from stages.errors import Refusal

_CHUNK = 1 << 20
_SHARD = re.compile(r"[0-9a-f]{2}", re.ASCII)
_REST = re.compile(r"[0-9a-f]{62}", re.ASCII)
_NFS_OWN = ".nfs"  # so a share's client names a file that was removed while somebody reads it
# a file of many pages is opened for each of them: hashed every time, 500 pages of 500 MB would cost 250 GB of hashing
_ALWAYS_HASHED_BYTES = 16 << 20  # 28 ms at the 0.56 GiB/s measured on a shared core: a hundredth of a page's 2.7 s
_TRUSTED_S = 600.0
_TRUSTED_FILES = 64
# another machine's view of a shared folder may lag behind the ledger (QUEUE 3); beyond this the task is tried again
_PAUSES_S = (0.05, 0.2, 1.0)


class DamagedFile(Refusal):
    """A file of the store no longer has the digest that is its name."""

    code: ClassVar[str] = "store-file-damaged"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"The file {place} of the store no longer has the content that its name promises. Nothing was made from "
            "it. Put the same file back from the backup, then retry."
        )


class NoPlainFile(RuntimeError):
    """What was to be kept is a link, a pipe or a device."""


class StoreUnreachable(OSError):
    """The store does not answer, or refuses; the message says what was asked and why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """Something found in the store; `digest` is None where its name is not that of a file of ours."""

    place: str
    digest: Sha256 | None
    size_bytes: int
    modified_s: float  # since 1970, by the clock of whoever keeps it


def file_digest(path: Path) -> Sha256:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return Sha256(hashlib.file_digest(stream, "sha256").hexdigest())


def fsync_path(path: Path) -> None:
    """Make what was written into a file, or renamed in a folder, survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store(ABC):
    """Files by content, kept on a folder or on object storage.

    A file appears whole or not at all, and is there before anybody refers to it. Two writers of the same content write
    the same name, which is harmless. No bytes leave it unverified.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._trusted: OrderedDict[Sha256, tuple[tuple[int, int, int], float]] = OrderedDict()
        self._lock = threading.Lock()

    @abstractmethod
    def make(self) -> None:
        """Make what is missing, and make sure that the store can be written and read.

        Raises:
            OSError: it cannot; the message says why.
        """

    @abstractmethod
    def check(self) -> None:
        """Make sure that the store can be written and read, and make nothing.

        Raises:
            OSError: it cannot; the message says why.
        """

    @abstractmethod
    def place(self, digest: Sha256) -> str:
        """Where people find the file with this digest: a path or an address."""

    @abstractmethod
    def local(self, digests: Collection[Sha256]) -> AbstractContextManager[dict[Sha256, Path]]:
        """The files themselves, each verified, to be read while the block lasts.

        Raises:
            DamagedFile: one has other content than its name says.
            FileNotFoundError: one is not there.
        """

    @abstractmethod
    def size_bytes(self, digest: Sha256) -> int:
        """How large the file is."""

    @abstractmethod
    def has(self, digest: Sha256) -> bool:
        """Whether there is such a file, damaged or not."""

    @abstractmethod
    def intact(self, digest: Sha256) -> bool:
        """Whether the file is there and still has its digest; every byte of it is read."""

    @abstractmethod
    def files(self) -> Iterator[StoredFile]:
        """Everything that is kept, in no order, without what is still on its way in."""

    @abstractmethod
    def remove(self, digest: Sha256, *, older_than_s: float) -> bool:
        """Remove a file that nobody refers to, unless it was kept anew within `older_than_s`; whether it went."""

    @abstractmethod
    def _adopt(self, scratch: Path, digest: Sha256) -> None:
        """Make a flushed scratch file the file with this digest; the scratch file goes."""

    def read(self, digest: Sha256) -> bytes:
        """The whole file.

        Raises:
            DamagedFile: it has other content than its name says.
            FileNotFoundError: it is not there.
        """
        with self.local([digest]) as files:
            return files[digest].read_bytes()

    def copy(self, digest: Sha256, target: Path) -> None:
        """Copy a file for somebody else and read the copy back.

        Raises:
            DamagedFile: it has other content than its name says; there is no copy.
            FileNotFoundError: it is not there.
        """
        with self.local([digest]) as files:
            shutil.copyfile(files[digest], target)
        if file_digest(target) != digest:
            target.unlink()
            raise DamagedFile(self.place(digest))

    def put_bytes(self, data: bytes) -> Sha256:
        """Keep bytes; gives their digest."""
        digest = Sha256(hashlib.sha256(data).hexdigest())
        with self._scratch_file() as scratch:
            with scratch.open("xb") as stream:
                stream.write(data)
                _flush(stream)
            self._adopt(scratch, digest)
        return digest

    def put_file(self, source: Path) -> Sha256:
        """Keep a copy of a file; the file itself is not touched.

        Raises:
            NoPlainFile: it is a link (its file may lie anywhere), a pipe or a device.
        """
        hasher = hashlib.sha256()
        with self._scratch_file() as scratch:
            with plain_file(source) as reader, scratch.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    hasher.update(chunk)
                    writer.write(chunk)
                _flush(writer)
            digest = Sha256(hasher.hexdigest())
            self._adopt(scratch, digest)
        return digest

    def take_file(self, scratch: Path) -> Sha256:
        """Keep a file that was written for the store on the file system of `scratch`; it is moved in."""
        digest = file_digest(scratch)
        with scratch.open("rb+") as stream:
            os.fsync(stream.fileno())
        self._adopt(scratch, digest)
        return digest

    @contextmanager
    def scratch_folder(self) -> Iterator[Path]:
        """A folder for files on their way into the store; emptied afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def leftovers(self, *, older_than_s: float) -> Iterator[StoredFile]:
        """What writers that were killed left behind on the way in: nobody has touched it for `older_than_s`."""
        for entry in sorted(self.scratch.iterdir()):
            try:
                files = [entry, *entry.rglob("*")] if entry.is_dir() and not entry.is_symlink() else [entry]
                found = [file.lstat() for file in files]
            except FileNotFoundError:
                continue  # somebody works there
            newest_s = max(one.st_mtime for one in found)
            if newest_s < time.time() - older_than_s:
                size = sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))
                yield StoredFile(place=str(entry), digest=None, size_bytes=size, modified_s=newest_s)

    def remove_leftover(self, leftover: StoredFile) -> None:
        """Remove what `leftovers` has found."""
        path = Path(leftover.place)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def _has_content(self, path: Path, digest: Sha256) -> bool:
        """Whether a file has this digest. A large one is trusted for a while, as long as it looks the same.

        Raises:
            FileNotFoundError: there is no file.
        """
        found = path.stat()
        looks = (found.st_ino, found.st_size, found.st_mtime_ns)
        now = time.monotonic()
        if found.st_size > _ALWAYS_HASHED_BYTES:
            with self._lock:
                before, hashed_s = self._trusted.get(digest, (None, 0.0))
            if before == looks and now - hashed_s < _TRUSTED_S:
                return True
        if file_digest(path) != digest:
            return False
        if found.st_size > _ALWAYS_HASHED_BYTES:
            with self._lock:
                self._trusted[digest] = (looks, now)
                if len(self._trusted) > _TRUSTED_FILES:
                    self._trusted.popitem(last=False)
        return True

    @contextmanager
    def _scratch_file(self) -> Iterator[Path]:
        path = self.scratch / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)  # the disk may be full
            raise


class FolderStore(Store):
    """Files under one folder, `ab/cdef...` for digest `abcdef...`: written beside, flushed, renamed.

    The folder may lie on a share: nothing but plain files and renames is asked of it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "incoming")
        self.folder = folder

    def make(self) -> None:
        """Make the folders."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.check()

    def check(self) -> None:
        """Write a file and read it.

        Raises:
            OSError: that cannot be done.
        """
        if not self.scratch.is_dir():
            raise StoreUnreachable(f"There is no store at {self.folder}. If it is a share, mount it; else: platen init")
        with self.scratch_folder() as folder:
            (folder / "check").write_bytes(b"Platen")
            if (folder / "check").read_bytes() != b"Platen":
                raise StoreUnreachable(f"The store {self.folder} does not give back what is written into it.")

    def path(self, digest: Sha256) -> Path:
        """Where the file with this digest lies."""
        return self.folder / digest[:2] / digest[2:]

    def place(self, digest: Sha256) -> str:
        """Its path."""
        return str(self.path(digest))

    @contextmanager
    def local(self, digests: Collection[Sha256]) -> Iterator[dict[Sha256, Path]]:
        """The files of the store themselves, hashed before they are handed out.

        Raises:
            DamagedFile: one has other content than its name says.
            FileNotFoundError: one is not there.
        """
        yield {digest: self._verified(digest) for digest in digests}

    def size_bytes(self, digest: Sha256) -> int:
        """How large the file is."""
        return self.path(digest).stat().st_size

    def has(self, digest: Sha256) -> bool:
        """Whether there is such a file, damaged or not."""
        return self.path(digest).is_file()

    def intact(self, digest: Sha256) -> bool:
        """Whether the file is there and still has its digest."""
        try:
            return file_digest(self.path(digest)) == digest
        except FileNotFoundError:
            return False

    def files(self) -> Iterator[StoredFile]:
        """Every file, and whatever else lies there."""
        for folder in sorted(self.folder.iterdir()):
            if folder == self.scratch:
                continue
            if folder.is_dir() and not folder.is_symlink() and _SHARD.fullmatch(folder.name):
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith(_NFS_OWN):
                            continue
                        with suppress(FileNotFoundError):  # a sweep takes it away at this moment
                            yield _stored(entry, folder.name)
            else:
                found = folder.lstat()
                yield StoredFile(place=str(folder), digest=None, size_bytes=found.st_size, modified_s=found.st_mtime)

    def remove(self, digest: Sha256, *, older_than_s: float) -> bool:
        """Remove a file that nobody refers to, unless it was kept anew within `older_than_s`; whether it went."""
        path, aside = self.path(digest), self.scratch / f"removed-{digest}"
        try:
            path.rename(aside)
        except FileNotFoundError:
            return False
        # out of reach first, looked at then: whoever keeps the same content now writes a file of his own, and whoever
        # kept it a moment ago has left his time on this one
        if aside.stat().st_mtime >= time.time() - older_than_s:
            aside.replace(path)
            return False
        aside.unlink()
        return True

    def _verified(self, digest: Sha256) -> Path:
        path = self.path(digest)
        for pause_s in (*_PAUSES_S, None):
            try:
                if not self._has_content(path, digest):
                    raise DamagedFile(self.place(digest))
                return path
            except FileNotFoundError:
                if pause_s is None:
                    raise FileNotFoundError(f"The file {path} of the store is missing.") from None
                time.sleep(pause_s)
        raise AssertionError("the last turn returns or raises")

    def _adopt(self, scratch: Path, digest: Sha256) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.intact(digest):
            try:
                os.utime(target)  # or a sweep could take it away before the ledger refers to it
            except FileNotFoundError:
                pass  # a sweep has just taken it away
            else:
                scratch.unlink()
                return
        scratch.chmod(0o444)
        try:
            os.replace(scratch, target)  # noqa: PTH105 - the one call of the store that a share may answer wrongly
        except FileNotFoundError:
            # a share that was asked twice (the first answer was lost) says so although the first asking was obeyed
            if not self.intact(digest):
                raise
        fsync_path(target.parent)


def _stored(entry: os.DirEntry[str], shard: str) -> StoredFile:
    found = entry.stat(follow_symlinks=False)
    is_ours = stat.S_ISREG(found.st_mode) and _REST.fullmatch(entry.name)
    return StoredFile(
        place=entry.path,
        digest=Sha256(shard + entry.name) if is_ours else None,
        size_bytes=found.st_size,
        modified_s=found.st_mtime,
    )


def plain_file(path: Path) -> BinaryIO:
    """Open a file that others can replace at any moment, so what was opened is asked, not what the path says.

    Raises:
        NoPlainFile: it is a link (its file may lie anywhere), a pipe or a device.
    """
    if path.is_symlink():
        raise NoPlainFile(f"{path.name} is a link")
    # O_NONBLOCK: a pipe would keep the opener waiting for ever
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise NoPlainFile(f"{path.name} is a pipe or a device")
    return os.fdopen(handle, "rb")


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
