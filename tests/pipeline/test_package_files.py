"""The files of a package: those that its manifests list, with the promised content, and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.bureau import Bureau
from pipeline.document_work import BagJob, write_bag
from pipeline.model import WorkOrder
from pipeline.package_files import NotInPackage, PackageDamaged, package_file, package_files
from pipeline.packaging import package_folder
from tests.pipeline.by_hand import open_order, receive, work_off

TEXTS = (("pdf/one.pdf", b"%PDF-1"), ("index.csv", b"a,b\r\n"), ("text/p1.txt", "Ä\n".encode()))


def delivered(bureau: Bureau, order: WorkOrder | None = None) -> tuple[WorkOrder, Path]:
    """An order with one package in the outbox, and its folder."""
    order = order or open_order(bureau.ledger)
    receive(bureau.ledger, order, 1)
    work_off(bureau.ledger)
    bureau.ledger.close_order(order.number, who="test")
    folder = package_folder(bureau, order, 1)
    (folder / "pdf").mkdir(parents=True)
    write_bag(BagJob(folder=folder, files=frozenset(), texts=TEXTS, info={"Work-Order": order.number}))
    work_off(bureau.ledger)
    gone_out = bureau.ledger.order(order.number)
    assert gone_out is not None and gone_out.deliveries == 1
    return gone_out, folder


def test_every_file_of_a_package_is_listed_with_size_and_digest(bureau: Bureau) -> None:
    order, folder = delivered(bureau)
    files = package_files(bureau, order, 1)
    on_disk = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {file.name: file.path for file in files} == on_disk
    for file in files:
        data = file.path.read_bytes()
        assert (file.size_bytes, file.digest) == (len(data), hashlib.sha256(data).hexdigest())
        assert package_file(bureau, order, 1, file.name) == file
    in_pieces = [package_files(bureau, order, 1, after=after, limit=2) for after in range(0, len(files), 2)]
    assert [file for piece in in_pieces for file in piece] == files


def test_a_package_that_has_not_gone_out_is_not_there(bureau: Bureau) -> None:
    order, folder = delivered(bureau)
    (folder.parent / "delivery-2").mkdir()
    for delivery in (-1, 0, 2):
        with pytest.raises(NotInPackage):
            package_files(bureau, order, delivery)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "/etc/passwd", "data/../bagit.txt", "data//index.csv", "./bagit.txt", "data\\index.csv",
        "../../../../ledger.db", "data/index.csv\0", "data/index.csv/", "DATA/index.csv", "data/not-listed.txt",
    ],
)  # fmt: skip
def test_a_name_that_the_manifests_do_not_list_is_no_file_of_the_package(bureau: Bureau, name: str) -> None:
    order, folder = delivered(bureau)
    (folder / "data" / "not-listed.txt").write_text("slipped in")
    with pytest.raises(NotInPackage):
        package_file(bureau, order, 1, name)


@pytest.mark.parametrize("listed", ["data/../../secret.txt", "/etc/hostname", "../secret.txt", "data/link.txt", "data"])
def test_a_manifest_that_was_tampered_with_leads_nowhere_else(bureau: Bureau, listed: str) -> None:
    order, folder = delivered(bureau)
    (folder.parent / "secret.txt").write_text("somebody else's")
    (folder / "data" / "link.txt").symlink_to(folder.parent / "secret.txt")
    with (folder / "manifest-sha256.txt").open("a") as manifest:
        manifest.write(f"{'0' * 64}  {listed}\n")
    for look in (lambda: package_file(bureau, order, 1, listed), lambda: package_files(bureau, order, 1)):
        with pytest.raises(PackageDamaged, match="is not in it"):
            look()


def test_a_file_that_was_changed_is_not_handed_out(bureau: Bureau) -> None:
    order, folder = delivered(bureau)
    assert package_file(bureau, order, 1, "data/pdf/one.pdf").size_bytes == 6
    (folder / "data" / "pdf" / "one.pdf").write_bytes(b"%PDF-2")
    with pytest.raises(PackageDamaged, match="no longer has the content"):
        package_file(bureau, order, 1, "data/pdf/one.pdf")
    (folder / "data" / "index.csv").unlink()
    with pytest.raises(PackageDamaged, match="csv is not in it"):
        package_file(bureau, order, 1, "data/index.csv")
