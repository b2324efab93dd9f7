"""A batch sent over the network: file by file, in pieces, resumed where it broke off, and taken in once.

An upload says first what will come: every file with its size and digest. It is filled below the inbox, where the
watcher does not look, so that it becomes a delivery by being announced and nothing is copied:

    inbox/.uploads/<id>/upload.json    what was said; written once
    inbox/.uploads/<id>/parts/<n>      what has come of file n; its length is where to go on
    inbox/.uploads/<id>/batch/<name>   a file that is whole and has the digest that was said

All state is on the disk and in the ledger's row of the delivery, so any console process can take the next request.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

from pipeline.bureau import Bureau
from pipeline.intake import DeliveredFile, batch_digest, is_junk, keepable, natural_key, scan_files
from pipeline.ledger import OrderNotOpen, PlaceClaimed
from pipeline.ledger.lookups import UploadLook
from pipeline.model import OrderStatus, Sha256, WorkOrder
from pipeline.store import file_digest, fsync_path

log = logging.getLogger(__name__)

UPLOADS_FOLDER = ".uploads"
MOST_OPEN = 200  # uploads under way at once: each may lie on the disk for days
LONGEST_NAME, LONGEST_PART_BYTES = 1_000, 255  # of a path; of a part of it, as Linux and the usual shares take it
DAY_S = 86_400.0
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MANIFEST, _PARTS, _BATCH = "upload.json", "parts", "batch"
_MIB = 1 << 20


class UploadRefused(Exception):
    """Something about an upload cannot be as it was asked; the sentence says why and what to do."""

    code: ClassVar[str]


class BadUpload(UploadRefused):
    """What is to come cannot be a batch."""

    code = "bad-upload"


class NoSuchUpload(UploadRefused):
    """There is no upload with this id, or no such file in it."""

    code = "no-such-upload"

    def __init__(self) -> None:
        super().__init__("There is no such upload, or no such file in it. Perhaps nobody went on with it for too long.")


class OtherOffset(UploadRefused):
    """The piece does not begin where the file stands."""

    code = "other-offset"

    def __init__(self, received: int) -> None:
        super().__init__(f"Of this file {received} bytes are here. Go on with the piece that begins there.")
        self.received = received


class BeingSent(UploadRefused):
    """Another request works on the same thing at this moment."""

    code = "being-sent"

    def __init__(self) -> None:
        super().__init__("Another request is at this at the moment. Ask how much is there, and try again in a moment.")


class LargerThanSaid(UploadRefused):
    """More bytes came than were announced."""

    code = "larger-than-said"

    def __init__(self, name: str, size_bytes: int) -> None:
        super().__init__(
            f"“{name}” was said to have {size_bytes} bytes, and more were sent. Nothing of this piece was kept. Begin "
            "another upload with the right sizes."
        )


class OtherDigest(UploadRefused):
    """The file is whole and not the one that was said."""

    code = "other-digest"

    def __init__(self, name: str, said: str, found: str) -> None:
        super().__init__(
            f"“{name}” was said to have the SHA-256 {said}, and what came has {found}. It was thrown away: send it "
            "again from the beginning."
        )


class NotWhole(UploadRefused):
    """Files are missing yet."""

    code = "not-whole"

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"{len(missing)} files are not here whole, “{missing[0]}” first. Send what is missing, then complete it."
        )


class UploadOver(UploadRefused):
    """The upload was completed; nothing more can be added."""

    code = "upload-over"

    def __init__(self) -> None:
        super().__init__("This upload was completed. Begin another for further files.")


class TakenInByHand(UploadRefused):
    """Somebody of the house takes its files in where they lie."""

    code = "taken-in-by-hand"

    def __init__(self) -> None:
        super().__init__("The bureau takes its files in by hand. Ask the bureau what became of them.")


class TooManyUploads(UploadRefused):
    """Too many uploads are under way."""

    code = "too-many-uploads"

    def __init__(self) -> None:
        super().__init__(f"{MOST_OPEN} uploads are under way already. Complete some of them first.")


class NoRoom(UploadRefused):
    """The disk is full."""

    code = "no-room"

    def __init__(self) -> None:
        super().__init__("There is no room on the disk for it. What has come is kept; go on when there is room.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What will come, as it was said; `digest` is that of the batch it becomes."""

    id: str
    order: str
    name: str
    files: tuple[DeliveredFile, ...]

    @property
    def digest(self) -> str:
        """The digest that the batch will have."""
        return batch_digest(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """How much of a file is here; `verified` when it is whole and has its digest."""

    received: int
    verified: bool


def begin_upload(bureau: Bureau, order: WorkOrder, name: str, files: Sequence[DeliveredFile], *, who: str) -> Upload:
    """Say what will come for an order; the files are numbered from 1 as they were said.

    Raises:
        UploadRefused: a name cannot be kept, a limit is passed, or the disk is full.
        OrderNotOpen: the order takes no more batches.
    """
    _check_open(order)
    _check_names(bureau, name, files)
    total = sum(file.size for file in files)
    if total > bureau.settings.upload_mb * _MIB:
        limit, has = bureau.settings.upload_mb, total // _MIB
        raise BadUpload(f"An upload has at most {limit} MiB, this would have {has}. Send it in parts.")
    _check_room(bureau, total)
    folder = _new_folder(bureau)
    upload = Upload(id=folder.name, order=order.number, name=name, files=tuple(files))
    _say(folder, upload, who=who)
    return upload


def upload_with_id(bureau: Bureau, upload_id: str) -> Upload:
    """What was said of an upload that is under way, or was completed a moment ago.

    Raises:
        NoSuchUpload: there is none with this id any more.
    """
    place = _folder(bureau, upload_id) / _MANIFEST
    if not place.is_file():
        raise NoSuchUpload
    return _said(place)


def arrived(bureau: Bureau, upload: Upload) -> list[Arrived]:
    """How much of every file is here."""
    folder = _folder(bureau, upload.id)
    return [_arrived(folder, number, file) for number, file in enumerate(upload.files, start=1)]


def _arrived(folder: Path, number: int, file: DeliveredFile) -> Arrived:
    if (folder / _BATCH / file.name).is_file():
        return Arrived(received=file.size, verified=True)
    part = folder / _PARTS / str(number)
    return Arrived(received=part.stat().st_size if part.is_file() else 0, verified=False)


class Receiver:
    """Appends one piece to one file of an upload; a second one for the same file is refused meanwhile."""

    def __init__(self, folder: Path, number: int, file: DeliveredFile, *, offset: int) -> None:
        self._file, self._folder = file, folder
        self._part = folder / _PARTS / str(number)
        self._offset = offset
        self._stream: BinaryIO | None = None
        self._lock = _lock(folder / _PARTS / f"{number}.lock")
        try:
            self._arrived = _arrived(folder, number, file)
            if offset != self._arrived.received:
                raise OtherOffset(self._arrived.received)
            if not self._arrived.verified:
                self._stream = self._part.open("ab", buffering=0)
        except BaseException:
            self._lock.close()
            raise
        self._received = offset

    def write(self, data: bytes) -> None:
        """Append some bytes.

        Raises:
            LargerThanSaid: the file would be larger than was said; it is as it was before this piece.
        """
        if self._received + len(data) > self._file.size:
            if self._stream is not None:
                self._stream.truncate(self._offset)
            raise LargerThanSaid(self._file.name, self._file.size)
        left = memoryview(data)
        while left and self._stream is not None:
            written = self._stream.write(left) or 0
            self._received += written
            left = left[written:]

    def finish(self) -> Arrived:
        """End the piece; when the file is whole it is checked and put into the batch.

        Raises:
            OtherDigest: it is whole and not what was said; nothing is kept of it.
        """
        if self._stream is None:
            return self._arrived
        if self._received < self._file.size:
            return Arrived(received=self._received, verified=False)
        try:
            fsync_path(self._part)
            found = file_digest(self._part)
        except FileNotFoundError as error:  # the upload was thrown away meanwhile
            raise NoSuchUpload from error
        if found != self._file.digest:
            self._part.unlink()
            raise OtherDigest(self._file.name, self._file.digest, found)
        target = self._folder / _BATCH / self._file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part.rename(target)
        fsync_path(target.parent)
        return Arrived(received=self._received, verified=True)

    def close(self) -> None:
        """Let others go on; what was appended stays."""
        if self._stream is not None:
            self._stream.close()
        self._lock.close()


def receive_piece(bureau: Bureau, upload: Upload, number: int, *, offset: int, size_bytes: int | None) -> Receiver:
    """Begin to append a piece to file `number` (from 1) of an upload; the caller closes what it gets.

    `size_bytes` is how large the piece is, where that is known beforehand.

    Raises:
        UploadRefused: there is no such file, it stands elsewhere, is being sent, would be too large; or no room.
    """
    if not 1 <= number <= len(upload.files):
        raise NoSuchUpload
    if bureau.ledger.upload_look(upload.id) is not None:
        raise UploadOver
    file = upload.files[number - 1]
    if size_bytes is not None and offset + size_bytes > file.size:
        raise LargerThanSaid(file.name, file.size)
    _check_room(bureau, max(0, file.size - offset))
    try:
        return Receiver(_folder(bureau, upload.id), number, file, offset=offset)
    except FileNotFoundError as error:  # it has just been thrown away
        raise NoSuchUpload from error


class Drop:
    """A batch that comes all at once, from a browser, which cannot say beforehand what will come.

    Its files are written one after the other; then it is an upload that is whole, or it is given up.

    Raises:
        UploadRefused: too many uploads are under way.
        OrderNotOpen: the order takes no more batches.
    """

    def __init__(self, bureau: Bureau, order: WorkOrder) -> None:
        _check_open(order)
        self._bureau, self._order = bureau, order
        self._folder = _new_folder(bureau)
        self._files: list[DeliveredFile] = []
        self._size_bytes = 0
        self._stream: BinaryIO | None = None

    def begin_file(self, name: str) -> None:
        """Begin the next file.

        Raises:
            UploadRefused: its name cannot be kept or came before, or there are too many.
        """
        _check_name(name)
        self._place, self._name, self._digest = self._folder / _BATCH / name, name, hashlib.sha256()
        if len(self._files) >= self._bureau.settings.upload_files:
            raise BadUpload(f"A batch has at most {self._bureau.settings.upload_files} files.")
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._place.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise BadUpload(f"“{name}” came before, or is a file and a folder with files.") from error

    def write(self, data: bytes) -> None:
        """Append to the file that was begun.

        Raises:
            UploadRefused: the batch would be too large, or the disk is full.
        """
        assert self._stream is not None
        self._size_bytes += len(data)
        if self._size_bytes > self._bureau.settings.upload_mb * _MIB:
            raise BadUpload(f"A batch has at most {self._bureau.settings.upload_mb} MiB. Send it in parts.")
        _check_room(self._bureau, len(data))
        self._digest.update(data)
        self._stream.write(data)

    def end_file(self) -> None:
        """The file is whole."""
        assert self._stream is not None
        self._stream.close()
        fsync_path(self._place)
        size, digest = self._place.stat().st_size, Sha256(self._digest.hexdigest())
        self._files.append(DeliveredFile(name=self._name, size=size, digest=digest))

    def complete(self, name: str, *, who: str) -> UploadLook:
        """Make a delivery of what has come.

        Raises:
            UploadRefused: the batch's name cannot be kept, or nothing has come.
            OrderNotOpen: the order takes no more batches.
        """
        _check_names(self._bureau, name, self._files)
        upload = Upload(id=self._folder.name, order=self._order.number, name=name, files=tuple(self._files))
        _say(self._folder, upload, who=who)
        return complete_upload(self._bureau, upload.id, who=who)

    def give_up(self) -> None:
        """Keep nothing of it, unless it was completed."""
        if self._stream is not None:
            self._stream.close()
        if self._bureau.ledger.upload_look(self._folder.name) is None:
            shutil.rmtree(self._folder)


def complete_upload(bureau: Bureau, upload_id: str, *, who: str) -> UploadLook:
    """Make a delivery of an upload that is whole; asked again, it gives the same one.

    Raises:
        UploadRefused: something is missing yet.
        OrderNotOpen: the order takes no more batches; the upload stays as it is.
    """
    if (announced := bureau.ledger.upload_look(upload_id)) is not None:
        return announced
    upload = upload_with_id(bureau, upload_id)
    order = bureau.ledger.order(upload.order)
    assert order is not None  # orders are never removed
    _check_open(order)
    with _locked(bureau, upload_id) as folder:
        here = arrived(bureau, upload)
        if missing := [file.name for file, one in zip(upload.files, here, strict=True) if not one.verified]:
            # somebody else may have completed it in between, and intake have moved it on
            if (announced := bureau.ledger.upload_look(upload_id)) is not None:
                return announced
            raise NotWhole(missing)
        batch = folder / _BATCH
        assert set(scan_files(batch)) == {file.name for file in upload.files}
        try:
            bureau.ledger.announce_delivery(
                source=str(batch), name=upload.name, order_number=upload.order, moves=True, who=who, upload=upload_id
            )
        except PlaceClaimed as error:
            raise TakenInByHand from error
    log.info("upload %s completed", upload_id)
    look = bureau.ledger.upload_look(upload_id)
    assert look is not None
    return look


def abandon_upload(bureau: Bureau, upload_id: str) -> None:
    """Throw away what came of an upload that was not completed.

    Raises:
        UploadRefused: there is none, it was completed, or somebody is at it.
    """
    upload_with_id(bureau, upload_id)
    with _locked(bureau, upload_id) as folder:
        if bureau.ledger.upload_look(upload_id) is not None:
            raise UploadOver
        shutil.rmtree(folder)
    log.info("upload %s thrown away", upload_id)


def sweep_uploads(bureau: Bureau) -> int:
    """Remove what intake has left of completed uploads, and uploads that nobody went on with; gives how many."""
    swept = 0
    uploads = bureau.settings.folder("inbox") / UPLOADS_FOLDER
    oldest_s = time.time() - bureau.settings.upload_days * DAY_S
    for folder in uploads.iterdir() if uploads.is_dir() else ():
        with suppress(UploadRefused, FileNotFoundError), _locked(bureau, folder.name):
            completed = bureau.ledger.upload_look(folder.name) is not None
            is_over = not (folder / _BATCH).exists() if completed else _touched_s(folder) < oldest_s
            if is_over:
                shutil.rmtree(folder)
                swept += 1
                if not completed:
                    log.warning("upload %s was not completed in %d days", folder.name, bureau.settings.upload_days)
    return swept


def _touched_s(folder: Path) -> float:
    # not the folder itself: looking at an upload puts a lock into it
    inside = [path.lstat() for path in folder.rglob("*") if path.suffix != ".lock"]
    return max((look.st_mtime for look in inside), default=folder.lstat().st_mtime)


def _new_folder(bureau: Bureau) -> Path:
    """An empty upload, which is none until it is said what will come."""
    uploads = bureau.settings.folder("inbox") / UPLOADS_FOLDER
    uploads.mkdir(exist_ok=True)
    if sum(1 for _ in uploads.iterdir()) >= MOST_OPEN:
        raise TooManyUploads
    folder = uploads / secrets.token_hex(16)
    (folder / _PARTS).mkdir(parents=True)
    (folder / _BATCH).mkdir()
    return folder


def _say(folder: Path, upload: Upload, *, who: str) -> None:
    """Write down what will come; from here on there is an upload."""
    writing = folder / f"{_MANIFEST}.part"
    writing.write_text(json.dumps({**asdict(upload), "who": who}), encoding="utf-8")
    fsync_path(writing)
    writing.rename(folder / _MANIFEST)
    fsync_path(folder)
    log.info("upload %s begun: %d files", upload.id, len(upload.files))


@contextmanager
def _locked(bureau: Bureau, upload_id: str) -> Iterator[Path]:
    """An upload that nobody else completes, throws away or sweeps meanwhile."""
    folder = _folder(bureau, upload_id)
    try:
        lock = _lock(folder / f"{_PARTS}.lock")
    except FileNotFoundError as error:  # it has just been thrown away
        raise NoSuchUpload from error
    with lock:
        yield folder


def _lock(place: Path) -> BinaryIO:
    lock = place.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise BeingSent from error
    return lock


def _folder(bureau: Bureau, upload_id: str) -> Path:
    if not _ID.fullmatch(upload_id):
        raise NoSuchUpload
    return bureau.settings.folder("inbox") / UPLOADS_FOLDER / upload_id


@lru_cache(maxsize=16)  # ten thousand files are ten thousand requests, and what was said never changes
def _said(place: Path) -> Upload:
    said = json.loads(place.read_text(encoding="utf-8"))
    files = tuple(
        DeliveredFile(name=file["name"], size=file["size"], digest=Sha256(file["digest"])) for file in said["files"]
    )
    return Upload(id=said["id"], order=said["order"], name=said["name"], files=files)


def _check_open(order: WorkOrder) -> None:
    if order.status is not OrderStatus.OPEN:
        raise OrderNotOpen(f"Work order {order.number} is {order.status.value}. Reopen it, then send the batch.")


def _check_room(bureau: Bureau, size_bytes: int) -> None:
    free = shutil.disk_usage(bureau.settings.folder("inbox")).free
    if free - size_bytes < bureau.settings.min_free_mb * _MIB:
        raise NoRoom


def _check_names(bureau: Bureau, batch: str, files: Sequence[DeliveredFile]) -> None:
    if not 1 <= len(files) <= bureau.settings.upload_files:
        raise BadUpload(f"An upload has 1 to {bureau.settings.upload_files} files, this would have {len(files)}.")
    _check_name(batch)
    if "/" in batch:
        raise BadUpload("A batch's name has no slash.")
    names = {file.name for file in files}
    if len(names) < len(files):
        raise BadUpload("Two files have the same name.")
    for name in names:
        _check_name(name)
    folders = {folder.as_posix() for name in names for folder in PurePosixPath(name).parents}
    if both := folders & names:
        raise BadUpload(f"“{min(both, key=natural_key)}” is a file and a folder with files.")


def _check_name(name: str) -> None:
    """Make sure that a name leads nowhere else, and that intake takes what lies under it."""
    parts = name.split("/")
    if keepable(name) != name or "\\" in name or "" in parts:
        raise BadUpload(
            f"“{keepable(name)}” cannot be kept as a name: write it with forward slashes between folders, none at the "
            "ends, and without line breaks or signs that steer."
        )
    if len(name) > LONGEST_NAME or any(len(part.encode()) > LONGEST_PART_BYTES for part in parts):
        raise BadUpload(f"A name has at most {LONGEST_NAME} signs, and {LONGEST_PART_BYTES} bytes between slashes.")
    # dots that lead elsewhere are among what begins with a dot
    if any(is_junk(part) for part in parts) or parts[-1] == "WHY.txt":
        raise BadUpload(f"“{name}” is a name that intake passes by, so it would be lost. Leave it out or rename it.")
