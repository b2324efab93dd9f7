"""Files of the store that no record refers to: told by `platen verify`, removed by `platen sweep`.

A worker that is killed between keeping a file and recording it leaves one; so does a delivery that is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pipeline.bureau import Bureau
from pipeline.store import StoredFile

DAY_S = 86_400.0
_AT_ONCE = 100_000  # listed files held against the ledger together: 50 MB of memory, whatever the store holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What was removed."""

    files: int
    size_bytes: int


def orphans(bureau: Bureau, *, older_than_s: float) -> Iterator[StoredFile]:
    """Files that were kept so long ago and that no row refers to; and whatever is no file of ours (no digest).

    The ledger is asked after the files were listed: what is recorded meanwhile is known.
    """
    newest_s = time.time() - older_than_s
    files = bureau.store.files()
    while listed := list(islice(files, _AT_ONCE)):
        unknown = {file.digest: file for file in listed if file.digest is not None and file.modified_s < newest_s}
        if unknown:
            for digest in bureau.ledger.files_referred_to():
                unknown.pop(digest, None)
        yield from unknown.values()
        yield from (file for file in listed if file.digest is None)


def sweep(bureau: Bureau, *, older_than_s: float) -> Swept:
    """Remove what nobody refers to and what killed writers left behind; files that are not ours stay.

    Safe beside a floor that works: whoever is about to refer to a file has kept it just now, and it is not old.
    """
    files = size_bytes = 0
    for orphan in orphans(bureau, older_than_s=older_than_s):
        if orphan.digest is not None and bureau.store.remove(orphan.digest, older_than_s=older_than_s):
            files += 1
            size_bytes += orphan.size_bytes
    for leftover in bureau.store.leftovers(older_than_s=older_than_s):
        bureau.store.remove_leftover(leftover)
        files += 1
        size_bytes += leftover.size_bytes
    return Swept(files=files, size_bytes=size_bytes)
