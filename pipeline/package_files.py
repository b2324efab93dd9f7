"""The files of a package that has gone out: the one way to them for whoever asks from outside.

What is in a package its own manifests say (RFC 8493, 2.1.3 and 2.2.1). A file that no manifest lists, or that lies
behind a link, is not of the package, whatever name is asked for.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipeline.bureau import Bureau
from pipeline.model import Sha256, WorkOrder
from pipeline.packaging import package_folder
from pipeline.store import file_digest

_PAYLOAD, _TAGS = "manifest-sha256.txt", "tagmanifest-sha256.txt"
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})[ \t]+(?P<name>[^\r\n]+)\n", re.ASCII)
# digests of files as they stood when they were hashed: a file fetched in a hundred ranges is hashed once
_MOST_REMEMBERED = 4_096
_remembered: OrderedDict[tuple[Path, int, int, int], Sha256] = OrderedDict()
_remembering = threading.Lock()


class NotInPackage(LookupError):
    """There is no such package, or no such file in it; nothing more is told."""


class PackageDamaged(RuntimeError):
    """A package that has gone out is not in the outbox any more as it was; the message says what to do."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"The package {folder.parent.name}/{folder.name} in the outbox is damaged: {problem}. Put it back from the "
            "backup; platen verify tells which others are."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """One file of a package; `name` is its path inside it with forward slashes, `digest` what the package promises."""

    name: str
    path: Path
    size_bytes: int
    digest: Sha256


def package_files(
    bureau: Bureau, order: WorkOrder, delivery: int, *, after: int = 0, limit: int | None = None
) -> list[PackageFile]:
    """The files of the order's package number `delivery` (from 1), those after the first `after`, in a lasting order.

    They are looked at, not read: whether each has the content that was promised is told when it is opened.

    Raises:
        NotInPackage: no such package has gone out.
        PackageDamaged: it is not in the outbox any more, or a file of it is not.
    """
    folder = _delivered_folder(bureau, order, delivery)
    stop = None if limit is None else after + limit
    return [_looked_at(folder, name, digest) for name, digest in islice(_listed(folder), after, stop)]


def package_file(bureau: Bureau, order: WorkOrder, delivery: int, name: str) -> PackageFile:
    """One file of the order's package number `delivery` by its path inside it; it has the promised content.

    Raises:
        NotInPackage: no such package has gone out, or its manifests list no such file.
        PackageDamaged: the file is not there any more, or is not the one that was promised.
    """
    folder = _delivered_folder(bureau, order, delivery)
    for listed, digest in _listed(folder):
        if listed == name:
            file = _looked_at(folder, name, digest)
            if _content_digest(file.path) != digest:
                raise PackageDamaged(folder, f"{name} no longer has the content that the manifest promises")
            return file
    raise NotInPackage(name)


def package_digests(bureau: Bureau, order: WorkOrder, delivery: int) -> dict[str, Sha256]:
    """What the order's package number `delivery` promises: the digest of every file by its path inside it.

    Raises:
        NotInPackage: no such package has gone out.
        PackageDamaged: its lists are not in the outbox any more.
    """
    return dict(_listed(_delivered_folder(bureau, order, delivery)))


def _delivered_folder(bureau: Bureau, order: WorkOrder, delivery: int) -> Path:
    # by the ledger and not by the outbox: a package is there before it is recorded as gone out
    if not 1 <= delivery <= order.deliveries:
        raise NotInPackage(f"delivery {delivery}")
    return package_folder(bureau, order, delivery)


def _listed(folder: Path) -> Iterator[tuple[str, Sha256]]:
    """Payload, then tag files, then the list of these, which no list holds."""
    for manifest in (_PAYLOAD, _TAGS):
        place = _plain_file(folder, manifest)
        with place.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                entry = _LINE.fullmatch(line)
                if entry is None:
                    raise PackageDamaged(folder, f"{manifest} has a line that is no entry")
                yield entry["name"], Sha256(entry["digest"])
    yield _TAGS, file_digest(_plain_file(folder, _TAGS))


def _looked_at(folder: Path, name: str, digest: Sha256) -> PackageFile:
    path = _plain_file(folder, name)
    return PackageFile(name=name, path=path, size_bytes=path.stat().st_size, digest=digest)


def _plain_file(folder: Path, name: str) -> Path:
    """The file of this name: inside the folder by its real path, so that no dots and no links lead elsewhere."""
    path = folder / name
    try:
        inside, real = folder.resolve(strict=True), path.resolve(strict=True)
        if real == inside / name and real.is_relative_to(inside) and real.is_file():
            return path
    except (OSError, ValueError):  # not there, a loop of links, or no name for a file
        pass
    raise PackageDamaged(folder, f"{name} is not in it")


def _content_digest(path: Path) -> Sha256:
    stat = path.stat()
    key = (path, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    with _remembering:
        if key in _remembered:
            return _remembered[key]
    digest = file_digest(path)
    with _remembering:
        _remembered[key] = digest
        while len(_remembered) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)
    return digest
