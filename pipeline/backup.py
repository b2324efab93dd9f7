"""A copy of the bureau, taken while it works, that is itself a home: `platen verify` checks it where it lies.

In this order, because a file is kept before the ledger refers to it: the ledger as of one moment, then the store, then
the packages and films that had been handed over at that moment. What was in the making is made again by whoever goes on
from the copy. The inbox is not copied: what lies there is still the scanner's.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.bureau import Bureau
from pipeline.ledger.recount import HandedOver
from pipeline.model import Sha256
from pipeline.packaging import package_folder
from pipeline.store import DamagedFile, FolderStore, fsync_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What was copied anew, and every fault met as a sentence; what an earlier backup holds already is not counted."""

    ledger: Path
    files: int
    size_bytes: int
    folders: int
    faults: tuple[str, ...]


def back_up(bureau: Bureau, folder: Path) -> BackedUp:
    """Copy ledger, store, packages, films and profiles into `folder`; one that holds a backup gets what is new.

    Raises:
        ValueError: the folder lies in the home itself, or holds the home.
        LedgerUnusable: the ledger cannot be copied.
        OSError: the store cannot be read, or the folder not written.
    """
    home = bureau.settings.home.resolve()
    if folder.resolve().is_relative_to(home) or home.is_relative_to(folder.resolve()):
        raise ValueError(f"{folder} is not apart from the home {home}; a backup belongs on another disk.")
    folder.mkdir(parents=True, exist_ok=True)
    ledger, handed_over = bureau.ledger.copy_to(folder)
    kept = FolderStore(folder / "store")
    kept.make()
    files = size_bytes = 0
    faults = []
    for file in bureau.store.files():
        if file.digest is None or kept.has(file.digest):
            continue
        try:
            _copy_file(bureau, file.digest, kept)
            files += 1
            size_bytes += file.size_bytes
        except DamagedFile as error:
            faults.append(error.sentence)
    folders = 0
    for source in _folders(bureau, handed_over):
        if not source.is_dir():
            faults.append(f"{bureau.relative(source)} was handed over and is not there.")
        else:
            folders += _copy_folder(source, folder / source.relative_to(bureau.settings.home))
    # the bill needs its rate cards
    no_code = shutil.ignore_patterns("__pycache__")
    shutil.copytree(bureau.settings.profiles, folder / "profiles", dirs_exist_ok=True, ignore=no_code)
    return BackedUp(ledger=ledger, files=files, size_bytes=size_bytes, folders=folders, faults=tuple(faults))


def _copy_file(bureau: Bureau, digest: Sha256, kept: FolderStore) -> None:
    with bureau.store.local([digest]) as files:
        if kept.put_file(files[digest]) != digest:
            raise DamagedFile(bureau.store.place(digest))


def _folders(bureau: Bureau, handed_over: HandedOver) -> Iterator[Path]:
    for order in handed_over.orders:
        for delivery in range(1, order.deliveries + 1):
            yield package_folder(bureau, order, delivery)
    for film in handed_over.films:
        yield bureau.settings.home / film


def _copy_folder(source: Path, target: Path) -> bool:
    """Copy a folder that is never changed any more, whole or not at all; False when it is there already."""
    if target.is_dir():
        return False
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, part)
    part.rename(target)
    fsync_path(target.parent)
    return True
