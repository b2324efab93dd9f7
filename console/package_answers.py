"""The files of a package as answers of the web: one file, in parts where asked for, or all of them as a ZIP stream."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import RawIOBase
from pathlib import PurePosixPath
from typing import Any

from fastapi import Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from console.throttle import AtOnce
from pipeline.bureau import Bureau
from pipeline.model import WorkOrder
from pipeline.orders import is_name
from pipeline.package_files import PackageDamaged, PackageFile, package_file, package_files

MEDIA_TYPES = {
    ".pdf": "application/pdf",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "application/xml",
    ".json": "application/json",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jp2": "image/jp2",
    ".png": "image/png",
}
_SHRINKS = frozenset({".csv", ".txt", ".xml", ".json"})  # PDF and scans are packed already
_PIECE = 1 << 20
_zips = AtOnce(most=2)  # each reads and hashes a whole package, beside the floor
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # no earlier one can be written (APPNOTE 6.3.10, 4.4.6)
_PLAIN_FILE = 0o100644 << 16  # as Unix writes its mode there


def file_answer(bureau: Bureau, order: WorkOrder, delivery: int, name: str) -> Response:
    """One file of a package, to be kept and never to be shown in the browser: it came from outside.

    Raises:
        NotInPackage: there is no such package, or no such file in it.
        PackageDamaged: it is not as it was.
    """
    file = package_file(bureau, order, delivery, name)
    return FileResponse(
        file.path,
        media_type=MEDIA_TYPES.get(_suffix(name), "application/octet-stream"),
        filename=PurePosixPath(name).name,
        headers={"etag": f'"{file.digest}"', "x-platen-sha256": file.digest},
    )


def zip_answer(bureau: Bureau, order: WorkOrder, delivery: int, *, whose: str) -> Response:
    """A whole package, with the lists that let whoever gets it check every file.

    When it is begun it is refused with `TooManyAtOnce` to whom too many are being sent already.

    Raises:
        NotInPackage: there is no such package.
        PackageDamaged: a file of it is missing.
    """
    files = package_files(bureau, order, delivery)
    folder = f"{order.number if is_name(order.number) else 'package'}-delivery-{delivery}"
    return _ZipAnswer(
        zip_stream(folder, files),
        whose=whose,
        media_type="application/zip",
        headers={"content-disposition": f'attachment; filename="{folder}.zip"'},
    )


def zip_stream(folder: str, files: Sequence[PackageFile]) -> Iterator[bytes]:
    """Files as the bytes of a ZIP file, made while they are read; in memory are one piece and the list of names.

    Raises:
        PackageDamaged: a file has not the content that was promised. The stream ends there, without the directory that
            a ZIP file ends with, so that nobody takes it for whole.
    """
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w") as archive:
        for file in files:
            entry = _entry(f"{folder}/{file.name}", file)
            digest = hashlib.sha256()
            with file.path.open("rb") as source, archive.open(entry, "w") as target:
                while data := source.read(_PIECE):
                    digest.update(data)
                    target.write(data)
                    yield from pieces.taken()
            if digest.hexdigest() != file.digest:
                raise PackageDamaged(file.path.parent, f"{file.name} no longer has the content that was promised")
    yield from pieces.taken()


class _ZipAnswer(StreamingResponse):
    """A stream that is counted from its beginning until nobody takes any more of it."""

    def __init__(self, content: Iterator[bytes], *, whose: str, **more: Any) -> None:
        super().__init__(content, **more)
        self._whose = whose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with _zips.one(self._whose):
            await super().__call__(scope, receive, send)


class _Pieces(RawIOBase):
    """A file without places to go back to: what is written waits to be taken."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """What was written since the last time."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            yield b"".join(waiting)


def _entry(name: str, file: PackageFile) -> zipfile.ZipInfo:
    changed = datetime.fromtimestamp(file.path.stat().st_mtime, UTC).timetuple()[:6]
    entry = zipfile.ZipInfo(name, max(changed, _FIRST_DATE))
    entry.compress_type = zipfile.ZIP_DEFLATED if _suffix(name) in _SHRINKS else zipfile.ZIP_STORED
    entry.external_attr = _PLAIN_FILE
    entry.file_size = file.size_bytes  # so that Zip64 is taken where it is needed
    return entry


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
