"""The files of the bureau: written once, named by their SHA-256, never changed."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from pipeline.model import Sha256

_CHUNK = 1 << 20


class DamagedFile(RuntimeError):
    """A file of the store no longer has the digest that is its name."""


class NoPlainFile(RuntimeError):
    """What was to be kept is a link, a pipe or a device."""


def file_digest(path: Path) -> Sha256:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return Sha256(hashlib.file_digest(stream, "sha256").hexdigest())


def fsync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Store:
    """Files by content under one folder: `ab/cdef...` for digest `abcdef...`.

    A file appears whole or not at all: written beside, flushed, renamed. Two writers of the same content write the
    same name, which is harmless.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = folder / "incoming"

    def make(self) -> None:
        """Make the folders."""
        self.scratch.mkdir(parents=True, exist_ok=True)

    def path(self, digest: Sha256) -> Path:
        """Where the file with this digest lies."""
        return self.folder / digest[:2] / digest[2:]

    def has(self, digest: Sha256) -> bool:
        """Whether there is such a file."""
        return self.path(digest).is_file()

    def read(self, digest: Sha256) -> bytes:
        """The whole file, checked against its name.

        Raises:
            DamagedFile: the bytes have another digest.
        """
        data = self.path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedFile(f"store file {digest} has other content than its name says")
        return data

    def put_bytes(self, data: bytes) -> Sha256:
        """Keep bytes; gives their digest."""
        digest = Sha256(hashlib.sha256(data).hexdigest())
        if not self.has(digest):
            scratch = self._scratch_path()
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
        scratch = self._scratch_path()
        hasher = hashlib.sha256()
        try:
            with _plain_file(source) as reader, scratch.open("xb") as writer:
                while chunk := reader.read(_CHUNK):
                    hasher.update(chunk)
                    writer.write(chunk)
                _flush(writer)
        except BaseException:
            scratch.unlink(missing_ok=True)  # the disk may be full
            raise
        digest = Sha256(hasher.hexdigest())
        if self.has(digest):
            scratch.unlink()
        else:
            self._adopt(scratch, digest)
        return digest

    def take_file(self, scratch: Path) -> Sha256:
        """Keep a file that was written on the store's own file system for it; it is moved in."""
        digest = file_digest(scratch)
        if self.has(digest):
            scratch.unlink()
            return digest
        with scratch.open("rb+") as stream:
            os.fsync(stream.fileno())
        self._adopt(scratch, digest)
        return digest

    def intact(self, digest: Sha256) -> bool:
        """Whether the file is there and still has its digest."""
        path = self.path(digest)
        return path.is_file() and file_digest(path) == digest

    def _scratch_path(self) -> Path:
        return self.scratch / f"{os.getpid()}-{secrets.token_hex(8)}"

    def _adopt(self, scratch: Path, digest: Sha256) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.chmod(0o444)
        scratch.replace(target)
        fsync_folder(target.parent)


def copy_checked(source: Path, digest: Sha256, target: Path) -> None:
    """Copy a file of the store for somebody else and read the copy back.

    Raises:
        DamagedFile: it has another digest than the store's file has by its name; there is no copy.
    """
    shutil.copyfile(source, target)
    if file_digest(target) != digest:
        target.unlink()
        raise DamagedFile(f"store file {digest} has other content than its name says")


def _plain_file(path: Path) -> BinaryIO:
    """Open a file that others can replace at any moment, so what was opened is asked, not what the path says."""
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
